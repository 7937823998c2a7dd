"""The sink: executes commands against QuickBooks, keeps the ledger, and gives every command its one outcome."""
