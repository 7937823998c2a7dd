"""Reading records where they lie: one by its address, or a range of offsets.

Every consumer here is assigned its partitions by hand, belongs to no group and never commits, so that reading
leaves no trace on anything that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, OffsetOutOfRangeError
from pydantic import ValidationError

from models.commands import COMMANDS, Command
from models.record import Address
from stream import OperatorError
from stream.settings import Settings

from .admin import BrokerUnreachable

log = structlog.get_logger()

POLL_INTERVAL_SECONDS = 0.25
STOP_TIMEOUT_SECONDS = 5
BATCH_RECORDS_MAX = 1000


class ReadFailed(OperatorError):
    """Records could not be read; the message says which and why."""


class TopicsMissing(ReadFailed):
    """Topics that are to be read do not exist."""


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


@dataclass(frozen=True)
class Bounds:
    """The offsets that a partition has: `first` up to and without `end`; empty when they are equal."""

    first: int
    end: int

    def __str__(self) -> str:
        return "no records" if self.first >= self.end else f"offsets {self.first} to {self.end - 1}"


async def read_one(bootstrap: str, address: Address, timeout_seconds: float) -> RawRecord:
    """The record at `address`. Raises RecordMissing, TopicsMissing or BrokerUnreachable within the time."""
    with broker_errors(bootstrap, timeout_seconds):
        async with asyncio.timeout(timeout_seconds):
            existing = await partitions_of(bootstrap, [address.topic])
            if address.partition not in existing[address.topic]:
                raise RecordMissing(f"there is no record at {address}: the topic has no such partition")
            partition = TopicPartition(address.topic, address.partition)
            async with open_consumer(bootstrap, timeout_seconds) as consumer:
                consumer.assign([partition])
                bounds = (await bounds_of(consumer, [partition]))[partition]
                if not bounds.first <= address.offset < bounds.end:
                    raise RecordMissing(f"there is no record at {address}: the partition has {bounds}")
                consumer.seek(partition, address.offset)
                record: ConsumerRecord = await consumer.getone(partition)
            if record.offset != address.offset:
                raise RecordMissing(f"the record at {address} was compacted away: a newer one has its key")
            return RawRecord.of(record)


async def read_each(bootstrap: str, addresses: Sequence[Address], timeout_seconds: float) -> AsyncIterator[RawRecord]:
    """The records at `addresses`, which lie in one partition and ascend; those that are gone are left out.

    Raises TopicsMissing, BrokerUnreachable or ReadFailed; `timeout_seconds` bounds the start, and each record.
    """
    place = addresses[0]
    partition = TopicPartition(place.topic, place.partition)
    with broker_errors(bootstrap, timeout_seconds):
        async with open_consumer(bootstrap, timeout_seconds) as consumer:
            consumer.assign([partition])
            async with asyncio.timeout(timeout_seconds):
                bounds = (await bounds_of(consumer, [partition]))[partition]
            expected: int | None = None
            for address in addresses:
                if not bounds.first <= address.offset < bounds.end:
                    continue
                if address.offset != expected:
                    consumer.seek(partition, address.offset)
                async with asyncio.timeout(timeout_seconds):
                    record: ConsumerRecord = await consumer.getone(partition)
                expected = record.offset + 1
                if record.offset == address.offset:
                    yield RawRecord.of(record)


async def read_range(
    bootstrap: str,
    topic: str,
    from_offset: int,
    to_offset: int | None,
    partitions: Collection[int] | None = None,
    *,
    timeout_seconds: float,
) -> AsyncIterator[RawRecord]:
    """The records of each partition (all, unless named) from `from_offset` to `to_offset`, both included.

    `to_offset` None means to the end. The ends are taken when reading starts; offsets that a partition does not have
    are left out. In order within a partition, partitions mixed. `timeout_seconds` bounds the start, and then the
    wait for each next batch. Raises TopicsMissing, BrokerUnreachable or ReadFailed.
    """
    # One consumer for the bounds and another for the records: aiokafka can hang when it is stopped just after it was
    # assigned a second time (its fetcher takes the cancellation for that of an old fetch).
    bounds = await range_bounds(bootstrap, topic, partitions, timeout_seconds=timeout_seconds)
    starts, ends = {}, {}
    for number, each in bounds.items():
        start = max(each.first, from_offset)
        end = each.end if to_offset is None else min(each.end, to_offset + 1)
        if start < end:
            starts[TopicPartition(topic, number)], ends[TopicPartition(topic, number)] = start, end
    if not ends:
        return
    with broker_errors(bootstrap, timeout_seconds):
        async with open_consumer(bootstrap, timeout_seconds) as consumer:
            consumer.assign(list(ends))
            for partition, start in starts.items():
                consumer.seek(partition, start)
            async for record in _until(consumer, ends, timeout_seconds):
                yield record


async def range_bounds(
    bootstrap: str, topic: str, partitions: Collection[int] | None = None, *, timeout_seconds: float
) -> dict[int, Bounds]:
    """The offsets that each partition of a topic (or each one named) has now. Raises as `read_range`."""
    with broker_errors(bootstrap, timeout_seconds):
        async with asyncio.timeout(timeout_seconds), open_consumer(bootstrap, timeout_seconds) as consumer:
            chosen = await _chosen(bootstrap, topic, partitions)
            consumer.assign(chosen)
            return {each.partition: bounds for each, bounds in (await bounds_of(consumer, chosen)).items()}


@asynccontextmanager
async def open_consumer(bootstrap: str, timeout_seconds: float) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group. A broker that is starting is waited for; raises TimeoutError."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    await consumer.start()
                    break
                except KafkaConnectionError:
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)
        yield consumer
    finally:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await consumer.stop()


async def partitions_of(bootstrap: str, topics: Collection[str]) -> dict[str, list[int]]:
    """The partitions of each topic. Raises TopicsMissing; never creates a topic by asking for it.

    The caller bounds the wait: a broker that is starting is waited for.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        while True:
            try:
                await admin.start()
                break
            except KafkaConnectionError:
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        found = {
            topic["topic"]: sorted(each["partition"] for each in topic["partitions"])
            for topic in await admin.describe_topics()
        }
    finally:
        await admin.close()
    if missing := [topic for topic in topics if not found.get(topic)]:
        raise TopicsMissing(
            f"no such topic: {', '.join(missing)}. Topics are created when a worker starts; is the broker the right "
            "one, and kafka.topic_prefix?"
        )
    return {topic: found[topic] for topic in topics}


