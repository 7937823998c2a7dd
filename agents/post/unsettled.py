"""Attempts that nobody works on any more: a worker was killed, or its group gave it up while it retried.

Most are settled by their own command, which was not acknowledged and comes again. One that was recorded over a
successor's result is not: its command has its outcome, so that nothing would ever look the document up. So the ledger
rows that a recovery finds with an attempt in them are remembered, and their commands are published again by the next
probe: executing one looks up before it writes.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from models.ledger import LedgerEntry, Waiting
from models.record import Address
from models.subject import RowKey, Subject

IN_JSON = (b'"attempt":', b'"state":"attempting"')
"""What the row of an attempt says; the second one without the first is left by a worker that took its attempt back,
since it never left, over the result of its successor."""
KEYS_BETWEEN_PAUSES = 1000
TAKEN_MAX = 500
"""As many are published again at a time; the next probe takes more."""


class Ledger(Protocol):
    """The table of invoices, whose rows can be searched for any of some bytes of their JSON."""

    def keys_containing(self, *fragments: bytes) -> Iterator[str]: ...
    def get(self, key: str, /) -> LedgerEntry | None: ...


class UnsettledAttempts:
    """By realm and row key, the rows with an attempt that the last recovery found."""

    def __init__(self, invoices: Ledger, waiting: Mapping[str, Waiting]) -> None:
        self._invoices = invoices
        self._waiting = waiting
        self._found: dict[str, dict[str, LedgerEntry]] = {}

    async def find(self) -> None:
        """After a recovery of the tables: what was found before is forgotten."""
        found: dict[str, dict[str, LedgerEntry]] = {}
        for seen, key in enumerate(self._invoices.keys_containing(*IN_JSON)):
            entry = self._invoices.get(key)
            if entry is not None and (entry.attempt is not None or entry.state == "attempting"):
                found.setdefault(entry.realm, {})[entry.key] = entry
            if seen % KEYS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
        self._found = found

    @property
    def realms(self) -> set[str]:
        return set(self._found)

    def take(self, realm: str) -> list[Address]:
        """The commands of those that still stand as they were found, once. Those that are uncertain wait, and are tried
        anyway. An attempt over the row of one that waits is not: what waits is tried now, not in hours."""
        found = self._found.get(realm, {})
        taken: list[Address] = []
        while found and len(taken) < TAKEN_MAX:
            key, entry = found.popitem()
            if self._invoices.get(key) != entry or entry.command is None:
                continue
            waiting = self._waiting.get(RowKey.of(realm, Subject.invoice(entry.invoice_id)))
            if waiting is None:
                taken.append(entry.command)
            elif entry.state == "attempting":
                taken.append(waiting.command)
        if not found:
            self._found.pop(realm, None)
        return taken
