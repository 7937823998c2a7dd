"""Everything on one machine, against the simulators."""
