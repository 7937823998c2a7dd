"""Rate limits and counters of one company (`docs/vendors/quickbooks.md` §5)."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from simulators.quickbooks.settings import QuickBooksSettings


@dataclass(slots=True)
class Window:
    """The moments of the requests that were admitted within the longest span that is looked at."""

    arrivals: deque[float] = field(default_factory=deque)

    def count(self, now: float, seconds: float) -> int:
        """How many arrived within the last `seconds`."""
        within = 0
        for arrival in reversed(self.arrivals):
            if arrival <= now - seconds:
                break
            within += 1
        return within

    def add(self, now: float) -> None:
        self.arrivals.append(now)
        while self.arrivals[0] <= now - 60:
            self.arrivals.popleft()


@dataclass(slots=True)
class Meters:
    """`calls` by method and first part of the path. `metered_reads` counts what Intuit bills: answered reads and
    batches; `free_writes` single writes that were answered."""

    calls: Counter[str] = field(default_factory=Counter)
    throttled: int = 0
    metered_reads: int = 0
    free_writes: int = 0
    month: str = ""
    metered_this_month: int = 0
    requests: Window = field(default_factory=Window)
    batches: Window = field(default_factory=Window)

    def admits(self, now: float, is_batch: bool, settings: QuickBooksSettings) -> bool:
        """Sliding windows of a second and a minute. Counts the request when it is admitted."""
        full = (
            self.requests.count(now, 1) >= settings.requests_per_second_max
            or self.requests.count(now, 60) >= settings.requests_per_minute_max
            or (is_batch and self.batches.count(now, 60) >= settings.batches_per_minute_max)
        )
        if full:
            self.throttled += 1
        if not full or settings.refused_requests_count:
            self.requests.add(now)
            if is_batch:
                self.batches.add(now)
        return not full

    def meter(self, reads: int, now: float) -> None:
        """An answered request: `reads` metered calls, a free write when there are none."""
        if not reads:
            self.free_writes += 1
            return
        self.metered_reads += reads
        if self.month != month_of(now):
            self.month, self.metered_this_month = month_of(now), 0
        self.metered_this_month += reads


def month_of(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
