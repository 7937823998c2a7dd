"""Trying again, within a bound: the pauses between attempts, and how long one record may take in all."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from .failures import Doubtful, Failure, Wait

R = TypeVar("R")
FIRST_PAUSE_SECONDS = 0.25
DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on (`patience_seconds`), and the longest pause (`backoff_max_seconds`)."""

    patience_seconds: float
    backoff_max_seconds: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def begin(self) -> "Tries":
        return Tries(self, self.monotonic() + self.patience_seconds)

    def probe(self) -> "Tries":
        """As `begin`, but the first failure that tells nothing but that nobody answers ends it."""
        return Tries(self, self.monotonic() + self.patience_seconds, probing=True)


@dataclass(slots=True)
class Tries:
    """The attempts at one thing."""

    patience: Patience
    deadline: float
    made: int = 0
    probing: bool = False

    async def pause(self, failure: Failure) -> None:
        """Wait before the next attempt: as long as asked, else exponentially with jitter. Past the bound, raise."""
        asked = failure.seconds if isinstance(failure, Wait) else None
        backoff = min(FIRST_PAUSE_SECONDS * 2 ** min(self.made, DOUBLINGS_MAX), self.patience.backoff_max_seconds)
        seconds = asked if asked is not None else backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self.made += 1
        if self.patience.monotonic() + seconds > self.deadline or (
            self.probing and isinstance(failure, Wait | Doubtful)
        ):
            raise failure
        await self.patience.sleep(seconds)
