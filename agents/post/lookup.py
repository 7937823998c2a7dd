"""What the books hold of a document, and what became of an attempt without a result."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from agents.clients.failures import MappingBroken, OutcomeUnknown
from agents.clients.quickbooks_errors import checked, listed
from models.document import Kind, is_ours, reversed_id
from models.ledger import Attempt, LedgerEntry, move
from models.quickbooks import ENTITY, QUERY_LAG_SECONDS, quoted

from .decision import NOT_FOUND_CODE
from .numbers import numbers_of
from .resolve import Resolved
from .sink import Sink

PAGE = 1000
"""As many objects as an answer to a query holds (docs/vendors/quickbooks.md §2.4)."""
PAGES_MAX = 20

KINDS: tuple[Kind, ...] = ("invoice", "creditmemo")


async def look_up(entry: LedgerEntry, conclusive_from: float, resolved: Resolved | None, sink: Sink) -> LedgerEntry:
    """What became of the entry's attempt: the entry as the books have it, without the attempt, also put into the table.

    When a new document is not there, and may still come because it is not `conclusive_from` (monotonic seconds) yet,
    the entry as it was. `resolved` is the document as it is wanted now: one that is found with its total is the same.
    """
    attempt = entry.attempt
    assert attempt is not None
    stood = entry.qbo_id is not None and attempt.operation != "create"
    if stood:
        found = await fetched(entry, attempt.kind, sink)
    else:
        conclusive = sink.retry.monotonic() >= conclusive_from
        # What an unknown ledger of before wrote, and is to be voided, may be either.
        kinds: tuple[Kind, ...] = (attempt.kind,) if entry.kind or attempt.operation == "create" else KINDS
        for kind in kinds:
            attempt = attempt.replace(kind=kind)
            if (found := await _by_identity(entry, attempt, sink)) is not None:
                break
        if found is None and not conclusive:
            return entry
    settled = move(entry, "attempting", attempt=None, content_hash=None, changed_at=sink.now())
    if found is not None:
        # An update that may or may not have been applied is simply made again, with the SyncToken just read.
        created_as_wanted = attempt.operation == "create" and same_total(found, resolved)
        content_hash = attempt.content_hash if created_as_wanted else None
        settled = as_found(settled, found, attempt.kind, content_hash, sink.now())
        if is_voided(found):
            settled = move(settled, "voided", content_hash=None)
    elif stood:
        settled = deleted(settled, sink.now())
    sink.tables.invoices[entry.key] = settled
    return settled


async def fetched(entry: LedgerEntry, kind: Kind, sink: Sink) -> dict[str, Any] | None:
    """The document as QuickBooks has it; None when it was deleted there. Raises OutcomeUnknown when it was written so
    lately that it may only not be seen yet."""
    assert entry.qbo_id is not None
    try:
        return await sink.books.fetch(entry.realm, ENTITY[kind], entry.qbo_id)
    except MappingBroken as failure:
        if failure.facts.code != NOT_FOUND_CODE:
            raise
        if entry.seen_at is not None and sink.now() - entry.seen_at < timedelta(seconds=QUERY_LAG_SECONDS):
            raise OutcomeUnknown(str(failure), failure.facts) from failure
        return None


def deleted(entry: LedgerEntry, at: datetime) -> LedgerEntry:
    """The entry whose document was found to be deleted in QuickBooks."""
    row: LedgerEntry = entry.replace(deleted_at=at, content_hash=None, total=None)
    return row


async def _by_identity(entry: LedgerEntry, attempt: Attempt, sink: Sink) -> dict[str, Any] | None:
    """Our document by its number, or by customer and date when the company does not keep our numbers
    (docs/vendors/quickbooks.md §1.8). What an unknown ledger of before wrote may have any number of the invoice. What
    takes another one back has the date on which the void became known, which may be told of on several days: it is
    looked for among the customer's newest, whatever their date (§2.4).

    A voided one only when there is no other: somebody took it back, and it must not be posted a second time.
    """
    entity = ENTITY[attempt.kind]
    numbers = dict.fromkeys([attempt.doc_number, *(numbers_of(entry.invoice_id) if entry.look_up_first else ())])
    wanted = ", ".join(map(quoted, numbers))
    wheres = [f"DocNumber = {wanted}" if len(numbers) == 1 else f"DocNumber IN ({wanted})"]
    if attempt.customer_ref is not None and attempt.txn_date is not None:
        wheres.append(_customer_and_date(entry, attempt.customer_ref, quoted(attempt.txn_date.isoformat())))
    for where in wheres:
        ours = await _ours(entity, where, entry, sink)
        if ours:
            return min(ours, key=is_voided)
    return None


def _customer_and_date(entry: LedgerEntry, customer_ref: str, date: str) -> str:
    """A condition for the documents among which ours is. What the ledger does not know may have been made out to
    another customer than the one that a person named since: it is looked for among all documents of its date."""
    if reversed_id(entry.invoice_id) is not None:
        return f"CustomerRef = {quoted(customer_ref)} ORDERBY TxnDate DESC"
    of_date = f"TxnDate = {date}"
    return of_date if entry.look_up_first else f"CustomerRef = {quoted(customer_ref)} AND {of_date}"


async def _ours(entity: str, where: str, entry: LedgerEntry, sink: Sink) -> list[dict[str, Any]]:
    """Our documents among all that a condition fits. Raises OutcomeUnknown when they are too many to look through."""
    for page in range(PAGES_MAX):
        start = 1 + page * PAGE
        statement = f"SELECT * FROM {entity} WHERE {where} STARTPOSITION {start} MAXRESULTS {PAGE}"  # noqa: S608
        found = listed(entity, await sink.books.query(entry.realm, statement))
        ours = [checked(entity, each) for each in found if is_ours(each, entry.invoice_id)]
        if ours or len(found) < PAGE:
            return ours
    raise OutcomeUnknown(f"more than {PAGES_MAX * PAGE:,} documents fit {where}: ours cannot be told from them")


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


def as_found(
    entry: LedgerEntry, found: dict[str, Any], kind: Kind, content_hash: str | None, at: datetime
) -> LedgerEntry:
    """The entry with what the books say of its document `at` this moment."""
    number = found.get("DocNumber") or entry.doc_number
    updated: LedgerEntry = entry.replace(
        kind=kind,
        qbo_id=str(found["Id"]),
        sync_token=str(found.get("SyncToken") or 0),
        doc_number=None if number is None else str(number),
        total=Decimal(str(found["TotalAmt"])),
        currency=(found.get("CurrencyRef") or {}).get("value", entry.currency),
        content_hash=content_hash,
        attempt=None,
        seen_at=at,
        deleted_at=None,
    )
    return updated


def require_ours(found: dict[str, Any], entry: LedgerEntry, attempt: Attempt) -> None:
    """Raises OutcomeUnknown when the answer to this attempt speaks of another document, or of none that was voided."""
    is_new = attempt.operation == "create"
    if not (is_ours(found, entry.invoice_id) if is_new else str(found["Id"]) == entry.qbo_id):
        raise OutcomeUnknown(f"QuickBooks' answer speaks of another document, {found['Id']}")
    if attempt.operation == "void" and Decimal(str(found["TotalAmt"])) != 0:
        raise OutcomeUnknown(f"QuickBooks' answer to a void still has the total {found['TotalAmt']}")
