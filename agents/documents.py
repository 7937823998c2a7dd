"""One document in the books: attempted as often as needed, there exactly once.

Before a write leaves, its attempt is recorded and confirmed by the broker. Whenever an attempt has no recorded result
(a crash, a lost answer), the document is looked up before anything is sent again, and the same write goes out with the
same requestid. So a write that was carried out is found whether QuickBooks remembers a requestid or not (§3.2, §3.3).

One that QuickBooks may still be carrying out (its run time, §1.1) cannot be found yet. Until that time is over only the
same write is repeated, under the same requestid, and with `requestids_trusted` off not even that.
"""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from models.commands import PostInvoice, VoidInvoice
from models.document import DOC_NUMBER_HEX_MAX, DOC_NUMBER_HEX_MIN, Document, Kind, doc_number
from models.ledger import Attempt, LedgerEntry, move
from models.quickbooks import ENTITY, body_of, quoted

from .customers import customer_ref
from .failures import (
    Doubtful,
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    NotFound,
    Refused,
    StaleObject,
    Unrecoverable,
    Wait,
)
from .mappings import item_ref
from .persistence import Tries
from .quickbooks_client import encode
from .sink import Parked, Sink, requestid

RUN_SECONDS_MAX = 121.0
"""QuickBooks may run a write for 120 s (facts/quickbooks.md §1.1); sooner, "not found" may only mean "not yet"."""

NEVER = -math.inf

IDENTITY_LINE = "Metronome invoice {invoice_id}"
"""The first line of a PrivateNote: how a document is known as ours, whatever its number."""


@dataclass(frozen=True)
class Written:
    """The ledger entry after the write, and what the outcome should tell of it."""

    entry: LedgerEntry
    requestid: str | None
    intuit_tid: str | None
    adopted: bool
    attempts: int


@dataclass(frozen=True)
class Resolved:
    """A document with its customer and items looked up: all that will stand in the books but its number.

    `content_hash` tells whether the books hold it already. It is of what QuickBooks gets, so that an invoice whose
    customer was merely mapped meanwhile is still the same, and one whose mapping was corrected is not.
    """

    customer: str
    items: tuple[str, ...]
    send_currency: bool
    document: Document
    content_hash: str

    def body(self, number: str) -> dict[str, Any]:
        return body_of(
            self.document,
            customer_ref=self.customer,
            item_refs=list(self.items),
            doc_number=number,
            send_currency=self.send_currency,
        )


def resolve(command: PostInvoice, sink: Sink) -> Resolved:
    """Looks up the document's customer and each line's item.

    Raises Parked when one is not known, or when what it bills stands in the books under another invoice.
    """
    document, realm = command.document, command.realm
    _refuse_doubles(document, realm, sink)
    customer = customer_ref(realm, document.customer, sink.tables.customers)
    items = tuple(item_ref(realm, line.item, sink.tables.items) for line in document.lines)
    resolved = Resolved(customer, items, sink.policy_of(realm).send_currency, document, "")
    return replace(resolved, content_hash=hashlib.sha256(encode(resolved.body(""))).hexdigest())


def stands_for(document: Document) -> tuple[str, ...]:
    """The invoices that this one bills again: a consolidated one its constituents, a regenerated one the voided one."""
    return (*document.constituents, *((document.replaces,) if document.replaces is not None else ()))


def _refuse_doubles(document: Document, realm: str, sink: Sink) -> None:
    for other in stands_for(document):
        entry = sink.tables.invoices.get(f"{realm}/{other}")
        if entry is None or not (entry.in_books or entry.attempt is not None):
            continue
        kind = "it replaces" if other == document.replaces else "it consolidates"
        raise Parked(
            f"invoice {document.invoice_id} would bill twice: invoice {other}, which {kind}, stands in the books"
            + (f" as {entry.doc_number}" if entry.doc_number else ""),
            waits_for=f"invoice/{other}",
            remedy=f"void invoice {other} in Metronome, and let metronome-qbo watch find that, or send its webhook; "
            f"when {entry.doc_number or 'its document'} is void, this one goes on by itself",
        )


