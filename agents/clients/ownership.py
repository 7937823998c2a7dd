"""Whether a company is still ours: a worker that its group gave up, or that stood still, does not know.

A row that it writes lies over its successor's in the changelog, and the next recovery would read it. So it makes sure
before: a record of its own there that changes no row comes back with an offset, which tells whether anybody else has
written since (`agents.pipeline.ChangelogFence`).
"""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from cachetools import TTLCache

from models.events import ConnectionChanged
from models.ledger import LedgerEntry, Owner
from models.subject import CLAIM, RowKey

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)

CLAIM_SECONDS_MAX = 5.0
"""A claim that took longer to be confirmed is made anew: the worker may have stood still since the broker had it."""

SURE_MAX = 10_000
"""So many companies, or customers, are remembered to be ours; one that is forgotten is made sure of again."""


async def nobody_else(realm: str) -> None:
    """Where no other worker can have the company."""


class FencedTable(Protocol[Row_contra]):
    def __setitem__(self, key: str, row: Row_contra, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    async def confirmed(self) -> None:
        """Raises StopWorker when somebody else has written to the changelog."""


class Ownership(Generic[Row]):
    """By one table. `blank` makes a row of a company; `monotonic` gives seconds that never go back."""

    def __init__(self, table: FencedTable[Row], blank: Callable[[str], Row], monotonic: Callable[[], float]) -> None:
        self._table = table
        self._blank = blank
        self._monotonic = monotonic
        self._sure: TTLCache[str, float] = TTLCache(SURE_MAX, CLAIM_SECONDS_MAX, timer=monotonic)

    async def make_sure(self, realm: str, *, within_seconds: float = 0.0) -> None:
        """Returns when the company was ours so many seconds ago, or since this call. Raises StopWorker when it is
        another worker's."""
        since = self._monotonic() - within_seconds
        while self._sure.get(realm, -math.inf) < max(since, self._monotonic() - CLAIM_SECONDS_MAX):
            await self.put(RowKey.of(realm, CLAIM), self._blank(realm), taken_away=True)

    async def put(self, key: str, row: Row, *, taken_away: bool = False) -> None:
        """Put a row; returns when the broker has confirmed it, which says the same. Raises StopWorker likewise."""
        began = self._monotonic()
        self._table[key] = row
        if taken_away:
            del self._table[key]
        await self._table.confirmed()
        self._sure[RowKey(key).realm] = began


def of_invoices(
    table: FencedTable[LedgerEntry], now: Callable[[], datetime], monotonic: Callable[[], float]
) -> Ownership[LedgerEntry]:
    def blank(realm: str) -> LedgerEntry:
        return LedgerEntry(realm=realm, invoice_id=CLAIM, state="commanded", changed_at=now())

    return Ownership(table, blank, monotonic)


def of_connections(
    table: FencedTable[ConnectionChanged], now: Callable[[], datetime], monotonic: Callable[[], float]
) -> Ownership[ConnectionChanged]:
    def blank(realm: str) -> ConnectionChanged:
        return ConnectionChanged(realm=realm, state="disconnected", changed_at=now())

    return Ownership(table, blank, monotonic)


def of_webhooks(table: FencedTable[Owner], monotonic: Callable[[], float]) -> Ownership[Owner]:
    """Of a customer's webhooks, in the place of a company's commands."""
    return Ownership(table, lambda customer_id: Owner(realm=CLAIM, customer_id=customer_id), monotonic)
