"""What the write of one document does next: decided from what is known of it, without touching anything.

    an attempt without a known result, not looked up     → look it up
    …looked up and not there, but it may still come      → send the very same write again; or, should it not be the same
                                                           or a requestid not be trusted, wait until it cannot come
    …looked up and not there when it cannot come any more, or found: the attempt is settled, and
    the books may hold what a ledger of before wrote     → look it up
    the books hold what they should                      → done
    QuickBooks' answer was no                            → refuse
    a document is to be created that was attempted before, by whomever, and was not looked for since → look it up
    a document that stood in the books was deleted there → park, or there is nothing to void
    otherwise                                            → send

QuickBooks may run a write for two minutes (docs/vendors/quickbooks.md §1.1), and a query may be some seconds behind, so
that until then "not found" only means "not yet"; and whether it knows a repeated requestid is for the settings to say
(§3.2).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal, Protocol

from agents.clients.failures import (
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    NotConnected,
    OutcomeUnknown,
    ReconnectNeeded,
    StaleObject,
    Unrecoverable,
    Wait,
)
from agents.clients.quickbooks import encode
from models.document import Kind, doc_number
from models.ledger import LedgerEntry
from models.quickbooks import QUERY_LAG_SECONDS, SEEN_SECONDS_MAX
from models.subject import Cause, Subject

from .numbers import free_number
from .resolve import Resolved
from .sink import Parked, requestid

NEVER = -math.inf

NOT_FOUND_CODE = "610"
"""QuickBooks' code for what is not there (§6.2)."""

Reached = Literal["posted", "voided", "nothing there", "settled"]
"""What the books turned out to hold, so that nothing is to be written."""


@dataclass(frozen=True)
class WriteState:
    """How far one write has come. Times are monotonic seconds.

    `entry` is the ledger's row; its attempt is a write whose result is not known. Until `run_ends_at` QuickBooks may
    still carry out what was sent before, or its queries may not see it yet. `looked_up_at`: when the attempt was last
    looked for and not found. `refusal`: QuickBooks' no, of which only a look-up may still make a yes. `is_absent`: it
    was seen that there is no document of the invoice, or none of what was sent can have made one. `requestid_used`:
    QuickBooks said that it has had the request before.
    """

    entry: LedgerEntry
    run_ends_at: float = NEVER
    looked_up_at: float | None = None
    refusal: Failure | None = None
    numbers_taken: Mapping[str, DuplicateNumber] = field(default_factory=dict)
    sent: int = 0
    is_absent: bool = False
    requestid_used: bool = False


# Steps


@dataclass(frozen=True)
class LookUp:
    """Find out what became of the attempt. What is not there at `conclusive_from` or later does not come any more.

    With `write` there is no attempt, and what it would create is looked for.
    """

    conclusive_from: float
    write: "Send | None" = None


@dataclass(frozen=True)
class Send:
    """Make this write. `certain`: a no to it is a no, since nothing that was sent before can still be carried out."""

    operation: Literal["create", "update", "void"]
    kind: Kind
    number: str
    content: bytes
    content_hash: str
    requestid: str
    customer_ref: str | None = None
    txn_date: date | None = None
    certain: bool = True


@dataclass(frozen=True)
class WaitUntil:
    """Nothing may leave before `at`."""

    at: float


@dataclass(frozen=True)
class Refuse:
    """It ends with QuickBooks' no. `counted`: written again by a later command it is another request."""

    failure: Failure
    counted: bool = True


@dataclass(frozen=True)
class Park:
    """A person must act first."""

    parked: Parked


@dataclass(frozen=True)
class Done:
    """The books hold what they should, without a write."""

    reached: Reached


Step = LookUp | Send | WaitUntil | Refuse | Park | Done


class Goal(Protocol):
    """What the books are to hold in the end."""

    def reached(self, entry: LedgerEntry) -> Reached | None:
        """Whether the books hold it already, as far as `entry`, which has no attempt, tells."""

    def write(self, entry: LedgerEntry, numbers_taken: Mapping[str, DuplicateNumber]) -> "Send | Refuse | Park | None":
        """The write that brings it about; None when none does."""


