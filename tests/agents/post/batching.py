"""Many commands at once, on a loop whose clock jumps: the same world as in `in_process`, with batches."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from agents.clients.rate_limit import RateLimits
from models.commands import Command
from models.outcomes import Outcome
from simulators import http
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import REALM, START, Clock, Crash, CrashAt, Json, Worker, World, a_post
from tests.chaos.loop import VirtualLoop

R = TypeVar("R")


class LoopClock(Clock):
    """The clock of the running loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    @property  # type: ignore[override]
    def now(self) -> float:
        return START + self.loop.time()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def lived(story: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """What the story returns; it is lived on virtual time."""
    loop = VirtualLoop(None)
    try:
        return loop.run_until_complete(story())
    finally:
        while tasks := asyncio.all_tasks(loop):
            _cancel(tasks)
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


def a_world(*, batch_size: int = 30, company: Company | None = None, **settings: Any) -> World:
    return World(
        settings=QuickBooksSettings(**{"limits": False, **settings}),
        company=company or Company(REALM),
        clock=LoopClock(),
        batch_size=batch_size,
    )


def a_strict_world(*, batch_size: int) -> World:
    """Its server has QuickBooks' own limits, and the worker keeps them (docs/vendors/quickbooks.md §5.1)."""
    return World(
        settings=QuickBooksSettings(),
        clock=LoopClock(),
        batch_size=batch_size,
        limits=RateLimits(10, 500, 10, 60.0, batches_per_minute=40),
    )


def posts(count: int, **changes: Any) -> list[Command]:
    """Invoices of 1.00, 2.00 and so on, whose numbers differ."""
    return [a_post(f"{number}.00", invoice_id=invoice_id(number), **changes) for number in range(1, count + 1)]


def invoice_id(number: int) -> str:
    return f"{number:08x}-c9a0-5538-9c3b-0a5a3f1e7b11"


async def run_together(world: World, commands: Sequence[Command], first_offset: int | None = None) -> list[Outcome]:
    offsets = [None if first_offset is None else first_offset + number for number in range(len(commands))]
    runs = (world.run(command, offset=offset) for command, offset in zip(commands, offsets, strict=True))
    return list(await asyncio.gather(*runs))


async def run_backlog(world: World, commands: Sequence[Command], in_flight_max: int) -> list[Outcome]:
    """As many at a time as a worker has in flight; the next begins when one is done."""
    slots = asyncio.Semaphore(in_flight_max)

    async def run(command: Command) -> Outcome:
        async with slots:
            return await world.run(command)

    return list(await asyncio.gather(*map(run, commands)))


async def die_together(world: World, commands: Sequence[Command], crash_at: CrashAt) -> None:
    """The commands, from offset 0, are at work when the worker is killed; another starts."""
    worker = world.worker
    running = [asyncio.create_task(worker.run(each, offset, crash_at)) for offset, each in enumerate(commands)]
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
    assert any(not each.cancelled() and isinstance(each.exception(), Crash) for each in done)
    _kill(world)
    await asyncio.gather(*running, return_exceptions=True)


def _kill(world: World) -> None:
    """Nothing that the worker began goes on; a new one knows what the broker has."""
    _cancel(asyncio.all_tasks() - {asyncio.current_task()})
    world.worker.dead(world.flushed)
    world.worker = Worker(world)


async def killed_after(world: World, seconds: float, commands: Sequence[Command]) -> None:
    """The commands, from offset 0, are at work for so long; then the worker is killed, and another starts."""
    worker = world.worker
    running = [asyncio.create_task(worker.run(each, offset, None)) for offset, each in enumerate(commands)]
    await asyncio.sleep(seconds)
    _kill(world)
    await asyncio.gather(*running, return_exceptions=True)


def _cancel(tasks: set[Any]) -> None:
    for task in tasks:
        task.cancel()


def carried_out_late(core: http.Core, seconds: float) -> http.Core:
    """The first batch is carried out so much later, when its connection has long been closed."""
    waiting = [True]

    def answer(request: http.Request) -> http.Answer:
        if waiting and is_batch(request):
            waiting.clear()
            asyncio.get_running_loop().call_later(seconds, core, request)
            return http.Answer(200, ending="drop")
        return core(request)

    return answer


def is_batch(request: http.Request) -> bool:
    return request.path.endswith("/batch")


def batches(world: World) -> list[http.Request]:
    return [each for each in world.transport.writes() if is_batch(each)]


def singles(world: World) -> list[http.Request]:
    return [each for each in world.transport.writes() if not is_batch(each)]


def items_of(request: http.Request) -> list[Json]:
    items: list[Json] = json.loads(request.body)["BatchItemRequest"]
    return items


def seconds_of(world: World) -> float:
    """How long the story has lasted."""
    return world.clock.now - START