async def post_document(
    command: PostInvoice, entry: LedgerEntry, resolved: Resolved, sink: Sink, tries: Tries
) -> Written:
    """Create the document, or update in place what is there. Raises the failure that ended or outlasted the attempts.

    When it raises, the table holds the entry; with its attempt, if that may have been carried out.
    """
    document, made, number = command.document, 0, ""
    taken: dict[str, DuplicateNumber] = {}
    given_up: Failure | None = None
    key = f"{entry.realm}/{entry.invoice_id}"
    monotonic = sink.patience.monotonic
    # Until then a write of before may still be carried out; one of another command may have left just now.
    over_at = monotonic() + RUN_SECONDS_MAX if entry.attempt is not None else NEVER
    while True:
        sent_at = NEVER
        try:
            former = entry.attempt
            if former is not None:
                entry = await settle(entry, resolved, sink, over_at, wait=not sink.requestids_trusted)
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
                await sink.patience.sleep(over_at - monotonic())
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
            entry = _as_found(entry, found, document.kind, attempt.content_hash)
            result: Literal["posted", "updated"] = "posted" if operation == "create" else "updated"
            return _written(entry, result, sink, made, identity, tid)
        except DuplicateNumber as failure:
            # Not ours unless the look-up at the top of the loop says so; else the next number is longer. And nothing is
            # on its way: a write of before either has this number by now, or is refused like this one.
            taken[number], over_at = failure, NEVER
        except Unrecoverable as failure:
            given_up = failure
        except (Wait, Doubtful, DuplicateRequest, StaleObject) as failure:
            if isinstance(failure, Doubtful):
                over_at = max(over_at, sent_at + RUN_SECONDS_MAX)
            await tries.pause(failure)
            entry = sink.tables.invoices.get(key, entry)
        except Failure as failure:
            if sent_at == NEVER or sent_at >= over_at:
                raise
            # A definite no, but the same write was sent before: the look-up has the last word.
            given_up = failure
            await sink.patience.sleep(over_at - monotonic())
            entry = sink.tables.invoices.get(key, entry)


async def void_document(command: VoidInvoice, entry: LedgerEntry, sink: Sink, tries: Tries) -> Written | None:
    """Void what is in the books of this invoice; None when there is nothing. Raises like `post_document`."""
    made, key = 0, f"{entry.realm}/{entry.invoice_id}"
    given_up: Unrecoverable | None = None
    over_at = sink.patience.monotonic() + RUN_SECONDS_MAX
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
            entry = _as_found(entry, found, kind, None)
            return _written(entry, "voided", sink, made, identity, tid)
        except Unrecoverable as failure:
            given_up = failure
        except (Wait, Doubtful, DuplicateRequest, StaleObject) as failure:
            await tries.pause(failure)
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
    except (Doubtful, DuplicateRequest, DuplicateNumber, StaleObject):
        raise
    except Failure as failure:
        if certain:
            sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = _refused(entry, failure)
        raise


async def settle(
    entry: LedgerEntry, resolved: Resolved | None, sink: Sink, over_at: float | None = None, *, wait: bool = True
) -> LedgerEntry:
    """Learn what became of an attempt without a result: the entry as the books have it, also put into the table.

    A new document may still come until `over_at` (monotonic; None: as late as can be). It is looked up again then; or,
    without `wait`, the answer is that it is not there yet, and the table keeps the attempt.
    """
    attempt = entry.attempt
    assert attempt is not None
    if sink.batches is not None:
        first = attempt.operation == "create" and entry.attempts == 1
        await sink.batches.over(entry.realm, attempt.requestid, first=first)
    if entry.qbo_id is not None and attempt.operation != "create":
        found = await fetched(entry, attempt.kind, sink)
    else:
        over_at = sink.patience.monotonic() + RUN_SECONDS_MAX if over_at is None else over_at
        found = await _by_identity(entry, attempt, sink)
        remaining = over_at - sink.patience.monotonic()
        if found is None and remaining > 0:
            if not wait:
                return move(entry, "attempting", attempt=None, content_hash=None)
            await sink.patience.sleep(remaining)
            found = await _by_identity(entry, attempt, sink)
    settled = move(entry, "attempting", attempt=None, content_hash=None, changed_at=sink.now())
    if found is not None:
        # An update that may or may not have been applied is simply made again, with the SyncToken just read.
        created_as_wanted = attempt.operation == "create" and same_total(found, resolved)
        settled = _as_found(settled, found, attempt.kind, attempt.content_hash if created_as_wanted else None)
        if is_voided(found):
            settled = move(settled, "voided", content_hash=None)
    sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = settled
    return settled


