"""One document in the books: attempted as often as needed, there exactly once.

Before a write leaves, its attempt is recorded and confirmed by the broker. Whenever an attempt has no recorded result
(a crash, a lost answer), the document is looked up before anything is sent again, and the same write goes out with the
same requestid. So a write that was carried out is found whether QuickBooks remembers a requestid or not
(docs/vendors/quickbooks.md §3.2, §3.3). What is to be done next is decided in `decision.py`; here it is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never

from agents.clients.failures import (
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    OutcomeUnknown,
    Refused,
    StaleObject,
    Unrecoverable,
    Wait,
)
from agents.clients.quickbooks import Leaving
from agents.clients.retry import Retries
from models.commands import HandOver, InvoiceCommand, PostInvoice
from models.ledger import Attempt, LedgerEntry, move
from models.quickbooks import ENTITY, QUERY_LAG_SECONDS, SEEN_SECONDS_MAX
from models.subject import Cause, RowKey

from .decision import (
    Done,
    Goal,
    HaveDocument,
    HaveNone,
    LookUp,
    Park,
    Reached,
    Refuse,
    Send,
    WaitUntil,
    WriteState,
    after_failure,
    after_look_up,
    is_tried_again,
    next_step,
    refused,
)
from .lookup import as_found, look_up, require_ours, same_total
from .numbers import was_overwritten
from .resolve import Resolved
from .sink import Parked, Sink

WAIT_SECONDS_MIN = 0.001
"""A shorter one may be too short to move a clock."""

ATTEMPT_SECONDS_MAX = 5.0
"""A recorded attempt leaves within this, or is recorded anew."""

WrittenState = Literal["posted", "updated", "voided"]


@dataclass(frozen=True)
class Written:
    """The ledger entry after the write, and what the outcome should say of it."""

    entry: LedgerEntry
    state: WrittenState
    requestid: str | None = None
    intuit_tid: str | None = None
    adopted: bool = False
    attempts: int = 0


async def post_document(
    command: PostInvoice, entry: LedgerEntry, resolved: Resolved, sink: Sink, retries: Retries
) -> Written:
    """Create the document, or update in place what is there. Raises the failure that ended or outlasted the attempts.

    When it raises, the table holds the entry; with its attempt, if that may have been carried out.
    """
    goal = HaveDocument(command.realm, resolved, sink.tables.doc_numbers)
    done = await _carry_out(goal, entry, sink, retries, resolved)
    assert isinstance(done, Written)
    return done


async def void_document(entry: LedgerEntry, sink: Sink, retries: Retries) -> Written | None:
    """Void what is in the books of this invoice; None when there is nothing. Raises like `post_document`."""
    done = await _carry_out(HaveNone(), entry, sink, retries)
    return done if isinstance(done, Written) else None


async def settle(entry: LedgerEntry, sink: Sink, retries: Retries, resolved: Resolved | None = None) -> LedgerEntry:
    """Learn what became of an attempt without a result: the entry as the books have it, also put into the table.

    A new document may still come while QuickBooks runs the write; so long it is waited for. Where the row knows of no
    attempt although there may have been one, `resolved` tells for whom the document would be. Raises the failure that
    outlasted the attempts.
    """
    sought = None if resolved is None else HaveDocument(entry.realm, resolved, sink.tables.doc_numbers)
    settled = await _carry_out(_HaveNoAttempt(sought), entry, sink, retries, resolved)
    assert isinstance(settled, LedgerEntry)
    return settled


@dataclass(frozen=True)
class _HaveNoAttempt:
    """That nothing is unknown: reached as soon as the attempt is settled, without a write of its own. `sought` is what
    is looked for where no attempt is known."""

    sought: HaveDocument | None

    def reached(self, entry: LedgerEntry) -> Reached | None:
        return "settled"

    def write(self, entry: LedgerEntry, numbers_taken: Mapping[str, DuplicateNumber]) -> Send | Refuse | Park | None:
        if self.sought is None or entry.attempt is not None:
            return None
        return self.sought.write(entry, numbers_taken)


async def _carry_out(
    goal: Goal, entry: LedgerEntry, sink: Sink, retries: Retries, resolved: Resolved | None = None
) -> Written | LedgerEntry:
    """Step by step until the goal is reached. A `Written`, or the entry when there was nothing to write."""
    monotonic = sink.retry.monotonic
    state = WriteState(entry, run_ends_at=monotonic() + _unseen_seconds(entry, sink))
    while True:
        step = next_step(state, goal, monotonic(), trust_requestids=sink.trust_requestids)
        match step:
            case Done(reached="posted" | "voided" as reached):
                return _written(state, reached, sink, adopted=True)
            case Done():
                return state.entry
            case Park(parked):
                raise parked
            case Refuse(failure, counted):
                if counted:
                    sink.tables.invoices[state.entry.key] = refused(state.entry, failure)
                raise Refused(str(failure), failure.facts) if isinstance(failure, Unrecoverable) else failure
            case WaitUntil(at):
                await sink.retry.sleep(max(at - monotonic(), WAIT_SECONDS_MIN))
            case LookUp():
                try:
                    state = await _looked_up(state, step, resolved, sink)
                except (Wait, OutcomeUnknown, DuplicateRequest, StaleObject) as failure:
                    await retries.wait(failure)
            case Send():
                state, found = await _send(step, state, sink, retries, resolved)
                if found is not None:
                    return found
            case _:
                assert_never(step)


def _unseen_seconds(entry: LedgerEntry, sink: Sink) -> float:
    """How long what was sent by a command or a worker of before may not be seen yet, for all that is known."""
    if entry.attempt is not None or was_overwritten(entry, sink.tables.doc_numbers):
        return ATTEMPT_SECONDS_MAX + SEEN_SECONDS_MAX  # it may leave now
    if entry.look_up_first:
        return sink.ledger_age.unseen_seconds(sink.now())  # by another ledger, which is not written to any more
    return min(QUERY_LAG_SECONDS, max(0.0, QUERY_LAG_SECONDS - (sink.now() - entry.changed_at).total_seconds()))


async def _looked_up(state: WriteState, step: LookUp, resolved: Resolved | None, sink: Sink) -> WriteState:
    entry = state.entry
    if step.write is not None:
        sought = entry.replace(attempt=_attempt_of(step.write, sink))
    else:
        attempt, sought = entry.attempt, entry
        assert attempt is not None
        first = attempt.operation == "create" and entry.attempts == 1
        await sink.batches.over(entry.realm, attempt.requestid, first=first)
    found = await look_up(sought, step.conclusive_from, resolved, sink)
    if found.attempt is not None:
        return replace(state, looked_up_at=sink.retry.monotonic())
    return after_look_up(state, found)


def _attempt_of(write: Send, sink: Sink) -> Attempt:
    return Attempt(
        requestid=write.requestid,
        operation=write.operation,
        kind=write.kind,
        content_hash=write.content_hash,
        doc_number=write.number,
        customer_ref=write.customer_ref,
        txn_date=write.txn_date,
        at=sink.now(),
    )


async def _send(
    write: Send, state: WriteState, sink: Sink, retries: Retries, resolved: Resolved | None
) -> tuple[WriteState, Written | None]:
    """Record the attempt, and make it. What is known then; and what was written, when it succeeded.

    Raises Parked when QuickBooks made another total of it.
    """
    attempt, recorded_at = _attempt_of(write, sink), sink.retry.monotonic()
    entry = await _record_attempt(state.entry, attempt, sink)
    state = replace(state, entry=entry, sent=state.sent + 1, is_absent=False)
    departure = _Departure(entry, sink, recorded_at, left_at=sink.retry.monotonic())
    try:
        found, tid = await _write(entry, attempt, write.content, sink, departure)
        require_ours(found, entry, attempt)
    except Failure as failure:
        state = after_failure(state, write, failure, departure.left_at)
        if state.entry.attempt is None:
            await sink.make_sure(entry.realm)  # a successor may have posted it, under this number
        if not state.entry.ever_attempted:  # after all, nothing left for QuickBooks
            sink.tables.doc_numbers.pop(RowKey.of(entry.realm, attempt.doc_number), None)
        if state.entry.attempt is None and state.refusal is None:
            sink.tables.invoices[entry.key] = state.entry
        if is_tried_again(failure):
            await retries.wait(failure)
        return state, None
    result: WrittenState = {"create": "posted", "update": "updated", "void": "voided"}[write.operation]  # type: ignore[assignment]
    as_wanted = result != "voided" and same_total(found, resolved)
    content_hash = write.content_hash if as_wanted else None
    state = replace(state, entry=as_found(entry, found, write.kind, content_hash, sink.now()))
    if result != "voided" and not as_wanted:
        assert resolved is not None
        sink.tables.invoices[entry.key] = move(state.entry, result)
        raise _another_total(state.entry, resolved)
    return state, _written(state, result, sink, requestid=write.requestid, tid=tid)


def _another_total(entry: LedgerEntry, resolved: Resolved) -> Parked:
    """A discount, a tax, shipping or an automation of the company may change a total (§12.11)."""
    return Parked(
        f"the total of {entry.doc_number} is {entry.total} in QuickBooks, and {resolved.document.total} in Metronome",
        waits_for=Cause.document(entry.qbo_id),
        remedy=f"find out what changes the total of {entry.doc_number} in QuickBooks, such as a discount, a tax or "
        "shipping; it is written again from time to time, at once with metronome-qbo redrive",
    )


async def _record_attempt(entry: LedgerEntry, attempt: Attempt, sink: Sink) -> LedgerEntry:
    number_key = RowKey.of(entry.realm, attempt.doc_number)
    if sink.tables.doc_numbers.get(number_key) != entry.invoice_id:
        sink.tables.doc_numbers[number_key] = entry.invoice_id
    attempting = move(
        entry, "attempting", attempt=attempt, attempts=entry.attempts + 1, changed_at=sink.now(), kind=attempt.kind
    )
    await sink.tables.record_attempt(entry.key, attempting)
    return attempting


@dataclass
class _Departure:
    """What is done when the write's turn has come: an attempt that had to wait for it is recorded anew before it
    leaves. Were the partition somebody else's by now, that would stop the worker. So is one whose confirmation came
    late: the worker may have stood still meanwhile.

    `recorded_at`: monotonic seconds before it was recorded; `left_at`: when it left, whose answer may never come.
    """

    entry: LedgerEntry
    sink: Sink
    recorded_at: float
    left_at: float

    async def __call__(self) -> None:
        monotonic = self.sink.retry.monotonic
        while monotonic() - self.recorded_at > ATTEMPT_SECONDS_MAX:
            self.recorded_at = monotonic()
            await self.sink.tables.record_attempt(self.entry.key, self.entry.replace(changed_at=self.sink.now()))
        self.left_at = monotonic()


async def _write(
    entry: LedgerEntry, attempt: Attempt, content: bytes, sink: Sink, leaving: Leaving
) -> tuple[dict[str, Any], str | None]:
    """One write: the document's new form, and the `intuit_tid`."""
    entity = ENTITY[attempt.kind]
    if attempt.operation == "create":
        first = entry.attempts == 1
        return await sink.batches.create(
            entry.realm, entity, content, requestid=attempt.requestid, first=first, leaving=leaving
        )
    operation = "void" if attempt.operation == "void" else None
    return await sink.books.write(
        entry.realm, entity, content, requestid=attempt.requestid, operation=operation, leaving=leaving
    )


def adopted(entry: LedgerEntry, state: WrittenState, sink: Sink) -> Written:
    """What the books turned out to hold, or to hold no more, without a write of this command."""
    return _written(WriteState(entry), state, sink, adopted=True)


def _written(
    state: WriteState,
    result: WrittenState,
    sink: Sink,
    *,
    requestid: str | None = None,
    tid: str | None = None,
    adopted: bool = False,
) -> Written:
    entry = state.entry if state.entry.state == result else move(state.entry, result)
    entry = entry.replace(changed_at=sink.now(), attempt=None, error=None, reason=None, waits_for=None)
    return Written(entry, result, requestid, tid, adopted, state.sent)


def first_entry(command: InvoiceCommand | HandOver, sink: Sink) -> LedgerEntry:
    return LedgerEntry(
        realm=command.realm,
        invoice_id=command.invoice_id,
        state="commanded",
        owner_epoch=command.owner_epoch,
        facts=command.facts,
        changed_at=sink.now(),
    )