def next_step(state: WriteState, goal: Goal, now: float, *, trust_requestids: bool) -> Step:
    """The one thing to do now."""
    entry, attempt = state.entry, state.entry.attempt
    if attempt is not None:
        if state.looked_up_at is None or now >= state.run_ends_at:
            return LookUp(state.run_ends_at)
        write = goal.write(entry, state.numbers_taken)
        match write:
            case Send(requestid=attempt.requestid, number=attempt.doc_number) if (
                trust_requestids and state.refusal is None and not state.requestid_used
            ):
                return replace(write, certain=False)
        return WaitUntil(state.run_ends_at)
    if entry.look_up_first and not (entry.in_books or state.is_absent):
        sought = goal.write(entry, state.numbers_taken) or HaveNone().write(entry, state.numbers_taken)
        if isinstance(sought, Send):
            return _look_for(sought, state, now)
    if (reached := goal.reached(entry)) is not None:
        return Done(reached)
    if state.refusal is not None:
        return Refuse(state.refusal)
    write = goal.write(entry, state.numbers_taken)
    assert write is not None
    if isinstance(write, Send) and write.operation == "create" and entry.attempts > 0 and not state.is_absent:
        return _look_for(write, state, now)
    return write


def _look_for(write: Send, state: WriteState, now: float) -> LookUp | WaitUntil:
    """Look for what this would create: an attempt of before may have made it."""
    if state.looked_up_at is not None and now < state.run_ends_at:
        return WaitUntil(state.run_ends_at)
    return LookUp(state.run_ends_at, write)


def after_failure(state: WriteState, write: Send, failure: Failure, sent_at: float) -> WriteState:
    """What is known after a write that was recorded in `state.entry` did not succeed."""
    match failure:
        case DuplicateNumber():
            # Ours, if a look-up says so, which may not see yet what was just written; else the next number is longer.
            taken = {**state.numbers_taken, write.number: failure}
            run_ends_at = max(state.run_ends_at, sent_at + QUERY_LAG_SECONDS)
            return replace(state, numbers_taken=taken, run_ends_at=run_ends_at, looked_up_at=None)
        case Unrecoverable():
            run_ends_at = max(state.run_ends_at, sent_at + SEEN_SECONDS_MAX)
            return replace(state, refusal=failure, run_ends_at=run_ends_at, looked_up_at=None)
        case OutcomeUnknown():
            run_ends_at = max(state.run_ends_at, sent_at + SEEN_SECONDS_MAX)
            return replace(state, run_ends_at=run_ends_at, looked_up_at=None)
        case DuplicateRequest():
            # QuickBooks has had this request: what it made of it may be under way.
            run_ends_at = max(state.run_ends_at, sent_at + SEEN_SECONDS_MAX)
            return replace(state, run_ends_at=run_ends_at, looked_up_at=None, requestid_used=True)
        case StaleObject():
            return replace(state, looked_up_at=None)
        case MappingBroken() if write.operation != "create" and failure.facts.code == NOT_FOUND_CODE:
            # A reference that is wrong, or the document itself is deleted: reading it tells (§12.3).
            return replace(state, refusal=failure, looked_up_at=None)
        case Wait():
            return settled(state) if write.certain else replace(state, looked_up_at=None)
        case NotConnected() | ReconnectNeeded() if write.certain:
            # Without a token nothing left for QuickBooks.
            entry = state.entry.replace(attempts=state.entry.attempts - 1)
            return replace(settled(replace(state, entry=entry)), refusal=failure)
        case _ if write.certain:
            return replace(settled(state), refusal=failure)
        case _:
            # A definite no, but the same write was sent before: the look-up has the last word.
            return replace(state, refusal=failure, looked_up_at=sent_at)


def is_tried_again(failure: Failure) -> bool:
    """Whether there is a pause before the next step, within the bounds of the retry policy."""
    return isinstance(failure, Wait | OutcomeUnknown | DuplicateRequest | StaleObject) and not isinstance(
        failure, Unrecoverable
    )


