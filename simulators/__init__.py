"""Metronome and QuickBooks Online as two stateful HTTP servers for the demo, the tests and anyone's development.

They are an independent reading of what the vendors publish and import nothing from `models` or `agents`.
"""
