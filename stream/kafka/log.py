"""Reading records where they lie: one by its address, a range of offsets, or all and those that come.

Every consumer here is assigned its partitions by hand, belongs to no group and never commits, so that reading
leaves no trace on anything that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, OffsetOutOfRangeError
from pydantic import ValidationError

from agents.post.parked import Recalled
from models.commands import COMMANDS, Command
from models.record import Address
from stream import OperatorError
from stream.settings import Settings

from .admin import CONNECT_INTERVAL_SECONDS, BrokerUnreachable, KafkaRefused, existing_partitions

log = structlog.get_logger()

T = TypeVar("T")

POLL_INTERVAL_SECONDS = 0.25
"""How long one look for more records takes, and the pause before topics are looked for again."""
FETCH_WAIT_MILLISECONDS = 100
"""A fetch waits so long for records; the embedded broker answers none before."""
STOP_TIMEOUT_SECONDS = 5
BATCH_RECORDS_MAX = 1000


class ReadFailed(OperatorError):
    """Records could not be read; the message says which and why."""


class TopicsMissing(ReadFailed):
    """Topics that are to be read do not exist."""


class RecordsDeleted(ReadFailed):
    """Records were deleted from Kafka, by their retention, while they were to be read."""


class RecordMissing(ReadFailed):
    """There is no record at the address: never written, no longer kept, or compacted away."""


@dataclass(frozen=True)
class RawRecord:
    """A record as Kafka keeps it; `timestamp_ms` is its producer's clock."""

    address: Address
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, record: ConsumerRecord) -> RawRecord:
        address = Address(topic=record.topic, partition=record.partition, offset=record.offset)
        headers = tuple((name, value or b"") for name, value in record.headers)
        return cls(address, record.timestamp, record.key, record.value, headers)

    def decoded(self, decode: Callable[[bytes], T]) -> T | None:
        """What `decode` makes of the value; None, and a line in the log, when it refuses: a dead letter by now."""
        try:
            return decode(self.value or b"")
        except ValidationError:
            log.warning("unreadable_record", at=str(self.address))
            return None


@dataclass(frozen=True)
class Bounds:
    """The offsets that a partition has: `first` up to and without `end`; empty when they are equal."""

    first: int
    end: int

    def __str__(self) -> str:
        return "no records" if self.first >= self.end else f"offsets {self.first} to {self.end - 1}"


@dataclass(frozen=True)
class Followed:
    """Some records, in order within their partitions; `caught_up`: where the topics ended at the beginning is read."""

    records: list[RawRecord]
    caught_up: bool


Start = Callable[[str, int, Bounds], int]
"""The first offset to read of a topic's partition, which has these offsets now."""


def _from_the_beginning(topic: str, partition: int, bounds: Bounds) -> int:
    return bounds.first


