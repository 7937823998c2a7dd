"""At most so many at a time, of which no company takes all, and which nothing keeps that only waits.

A record takes a slot when its turn has come and gives it back at its end. While it rests (before another try, or until
a doubtful write cannot be carried out any more) others have its slot, so that one that waits for minutes stops nobody.
Only so many may rest that way; further ones rest in their slots: were a vendor away, everything there is would try.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType


class Slots:
    """At most `count_max` are taken. No company takes one when it has as many as are free for all the others."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._taken: Counter[Hashable] = Counter()
        self._taken_in_all = 0
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._none_taken = asyncio.Event()
        self._none_taken.set()

    def try_take(self, company: Hashable) -> bool:
        """Take one now; False when the company has to wait."""
        if self._taken[company] >= self._count_max - self._taken_in_all:
            return False
        self._taken[company] += 1
        self._taken_in_all += 1
        self._none_taken.clear()
        return True

    async def take(self, company: Hashable, *, again: bool = False) -> None:
        """Take one, in the order of those who wait; `again`: before all others of the company."""
        if company not in self._waiting and self.try_take(company):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(company, deque())
        (queue.appendleft if again else queue.append)(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back(company)
            raise

    def give_back(self, company: Hashable) -> None:
        self._taken[company] -= 1
        if not self._taken[company]:
            del self._taken[company]
        self._taken_in_all -= 1
        self._hand_out()
        if not self._taken_in_all:
            self._none_taken.set()

    async def all_given_back(self) -> None:
        await self._none_taken.wait()

    def _hand_out(self) -> None:
        """Companies take turns."""
        for company in list(self._waiting):
            queue = self._waiting.pop(company)
            while queue and queue[0].done():
                queue.popleft()  # whoever waited there was cancelled
            if queue and self.try_take(company):
                queue.popleft().set_result(None)
            if queue:
                self._waiting[company] = queue


class Slot:
    """The slot of one record, as a context: taken at its beginning, given back at its end and in each rest."""

    def __init__(self, slots: Slots, resting: Slots, company: Hashable) -> None:
        self._slots = slots
        self._resting = resting
        self._company = company
        self.is_taken = False

    async def __aenter__(self) -> None:
        await self._slots.take(self._company)
        self.is_taken = True
        _OF_RECORD.set(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        if not self.is_taken or not self._resting.try_take(self._company):
            yield
            return
        self._give_back()
        try:
            yield
        finally:
            self._resting.give_back(self._company)
        await self._slots.take(self._company, again=True)
        self.is_taken = True

    def _give_back(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self._slots.give_back(self._company)


_OF_RECORD: ContextVar[Slot | None] = ContextVar("slot of the record that is handled", default=None)


@asynccontextmanager
async def resting() -> AsyncIterator[None]:
    """Others have the slot of the record that is handled here; whoever has none only waits."""
    slot = _OF_RECORD.get()
    if slot is None:
        yield
        return
    async with slot.lent():
        yield


async def rest(seconds: float) -> None:
    async with resting():
        await asyncio.sleep(seconds)
