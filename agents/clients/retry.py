"""Trying again, within a bound: the pauses between attempts, and how long one record may take in all."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from .failures import Failure, OutcomeUnknown, Wait
from .slots import rest

R = TypeVar("R")
FIRST_PAUSE_SECONDS = 0.25
DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to retry (`retry_seconds`), and the longest pause (`backoff_max_seconds`). Others have the slot of the
    record that is handled while it pauses."""

    retry_seconds: float
    backoff_max_seconds: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = rest

    def start(self) -> "Retries":
        return Retries(self, self.monotonic() + self.retry_seconds)

    def probe(self) -> "Retries":
        """As `start`, but the first failure that tells nothing but that nobody answers ends it."""
        return Retries(self, self.monotonic() + self.retry_seconds, probing=True)


@dataclass(slots=True)
class Retries:
    """The attempts at one thing."""

    policy: RetryPolicy
    deadline: float
    made: int = 0
    probing: bool = False

    async def wait(self, failure: Failure) -> None:
        """Wait before the next attempt: as long as asked, else exponentially with jitter. Past the bound, raise."""
        asked = failure.seconds if isinstance(failure, Wait) else None
        backoff = min(FIRST_PAUSE_SECONDS * 2 ** min(self.made, DOUBLINGS_MAX), self.policy.backoff_max_seconds)
        seconds = asked if asked is not None else backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self.made += 1
        if self.policy.monotonic() + seconds > self.deadline or (
            self.probing and isinstance(failure, Wait | OutcomeUnknown)
        ):
            raise failure
        await self.policy.sleep(seconds)
