"""What Metronome has and nobody told us: finalized invoices without a webhook, and voids.

Webhooks are lost after two days, and none is sent for a void (docs/vendors/metronome.md §0.8, §3.2). Pure. An
announcement has the shape of Metronome's own webhook, so that it goes the way of one; to announce what is known changes
nothing.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid5

from models.document import reversed_id
from models.ledger import LedgerEntry
from models.metronome import ListedInvoice
from models.record import utc

SOURCE = "watch"
SOURCE_HEADER = "source"
NOTICES = UUID("6c1f0a53-9b1e-5c57-8c3e-6f8d5b1f2a47")
"""The namespace of the ids of our announcements."""

Status = Literal["FINALIZED", "VOID"]
STATUSES: tuple[Status, ...] = ("FINALIZED", "VOID")


@dataclass(frozen=True)
class Horizon:
    """How far back invoices of each status are looked at by their day of issue, how long a webhook may take, and when
    the same thing is announced again."""

    finalized: timedelta
    voids: timedelta
    grace: timedelta
    repeat_after: timedelta

    def back(self, status: Status) -> timedelta:
        return self.voids if status == "VOID" else self.finalized


class KnownInvoices:
    """What the ledger says of each invoice: that it is known, and whether its void has been dealt with.

    Rows that did not change for longer than `keep` are forgotten: their invoices are older still. `flags` says whether
    a company leaves voided documents to a person, so that telling it once is all that is to be done.
    """

    def __init__(self, keep: timedelta, flags: Callable[[str], bool]) -> None:
        self._keep = keep
        self._flags = flags
        self._days: dict[str, int] = {}
        self._closed: set[str] = set()
        self._shared_days: dict[int, int] = {}  # one object for each day, whatever the number of invoices

    def __len__(self) -> int:
        return len(self._days)

    def __contains__(self, invoice_id: str) -> bool:
        return invoice_id in self._days

    def closed(self, invoice_id: str) -> bool:
        """Whether nothing is left to be done about its void."""
        return invoice_id in self._closed

    def enter(self, entry: LedgerEntry) -> None:
        if reversed_id(entry.invoice_id) is not None:
            return
        day = utc(entry.changed_at).toordinal()
        self._days[entry.invoice_id] = self._shared_days.setdefault(day, day)
        flagged = entry.in_books and entry.result == "skipped" and self._flags(entry.realm)
        if flagged or (entry.state == "voided" and entry.attempt is None):
            self._closed.add(entry.invoice_id)
        else:
            self._closed.discard(entry.invoice_id)

    def forget_old(self, now: datetime) -> None:
        oldest = utc(now - self._keep).toordinal()
        for invoice_id in [each for each, day in self._days.items() if day < oldest]:
            del self._days[invoice_id]
            self._closed.discard(invoice_id)


class Announced:
    """What this process has announced, for as long as it is not to be repeated."""

    def __init__(self, repeat_after: timedelta) -> None:
        self._repeat_after = repeat_after
        self._at: dict[UUID, datetime] = {}

    def __contains__(self, notice: UUID) -> bool:
        return notice in self._at

    def add(self, notice: UUID, now: datetime) -> None:
        self._at[notice] = now

    def forget_old(self, now: datetime) -> None:
        self._at = {notice: at for notice, at in self._at.items() if now < at + self._repeat_after}


def to_announce(invoice: ListedInvoice, known: KnownInvoices, horizon: Horizon, now: datetime) -> Status | None:
    """Why the invoice is to be announced: it is final and unknown, or voided and not dealt with."""
    if invoice.issued_at is None or is_past(invoice, horizon, now):
        return None
    if invoice.status == "FINALIZED" and invoice.id not in known and utc(invoice.issued_at) + horizon.grace <= now:
        return "FINALIZED"
    if invoice.status == "VOID" and invoice.id in known and not known.closed(invoice.id):
        return "VOID"
    return None


def is_past(invoice: ListedInvoice, horizon: Horizon, now: datetime) -> bool:
    """Whether the invoice, and all that follow it in a list from the newest on, were issued too long ago.

    Those without a date stand last there.
    """
    back = horizon.voids if invoice.status == "VOID" else horizon.finalized
    return invoice.issued_at is None or utc(invoice.issued_at) < now - back


def notice_id(invoice: ListedInvoice) -> UUID:
    """The same for the same invoice and status, by any announcer, however often."""
    return uuid5(NOTICES, f"{invoice.id}/{invoice.status}")


def notice(invoice: ListedInvoice) -> bytes:
    """The announcement as a webhook's body (§3.1)."""
    properties = {"invoice_id": invoice.id, "customer_id": invoice.customer_id}
    if invoice.issued_at is not None:
        properties["invoice_finalized_date"] = utc(invoice.issued_at).isoformat()
    return json.dumps({"id": str(notice_id(invoice)), "type": "invoice.finalized", "properties": properties}).encode()
