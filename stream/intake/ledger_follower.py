"""The ledger as it stands now, for a program that is no worker: followed through its changelog, in no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiokafka import TopicPartition
from pydantic import ValidationError

from models.ledger import LedgerEntry
from stream.kafka.log import (
    BATCH_RECORDS_MAX,
    POLL_INTERVAL_SECONDS,
    bounds_of,
    broker_errors,
    open_consumer,
    partitions_of,
)
from stream.settings import Settings
from stream.topics import changelog

log = structlog.get_logger()


@dataclass(frozen=True)
class Follower:
    """The task that follows the ledger, and whether it has come to where the ledger ended when it began."""

    task: asyncio.Task[None]
    at_the_end: asyncio.Event

    async def caught_up(self) -> None:
        await self.at_the_end.wait()

    async def broken(self) -> None:
        """Raises what ended the following; it does not end by itself."""
        await asyncio.shield(self.task)


@asynccontextmanager
async def following(settings: Settings, enter: Callable[[LedgerEntry], None]) -> AsyncIterator[Follower]:
    """Gives every row of the ledger to `enter`, and every change, while the block lasts. The changelog must exist."""
    at_the_end = asyncio.Event()
    task = asyncio.create_task(_follow(settings, enter, at_the_end))
    try:
        yield Follower(task, at_the_end)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(settings: Settings, enter: Callable[[LedgerEntry], None], at_the_end: asyncio.Event) -> None:
    topic, timeout_seconds = changelog(settings, "invoices"), settings.kafka.timeout_seconds
    bootstrap = str(settings.kafka.bootstrap_servers)
    with broker_errors(bootstrap, timeout_seconds):
        async with open_consumer(bootstrap, timeout_seconds) as consumer:
            async with asyncio.timeout(timeout_seconds):
                numbers = (await partitions_of(bootstrap, [topic]))[topic]
                partitions = [TopicPartition(topic, number) for number in numbers]
                consumer.assign(partitions)
                bounds = await bounds_of(consumer, partitions)
            for partition, each in bounds.items():
                consumer.seek(partition, each.first)
            behind = {partition for partition, each in bounds.items() if each.first < each.end}
            while True:
                if not behind:
                    at_the_end.set()
                fetched = await consumer.getmany(
                    timeout_ms=int(POLL_INTERVAL_SECONDS * 1000), max_records=BATCH_RECORDS_MAX
                )
                for records in fetched.values():
                    for record in records:
                        if (entry := _entry(record.value)) is not None:
                            enter(entry)
                behind = {each for each in behind if await consumer.position(each) < bounds[each].end}


def _entry(value: bytes | None) -> LedgerEntry | None:
    """None for what cannot be read; rows of the ledger are never deleted."""
    try:
        return LedgerEntry.model_validate_json(value or b"")
    except ValidationError:
        log.warning("unreadable_ledger_row")
        return None