@dataclass(frozen=True)
class EventLog:
    """The topics of a cluster, to be read. Every method raises BrokerUnreachable when Kafka does not answer within
    `timeout_seconds`, and TopicsMissing for topics that do not exist."""

    bootstrap_servers: str
    timeout_seconds: float

    @classmethod
    def of(cls, settings: Settings, timeout_seconds: float | None = None) -> EventLog:
        """Needs kafka.bootstrap_servers."""
        assert settings.kafka.bootstrap_servers is not None
        return cls(settings.kafka.bootstrap_servers, timeout_seconds or settings.kafka.timeout_seconds)

    async def partitions(self, topics: Collection[str]) -> dict[str, list[int]]:
        """The partitions of each topic."""
        with self._errors():
            found = await existing_partitions(self.bootstrap_servers, timeout_seconds=self.timeout_seconds)
        if missing := [topic for topic in topics if not found.get(topic)]:
            raise TopicsMissing(
                f"no such topic: {', '.join(missing)}. Topics are created when a worker starts; is the broker the "
                "right one, and kafka.topic_prefix?"
            )
        return {topic: found[topic] for topic in topics}

    async def bounds(self, topic: str, partitions: Collection[int] | None = None) -> dict[int, Bounds]:
        """The offsets that each partition of a topic (or each one named) has now. Raises ReadFailed."""
        with self._errors():
            async with asyncio.timeout(self.timeout_seconds), self._consumer() as consumer:
                chosen = await self._chosen(topic, partitions)
                consumer.assign(chosen)
                return {each.partition: bounds for each, bounds in (await _bounds_of(consumer, chosen)).items()}

    async def read_one(self, address: Address) -> RawRecord:
        """The record at `address`. Raises RecordMissing."""
        with self._errors():
            async with asyncio.timeout(self.timeout_seconds):
                existing = await self.partitions([address.topic])
                if address.partition not in existing[address.topic]:
                    raise RecordMissing(f"there is no record at {address}: the topic has no such partition")
                partition = TopicPartition(address.topic, address.partition)
                async with self._consumer() as consumer:
                    consumer.assign([partition])
                    bounds = (await _bounds_of(consumer, [partition]))[partition]
                    if not bounds.first <= address.offset < bounds.end:
                        raise RecordMissing(f"there is no record at {address}: the partition has {bounds}")
                    consumer.seek(partition, address.offset)
                    record: ConsumerRecord = await consumer.getone(partition)
                if record.offset != address.offset:
                    raise RecordMissing(f"the record at {address} was compacted away: a newer one has its key")
                return RawRecord.of(record)

    async def read_each(self, addresses: Sequence[Address]) -> AsyncGenerator[RawRecord, None]:
        """The records at `addresses`, which lie in one partition and ascend; those that are gone are left out.

        `timeout_seconds` bounds the start, and each record. Raises ReadFailed.
        """
        partition = TopicPartition(addresses[0].topic, addresses[0].partition)
        with self._errors():
            async with self._consumer() as consumer:
                consumer.assign([partition])
                async with asyncio.timeout(self.timeout_seconds):
                    bounds = (await _bounds_of(consumer, [partition]))[partition]
                expected: int | None = None
                for address in addresses:
                    if not bounds.first <= address.offset < bounds.end:
                        continue
                    if address.offset != expected:
                        consumer.seek(partition, address.offset)
                    async with asyncio.timeout(self.timeout_seconds):
                        record: ConsumerRecord = await consumer.getone(partition)
                    expected = record.offset + 1
                    if record.offset == address.offset:
                        yield RawRecord.of(record)

    async def read_range(
        self, topic: str, first: int = 0, last: int | None = None, partitions: Collection[int] | None = None
    ) -> AsyncGenerator[RawRecord, None]:
        """The records of each partition (all, unless named) from offset `first` to `last`, both included.

        `last` None means to the end. The ends are taken when reading starts; offsets that a partition does not have
        are left out. In order within a partition, partitions mixed. `timeout_seconds` bounds the start, and then the
        wait for each next batch. Raises ReadFailed.
        """
        # One consumer for the bounds and another for the records: aiokafka can hang when it is stopped just after it
        # was assigned a second time (its fetcher takes the cancellation for that of an old fetch).
        starts, ends = {}, {}
        for number, each in (await self.bounds(topic, partitions)).items():
            start = max(each.first, first)
            end = each.end if last is None else min(each.end, last + 1)
            if start < end:
                starts[TopicPartition(topic, number)], ends[TopicPartition(topic, number)] = start, end
        if not ends:
            return
        with self._errors():
            async with (
                self._consumer() as consumer,
                aclosing(_batches(consumer, ends, self.timeout_seconds)) as batches,
            ):
                consumer.assign(list(ends))
                for partition, start in starts.items():
                    consumer.seek(partition, start)
                async for batch in batches:
                    for record in batch.records:
                        if record.address.offset < ends[TopicPartition(topic, record.address.partition)]:
                            yield record

    async def read_records(self, topic: str, decode: Callable[[bytes], T]) -> AsyncGenerator[tuple[T, Address], None]:
        """Everything that lies in a topic now, decoded. What cannot be decoded is left out: it is a dead letter."""
        async with aclosing(self.read_range(topic)) as records:
            async for record in records:
                if (decoded := record.decoded(decode)) is not None:
                    yield decoded, record.address

    async def read_commands(self, addresses: Sequence[Address]) -> Recalled:
        """The commands at `addresses` of one partition, in order; never raises.

        Those that cannot be read now stay parked, and are asked for again by the next probe; those that Kafka has no
        more are gone.
        """
        commands: list[Command] = []
        missing, gone = set(addresses), frozenset[Address]()
        try:
            async with aclosing(self.read_each(addresses)) as records:
                async for record in records:
                    missing.discard(record.address)
                    if (command := record.decoded(COMMANDS.validate_json)) is not None:
                        commands.append(command)
            if missing:
                at = addresses[0]
                first = (await self.bounds(at.topic, {at.partition}))[at.partition].first
                gone = frozenset(each for each in missing if each.offset < first)
        except (ReadFailed, BrokerUnreachable) as failure:
            log.warning("commands_not_read", wanted=len(addresses), read=len(commands), reason=str(failure))
        if gone:
            log.error("commands_deleted", addresses=[str(each) for each in sorted(gone, key=str)])
        return Recalled(commands, gone)

    async def follow(
        self, topics: Collection[str], start: Start = _from_the_beginning, *, to_the_end: bool = False
    ) -> AsyncGenerator[Followed, None]:
        """All that lies in the topics, and all that comes, for ever; in between, batches without records.

        With `to_the_end` it ends where the topics ended at the beginning, and nothing new for `timeout_seconds` before
        that raises BrokerUnreachable; without, a broker that is away is waited for. Raises RecordsDeleted when what is
        next was deleted meanwhile, and ReadFailed.
        """
        with self._errors():
            async with self._consumer() as consumer:
                async with asyncio.timeout(self.timeout_seconds):
                    found = await self.partitions(topics)
                    partitions = [TopicPartition(topic, each) for topic in topics for each in found[topic]]
                    consumer.assign(partitions)
                    bounds = await _bounds_of(consumer, partitions)
                for each in partitions:
                    consumer.seek(each, start(each.topic, each.partition, bounds[each]))
                ends = {each: bounds[each].end for each in partitions}
                idle_seconds_max = self.timeout_seconds if to_the_end else None
                async with aclosing(_batches(consumer, ends, idle_seconds_max)) as batches:
                    async for batch in batches:
                        yield batch

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A started consumer without a group. A broker that is starting is waited for; raises TimeoutError."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
        )
        try:
            async with asyncio.timeout(self.timeout_seconds):
                while True:
                    try:
                        await consumer.start()
                        break
                    except KafkaConnectionError:
                        await asyncio.sleep(CONNECT_INTERVAL_SECONDS)
            yield consumer
        finally:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await consumer.stop()

    async def _chosen(self, topic: str, partitions: Collection[int] | None) -> list[TopicPartition]:
        existing = (await self.partitions([topic]))[topic]
        if unknown := set(partitions or ()) - set(existing):
            raise ReadFailed(f"topic {topic} has partitions {existing[0]} to {existing[-1]}, not {sorted(unknown)}")
        return [TopicPartition(topic, each) for each in existing if partitions is None or each in partitions]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What can go wrong with the broker, in our words: BrokerUnreachable or ReadFailed."""
        try:
            yield
        except OffsetOutOfRangeError as error:
            raise RecordsDeleted("records were deleted from Kafka while they were read") from error
        except (TimeoutError, NodeNotReadyError) as error:
            raise BrokerUnreachable.at(self.bootstrap_servers, self.timeout_seconds) from error
        except KafkaError as error:
            raise ReadFailed(f"Kafka at {self.bootstrap_servers}: {error}") from error
        except KafkaRefused as error:
            raise ReadFailed(str(error)) from error


async def _bounds_of(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
    """First and end offsets of partitions that the consumer is assigned to."""
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {each: Bounds(first[each], end[each]) for each in partitions}


async def _batches(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], idle_seconds_max: float | None
) -> AsyncGenerator[Followed, None]:
    """What the consumer fetches from where it stands; with `idle_seconds_max` until each partition is at its end.

    Raises TimeoutError when nothing new came for that long before such an end.
    """
    clock = asyncio.get_running_loop().time
    behind, last_progress = set(ends), clock()
    while behind or idle_seconds_max is None:
        fetched = await consumer.getmany(
            *(ends if idle_seconds_max is None else behind),
            timeout_ms=int(POLL_INTERVAL_SECONDS * 1000),
            max_records=BATCH_RECORDS_MAX,
        )
        # Positions, not records: the last offsets of a partition may be compacted away, or markers of transactions.
        done = {each for each in behind if await consumer.position(each) >= ends[each]}
        behind -= done
        if fetched or done:
            last_progress = clock()
        elif idle_seconds_max is not None and clock() - last_progress > idle_seconds_max:
            raise TimeoutError
        yield Followed([RawRecord.of(each) for records in fetched.values() for each in records], not behind)
