"""One document in the books: attempted as often as needed, there exactly once.

Before a write leaves, its attempt is recorded and confirmed by the broker. Whenever an attempt has no recorded result
(a crash, a lost answer), the document is looked up before anything is sent again, and the same write goes out with the
same requestid. So a write that was carried out is found whether QuickBooks remembers a requestid or not (§3.2, §3.3).

One that QuickBooks may still be carrying out (its run time, §1.1) cannot be found yet. Until that time is over only the
same write is repeated, under the same requestid, and with `trust_requestids` off not even that.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

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
from agents.clients.quickbooks import encode
from agents.clients.retry import Retries
from models.commands import PostInvoice, VoidInvoice
from models.document import DOC_NUMBER_HEX_MAX, DOC_NUMBER_HEX_MIN, Document, doc_number
from models.ledger import Attempt, LedgerEntry, move
from models.quickbooks import ENTITY, RUN_SECONDS_MAX

from .lookup import as_found, settle
from .resolve import Resolved
from .sink import Parked, Sink, requestid

NEVER = -math.inf


@dataclass(frozen=True)
class Written:
    """The ledger entry after the write, and what the outcome should tell of it."""

    entry: LedgerEntry
    requestid: str | None
    intuit_tid: str | None
    adopted: bool
    attempts: int


async def post_document(
    command: PostInvoice, entry: LedgerEntry, resolved: Resolved, sink: Sink, retries: Retries
) -> Written:
    """Create the document, or update in place what is there. Raises the failure that ended or outlasted the attempts.

    When it raises, the table holds the entry; with its attempt, if that may have been carried out.
    """
    document, made, number = command.document, 0, ""
    taken: dict[str, DuplicateNumber] = {}
    given_up: Failure | None = None
    key = f"{entry.realm}/{entry.invoice_id}"
    monotonic = sink.retry.monotonic
    # Until then a write of before may still be carried out; one of another command may have left just now.
    over_at = monotonic() + RUN_SECONDS_MAX if entry.attempt is not None else NEVER
    while True:
        sent_at = NEVER
        try:
            former = entry.attempt
            if former is not None:
                entry = await settle(entry, resolved, sink, over_at, wait=not sink.trust_requestids)
                if entry.state == "voided":
                    return _written(entry, "voided", sink, made, adopted=True)
                if entry.content_hash == resolved.content_hash:
                    return _written(entry, "posted", sink, made, adopted=True)
            _refuse_given_up(entry, given_up, sink)
            _refuse_other_kind(entry, document)
            number = entry.doc_number if entry.in_books and entry.doc_number else free_number(entry, taken, sink)
            if number in taken:
                raise Refused(str(taken[number]), taken[number].facts)
            body = resolved.body(number)
            operation: Literal["create", "update"] = "create"
            if entry.in_books:
                operation = "update"
                body |= {"Id": entry.qbo_id, "SyncToken": entry.sync_token, "sparse": True}
            content = encode(body)
            identity = requestid(command.realm, f"invoice/{document.invoice_id}", operation, content, entry.refusals)
            if former is not None and former.requestid != identity and not entry.in_books and monotonic() < over_at:
                # Another write than the one that may still come: QuickBooks could not know them for the same.
                await sink.retry.sleep(over_at - monotonic())
                entry = sink.tables.invoices.get(key, entry)
                continue
            attempt = Attempt(
                requestid=identity,
                operation=operation,
                kind=document.kind,
                content_hash=resolved.content_hash,
                doc_number=number,
                customer_ref=resolved.customer,
                txn_date=document.txn_date,
                at=sink.now(),
            )
            entry = await _record_attempt(entry, attempt, sink)
            made += 1
            sent_at = monotonic()
            found, tid = await _write(entry, attempt, content, sink, certain=sent_at >= over_at)
            entry = as_found(entry, found, document.kind, attempt.content_hash)
            result: Literal["posted", "updated"] = "posted" if operation == "create" else "updated"
            return _written(entry, result, sink, made, identity, tid)
        except DuplicateNumber as failure:
            # Not ours unless the look-up at the top of the loop says so; else the next number is longer. And nothing is
            # on its way: a write of before either has this number by now, or is refused like this one.
            taken[number], over_at = failure, NEVER
        except Unrecoverable as failure:
            given_up = failure
        except (Wait, OutcomeUnknown, DuplicateRequest, StaleObject) as failure:
            if isinstance(failure, OutcomeUnknown):
                over_at = max(over_at, sent_at + RUN_SECONDS_MAX)
            await retries.wait(failure)
            entry = sink.tables.invoices.get(key, entry)
        except Failure as failure:
            if sent_at == NEVER or sent_at >= over_at:
                raise
            # A definite no, but the same write was sent before: the look-up has the last word.
            given_up = failure
            await sink.retry.sleep(over_at - monotonic())
            entry = sink.tables.invoices.get(key, entry)


async def void_document(command: VoidInvoice, entry: LedgerEntry, sink: Sink, retries: Retries) -> Written | None:
    """Void what is in the books of this invoice; None when there is nothing. Raises like `post_document`."""
    made, key = 0, f"{entry.realm}/{entry.invoice_id}"
    given_up: Unrecoverable | None = None
    over_at = sink.retry.monotonic() + RUN_SECONDS_MAX
    while True:
        try:
            if entry.attempt is not None:
                entry = await settle(entry, None, sink, over_at)
                if entry.state == "voided":
                    return _written(entry, "voided", sink, made, adopted=True)
            if not entry.in_books:
                return None
            _refuse_given_up(entry, given_up, sink)
            kind, number = entry.kind or "invoice", entry.doc_number or doc_number(entry.invoice_id)
            content = encode({"Id": entry.qbo_id, "SyncToken": entry.sync_token})
            identity = requestid(command.realm, f"invoice/{command.invoice_id}", "void", content, entry.refusals)
            attempt = Attempt(
                requestid=identity,
                operation="void",
                kind=kind,
                content_hash=entry.content_hash or "",
                doc_number=number,
                at=sink.now(),
            )
            entry = await _record_attempt(entry, attempt, sink)
            made += 1
            found, tid = await _write(entry, attempt, content, sink)
            entry = as_found(entry, found, kind, None)
            return _written(entry, "voided", sink, made, identity, tid)
        except Unrecoverable as failure:
            given_up = failure
        except (Wait, OutcomeUnknown, DuplicateRequest, StaleObject) as failure:
            await retries.wait(failure)
            entry = sink.tables.invoices.get(key, entry)


def free_number(entry: LedgerEntry, taken: Collection[str], sink: Sink) -> str:
    """The shortest number of this invoice that neither another invoice of ours has nor QuickBooks calls `taken`.

    The longest one when there is none such.
    """
    lengths = range(DOC_NUMBER_HEX_MIN, DOC_NUMBER_HEX_MAX + 1)
    numbers = [doc_number(entry.invoice_id, digits) for digits in lengths]
    holder = {number: sink.tables.doc_numbers.get(f"{entry.realm}/{number}") for number in numbers}
    free = [number for number in numbers if number not in taken and holder[number] in (None, entry.invoice_id)]
    return free[0] if free else numbers[-1]


async def _record_attempt(entry: LedgerEntry, attempt: Attempt, sink: Sink) -> LedgerEntry:
    number_key = f"{entry.realm}/{attempt.doc_number}"
    if sink.tables.doc_numbers.get(number_key) != entry.invoice_id:
        sink.tables.doc_numbers[number_key] = entry.invoice_id
    attempting = move(
        entry, "attempting", attempt=attempt, attempts=entry.attempts + 1, changed_at=sink.now(), kind=attempt.kind
    )
    await sink.tables.record_attempt(f"{entry.realm}/{entry.invoice_id}", attempting)
    return attempting


async def _write(
    entry: LedgerEntry, attempt: Attempt, content: bytes, sink: Sink, *, certain: bool = True
) -> tuple[dict[str, Any], str | None]:
    """One write. A definite no settles its attempt in the table; a doubtful one leaves it for the look-up.

    So does a no while it is not `certain` that the same write, sent before, will not be carried out any more.
    """
    operation = "void" if attempt.operation == "void" else None
    try:
        if attempt.operation == "create" and sink.batches is not None:
            return await sink.batches.create(
                entry.realm,
                ENTITY[attempt.kind],
                content,
                requestid=attempt.requestid,
                first=entry.attempts == 1,
            )
        return await sink.books.write(
            entry.realm, ENTITY[attempt.kind], content, requestid=attempt.requestid, operation=operation
        )
    except (OutcomeUnknown, DuplicateRequest, DuplicateNumber, StaleObject):
        raise
    except Failure as failure:
        if certain:
            sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = _refused(entry, failure)
        raise


def adopted(entry: LedgerEntry, state: Literal["posted", "voided"], sink: Sink) -> Written:
    """What the books turned out to hold, or to hold no more, without a write of this command."""
    return _written(entry, state, sink, 0, adopted=True)


def _written(
    entry: LedgerEntry,
    state: Literal["posted", "updated", "voided"],
    sink: Sink,
    made: int,
    identity: str | None = None,
    tid: str | None = None,
    *,
    adopted: bool = False,
) -> Written:
    done = entry if entry.state == state else move(entry, state)
    done = done.replace(changed_at=sink.now(), attempt=None, error=None, reason=None, waits_for=None)
    return Written(done, identity, tid, adopted, made)


def _refused(entry: LedgerEntry, failure: Failure) -> LedgerEntry:
    """The entry after a definite no. QuickBooks' own noes are counted: it may remember them by their requestid."""
    is_quickbooks_own = failure.facts.status is not None and not isinstance(failure, Wait)
    refused: LedgerEntry = entry.replace(attempt=None, refusals=entry.refusals + is_quickbooks_own)
    return refused


def _refuse_given_up(entry: LedgerEntry, failure: Failure | None, sink: Sink) -> None:
    """It was looked up, and is not as wanted. Written again by a later command it has another requestid."""
    if failure is None:
        return
    sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = _refused(entry, failure)
    raise Refused(str(failure), failure.facts) if isinstance(failure, Unrecoverable) else failure


def _refuse_other_kind(entry: LedgerEntry, document: Document) -> None:
    if entry.in_books and entry.kind != document.kind:
        raise Parked(
            f"the books hold this invoice as {entry.kind}, it should now be {document.kind}",
            waits_for=f"document/{entry.qbo_id}",
            remedy="void the document in QuickBooks and in Metronome, and regenerate the invoice",
        )


def first_entry(command: PostInvoice | VoidInvoice, sink: Sink) -> LedgerEntry:
    return LedgerEntry(
        realm=command.realm,
        invoice_id=command.invoice_id,
        state="commanded",
        facts=command.facts,
        changed_at=sink.now(),
    )
