"""What would fail in a QuickBooks company and in Metronome."""
