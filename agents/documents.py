"""One document in the books: attempted as often as needed, there exactly once.

Before a write leaves, its attempt is recorded and confirmed by the broker. Whenever an attempt has no recorded result
(a crash, a lost answer), the document is looked up before anything is sent again, and the same write goes out with the
same requestid. So it is safe whether QuickBooks remembers a requestid or not (facts/quickbooks.md §3.2, §3.3).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from models.commands import PostInvoice, VoidInvoice
from models.document import DOC_NUMBER_HEX_MAX, DOC_NUMBER_HEX_MIN, DOC_NUMBER_PREFIX, Document, Kind, doc_number
from models.ledger import Attempt, LedgerEntry, move
from models.quickbooks import ENTITY, body_of, quoted
from models.record import Address

from .failures import (
    Doubtful,
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    NotFound,
    Refused,
    StaleObject,
    Wait,
)
from .mappings import customer_ref, item_ref
from .persistence import Tries
from .quickbooks_client import encode
from .sink import Sink, requestid

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


async def post_document(
    command: PostInvoice, entry: LedgerEntry, customer: str, items: list[str], sink: Sink, tries: Tries
) -> Written:
    """Create the document, or update in place what is there. Raises the failure that ended or outlasted the attempts.

    When it raises, the table holds the entry; with its attempt, if that may have been carried out.
    """
    document, made, digits_min, number = command.document, 0, DOC_NUMBER_HEX_MIN, ""
    key = f"{entry.realm}/{entry.invoice_id}"
    while True:
        try:
            if entry.attempt is not None:
                entry, settled = await _settle(entry, document, customer, sink)
                if settled and entry.content_hash == document.content_hash():
                    return _written(
                        entry, "updated" if entry.state == "updated" else "posted", sink, made, adopted=True
                    )
            number = entry.doc_number if entry.in_books and entry.doc_number else free_number(entry, digits_min, sink)
            body = body_of(
                document,
                customer_ref=customer,
                item_refs=items,
                doc_number=number,
                send_currency=sink.policy_of(command.realm).send_currency,
            )
            operation: Literal["create", "update"] = "create"
            if entry.in_books:
                operation = "update"
                body |= {"Id": entry.qbo_id, "SyncToken": entry.sync_token, "sparse": True}
            content = encode(body)
            identity = requestid(command.realm, f"invoice/{document.invoice_id}", operation, content)
            attempt = Attempt(
                requestid=identity,
                operation=operation,
                kind=document.kind,
                content_hash=document.content_hash(),
                doc_number=number,
                at=sink.now(),
            )
            entry = await _record_attempt(entry, attempt, sink)
            made += 1
            found, tid = await _write(entry, attempt, content, sink)
            entry = _as_found(entry, found, document.kind, attempt.content_hash)
            result: Literal["posted", "updated"] = "posted" if operation == "create" else "updated"
            return _written(entry, result, sink, made, identity, tid)
        except DuplicateNumber as failure:
            # Not ours unless the look-up at the top of the loop says so; then the next number is one digit longer.
            digits_min = len(number) - len(DOC_NUMBER_PREFIX) + 1
            if (
                entry.in_books
                or doc_number(document.invoice_id, digits_min) == number
                or digits_min > DOC_NUMBER_HEX_MAX
            ):
                raise Refused(str(failure), failure.facts) from None
        except (Wait, Doubtful, DuplicateRequest, StaleObject) as failure:
            await tries.pause(failure)
            entry = sink.tables.invoices.get(key, entry)


async def void_document(command: VoidInvoice, entry: LedgerEntry, sink: Sink, tries: Tries) -> Written | None:
    """Void what is in the books of this invoice; None when there is nothing. Raises like `post_document`."""
    made, key = 0, f"{entry.realm}/{entry.invoice_id}"
    while True:
        try:
            if entry.attempt is not None:
                entry, _ = await _settle(entry, None, None, sink)
                if entry.state == "voided":
                    return _written(entry, "voided", sink, made, adopted=True)
            if not entry.in_books:
                return None
            kind, number = entry.kind or "invoice", entry.doc_number or doc_number(entry.invoice_id)
            content = encode({"Id": entry.qbo_id, "SyncToken": entry.sync_token})
            identity = requestid(command.realm, f"invoice/{command.invoice_id}", "void", content)
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
        except (Wait, Doubtful, DuplicateRequest, StaleObject) as failure:
            await tries.pause(failure)
            entry = sink.tables.invoices.get(key, entry)


def free_number(entry: LedgerEntry, digits_min: int, sink: Sink) -> str:
    """The shortest number of this invoice, of at least `digits_min` hex digits, that no other invoice of ours has."""
    numbers = [doc_number(entry.invoice_id, digits) for digits in range(digits_min, DOC_NUMBER_HEX_MAX + 1)]
    mine = (None, entry.invoice_id)
    return next(
        (number for number in numbers if sink.tables.doc_numbers.get(f"{entry.realm}/{number}") in mine), numbers[-1]
    )


async def _record_attempt(entry: LedgerEntry, attempt: Attempt, sink: Sink) -> LedgerEntry:
    number_key = f"{entry.realm}/{attempt.doc_number}"
    if sink.tables.doc_numbers.get(number_key) != entry.invoice_id:
        sink.tables.doc_numbers[number_key] = entry.invoice_id
    attempting = move(
        entry, "attempting", attempt=attempt, attempts=entry.attempts + 1, changed_at=sink.now(), kind=attempt.kind
    )
    await sink.tables.record_attempt(f"{entry.realm}/{entry.invoice_id}", attempting)
    return attempting


async def _write(entry: LedgerEntry, attempt: Attempt, content: bytes, sink: Sink) -> tuple[dict[str, Any], str | None]:
    """One write. A definite no settles its attempt in the table; a doubtful one leaves it for the look-up."""
    operation = "void" if attempt.operation == "void" else None
    try:
        return await sink.books.write(
            entry.realm, ENTITY[attempt.kind], content, requestid=attempt.requestid, operation=operation
        )
    except (Doubtful, DuplicateRequest, DuplicateNumber, StaleObject):
        raise
    except Failure:
        sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = entry.replace(attempt=None)
        raise


async def _settle(
    entry: LedgerEntry, document: Document | None, customer: str | None, sink: Sink
) -> tuple[LedgerEntry, bool]:
    """Learn what became of an attempt without a result: the entry as the books have it, and whether it was found."""
    attempt = entry.attempt
    assert attempt is not None
    if entry.qbo_id is not None and attempt.operation != "create":
        found = await _by_id(entry, attempt.kind, sink)
    else:
        found = await _by_identity(entry, attempt, document, customer, sink)
    if found is None:
        return entry.replace(attempt=None), False
    if _is_voided(found):
        voided = _as_found(entry, found, attempt.kind, None)
        return voided.replace(state="voided", attempt=None), True
    # An update that may or may not have been applied is simply made again, with the SyncToken just read.
    content_hash = attempt.content_hash if attempt.operation == "create" and _same_total(found, document) else None
    return _as_found(entry, found, attempt.kind, content_hash), True


async def _by_id(entry: LedgerEntry, kind: Kind, sink: Sink) -> dict[str, Any] | None:
    assert entry.qbo_id is not None
    try:
        return await sink.books.fetch(entry.realm, ENTITY[kind], entry.qbo_id)
    except (NotFound, MappingBroken):
        return None


async def _by_identity(
    entry: LedgerEntry, attempt: Attempt, document: Document | None, customer: str | None, sink: Sink
) -> dict[str, Any] | None:
    """Our live document by its number; by customer and date when the company does not keep our numbers (§1.8)."""
    entity = ENTITY[attempt.kind]
    wheres = [f"DocNumber = {quoted(attempt.doc_number)}"]
    if document is not None and customer is not None:
        wheres.append(f"CustomerRef = {quoted(customer)} AND TxnDate = {quoted(document.txn_date.isoformat())}")
    for where in wheres:
        statement = f"SELECT * FROM {entity} WHERE {where} MAXRESULTS 1000"  # noqa: S608 - literals are quoted
        response = await sink.books.query(entry.realm, statement)
        for candidate in response.get(entity) or []:
            if is_ours(candidate, entry.invoice_id) and not _is_voided(candidate):
                return dict(candidate)
    return None


def is_ours(found: dict[str, Any], invoice_id: str) -> bool:
    """Whether a document is the one of this invoice: its PrivateNote begins with the full id, never just the number.

    A void puts "Voided" before the note (§1.1).
    """
    first_line = (found.get("PrivateNote") or "").partition("\n")[0]
    return bool(first_line.endswith(IDENTITY_LINE.format(invoice_id=invoice_id)))


def _is_voided(found: dict[str, Any]) -> bool:
    """A void zeroes all amounts and puts "Voided" before the note (§1.1)."""
    return (found.get("PrivateNote") or "").startswith("Voided") and Decimal(str(found.get("TotalAmt", 0))) == 0


def _same_total(found: dict[str, Any], document: Document | None) -> bool:
    return document is not None and Decimal(str(found.get("TotalAmt"))) == document.total


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


def resolve(command: PostInvoice, sink: Sink) -> tuple[str, list[str]]:
    """The QuickBooks ids of the document's customer and of each line's item. Raises Parked."""
    document, realm = command.document, command.realm
    customer = customer_ref(realm, document.customer, sink.tables.customers)
    return customer, [item_ref(realm, line.item, sink.tables.items) for line in document.lines]


def first_entry(command: PostInvoice | VoidInvoice, at: Address, sink: Sink) -> LedgerEntry:
    return LedgerEntry(
        realm=command.realm,
        invoice_id=command.invoice_id,
        state="commanded",
        facts=command.facts,
        command=at,
        changed_at=sink.now(),
    )
