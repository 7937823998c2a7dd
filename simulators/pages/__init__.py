"""The simulators' own pages."""
