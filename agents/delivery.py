"""The one place that loops, waits, publishes and acknowledges. Handlers do none of it.

A record is handled when its predecessors on the same resources are done; what its handler returns is published with
the broker's confirmation; only then is it acknowledged, in the order of its partition. So a crash at any moment repeats
work and never loses any. What cannot be decoded or handled becomes a dead letter with its bytes and its address.

Nothing that waits stops others: a slot ends with its handler and is lent while that rests (`clients/slots.py`); what is
done and waits for the acknowledgement of one before it has a bound of its own, by partition; and a record whose handler
says that it should be tried later goes to the end of its topic.

Any source of events and any `publish` will do: Faust drives this in production, a list in tests.
"""

import asyncio
import traceback
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from models.commands import Command
from models.events import Announcement, ConnectionChanged, InvoiceEnriched, InvoiceHandedOver
from models.outcomes import Outcome
from models.record import Address

from .clients.slots import Slot, Slots

log = structlog.get_logger()

T = TypeVar("T")
Headers = dict[str, bytes]
ERROR_HEADER = "__connect.errors."
STACKTRACE_CHARACTERS_MAX = 4_000

POSTPONED_UNTIL_HEADER = "postponed-until"
POSTPONED_TIMES_HEADER = "postponed-times"
POSTPONED_REASON_HEADER = "postponed-reason"
POSTPONED_FROM_HEADER = "postponed-from"
POSTPONED_SECONDS_MIN = 30.0
POSTPONED_SECONDS_MAX = 600.0
"""A record that is to be tried later waits so long at first and at most; each time twice as long as the time before."""


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


@dataclass(frozen=True, slots=True)
class Postponed:
    """The original record, for the end of its topic: its headers say until when, how often, why and where it lay."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class TryLater(Exception):
    """The record cannot be handled now though others can; the message says why. It goes to the end of its topic.

    `headers` are those that it needs beyond its own.
    """

    def __init__(self, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.headers = headers or {}


class InvalidRecord(ValueError):
    """The record cannot be handled and never will be as it is; the message names the field and the remedy."""


class StopWorker(Exception):
    """The worker must end, and begin anew from what is recorded; it is no record's fault. The message says why."""


class TooManyDeadLetters(StopWorker):
    """Every record fails: we or the whole topic are broken, so stop rather than pour it into dead letters."""


class Publish(Protocol):
    async def __call__(self, records: Sequence[Published | DeadLetter | Postponed]) -> None:
        """Send them in order, and return when the broker has confirmed each.

        Raises InvalidRecord, and sends none, when one of them can never be sent; anything else is no record's fault.
        """


class Flow(Protocol):
    """What the records come from."""

    def hold(self, partition: int) -> None:
        """Send no more of this partition for now; what is on its way may still come."""

    def go_on(self, partition: int) -> None: ...


Handler = Callable[[Delivered[T]], Awaitable[Sequence[Published]]]
Task = asyncio.Task[bool]
"""Gives True for a record that was handled, False for a dead letter."""


