"""The one place that loops, waits, publishes and acknowledges. Handlers do none of it.

A record is handled when its predecessors on the same resources are done; what its handler returns is published with
the broker's confirmation; only then is it acknowledged, in offset order. So a crash at any moment repeats work and
never loses any. What cannot be decoded or handled becomes a dead letter with its bytes and its address.

Any source of events and any `publish` will do: Faust drives this in production, a list in tests.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import structlog

from models.commands import Command
from models.events import Announcement, ConnectionChanged, InvoiceEnriched, InvoiceHandedOver
from models.outcomes import Outcome
from models.record import Address

log = structlog.get_logger()

T = TypeVar("T")
Headers = dict[str, bytes]
ERROR_HEADER = "__connect.errors."
STACKTRACE_CHARACTERS_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Event:
    """A record as it lies in Kafka; `ack` says that everything it asked for is done."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    at: Address
    timestamp: datetime
    ack: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Delivered(Generic[T]):
    """A decoded record, as a handler gets it; `value` are the bytes that it was decoded from."""

    record: T
    at: Address
    headers: Headers
    timestamp: datetime
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Claims:
    """The resources of a record. It waits for earlier records in flight that `establish` any of them."""

    establishes: frozenset[Hashable] = field(default_factory=frozenset)
    uses: frozenset[Hashable] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The original record, and in its headers where it lay and why it could not be handled (as Kafka Connect does)."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A webhook that belongs into another partition, with its bytes."""

    key: bytes
    value: bytes
    headers: Headers


Published = InvoiceEnriched | InvoiceHandedOver | ConnectionChanged | Command | Outcome | Announcement | Forwarded
"""What handlers may return."""


class InvalidRecord(ValueError):
    """The record cannot be handled and never will be as it is; the message names the field and the remedy."""


class StopWorker(Exception):
    """The worker must end, and begin anew from what is recorded; it is no record's fault. The message says why."""


class TooManyDeadLetters(StopWorker):
    """Every record fails: we or the whole topic are broken, so stop rather than pour it into dead letters."""


class Publish(Protocol):
    async def __call__(self, records: Sequence[Published | DeadLetter]) -> None:
        """Send them in order, and return when the broker has confirmed each.

        Raises InvalidRecord, and sends none, when one of them can never be sent; anything else is no record's fault.
        """


Handler = Callable[[Delivered[T]], Awaitable[Sequence[Published]]]


