"""QuickBooks Online as one can know it from outside: a pure core, request in, answer out."""
