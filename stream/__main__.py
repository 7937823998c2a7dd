"""`python -m stream` is `metronome-qbo`."""

from .cli import main

main()
