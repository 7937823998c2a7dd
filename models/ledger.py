"""The rows of the tables, and the one fold that moves an invoice from state to state."""

from datetime import date
from typing import Any, Literal

from .document import Kind
from .events import ConnectionChanged
from .money import Amount
from .outcomes import ErrorFacts, Result
from .record import Address, Moment, Record, Value
from .subject import Cause, RowKey, Subject

State = Literal[
    "received", "enriched", "commanded", "attempting", "posted", "updated", "voided", "skipped", "parked", "refused",
    "uncertain",
]  # fmt: skip

_RETRY: frozenset[State] = frozenset({"commanded", "attempting", "skipped", "refused", "parked", "uncertain", "voided"})

LEGAL_MOVES: dict[State, frozenset[State]] = {
    "received": frozenset({"received", "enriched"}),
    "enriched": frozenset({"enriched", "commanded"}),
    "commanded": _RETRY,
    "attempting": frozenset({"attempting", "posted", "updated", "voided", "skipped", "refused", "parked", "uncertain"}),
    "posted": frozenset({"commanded", "attempting", "posted", "voided"}),
    "updated": frozenset({"commanded", "attempting", "updated", "voided"}),
    "voided": frozenset({"commanded", "attempting", "voided"}),
    "skipped": _RETRY,
    "parked": _RETRY,
    "refused": _RETRY,
    # Left only by proof: a look-up (which makes it an attempt again) or the document itself.
    "uncertain": frozenset({"attempting", "uncertain", "posted", "updated", "voided"}),
}


class IllegalMove(Exception):
    """An invoice was about to move between two states that have no way between them: a bug, never data."""


class Attempt(Value):
    """A write that was about to leave: recorded, and confirmed by the broker, before its first byte.

    `content_hash` is that of the document as QuickBooks gets it, `doc_number` the number under which to look for it;
    `customer_ref` and `txn_date` where to look for a new one, should the company not keep our numbers.
    """

    requestid: str
    operation: Literal["create", "update", "void"]
    kind: Kind
    content_hash: str
    doc_number: str
    customer_ref: str | None = None
    txn_date: date | None = None
    at: Moment


class LedgerEntry(Record):
    """An invoice in the books: what is there now, and what was last tried.

    `command` is the newest command that was begun, `result` what became of it (None until that is known). `refusals`
    counts definite refusals of writes: each makes the next write a new one, should QuickBooks remember refusals.
    `void_wanted`: Metronome voided it, so whatever command comes, its document is to be void. `look_up_first`: the
    books may hold a document of it that this ledger does not know of. `facts`: the newest that a command was decided
    from, fetched at `facts_fetched_at`. `seen_at`: when QuickBooks last told of the document; `deleted_at`: when it was
    found to be deleted there. `billed_by`: the consolidated invoice that bills this one. `handed_to`: the company that
    has the invoice since `owner_epoch`, when this one gave it away without an attempt.
    """

    type: Literal["LedgerEntry"] = "LedgerEntry"
    realm: str
    invoice_id: str
    state: State
    content_hash: str | None = None
    kind: Kind | None = None
    qbo_id: str | None = None
    sync_token: str | None = None
    doc_number: str | None = None
    total: Amount | None = None
    currency: str | None = None
    attempts: int = 0
    refusals: int = 0
    void_wanted: bool = False
    look_up_first: bool = False
    owner_epoch: int = 0
    handed_to: str | None = None
    attempt: Attempt | None = None
    waits_for: Cause | None = None
    reason: str | None = None
    error: ErrorFacts | None = None
    facts: Address | None = None
    facts_fetched_at: Moment | None = None
    seen_at: Moment | None = None
    deleted_at: Moment | None = None
    billed_by: str | None = None
    command: Address | None = None
    result: Result | None = None
    changed_at: Moment

    @property
    def key(self) -> RowKey:
        return RowKey.of(self.realm, self.invoice_id)

    @property
    def ever_attempted(self) -> bool:
        """Whether a write of this invoice may ever have left for QuickBooks."""
        return self.attempts > 0 or self.attempt is not None or self.qbo_id is not None

    @property
    def in_books(self) -> bool:
        """Whether a live document of this invoice is known to stand in QuickBooks."""
        return self.qbo_id is not None and self.state != "voided" and self.deleted_at is None


def move(entry: LedgerEntry, state: State, **changes: Any) -> LedgerEntry:
    """The entry in its next state; raises IllegalMove when there is no such way."""
    if state not in LEGAL_MOVES[entry.state]:
        raise IllegalMove(f"invoice {entry.invoice_id} cannot go from {entry.state} to {state}")
    moved: LedgerEntry = entry.replace(state=state, **changes)
    return moved


class Batch(Record):
    """A batch that was about to leave, recorded and confirmed before; until its answer is there.

    `writes` are the requestids of its writes, in their order: they say what it holds but for DocNumbers, since each is
    derived from its write's content. `sent` counts how often it left, this time included.
    """

    type: Literal["Batch"] = "Batch"
    realm: str
    requestid: str
    writes: tuple[str, ...]
    sent: int
    at: Moment


class CustomerMapping(Record):
    type: Literal["CustomerMapping"] = "CustomerMapping"
    realm: str
    customer_id: str
    qbo_id: str
    name: str
    currency: str | None = None
    source: Literal["custom field", "matched", "created", "operator"]
    since: Address


class ItemMapping(Record):
    type: Literal["ItemMapping"] = "ItemMapping"
    realm: str
    product_id: str
    qbo_id: str
    name: str
    source: Literal["matched", "created", "operator"]
    since: Address


class Waiting(Record):
    """A command on an invoice that waits. `tried_at` is when it was last tried, or last asked to try again; `is_asked`
    that it was asked and its result is not there yet; `probes` how often its cause was probed in vain since a person or
    an event last did anything for it."""

    type: Literal["Waiting"] = "Waiting"
    realm: str
    subject: Subject
    waits_for: Cause
    command: Address
    tried_at: Moment
    probes: int = 0
    is_asked: bool = False


class Owner(Record):
    """The company that has an invoice; `owner_epoch` counts how often it was handed over. Without `invoice_id`, the
    company in which the customer was billed first, for which its custom field `qbo_customer_id` speaks.

    The key is `customer/invoice`, so that a regenerated invoice lies beside the one that it replaces.
    """

    type: Literal["Owner"] = "Owner"
    realm: str
    customer_id: str
    invoice_id: str | None = None
    owner_epoch: int = 0

    @property
    def key(self) -> RowKey:
        return RowKey.of(self.customer_id, self.invoice_id)


TABLES: dict[str, type[Record] | type[str]] = {
    "customers": CustomerMapping,
    "items": ItemMapping,
    "invoices": LedgerEntry,
    "doc_numbers": str,
    "waiting": Waiting,
    "batches": Batch,
    "connections": ConnectionChanged,
    "owners": Owner,
}
"""The tables by name, and what their rows are; `doc_numbers` holds the invoice id of each number, `realm/number`.
`owners` lies in the partitions of the webhooks, all others in those of the companies."""