def after_look_up(state: WriteState, found: LedgerEntry) -> WriteState:
    """What is known once the attempt is settled: the document is there, so that nothing more can come of it; or it
    cannot come any more. Then a requestid that was used is of no use again."""
    found = found.replace(look_up_first=False)
    if state.requestid_used and not found.in_books:
        found = found.replace(refusals=found.refusals + 1)
    return replace(
        state,
        entry=found,
        run_ends_at=NEVER,
        looked_up_at=None,
        refusal=state.refusal if found.deleted_at is None else None,
        is_absent=not found.in_books,
        requestid_used=False,
    )


def settled(state: WriteState) -> WriteState:
    """The attempt was surely not carried out."""
    return replace(state, entry=state.entry.replace(attempt=None), is_absent=True)


def refused(entry: LedgerEntry, failure: Failure) -> LedgerEntry:
    """The entry after a definite no. QuickBooks' own noes are counted: it may remember them by their requestid."""
    is_quickbooks_own = failure.facts.status is not None and not isinstance(failure, Wait)
    row: LedgerEntry = entry.replace(attempt=None, refusals=entry.refusals + is_quickbooks_own)
    return row


# Goals


@dataclass(frozen=True)
class HaveDocument:
    """Exactly this document: created, or updated in place. `holders`: the invoice of each number, by `realm/number`."""

    realm: str
    resolved: Resolved
    holders: Mapping[str, str]

    def reached(self, entry: LedgerEntry) -> Reached | None:
        if entry.state == "voided":
            return "voided"
        same = entry.kind == self.resolved.document.kind and entry.content_hash == self.resolved.content_hash
        return "posted" if entry.in_books and same else None

    def write(self, entry: LedgerEntry, numbers_taken: Mapping[str, DuplicateNumber]) -> Send | Refuse | Park:
        document = self.resolved.document
        if entry.deleted_at is not None:
            return Park(_deleted(entry))
        if entry.in_books and entry.kind != document.kind:
            return Park(
                Parked(
                    f"the books hold this invoice as {entry.kind}, it should now be {document.kind}",
                    waits_for=Cause.document(entry.qbo_id),
                    remedy="void the document in QuickBooks and in Metronome, and regenerate the invoice",
                )
            )
        stands = entry.doc_number if entry.in_books else None
        number = stands or free_number(entry, numbers_taken, self.holders)
        if number in numbers_taken:
            return Refuse(numbers_taken[number], counted=False)
        body, operation = self.resolved.body(number), "create"
        if entry.in_books:
            body, operation = body | {"Id": entry.qbo_id, "SyncToken": entry.sync_token, "sparse": True}, "update"
        subject, unnumbered = Subject.invoice(document.invoice_id), encode(body | {"DocNumber": ""})
        return Send(
            operation="update" if entry.in_books else "create",
            kind=document.kind,
            number=number,
            content=encode(body),
            content_hash=self.resolved.content_hash,
            requestid=requestid(self.realm, subject, operation, unnumbered, entry.refusals, len(numbers_taken)),
            customer_ref=self.resolved.customer,
            txn_date=document.txn_date,
        )


def _deleted(entry: LedgerEntry) -> Parked:
    return Parked(
        f"{entry.doc_number} was deleted in QuickBooks, and is not posted a second time by itself",
        waits_for=Cause.document(entry.qbo_id),
        remedy=f"void invoice {entry.invoice_id} in Metronome, and let metronome-qbo watch find that, or send its "
        "webhook; should it be billed all the same, regenerate it there: the new one is posted",
    )


@dataclass(frozen=True)
class HaveNone:
    """No live document of this invoice: what stands there is voided."""

    def reached(self, entry: LedgerEntry) -> Reached | None:
        if entry.state == "voided":
            return "voided"
        return None if entry.in_books else "nothing there"

    def write(self, entry: LedgerEntry, numbers_taken: Mapping[str, DuplicateNumber]) -> Send | Refuse | Park:
        content = encode({"Id": entry.qbo_id, "SyncToken": entry.sync_token})
        return Send(
            operation="void",
            kind=entry.kind or "invoice",
            number=entry.doc_number or doc_number(entry.invoice_id),
            content=content,
            content_hash=entry.content_hash or "",
            requestid=requestid(entry.realm, Subject.invoice(entry.invoice_id), "void", content, entry.refusals),
        )
