"""QuickBooks' limits per company: sliding windows, a bound on requests in flight, and the pause after a 429.

10 requests/s and 500/min per company, of which 40/min may be batches; the whole company waits 60 s after a 429
(docs/vendors/quickbooks.md §5). A leaky bucket would let twice the rate through in some windows, so each window
remembers its last requests.

The server counts arrivals, and we know departures. A request has arrived when it is answered, and we take it to arrive
`ARRIVAL_SECONDS_MAX` after it left at the latest; only from then on does its window run.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RateLimits:
    per_second: int
    per_minute: int
    in_flight_max: int
    throttled_wait_seconds: float
    batches_per_minute: int = 40


ARRIVAL_SECONDS_MAX = 0.25
"""On the way: our event loop, a new connection, the network."""

SPREAD = 5
"""A minute's batches leave in so many parts."""

CLOCK_SECONDS = 0.02
"""The server's clock is not quite ours."""


@dataclass
class _Request:
    """One request in the windows: when it left, if it has, and when it was answered, if it was."""

    departed: float | None = None
    answered: float | None = None

    def is_over(self, now: float, seconds: float) -> bool:
        """Whether a window of so many seconds that ends now cannot hold its arrival."""
        return self.departed is not None and self.departed + ARRIVAL_SECONDS_MAX + seconds <= now

    def arrived_by(self, now: float) -> float:
        """When it has arrived at the latest; one that is still being made ready does not arrive before now."""
        if self.departed is None:
            return now
        latest = self.departed + ARRIVAL_SECONDS_MAX
        return latest if self.answered is None else min(self.answered, latest)


@dataclass
class _Window:
    """At most `count_max` arrivals in any `seconds`."""

    count_max: int
    seconds: float
    passages: deque[_Request] = field(default_factory=deque)

    def free_at(self, now: float) -> float:
        """When the next request may leave, as far as is known now."""
        while self.passages and self.passages[0].is_over(now, self.seconds):
            self.passages.popleft()
        if len(self.passages) < self.count_max:
            return now
        arrivals = sorted(passage.arrived_by(now) for passage in self.passages)
        return max(now, arrivals[-self.count_max] + self.seconds)


class _Company:
    def __init__(self, limits: RateLimits) -> None:
        self.windows = (
            _Window(limits.per_second, 1.0 + CLOCK_SECONDS),
            _Window(limits.per_minute, 60.0 + CLOCK_SECONDS),
        )
        # Spread over the minute, so that a batch that is full does not wait for most of one.
        self.batch_windows = (
            _Window(-(-limits.batches_per_minute // SPREAD), 60.0 / SPREAD + CLOCK_SECONDS),
            _Window(limits.batches_per_minute, 60.0 + CLOCK_SECONDS),
        )
        self.batch_turn = asyncio.Lock()
        self.slots = asyncio.Semaphore(limits.in_flight_max)
        self.turn = asyncio.Lock()
        self.paused_until = 0.0


class RateLimiter:
    """Admits the requests of each company at the pace that its limits allow."""

    def __init__(
        self,
        limits: RateLimits,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._sleep = sleep
        self._companies: dict[str, _Company] = {}

    @asynccontextmanager
    async def slot(self, realm: str, *, batch: bool = False) -> AsyncIterator[Callable[[], None]]:
        """Waits for a slot and a place in every window; holds the slot for the body.

        The body calls what it is given when the request leaves: what it waits for before, such as the broker, takes
        time, and the windows run from then on.
        """
        company = self._company(realm)
        passage = await (self._batch_admission(company) if batch else self._admission(company))

        def leaves() -> None:
            passage.departed = self._monotonic()

        try:
            yield leaves
        finally:
            passage.answered = self._monotonic()
            if passage.departed is None:
                leaves()
            company.slots.release()

    def pause(self, realm: str, seconds: float | None = None) -> None:
        """The company answered 429: nothing leaves for it until the wait is over; other companies go on.

        `seconds` is what it asked for, if it did: the wait is never shorter than the one that is set.
        """
        wait_seconds = max(self._limits.throttled_wait_seconds, seconds or 0.0)
        company = self._company(realm)
        company.paused_until = max(company.paused_until, self._monotonic() + wait_seconds)

    def pauses(self, realm: str) -> bool:
        """Whether nothing may leave for the company now."""
        return self._company(realm).paused_until > self._monotonic()

    async def _batch_admission(self, company: _Company) -> _Request:
        """Waits for the window of batches before it takes a slot: single requests overtake it meanwhile."""
        async with company.batch_turn:
            await self._until(lambda now: max(window.free_at(now) for window in company.batch_windows))
            passage = await self._admission(company)
            for window in company.batch_windows:
                window.passages.append(passage)
            return passage

    async def _admission(self, company: _Company) -> _Request:
        await company.slots.acquire()
        try:
            async with company.turn:
                await self._wait(company)
                passage = _Request()
                for window in company.windows:
                    window.passages.append(passage)
                return passage
        except BaseException:
            company.slots.release()
            raise

    async def _wait(self, company: _Company) -> None:
        await self._until(lambda now: max(company.paused_until, *(window.free_at(now) for window in company.windows)))

    async def _until(self, free_at: Callable[[float], float]) -> None:
        while (seconds := free_at(now := self._monotonic()) - now) > 0:
            await self._sleep(seconds)

    def _company(self, realm: str) -> _Company:
        if realm not in self._companies:
            self._companies[realm] = _Company(self._limits)
        return self._companies[realm]