async def bounds_of(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Bounds]:
    """First and end offsets of partitions that the consumer is assigned to."""
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {each: Bounds(first[each], end[each]) for each in partitions}


async def _chosen(bootstrap: str, topic: str, partitions: Collection[int] | None) -> list[TopicPartition]:
    existing = (await partitions_of(bootstrap, [topic]))[topic]
    if unknown := set(partitions or ()) - set(existing):
        raise ReadFailed(f"topic {topic} has partitions {existing[0]} to {existing[-1]}, not {sorted(unknown)}")
    return [TopicPartition(topic, each) for each in existing if partitions is None or each in partitions]


async def _until(
    consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], timeout_seconds: float
) -> AsyncIterator[RawRecord]:
    clock = asyncio.get_running_loop().time
    last_progress, open_ends = clock(), dict(ends)
    while open_ends:
        batch = await consumer.getmany(
            *open_ends, timeout_ms=int(POLL_INTERVAL_SECONDS * 1000), max_records=BATCH_RECORDS_MAX
        )
        for partition, records in batch.items():
            for record in records:
                if record.offset < ends[partition]:
                    yield RawRecord.of(record)
        # Positions, not records: the last offsets of a partition may be compacted away, or markers of transactions.
        done = [each for each, end in open_ends.items() if await consumer.position(each) >= end]
        for partition in done:
            del open_ends[partition]
        if batch or done:
            last_progress = clock()
        elif clock() - last_progress > timeout_seconds:
            raise TimeoutError


@contextmanager
def broker_errors(bootstrap: str, timeout_seconds: float) -> Iterator[None]:
    """What can go wrong with the broker, in our words: BrokerUnreachable or ReadFailed."""
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise ReadFailed("records were deleted from Kafka while they were read") from error
    except (TimeoutError, NodeNotReadyError) as error:
        raise BrokerUnreachable(
            f"Kafka at {bootstrap} did not answer within {timeout_seconds:g} s. Is it running, and is "
            "kafka.bootstrap_servers right?"
        ) from error
    except KafkaError as error:
        raise ReadFailed(f"Kafka at {bootstrap}: {error}") from error


async def read_commands(settings: Settings, addresses: Sequence[Address]) -> list[Command]:
    """The commands at `addresses` of one partition, in order; never raises.

    Those that cannot be read stay in the waiting room, and are asked for again by the next probe.
    """
    assert settings.kafka.bootstrap_servers is not None
    commands: list[Command] = []
    try:
        async for record in read_each(settings.kafka.bootstrap_servers, addresses, settings.kafka.timeout_seconds):
            try:
                commands.append(COMMANDS.validate_json(record.value or b""))
            except ValidationError:
                log.error("unreadable_command", at=str(record.address))  # a dead letter by now
    except (ReadFailed, BrokerUnreachable) as failure:
        log.warning("commands_not_recalled", wanted=len(addresses), read=len(commands), reason=str(failure))
    return commands
