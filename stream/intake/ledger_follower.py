"""The ledger as it stands now, for a program that is no worker: followed through its changelog, in no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from models.ledger import LedgerEntry
from models.subject import RowKey
from stream.kafka.log import EventLog
from stream.settings import Settings
from stream.topics import changelog


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
    async with aclosing(EventLog.of(settings).follow([changelog(settings, "invoices")])) as followed:
        async for batch in followed:
            for record in batch.records:
                if RowKey((record.key or b"").decode(errors="replace")).is_claim:
                    continue  # a worker made sure that the company is its own; that is no invoice
                if (entry := record.decoded(LedgerEntry.model_validate_json)) is not None:
                    enter(entry)
            if batch.caught_up:
                at_the_end.set()