class Delivery(Generic[T]):
    """Runs one handler over a stream of events.

    `decode` turns a value's bytes into a record, and raises when it cannot. At most `in_flight_max` records are
    between their start and their acknowledgement; more stay in Kafka. After `dead_letters_in_a_row_max` dead letters
    with nothing handled in between, `run` raises TooManyDeadLetters.
    """

    def __init__(
        self,
        name: str,
        *,
        decode: Callable[[bytes], T],
        handle: Handler[T],
        claims: Callable[[T], Claims],
        publish: Publish,
        in_flight_max: int,
        dead_letters_in_a_row_max: int,
    ) -> None:
        self.name = name
        self._decode = decode
        self._handle = handle
        self._claims = claims
        self._publish = publish
        self._slots = asyncio.Semaphore(in_flight_max)
        self._in_flight: asyncio.Queue[tuple[Event, asyncio.Task[bool | None], int]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[bool | None]] = set()
        self._last: dict[Hashable, asyncio.Task[bool | None]] = {}
        self._dead_letters_in_a_row_max = dead_letters_in_a_row_max
        self._generation = 0
        self._draining = False

    async def run(self, events: AsyncIterator[Event]) -> None:
        """Handle events until they end, or until something breaks that is no record's fault."""
        acker = asyncio.create_task(self._acknowledge_in_order())
        reader = asyncio.create_task(self._read(events))
        try:
            await asyncio.wait({acker, reader}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                await reader
                await self._drained_by(acker)
            else:
                await acker
        finally:
            await _cancelled({reader, acker})
            await _cancelled(self._tasks)

    async def drain(self, timeout_seconds: float) -> bool:
        """Before partitions go to another worker: wait until nothing is in flight; what takes longer is given up.

        So is at once what has not begun: the next owner may have done it already, should the group have given this
        worker up. It stays unacknowledged, and the next owner does it again as after a crash. False when anything was
        given up.
        """
        generation, self._draining = self._generation, True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._in_flight.join()
            given_up = set(self._tasks)
            all_done = not given_up and generation == self._generation
            self._generation += 1
            await _cancelled(given_up)
        finally:
            self._draining = False
        return all_done

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            await self.start(event)

    async def start(self, event: Event) -> None:
        """Begin to handle one event; waits while too many are in flight."""
        generation = self._generation
        await self._slots.acquire()
        if generation != self._generation or self._draining:
            self._slots.release()
            return  # its partition was given away while it waited: its next owner reads it again
        record, why = self._decoded(event)
        claims = Claims() if why is not None else self._claims(record)  # type: ignore[arg-type]
        before = {self._last[resource] for resource in claims.establishes | claims.uses if resource in self._last}
        # The task inherits the context, and with it the partition that Faust's tables write to.
        task = asyncio.create_task(self._process(event, record, why, before))
        for resource in claims.establishes:
            self._last[resource] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._forget(claims.establishes, done))
        self._in_flight.put_nowait((event, task, generation))

    def _decoded(self, event: Event) -> tuple[T | None, Exception | None]:
        try:
            if not event.value:
                raise InvalidRecord("the record has no value; a producer must put the webhook's JSON body there")
            return self._decode(event.value), None
        except Exception as error:  # decoding is pure: whatever it raises is the record's fault
            return None, error

    async def _process(
        self, event: Event, record: T | None, why: Exception | None, before: set[asyncio.Task[bool | None]]
    ) -> bool | None:
        """Handle and publish: True when it was handled, False for a dead letter, None when it was not begun at all."""
        if before:
            await asyncio.wait(before)
            if self._draining:
                return None  # its partition is being given away: its next owner does it
        stage = "VALUE_CONVERTER"
        if record is not None:
            stage = "TASK_PUT"
            try:
                records = await self._handle(
                    Delivered(record, event.at, event.headers, event.timestamp, event.value or b"")
                )
            except StopWorker:
                raise
            except Exception as error:
                why = error
            else:
                try:
                    await self._publish(records)
                    return True
                except InvalidRecord as error:
                    why = error
        assert why is not None
        log.error("dead_letter", agent=self.name, at=str(event.at), error=type(why).__name__)
        await self._publish([dead_letter(event, why, agent=self.name, stage=stage)])
        return False

    async def _acknowledge_in_order(self) -> None:
        dead_letters = 0
        while True:
            event, task, generation = await self._in_flight.get()
            await asyncio.wait({task})
            if generation == self._generation:  # else an ack could commit past one given up
                handled = task.result()
                if handled is None:
                    self._generation += 1  # an ack of what comes after it would commit past it
                else:
                    event.ack()
                    dead_letters = 0 if handled else dead_letters + 1
            self._in_flight.task_done()
            self._slots.release()
            if dead_letters >= self._dead_letters_in_a_row_max:
                raise TooManyDeadLetters(
                    f"agent {self.name}: {dead_letters} dead letters in a row, the last at {event.at}; their reasons "
                    "are on the page /deadletters: correct the cause and start again (worker.dead_letters_in_a_row_max)"
                )

    async def _drained_by(self, acker: "asyncio.Task[None]") -> None:
        drained = asyncio.create_task(self._in_flight.join())
        await asyncio.wait({acker, drained}, return_when=asyncio.FIRST_COMPLETED)
        if acker.done():
            drained.cancel()
            await acker

    def _forget(self, resources: frozenset[Hashable], done: "asyncio.Task[bool | None]") -> None:
        self._tasks.discard(done)
        for resource in resources:
            if self._last.get(resource) is done:
                del self._last[resource]


async def _cancelled(tasks: "set[asyncio.Task[Any]]") -> None:
    """Cancels the tasks and returns when they have ended; what they raise was told before or no longer matters."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def dead_letter(event: Event, why: Exception, *, agent: str, stage: str) -> DeadLetter:
    """The event with headers that say where it lay and what was wrong, in Kafka Connect's words."""
    trace = "".join(traceback.format_exception(why))[-STACKTRACE_CHARACTERS_MAX:]
    facts = {
        "topic": event.at.topic,
        "partition": str(event.at.partition),
        "offset": str(event.at.offset),
        "connector.name": agent,
        "task.id": "0",
        "stage": stage,
        "class.name": agent,
        "exception.class.name": type(why).__name__,
        "exception.message": str(why),
        "exception.stacktrace": trace,
    }
    headers = event.headers | {
        ERROR_HEADER + name: text.encode(errors="backslashreplace") for name, text in facts.items()
    }
    return DeadLetter(event.key, event.value, headers)
