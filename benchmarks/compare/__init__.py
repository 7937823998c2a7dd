"""Two public QuickBooks libraries and this project, on the same simulator, the same invoices and the same faults."""
