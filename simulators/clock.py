"""The sandbox's time: the machine's, moved forward on request."""

from __future__ import annotations

from collections.abc import Callable

AHEAD_MAX_SECONDS = 10 * 366 * 86_400


class MovableClock:
    """Epoch seconds of `base` plus `ahead_seconds`."""

    def __init__(self, base: Callable[[], float], ahead_seconds: float = 0.0) -> None:
        self._base = base
        self.ahead_seconds = ahead_seconds

    def __call__(self) -> float:
        return self._base() + self.ahead_seconds

    def advance(self, seconds: float) -> None:
        """Raises ValueError for a step back, or when the clock would be more than ten years ahead."""
        if not 0 <= seconds <= AHEAD_MAX_SECONDS - self.ahead_seconds:
            raise ValueError(f"advance_seconds is {seconds!r}; it must be from 0, to {AHEAD_MAX_SECONDS} in sum")
        self.ahead_seconds += seconds
