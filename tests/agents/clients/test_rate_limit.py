"""QuickBooks' limits on a virtual clock: any window of the server's, not only those that begin with a request."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

import pytest

from agents.clients.rate_limit import ARRIVAL_SECONDS_MAX, RateLimiter, RateLimits
from tests import BOUND_SECONDS

SECOND = 1.0
MINUTE = 60.0

TURNS_TO_SETTLE = 12
"""More turns of the loop than a request takes from one wait to the next."""


class VirtualTime:
    """Time that moves to the next sleeper when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken))
        await woken.wait()

    async def run(self, *tasks: asyncio.Task[None]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(TURNS_TO_SETTLE):
                await asyncio.sleep(0)
            if self._sleepers and not all(task.done() for task in tasks):
                at, _, woken = heapq.heappop(self._sleepers)
                self.now = max(self.now, at)
                woken.set()
        await asyncio.gather(*tasks)


def most_within(departures: list[float], seconds: float) -> int:
    """The most departures in any window of that length, its end excluded."""
    most, first = 0, 0
    for last, departure in enumerate(departures):
        while departures[first] <= departure - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


async def arrivals_of(
    limits: RateLimits,
    pauses: list[float],
    way_and_answer: Callable[[], tuple[float, float]],
    ready: Callable[[], float] = lambda: 0.0,
) -> list[float]:
    """When the server saw each request, which is somewhere between its departure and its answer."""
    time = VirtualTime()
    limiter = RateLimiter(limits, monotonic=time, sleep=time.sleep)
    arrivals: list[float] = []

    async def request() -> None:
        way_seconds, answer_seconds = way_and_answer()
        async with limiter.slot("r") as leaves:
            if ready_seconds := ready():
                await time.sleep(ready_seconds)
            leaves()
            await time.sleep(way_seconds)
            arrivals.append(time.now)
            await time.sleep(answer_seconds)

    async def arrive() -> None:
        async with asyncio.TaskGroup() as group:
            for pause in pauses:
                if pause:
                    await time.sleep(pause)
                group.create_task(request())

    await time.run(asyncio.create_task(arrive()))
    assert len(arrivals) == len(pauses)
    return sorted(arrivals)


@pytest.mark.parametrize("seed", range(6))
async def test_no_window_of_the_server_holds_more_than_its_limit(seed: int) -> None:
    """However long each request is on its way, up to what the limiter allows for."""
    chance = random.Random(seed)
    pauses = [chance.choice([0.0, 0.0, 0.0, 0.03, chance.random()]) for _ in range(700)]
    arrivals = await arrivals_of(
        RateLimits(10, 500, 10, 60.0),
        pauses,
        lambda: (chance.choice([0.001, chance.random() * ARRIVAL_SECONDS_MAX]), chance.choice([0.001, 0.05, 1.5])),
    )
    assert most_within(arrivals, SECOND) <= 10, f"seed {seed}"
    assert most_within(arrivals, MINUTE) <= 500, f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
async def test_a_request_counts_from_when_it_leaves(seed: int) -> None:
    """However long it is made ready after its turn has come: its attempt is confirmed by a broker, say."""
    chance = random.Random(seed)
    arrivals = await arrivals_of(
        RateLimits(4, 30, 10, 60.0),
        [0.0] * 150,
        lambda: (0.001, chance.choice([0.001, 0.4])),
        lambda: chance.choice([0.0, chance.uniform(0.0, 5.0)]),
    )
    assert most_within(arrivals, SECOND) <= 4, f"seed {seed}"
    assert most_within(arrivals, MINUTE) <= 30, f"seed {seed}"


async def test_the_limits_are_used_to_the_full() -> None:
    arrivals = await arrivals_of(RateLimits(10, 500, 10, 60.0), [0.0] * 600, lambda: (0.001, 0.01))
    assert most_within(arrivals, SECOND) == 10
    assert most_within(arrivals, MINUTE) == 500
    assert arrivals[499] < 53
    assert arrivals[-1] < 75


async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(100, 1000, 3, 60.0), monotonic=time, sleep=time.sleep)
    now = most = 0

    async def request() -> None:
        nonlocal now, most
        async with limiter.slot("r"):
            now += 1
            most = max(most, now)
            await time.sleep(1.0)
            now -= 1

    await time.run(*(asyncio.create_task(request()) for _ in range(10)))
    assert most == 3


async def test_a_429_holds_that_company_only() -> None:
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(10, 500, 10, 60.0), monotonic=time, sleep=time.sleep)
    left: dict[str, float] = {}

    async def request(realm: str) -> None:
        async with limiter.slot(realm):
            left[realm] = time.now

    limiter.pause("slow")
    await time.run(*(asyncio.create_task(request(realm)) for realm in ("slow", "other")))
    assert left == {"other": 0.0, "slow": 60.0}


async def test_a_request_that_fails_or_is_cancelled_gives_its_slot_back() -> None:
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(100, 1000, 1, 60.0), monotonic=time, sleep=time.sleep)
    with pytest.raises(OSError, match="lost"):
        async with limiter.slot("r"):
            raise OSError("lost")
    limiter.pause("r")
    waiting = asyncio.create_task(limiter.slot("r").__aenter__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    time.now = 61.0
    async with asyncio.timeout(BOUND_SECONDS), limiter.slot("r"):
        pass


async def test_batches_have_a_window_of_their_own_which_holds_up_nobody_else() -> None:
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(10, 500, 2, 60.0, batches_per_minute=4), monotonic=time, sleep=time.sleep)
    left: list[tuple[float, bool]] = []

    async def request(batch: bool) -> None:
        async with limiter.slot("r", batch=batch) as leaves:
            leaves()
            left.append((time.now, batch))
            await time.sleep(0.01)

    batches = [asyncio.create_task(request(True)) for _ in range(9)]
    await time.run(*batches, *(asyncio.create_task(request(False)) for _ in range(60)))
    assert most_within([at for at, batch in left if batch], MINUTE) == 4
    assert max(at for at, batch in left if not batch) < 10
    assert 120 < left[-1][0] < 122


async def test_batches_share_the_other_windows_and_the_requests_in_flight() -> None:
    chance = random.Random(1)
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(10, 30, 3, 60.0), monotonic=time, sleep=time.sleep)
    left: list[float] = []
    now = most = 0

    async def request(batch: bool) -> None:
        nonlocal now, most
        async with limiter.slot("r", batch=batch) as leaves:
            leaves()
            left.append(time.now)
            now, most = now + 1, max(most, now + 1)
            await time.sleep(0.3)
            now -= 1

    await time.run(*(asyncio.create_task(request(chance.random() < 0.5)) for _ in range(70)))
    assert (most, most_within(left, SECOND) <= 10, most_within(left, MINUTE)) == (3, True, 30)


async def test_a_batch_that_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    time = VirtualTime()
    limiter = RateLimiter(RateLimits(10, 500, 1, 60.0, batches_per_minute=1), monotonic=time, sleep=time.sleep)
    async with limiter.slot("r", batch=True):
        pass
    waiting = asyncio.create_task(limiter.slot("r", batch=True).__aenter__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    time.now = 61.0
    async with asyncio.timeout(BOUND_SECONDS), limiter.slot("r", batch=True):
        pass