async def fetched(entry: LedgerEntry, kind: Kind, sink: Sink) -> dict[str, Any] | None:
    """The document as QuickBooks has it; None when it was deleted there."""
    assert entry.qbo_id is not None
    try:
        return await sink.books.fetch(entry.realm, ENTITY[kind], entry.qbo_id)
    except (NotFound, MappingBroken):
        return None


async def _by_identity(entry: LedgerEntry, attempt: Attempt, sink: Sink) -> dict[str, Any] | None:
    """Our document by its number, or by customer and date when the company does not keep our numbers (§1.8).

    A voided one only when there is no other: somebody took it back, and it must not be posted a second time.
    """
    entity = ENTITY[attempt.kind]
    wheres = [f"DocNumber = {quoted(attempt.doc_number)}"]
    if attempt.customer_ref is not None and attempt.txn_date is not None:
        date = quoted(attempt.txn_date.isoformat())
        wheres.append(f"CustomerRef = {quoted(attempt.customer_ref)} AND TxnDate = {date}")
    for where in wheres:
        statement = f"SELECT * FROM {entity} WHERE {where} MAXRESULTS 1000"  # noqa: S608 - literals are quoted
        response = await sink.books.query(entry.realm, statement)
        ours = [dict(each) for each in response.get(entity) or [] if is_ours(each, entry.invoice_id)]
        if ours:
            return min(ours, key=is_voided)
    return None


def is_ours(found: dict[str, Any], invoice_id: str) -> bool:
    """Whether a document is the one of this invoice: its PrivateNote begins with the full id, never just the number.

    A void puts "Voided" before the note (§1.1).
    """
    first_line = (found.get("PrivateNote") or "").partition("\n")[0]
    return bool(first_line.endswith(IDENTITY_LINE.format(invoice_id=invoice_id)))


def is_voided(found: dict[str, Any]) -> bool:
    """A void zeroes all amounts and puts "Voided" before the note (§1.1)."""
    return (found.get("PrivateNote") or "").startswith("Voided") and Decimal(str(found.get("TotalAmt", 0))) == 0


def same_total(found: dict[str, Any], resolved: Resolved | None) -> bool:
    """Whether the books hold our total. The tax that QuickBooks adds on top (§1.6) is not ours to compare."""
    if resolved is None:
        return False
    total = Decimal(str(found.get("TotalAmt")))
    if resolved.document.global_tax_calculation != "TaxInclusive":
        total -= Decimal(str((found.get("TxnTaxDetail") or {}).get("TotalTax") or 0))
    return total == resolved.document.total


def _as_found(entry: LedgerEntry, found: dict[str, Any], kind: Kind, content_hash: str | None) -> LedgerEntry:
    """The entry with what the books say of its document."""
    updated: LedgerEntry = entry.replace(
        kind=kind,
        qbo_id=str(found["Id"]),
        sync_token=str(found.get("SyncToken", "0")),
        doc_number=found.get("DocNumber") or entry.doc_number,
        total=Decimal(str(found["TotalAmt"])) if "TotalAmt" in found else entry.total,
        currency=(found.get("CurrencyRef") or {}).get("value", entry.currency),
        content_hash=content_hash,
        attempt=None,
        state=entry.state,
    )
    return updated


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
