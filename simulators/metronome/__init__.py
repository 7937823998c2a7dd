"""Metronome as one can know it from outside: a pure core, its webhooks, and invoices made from a seed."""
