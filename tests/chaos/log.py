"""The broker in memory: partitions, committed offsets, producers that confirm late, and readers that start again.

What a producer was given and the broker has not confirmed may be lost with its worker, from some record on; a batch
whose confirmation was lost on the way may be there twice. Neither reorders the records of a partition.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from zlib import crc32

from agents.delivery import Event
from models.record import Address

from .loop import WORKER, for_ever

LINGER_SECONDS = 0.005
CONFIRM_SECONDS_MAX = 0.02
SLOW_SECONDS_MAX = 5.0
"""As long as a partition may be without a leader."""
FETCH_SECONDS_MAX = 0.02
COMMIT_SECONDS = 1.0
CHANGELOG = "-changelog"
"""Topics of tables: written by idempotent producers, whose batches land once."""

Place = tuple[str, int]

Changes = list["asyncio.Future[int]"]
CHANGES: ContextVar[Changes | None] = ContextVar("changes of tables by what is handled", default=None)
"""As in Faust: what a handler's task changes belongs to the record that it was started for."""


def partition_of(key: str, partitions: int) -> int:
    return crc32(key.encode()) % partitions


@dataclass(frozen=True, slots=True)
class Stored:
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    seconds: float


class Log:
    """Topics by name and partition. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.partitions: defaultdict[Place, list[Stored]] = defaultdict(list)
        self.committed: dict[Place, int] = {}
        self.too_early: list[Address] = []
        """Records that were acknowledged before what they changed in the tables was confirmed."""
        self.noted: Callable[[str, int, int, Stored], None] = lambda topic, partition, offset, stored: None
        self.landed: Callable[[str, str, bytes], None] = lambda worker, topic, value: None
        """Told of each record of a worker that the broker has, and the worker does not know yet."""
        self._clock = clock
        self._readers: list[Reader] = []

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: dict[str, bytes] | None = None
    ) -> int:
        records = self.partitions[topic, partition]
        stored = Stored(key, value, headers or {}, self._clock())
        records.append(stored)
        self.noted(topic, partition, len(records) - 1, stored)
        for reader in self._readers:
            reader.wake()
        return len(records) - 1

    def records(self, topic: str) -> list[tuple[Address, Stored]]:
        """All records of a topic, partition by partition."""
        places = sorted(place for place in self.partitions if place[0] == topic)
        return [
            (Address(topic=topic, partition=partition, offset=offset), stored)
            for _, partition in places
            for offset, stored in enumerate(self.partitions[topic, partition])
        ]

    def at(self, address: Address) -> Stored:
        return self.partitions[address.topic, address.partition][address.offset]

    def unread(self, topics: tuple[str, ...]) -> int:
        """How many records of these topics are not committed."""
        return sum(
            len(records) - self.committed.get(place, 0)
            for place, records in self.partitions.items()
            if place[0] in topics
        )

    def subscribe(self, reader: "Reader") -> None:
        self._readers.append(reader)

    def forget(self, reader: "Reader") -> None:
        self._readers.remove(reader)


@dataclass
class _Queue:
    waiting: list[tuple[bytes | None, bytes, dict[str, bytes], "asyncio.Future[int]"]] = field(default_factory=list)
    busy: bool = False


class Producer:
    """One worker's producer. `repeats` is the share of batches that land twice, `slow` of those that take seconds."""

    def __init__(self, log: Log, dice: Random, repeats: float, slow: float) -> None:
        self._log = log
        self._dice = dice
        self._repeats = repeats
        self._slow = slow
        self._queues: defaultdict[Place, _Queue] = defaultdict(_Queue)
        self._dead = False

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: dict[str, bytes] | None = None
    ) -> "asyncio.Future[int]":
        """Queues a record; the future gives its offset when the broker has confirmed it."""
        confirmed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not self._dead:
            queue = self._queues[topic, partition]
            queue.waiting.append((key, value, headers or {}, confirmed))
            if not queue.busy:
                queue.busy = True
                self._flush_soon(topic, partition)
        return confirmed

    @property
    def idle(self) -> bool:
        return self._dead or not any(queue.waiting or queue.busy for queue in self._queues.values())

    def kill(self) -> None:
        """Some of what waits reaches the broker all the same; nobody hears of it."""
        self._dead = True
        for (topic, partition), queue in self._queues.items():
            for key, value, headers, _ in queue.waiting[: self._dice.randint(0, len(queue.waiting))]:
                self._log.append(topic, partition, key, value, headers)

    def _flush_soon(self, topic: str, partition: int) -> None:
        slow = self._dice.random() < self._slow
        seconds = LINGER_SECONDS + (self._dice.uniform(0, SLOW_SECONDS_MAX) if slow else 0.0)
        asyncio.get_running_loop().call_later(seconds, self._flush, topic, partition)

    def _flush(self, topic: str, partition: int) -> None:
        if self._dead:
            return
        queue = self._queues[topic, partition]
        batch, queue.waiting = queue.waiting, []
        times = 2 if self._dice.random() < self._repeats and not topic.endswith(CHANGELOG) else 1
        for _ in range(times):
            offsets = [self._log.append(topic, partition, key, value, headers) for key, value, headers, _ in batch]
        for _, value, _, _ in batch:
            self._log.landed(WORKER.get(), topic, value)
        confirm = [(confirmed, offset) for (*_, confirmed), offset in zip(batch, offsets, strict=True)]
        delay = self._dice.uniform(0, CONFIRM_SECONDS_MAX)
        asyncio.get_running_loop().call_later(delay, self._confirm, topic, partition, confirm)

    def _confirm(self, topic: str, partition: int, batch: "list[tuple[asyncio.Future[int], int]]") -> None:
        if self._dead:
            return
        for confirmed, offset in batch:
            if not confirmed.done():
                confirmed.set_result(offset)
        queue = self._queues[topic, partition]
        if queue.waiting:
            self._flush_soon(topic, partition)
        else:
            queue.busy = False


