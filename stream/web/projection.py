"""From the topics into the index: everything that happened, for the pages.

Reads every topic and every table's changelog from the positions that the index holds, without a group, and enters
records and new positions in one transaction. So it may be killed at any time, and never counts anything twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from pydantic import ValidationError

from models.events import ConnectionChanged
from models.ledger import TABLES
from stream.formatting import iso_of_ms
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import (
    POLL_INTERVAL_SECONDS,
    RawRecord,
    TopicsMissing,
    bounds_of,
    broker_errors,
    open_consumer,
    partitions_of,
)
from stream.settings import Settings
from stream.topics import changelog, topic_names

from .history import Role, dead_letter_of, event_of
from .index import Batch, Index, Position, TableRow
from .masking import masked_json

BATCH_RECORDS_MAX = 2000

log = structlog.get_logger()


class _IndexIsOfAnotherLog(Exception):
    """The positions in the index do not fit the topics: they were made anew, or the index is gone."""


class Projection:
    """Keeps `index` in step with the topics of `settings`.

    Both methods raise TopicsMissing or BrokerUnreachable when topics or broker do not appear within
    `kafka.timeout_seconds`.
    """

    def __init__(self, settings: Settings, index: Index) -> None:
        assert settings.kafka.bootstrap_servers is not None
        self._bootstrap = settings.kafka.bootstrap_servers
        self._timeout_seconds = settings.kafka.timeout_seconds
        self._index = index
        names = topic_names(settings)
        self._connections = names.connections
        self._roles: dict[str, Role] = {
            names.webhooks: "webhooks",
            names.invoices: "invoices",
            names.commands: "commands",
            names.outcomes: "outcomes",
            names.deadletters: "deadletters",
        }
        self._tables = {changelog(settings, table): table for table in TABLES}

    async def run(self) -> None:
        """Follow the topics for ever, until cancelled."""
        await self._follow(to_the_end=False)

    async def catch_up(self) -> None:
        """Follow the topics to where they end at the time of the call."""
        await self._follow(to_the_end=True)

    async def _follow(self, *, to_the_end: bool) -> None:
        while True:
            try:
                with broker_errors(self._bootstrap, self._timeout_seconds):
                    partitions = await self._wait_for_topics()
                async with self._consumer(partitions) as consumer:
                    await self._read(consumer, partitions, to_the_end=to_the_end)
                return
            except _IndexIsOfAnotherLog as reason:
                log.warning("index_rebuilt", reason=str(reason))
                await asyncio.to_thread(self._index.clear)
            except OffsetOutOfRangeError:
                log.warning("records_deleted_while_reading")  # retention: go on with what is still kept

    async def _wait_for_topics(self) -> list[TopicPartition]:
        topics = [*self._roles, self._connections, *self._tables]
        missing: TopicsMissing | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while True:
                    try:
                        found = await partitions_of(self._bootstrap, topics)
                        return [TopicPartition(topic, each) for topic in topics for each in found[topic]]
                    except TopicsMissing as error:
                        missing = error
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)
        except TimeoutError:
            if missing is None:
                raise
            raise missing from None

    @asynccontextmanager
    async def _consumer(self, partitions: list[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
        """Assigned, and set to the record before the stored position, by which the log is recognised."""
        positions = await asyncio.to_thread(self._index.positions)
        async with AsyncExitStack() as stack:
            with broker_errors(self._bootstrap, self._timeout_seconds):
                consumer = await stack.enter_async_context(open_consumer(self._bootstrap, self._timeout_seconds))
                consumer.assign(partitions)
                async with asyncio.timeout(self._timeout_seconds):
                    bounds = await bounds_of(consumer, partitions)
            for partition in partitions:
                stored = positions.get((partition.topic, partition.partition))
                first, end = bounds[partition].first, bounds[partition].end
                if stored is not None and stored.next_offset > end:
                    raise _IndexIsOfAnotherLog(f"{partition.topic} ends before the position that was read")
                consumer.seek(partition, first if stored is None else max(first, stored.next_offset - 1))
            yield consumer

    async def _read(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], *, to_the_end: bool) -> None:
        ends = await consumer.end_offsets(partitions) if to_the_end else {}
        positions = await asyncio.to_thread(self._index.positions)
        last_progress = time.monotonic()
        while not to_the_end or [each for each in ends if await consumer.position(each) < ends[each]]:
            fetched = await consumer.getmany(
                timeout_ms=int(POLL_INTERVAL_SECONDS * 1000), max_records=BATCH_RECORDS_MAX
            )
            if not self._index.exists():
                raise _IndexIsOfAnotherLog("the index was deleted")
            if fetched:
                batch = await asyncio.to_thread(self._batch, fetched, positions)
                await asyncio.to_thread(self._index.apply, batch)
                positions |= batch.positions
                last_progress = time.monotonic()
            elif to_the_end and time.monotonic() - last_progress > self._timeout_seconds:
                raise BrokerUnreachable(f"Kafka at {self._bootstrap} gave no record for {self._timeout_seconds} s")

    def _batch(
        self,
        fetched: dict[TopicPartition, list[ConsumerRecord]],
        positions: dict[tuple[str, int], Position],
    ) -> Batch:
        batch = Batch()
        for partition, records in fetched.items():
            place = (partition.topic, partition.partition)
            for record in map(RawRecord.of, _unread(records, positions.get(place))):
                self._enter(batch, record)
                batch.positions[place] = Position(record.address.offset + 1, record.timestamp_ms)
        return batch

    def _enter(self, batch: Batch, record: RawRecord) -> None:
        topic = record.address.topic
        if topic in self._roles:
            batch.steps.append(event_of(self._roles[topic], record))
            if self._roles[topic] == "deadletters":
                batch.dead_letters.append(dead_letter_of(record))
        elif topic in self._tables:
            batch.table_rows.append(_table_row(self._tables[topic], record))
        elif (change := _connection(record)) is not None:
            batch.connections.append(change)


def _unread(records: list[ConsumerRecord], stored: Position | None) -> Iterable[ConsumerRecord]:
    """The records behind the stored position; the one before it must be the one that was read."""
    for record in records:
        if stored is None or record.offset >= stored.next_offset:
            yield record
        elif record.timestamp != stored.timestamp_ms:
            raise _IndexIsOfAnotherLog(f"{record.topic} was made anew")


def _table_row(table: str, record: RawRecord) -> TableRow:
    return TableRow(
        name=table,
        key=(record.key or b"").decode(errors="replace"),
        value=masked_json(record.value) if record.value else None,
        address=record.address,
        at=iso_of_ms(record.timestamp_ms),
    )


def _connection(record: RawRecord) -> ConnectionChanged | None:
    try:
        return ConnectionChanged.model_validate_json(record.value or b"")
    except ValidationError:
        log.warning("unreadable_connection", address=str(record.address))
        return None
