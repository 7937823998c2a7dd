"""What stands in the books of a voided invoice when it is not simply voided: looked at, compared, and closed.

Whether a person took the document back meanwhile is asked of QuickBooks first: nothing is taken back twice.
"""

from typing import Any

from agents.clients.failures import OutcomeUnknown, Wait
from agents.clients.retry import Retries
from models.commands import PostInvoice
from models.ledger import LedgerEntry, move
from models.subject import Cause, RowKey

from . import documents, lookup, numbers
from .resolve import Resolved, resolve
from .sink import Parked, Sink

BY_HAND = "void it in QuickBooks, or give a credit memo for it; then nothing is left to do here"


def original_of(command: PostInvoice, sink: Sink) -> LedgerEntry:
    """The ledger entry of the invoice that the command's document takes back."""
    assert command.document.reverses is not None
    invoice_id = command.document.reverses
    entry = sink.tables.invoices.get(RowKey.of(command.realm, invoice_id)) or LedgerEntry(
        realm=command.realm, invoice_id=invoice_id, state="commanded", facts=command.facts, changed_at=sink.now()
    )
    return numbers.marked(entry, sink.tables.doc_numbers)


def resolved_or_none(command: PostInvoice, sink: Sink) -> Resolved | None:
    """What the command would write, as far as the tables know its customer and items."""
    try:
        return resolve(command, sink)
    except Parked:
        return None


async def live_document(
    entry: LedgerEntry, sink: Sink, retries: Retries, resolved: Resolved | None = None
) -> tuple[LedgerEntry, dict[str, Any] | None]:
    """The entry with its attempt settled, and its live document as QuickBooks has it; None when there is none.
    `resolved` as in `documents.settle`.

    Raises the failure that outlasted the attempts.
    """
    entry = await documents.settle(entry, sink, retries, resolved)
    while entry.in_books:
        try:
            found = await lookup.fetched(entry, entry.kind or "invoice", sink)
            if found is None:
                entry = lookup.deleted(entry, sink.now())
                sink.tables.invoices[entry.key] = entry
            return entry, None if found is None or lookup.is_voided(found) else found
        except (Wait, OutcomeUnknown) as failure:
            await retries.wait(failure)
    return entry, None


def require_match(original: LedgerEntry, found: dict[str, Any], resolved: Resolved) -> None:
    """Raises Parked unless the document in the books is what `resolved` takes back: customer, items, total, kind."""
    document = resolved.document
    details = [line.get("SalesItemLineDetail") or {} for line in found.get("Line") or []]
    items = [detail["ItemRef"]["value"] for detail in details if detail.get("ItemRef")]
    differing = [
        name
        for name, same in {
            "kind": original.kind != document.kind,
            "customer": found["CustomerRef"]["value"] == resolved.customer,
            "items": items == list(resolved.items),
            "total": lookup.same_total(found, resolved),
        }.items()
        if not same
    ]
    if differing:
        raise Parked(
            f"{original.doc_number} in QuickBooks is not what would be taken back: another {', '.join(differing)}",
            waits_for=Cause.document(original.qbo_id),
            remedy=f"take {original.doc_number} back by hand: {BY_HAND}",
        )


def close(command: PostInvoice, reason: str, sink: Sink) -> None:
    """From here on the original is voided: no command that comes late or again posts or updates it."""
    original = original_of(command, sink)
    if original.state != "voided" or original.attempt is not None:
        closed = move(
            original,
            "voided",
            attempt=None,
            result=None,
            reason=reason,
            waits_for=None,
            error=None,
            changed_at=sink.now(),
        )
        sink.tables.invoices[closed.key] = closed