class Delivery(Generic[T]):
    """Runs one handler over a stream of events.

    `decode` turns a value's bytes into a record, and raises when it cannot. At most `in_flight_max` records are handled
    at a time; `company_of` says whose an event is, since no company has all of these slots. Of a partition with
    `unacknowledged_max` records that are not acknowledged no more are read. After `dead_letters_in_a_row_max` dead
    letters with nothing handled in between, `run` raises TooManyDeadLetters; `dead_letters_in_a_row` were made before,
    of which one less than that counts, so that a cause that was corrected is noticed.
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
        unacknowledged_max: int,
        dead_letters_in_a_row_max: int,
        dead_letters_in_a_row: int = 0,
        company_of: Callable[[Event], Hashable],
        now: Callable[[], datetime],
    ) -> None:
        self.name = name
        self._decode = decode
        self._handle = handle
        self._claims = claims
        self._publish = publish
        self._slots, self._resting = Slots(in_flight_max), Slots(in_flight_max)
        self._unacknowledged_max = unacknowledged_max
        self._unacknowledged: defaultdict[int, deque[tuple[Event, Task]]] = defaultdict(deque)
        self._held: set[int] = set()
        self._tasks: dict[Task, Slot] = {}
        self._last: dict[Hashable, Task] = {}
        self._dead_letters_in_a_row = min(dead_letters_in_a_row, dead_letters_in_a_row_max - 1)
        self._dead_letters_in_a_row_max = dead_letters_in_a_row_max
        self._company_of = company_of
        self._now = now
        self._draining = False

    async def run(self, events: AsyncIterator[Event], flow: Flow) -> None:
        """Handle events until they end, or until something breaks that is no record's fault."""
        self._flow = flow
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reader = asyncio.create_task(self._read(events))
        try:
            await asyncio.wait({self._broken, reader}, return_when=asyncio.FIRST_COMPLETED)
            while self._tasks and not self._broken.done():
                reader.result()
                ends: set[asyncio.Future[Any]] = {self._broken, *self._tasks}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await (self._broken if self._broken.done() else reader)
        finally:
            await _cancelled({reader})
            await _cancelled(set(self._tasks))
            if not self._broken.cancel():
                self._broken.exception()  # it was told, or the run was cancelled

    async def drain(self, timeout_seconds: float) -> bool:
        """Before partitions go to another worker: wait for what is being handled; what takes longer is given up.

        So is at once what has not begun, or rests: the next owner may have done it already, should the group have given
        this worker up. It stays unacknowledged, and the next owner does it again as after a crash. False when anything
        was given up.
        """
        self._draining = True
        try:
            idle = {task for task, slot in self._tasks.items() if not slot.is_taken}
            await _cancelled(idle)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._slots.all_given_back()
                    await asyncio.sleep(0)  # whoever gave its slot back has ended
            given_up = set(self._tasks)
            self._unacknowledged.clear()
            self._held.clear()
            await _cancelled(given_up)
        finally:
            self._draining = False
        return not idle and not given_up

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.start(event)
            await asyncio.sleep(0)  # a full buffer does not keep the others waiting

    def start(self, event: Event) -> None:
        """Begin with one event."""
        if self._draining:
            return  # its partition is being given away: its next owner reads it again
        slot = Slot(self._slots, self._resting, self._company_of(event))
        record, why = self._decoded(event)
        claims = Claims() if why is not None else self._claims(record)  # type: ignore[arg-type]
        seconds = self._seconds_until(event)
        # The task inherits the context, and with it the partition that Faust's tables write to.
        if seconds > 0:
            task = asyncio.create_task(self._process_later(seconds, event, record, why, claims, slot))
        else:
            before = self._before(claims)
            task = asyncio.create_task(self._process(event, record, why, before, slot))
            self._claim(claims, task)
        self._tasks[task] = slot
        self._unacknowledged[event.at.partition].append((event, task))
        task.add_done_callback(lambda done: self._ended(claims, event.at.partition, done))
        self._regulate(event.at.partition)

    def _seconds_until(self, event: Event) -> float:
        """How long a record that came again has to wait before its next try."""
        try:
            until = datetime.fromisoformat(event.headers.get(POSTPONED_UNTIL_HEADER, b"").decode())
            return min((until - self._now()).total_seconds(), POSTPONED_SECONDS_MAX)
        except (ValueError, TypeError):
            return 0.0

    def _before(self, claims: Claims) -> set[Task]:
        return {self._last[resource] for resource in claims.establishes | claims.uses if resource in self._last}

    def _claim(self, claims: Claims, task: Task) -> None:
        for resource in claims.establishes:
            self._last[resource] = task

    def _decoded(self, event: Event) -> tuple[T | None, Exception | None]:
        try:
            if not event.value:
                raise InvalidRecord("the record has no value; a producer must put the webhook's JSON body there")
            return self._decode(event.value), None
        except Exception as error:  # decoding is pure: whatever it raises is the record's fault
            return None, error

    async def _process_later(
        self, seconds: float, event: Event, record: T | None, why: Exception | None, claims: Claims, slot: Slot
    ) -> bool:
        """Whatever comes meanwhile on the same resources does not wait for it."""
        await asyncio.sleep(seconds)
        before, task = self._before(claims), asyncio.current_task()
        assert task is not None
        self._claim(claims, task)
        return await self._process(event, record, why, before, slot)

    async def _process(
        self, event: Event, record: T | None, why: Exception | None, before: set[Task], slot: Slot
    ) -> bool:
        if before:
            await asyncio.wait(before)
        async with slot:
            if record is not None:
                why, stage = await self._handled(record, event), "TASK_PUT"
            else:
                stage = "VALUE_CONVERTER"
            if why is None:
                return True
            log.error("dead_letter", agent=self.name, at=str(event.at), error=type(why).__name__)
            await self._publish([dead_letter(event, why, agent=self.name, stage=stage)])
            return False

    async def _handled(self, record: T, event: Event) -> Exception | None:
        """Handle and publish; what was wrong with the record, if anything was."""
        try:
            records = await self._handle(
                Delivered(record, event.at, event.headers, event.timestamp, event.value or b"")
            )
        except StopWorker:
            raise
        except TryLater as later:
            log.warning("postponed", agent=self.name, at=str(event.at), reason=str(later))
            await self._publish([postponed(event, later, self._now())])
            return None
        except Exception as error:
            return error
        try:
            await self._publish(records)
        except InvalidRecord as error:
            return error
        return None

    # What is done

    def _ended(self, claims: Claims, partition: int, task: Task) -> None:
        del self._tasks[task]
        for resource in claims.establishes:
            if self._last.get(resource) is task:
                del self._last[resource]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)
        self._acknowledge_in_order(partition)
        self._regulate(partition)

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    def _acknowledge_in_order(self, partition: int) -> None:
        """What is done, up to the first that is not, or was given up: an ack of what comes after it would commit past
        it."""
        waiting = self._unacknowledged[partition]
        while waiting and not self._broken.done():
            event, task = waiting[0]
            if not task.done() or task.cancelled():
                return
            waiting.popleft()
            event.ack()
            self._dead_letters_in_a_row = 0 if task.result() else self._dead_letters_in_a_row + 1
            if self._dead_letters_in_a_row >= self._dead_letters_in_a_row_max:
                self._break(self._too_many(event))

    def _too_many(self, event: Event) -> TooManyDeadLetters:
        return TooManyDeadLetters(
            f"agent {self.name}: {self._dead_letters_in_a_row} dead letters in a row, the last at {event.at}; their "
            "reasons are on the page /deadletters: correct the cause and start again (worker.dead_letters_in_a_row_max)"
        )

    def _regulate(self, partition: int) -> None:
        """Only the partition is held back whose records wait for the acknowledgement of one before them."""
        count = len(self._unacknowledged[partition])
        if count >= self._unacknowledged_max:
            self._held.add(partition)
            self._flow.hold(partition)
        elif partition in self._held and count <= self._unacknowledged_max // 2:
            self._held.remove(partition)
            self._flow.go_on(partition)


async def _cancelled(tasks: "set[asyncio.Task[Any]]") -> None:
    """Cancels the tasks and returns when they have ended; what they raise was told before or no longer matters."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def postponed(event: Event, later: TryLater, now: datetime) -> Postponed:
    """The event for the end of its topic, with a pause that grows."""
    try:
        times = max(0, int(event.headers.get(POSTPONED_TIMES_HEADER, b"0")))
    except ValueError:
        times = 0
    seconds = min(POSTPONED_SECONDS_MIN * 2 ** min(times, 30), POSTPONED_SECONDS_MAX)
    said = {
        POSTPONED_UNTIL_HEADER: (now + timedelta(seconds=seconds)).isoformat(),
        POSTPONED_TIMES_HEADER: str(times + 1),
        POSTPONED_REASON_HEADER: str(later),
        POSTPONED_FROM_HEADER: str(event.at),
    }
    headers = event.headers | later.headers | {name: text.encode() for name, text in said.items()}
    return Postponed(event.key, event.value, headers)


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
