"""An event loop on virtual time: when nothing is ready its clock jumps to the next timer, so an hour costs nothing.

The same seed gives the same run: no threads, no sockets, and the order of what is ready at one instant comes from dice.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from random import Random
from typing import Any

CALLBACKS_MAX = 2_000_000
"""In one run; the longest of the first 150 seeds takes 12,442."""


WORKER: ContextVar[str] = ContextVar("the worker whose callback it is", default="")
"""Set where a worker begins; all that follows from it inherits this."""


class Stuck(Exception):
    """Nothing is ready and no timer is set: the simulation waits for something that cannot come."""


class Spinning(Exception):
    """Callbacks follow each other without end: something asks again and again without waiting."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        number: int,
        context: Context | None = None,
    ) -> None:
        self._number = number
        super().__init__(coroutine, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """`dice` shuffles what is ready at one instant; None leaves it in asyncio's order. `steps` counts callbacks run."""

    def __init__(self, dice: Random | None) -> None:
        super().__init__()
        self.steps = 0
        self._virtual_now = 0.0
        self._dice = dice
        self._at_step: list[tuple[int, int, Callable[[], None]]] = []
        self._stopped: dict[str, list[asyncio.Handle]] = {}
        self._outside = Context()
        numbers = count()
        self.set_task_factory(
            lambda loop, coroutine, context=None: _Task(coroutine, loop=loop, number=next(numbers), context=context)
        )
        self.set_exception_handler(lambda loop, context: None)  # what ends a worker is seen by its cluster

    def time(self) -> float:
        """Seconds since the start of the run."""
        return self._virtual_now

    def after_steps(self, steps: int, act: Callable[[], None]) -> None:
        """Calls `act` between two callbacks, that is at some await of whatever is running then."""
        heapq.heappush(self._at_step, (self.steps + steps, len(self._at_step), act))

    def call_outside(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        """As `call_later`, for what happens whether or not the worker that it is asked for stands still by then."""
        self.call_later(seconds, act, *arguments, context=self._outside)

    def task_outside(self, work: Coroutine[Any, Any, Any]) -> None:
        self.create_task(work, context=self._outside.copy())

    def stop_worker(self, name: str) -> None:
        """As SIGSTOP: none of its callbacks runs, its timers among them, though its time goes on."""
        self._stopped.setdefault(name, [])

    def continue_worker(self, name: str) -> None:
        """As SIGCONT: all that became due meanwhile runs now, in the order in which it did."""
        self._ready.extend(self._stopped.pop(name))  # type: ignore[attr-defined]

    def continue_all(self) -> None:
        for name in list(self._stopped):
            self.continue_worker(name)

    def _stands_still(self, handle: asyncio.Handle) -> bool:
        waiting = self._stopped.get(handle._context.get(WORKER, "")) if self._stopped else None  # type: ignore[attr-defined]
        if waiting is None:
            return False
        waiting.append(handle)
        return True

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise Stuck
            self._virtual_now = max(self._virtual_now, timers[0]._when)
        while timers and timers[0]._when <= self._virtual_now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        batch = list(ready)
        ready.clear()
        if self._dice is not None and len(batch) > 1:
            self._dice.shuffle(batch)
        for handle in batch:
            if not handle._cancelled and not self._stands_still(handle):
                handle._run()
                self.steps += 1
                if self.steps == CALLBACKS_MAX:
                    raise Spinning(f"{CALLBACKS_MAX} callbacks, at {self._virtual_now:.3f} s")
                while self._at_step and self._at_step[0][0] <= self.steps:
                    heapq.heappop(self._at_step)[2]()

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError("a simulation has no sockets")

    def _write_to_self(self) -> None:
        """Nothing to wake: only the garbage collector calls from "another thread", for an async generator that was left
        half read."""


async def for_ever() -> None:
    """What a killed process does from then on."""
    await asyncio.get_running_loop().create_future()
