"""What Metronome has and nobody told us: finalized invoices without a webhook, and voids.

Webhooks are lost after two days, and none is sent for a void (docs/vendors/metronome.md §0.8, §3.2). Pure. An
announcement has the shape of Metronome's own webhook, so that it goes the way of one; to announce what is known changes
nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from models.commands import DeclineInvoice
from models.document import reversed_id
from models.events import Announcement
from models.ledger import LedgerEntry
from models.metronome import FINALIZED, VOID, ListedInvoice
from models.record import utc
from models.subject import FINALIZATION

SOURCE = "watch"
ASKED_AGAIN = "worker"
"""The source of an announcement that a worker makes since the invoice was not final yet."""
SOURCE_HEADER = "source"
RECEIVED_AT_HEADER = "received-at"

ASKED_AGAIN_WITHIN = timedelta(days=7)
"""For so long after its webhook Metronome is asked again about an invoice that is not final; its grace period is a day
(docs/vendors/metronome.md §1.8)."""

Status = Literal["FINALIZED", "VOID"]
STATUSES: tuple[Status, ...] = (FINALIZED, VOID)


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
    """What the ledger says of each invoice: that it is known, whether Metronome had decided when it was asked, and
    whether its void has been dealt with.

    Rows that did not change for longer than `keep` are forgotten: their invoices are older still. `flags` says whether
    a company leaves voided documents to a person, so that telling it once is all that is to be done.
    """

    def __init__(self, keep: timedelta, flags: Callable[[str], bool]) -> None:
        self._keep = keep
        self._flags = flags
        self._days: dict[str, int] = {}
        self._closed: set[str] = set()
        self._early: set[str] = set()
        self._shared_days: dict[int, int] = {}  # one object for each day, whatever the number of invoices

    def __len__(self) -> int:
        return len(self._days)

    def __contains__(self, invoice_id: str) -> bool:
        return invoice_id in self._days

    def closed(self, invoice_id: str) -> bool:
        """Whether nothing is left to be done about its void."""
        return invoice_id in self._closed

    def early(self, invoice_id: str) -> bool:
        """Whether its webhook came before it was final, and nothing since then."""
        return invoice_id in self._early

    def enter(self, entry: LedgerEntry) -> None:
        if reversed_id(entry.invoice_id) is not None:
            return
        day = utc(entry.changed_at).toordinal()
        self._days[entry.invoice_id] = self._shared_days.setdefault(day, day)
        _keep(self._early, entry.invoice_id, entry.waits_for == FINALIZATION)
        flagged = entry.in_books and entry.result == "skipped" and self._flags(entry.realm)
        _keep(self._closed, entry.invoice_id, flagged or (entry.state == "voided" and entry.attempt is None))

    def forget_old(self, now: datetime) -> None:
        oldest = utc(now - self._keep).toordinal()
        for invoice_id in [each for each, day in self._days.items() if day < oldest]:
            del self._days[invoice_id]
            self._closed.discard(invoice_id)
            self._early.discard(invoice_id)


def _keep(members: set[str], member: str, is_in: bool) -> None:
    (members.add if is_in else members.discard)(member)


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
    """Why the invoice is to be announced: it is final and unknown, or was not final when its webhook came; or it is
    voided and not dealt with, whether or not it says when it was issued."""
    if invoice.status == FINALIZED and known.early(invoice.id):
        return FINALIZED
    if is_past(invoice, horizon, now):
        return None
    if invoice.status == VOID and invoice.id in known and not known.closed(invoice.id):
        return VOID
    if invoice.status != FINALIZED or invoice.issued_at is None or invoice.id in known:
        return None
    return FINALIZED if utc(invoice.issued_at) + horizon.grace <= now else None


def is_past(invoice: ListedInvoice, horizon: Horizon, now: datetime) -> bool:
    """Whether the invoice, and all that say when they were issued and follow it in a list from the newest on, were
    issued too long ago."""
    back = horizon.voids if invoice.status == VOID else horizon.finalized
    return invoice.issued_at is not None and utc(invoice.issued_at) < now - back


def announcement_of(invoice: ListedInvoice) -> Announcement:
    return Announcement(invoice_id=invoice.id, customer_id=invoice.customer_id, status=invoice.status)


def asked_again(command: DeclineInvoice, now: datetime) -> Announcement | DeclineInvoice:
    """What follows from a parked `command` when its turn comes: Metronome is asked again, or not any more."""
    since = command.received_at
    if command.customer_id is None or since is None or now - since >= ASKED_AGAIN_WITHIN:
        reason = f"{command.reason}; it was asked for again for {ASKED_AGAIN_WITHIN.days} days"
        declined: DeclineInvoice = command.replace(decision="skipped", reason=reason)
        return declined
    return Announcement(
        invoice_id=command.invoice_id, customer_id=command.customer_id, status=FINALIZED, received_at=since
    )


def headers_of(announcement: Announcement) -> dict[str, bytes]:
    """The headers of an announcement by a worker."""
    headers = {SOURCE_HEADER: ASKED_AGAIN.encode()}
    if announcement.received_at is not None:
        headers[RECEIVED_AT_HEADER] = announcement.received_at.isoformat().encode()
    return headers
