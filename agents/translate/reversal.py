"""The document that takes another one back, when voids are kept as credit memos. Pure.

It has the same lines and total and the other sign, and leaves the months before it as they were reported.
"""

from models.document import Document, doc_number, identity_line, reversal_id
from models.quickbooks import cut

from .dates import TxnDate
from .texts import CUSTOMER_MEMO_LENGTH_MAX, below_identity


def reversal_of(document: Document, dated: TxnDate) -> Document:
    """A credit memo for an invoice, an invoice for a credit memo; `dated` is when the void became known."""
    identity, note = reversal_id(document.invoice_id), document.private_note.partition("\n")[2]
    facts = [f"Takes back: {document.doc_number}, {identity_line(document.invoice_id)}"]
    if dated.original is not None:
        facts.append(f"Original date: {dated.original}, in a closed period")
    reversal: Document = document.replace(
        kind="invoice" if document.kind == "creditmemo" else "creditmemo",
        invoice_id=identity,
        txn_date=dated.day,
        due_date=None,
        sales_term_id=None,
        private_note=below_identity(identity, "\n".join([*facts, note])),
        customer_memo=cut(f"Takes back {document.doc_number}: {document.customer_memo}", CUSTOMER_MEMO_LENGTH_MAX),
        constituents=(),
        replaces=None,
        reverses=document.invoice_id,
        doc_number=doc_number(identity),
    )
    return reversal
