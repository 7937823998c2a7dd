"""Looks up a document's customer and items in the tables: all that will stand in the books but its number."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from agents.clients.quickbooks import encode
from models.commands import PostInvoice
from models.document import Document
from models.ledger import LedgerEntry
from models.quickbooks import body_of
from models.subject import RowKey, Subject

from .customers import customer_ref
from .items import item_ref
from .numbers import was_overwritten
from .sink import Parked, Sink


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


def remember_billed(command: PostInvoice, sink: Sink) -> None:
    """That a consolidated invoice bills its constituents, for those that come after it; recorded with its attempt."""
    for other in command.document.constituents:
        row = sink.tables.invoices.get(RowKey.of(command.realm, other)) or LedgerEntry(
            realm=command.realm, invoice_id=other, state="commanded", changed_at=sink.now()
        )
        if row.billed_by != command.invoice_id:
            sink.tables.invoices[row.key] = row.replace(billed_by=command.invoice_id)


def _refuse_doubles(document: Document, realm: str, sink: Sink) -> None:
    for other in stands_for(document):
        entry = sink.tables.invoices.get(RowKey.of(realm, other))
        if entry is None or not _may_stand(entry, sink):
            continue
        kind = "it replaces" if other == document.replaces else "it consolidates"
        raise Parked(
            f"invoice {document.invoice_id} would bill twice: invoice {other}, which {kind}, stands in the books"
            + (f" as {entry.doc_number}" if entry.doc_number else ""),
            waits_for=Subject.invoice(other),
            remedy=f"void invoice {other} in Metronome, and let metronome-qbo watch find that, or send its webhook; "
            f"when {entry.doc_number or 'its document'} is void, this one is posted by itself",
        )


def _may_stand(entry: LedgerEntry, sink: Sink) -> bool:
    """Whether the books hold a document of it, or may do for all that is known."""
    overwritten = entry.state != "voided" and was_overwritten(entry, sink.tables.doc_numbers)
    return entry.in_books or entry.attempt is not None or overwritten