class Reader:
    """One worker's consumer of one topic: what is not committed, of the partitions that it owns at the moment."""

    def __init__(self, log: Log, topic: str, dice: Random) -> None:
        self.topic = topic
        self._log = log
        self._dice = dice
        self._next: dict[int, int] = {}
        self._held: set[int] = set()
        self._acked: dict[int, int] = {}
        self._generation = 0
        self._is_member = True
        self._fetched: dict[int, int] | None = None
        self._commits = False
        self._woken: asyncio.Future[None] | None = None
        self._dead = False
        log.subscribe(self)

    def assign(self, partitions: list[int]) -> None:
        self._next = {each: self._log.committed.get((self.topic, each), 0) for each in partitions}
        self._held.clear()
        self._is_member, self._fetched = True, None
        self.wake()

    def hold(self, partition: int) -> None:
        self._held.add(partition)

    def go_on(self, partition: int) -> None:
        self._held.discard(partition)
        self.wake()

    def revoke(self) -> None:
        """Nothing more is read; `leave` ends the right to commit too."""
        self._next = {}

    def leave(self) -> None:
        self._commit()
        self.expel()

    def expel(self) -> None:
        self._acked = {}
        self._generation += 1
        self._is_member = False

    def stop(self) -> None:
        """Its worker stands still: it has what it had fetched."""
        self._fetched = {each: len(self._log.partitions[self.topic, each]) for each in self._next}

    def go_on_fetching(self) -> None:
        if self._is_member:
            self._fetched = None
        self.wake()

    def kill(self) -> None:
        self._dead = True
        self._log.forget(self)

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def events(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        while True:
            if self._dead:
                await for_ever()
            ready = [each for each, at in self._next.items() if each not in self._held and at < self._end(each)]
            if not ready:
                self._woken = loop.create_future()
                await self._woken
                await asyncio.sleep(self._dice.uniform(0, FETCH_SECONDS_MAX))
                continue
            partition = self._dice.choice(ready)
            offset = self._next[partition]
            self._next[partition] = offset + 1
            yield self._event(partition, offset)

    def _end(self, partition: int) -> int:
        end = len(self._log.partitions[self.topic, partition])
        return end if self._fetched is None else min(end, self._fetched.get(partition, 0))

    def _event(self, partition: int, offset: int) -> Event:
        stored, generation = self._log.partitions[self.topic, partition][offset], self._generation
        at = Address(topic=self.topic, partition=partition, offset=offset)
        changes: Changes = []
        CHANGES.set(changes)
        return Event(
            key=stored.key,
            value=stored.value,
            headers=stored.headers,
            at=at,
            timestamp=datetime.fromtimestamp(stored.seconds, UTC),
            ack=lambda: self._ack(at, generation, changes),
        )

    def _ack(self, at: Address, generation: int, changes: Changes) -> None:
        """As Faust's consumer does: the highest acknowledged offset is committed, whatever lies before it."""
        if self._dead or not self._is_member or generation != self._generation:
            return
        if not all(change.done() for change in changes):
            self._log.too_early.append(at)
        self._acked[at.partition] = max(at.offset + 1, self._acked.get(at.partition, 0))
        if not self._commits:
            self._commits = True
            asyncio.get_running_loop().call_later(COMMIT_SECONDS, self._commit)

    def _commit(self) -> None:
        self._commits = False
        if not self._dead:
            for partition, offset in self._acked.items():
                self._log.committed[self.topic, partition] = offset
