"""From the topics into the index: everything that happened, for the pages.

Reads every topic and every table's changelog from the positions that the index holds, without a group, and enters
records and new positions in one transaction. So it may be killed at any time, and never counts anything twice.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import structlog

from models.events import ConnectionChanged
from models.ledger import TABLES
from stream.formatting import iso_of_ms
from stream.kafka.log import POLL_INTERVAL_SECONDS, Bounds, EventLog, RawRecord, RecordsDeleted, TopicsMissing
from stream.settings import Settings
from stream.topics import changelog, topic_names

from .history import Role, dead_letter_of, event_of
from .index import Batch, Index, Position, TableRow
from .masking import masked_json

log = structlog.get_logger()


class _IndexIsOfAnotherLog(Exception):
    """The positions in the index do not fit the topics: they were made anew, or the index is gone."""


class Projection:
    """Keeps `index` in step with the topics of `settings`.

    Both methods raise TopicsMissing or BrokerUnreachable when topics or broker do not appear within
    `kafka.timeout_seconds`.
    """

    def __init__(self, settings: Settings, index: Index) -> None:
        self._log = EventLog.of(settings)
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
        self._topics = [*self._roles, self._connections, *self._tables]

    async def run(self) -> None:
        """Follow the topics for ever, until cancelled."""
        await self._follow(to_the_end=False)

    async def catch_up(self) -> None:
        """Follow the topics to where they end at the time of the call."""
        await self._follow(to_the_end=True)

    async def _follow(self, *, to_the_end: bool) -> None:
        while True:
            try:
                await self._wait_for_topics()
                await self._read(to_the_end=to_the_end)
                return
            except _IndexIsOfAnotherLog as reason:
                log.warning("index_rebuilt", reason=str(reason))
                await asyncio.to_thread(self._index.clear)
            except RecordsDeleted:
                log.warning("records_deleted_while_reading")  # by their retention: what is still kept is read

    async def _wait_for_topics(self) -> None:
        """Returns when all topics are there; raises TopicsMissing when they do not appear in time."""
        started = time.monotonic()
        while True:
            try:
                await self._log.partitions(self._topics)
                return
            except TopicsMissing:
                if time.monotonic() - started > self._log.timeout_seconds:
                    raise
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def _read(self, *, to_the_end: bool) -> None:
        """From the record before each stored position on, by which the log is recognised."""
        positions = await asyncio.to_thread(self._index.positions)

        def start(topic: str, partition: int, bounds: Bounds) -> int:
            stored = positions.get((topic, partition))
            if stored is not None and stored.next_offset > bounds.end:
                raise _IndexIsOfAnotherLog(f"{topic} ends before the position that was read")
            return bounds.first if stored is None else max(bounds.first, stored.next_offset - 1)

        async with aclosing(self._log.follow(self._topics, start, to_the_end=to_the_end)) as followed:
            async for fetched in followed:
                if not self._index.exists():
                    raise _IndexIsOfAnotherLog("the index was deleted")
                if fetched.records:
                    batch = await asyncio.to_thread(self._batch, fetched.records, positions)
                    await asyncio.to_thread(self._index.apply, batch)
                    positions |= batch.positions

    def _batch(self, fetched: list[RawRecord], positions: dict[tuple[str, int], Position]) -> Batch:
        batch = Batch()
        for record in fetched:
            place = (record.address.topic, record.address.partition)
            if _is_unread(record, positions.get(place)):
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
        elif (change := record.decoded(ConnectionChanged.model_validate_json)) is not None:
            batch.connections.append(change)


def _is_unread(record: RawRecord, stored: Position | None) -> bool:
    """Whether it lies behind the stored position; the one before it must be the one that was read."""
    if stored is None or record.address.offset >= stored.next_offset:
        return True
    if record.timestamp_ms != stored.timestamp_ms:
        raise _IndexIsOfAnotherLog(f"{record.address.topic} was made anew")
    return False


def _table_row(table: str, record: RawRecord) -> TableRow:
    return TableRow(
        name=table,
        key=(record.key or b"").decode(errors="replace"),
        value=masked_json(record.value) if record.value else None,
        address=record.address,
        at=iso_of_ms(record.timestamp_ms),
    )
