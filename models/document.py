"""The QuickBooks document that an invoice becomes, before customers and items are looked up in the tables.

It names customers and items by their Metronome ids, so that it is the same bytes whatever the tables hold.
"""

from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator

from .money import Amount, exact_sum
from .record import Value

Kind = Literal["invoice", "creditmemo"]

DOC_NUMBER_PREFIX = "MTR-"
DOC_NUMBER_HEX_MIN = 8
DOC_NUMBER_HEX_MAX = 17  # 21 characters in all (docs/vendors/quickbooks.md §1.3)


REVERSAL_SUFFIX = "~void"
REVERSAL_MARK = "V"


def reversal_id(invoice_id: str) -> str:
    """The identity, in ledger and PrivateNote, of the document that takes back the one of this invoice."""
    return invoice_id + REVERSAL_SUFFIX


def reversed_id(invoice_id: str) -> str | None:
    """The invoice that is taken back under this identity; None for an invoice of Metronome's."""
    return invoice_id.removesuffix(REVERSAL_SUFFIX) if invoice_id.endswith(REVERSAL_SUFFIX) else None


def doc_number(invoice_id: str, hex_digits: int = DOC_NUMBER_HEX_MIN) -> str:
    """`MTR-` and the first hex digits of the invoice id, upper case; more digits when that number is taken.

    What takes a document back has the same digits and a `V`.
    """
    mark = "" if reversed_id(invoice_id) is None else REVERSAL_MARK
    digits = "".join(filter(str.isalnum, invoice_id.removesuffix(REVERSAL_SUFFIX)))
    return DOC_NUMBER_PREFIX + digits[: min(hex_digits, DOC_NUMBER_HEX_MAX - len(mark))].upper() + mark


DRAW_DOWN_ITEM = "~draw-down"
CREDIT_ITEM = "~credit"
COMMIT_PURCHASE_ITEM = "~commit-purchase"
ROUNDING_ITEM = "~rounding"
RESERVED_ITEMS = frozenset({DRAW_DOWN_ITEM, CREDIT_ITEM, COMMIT_PURCHASE_ITEM, ROUNDING_ITEM})
"""Product ids of our own, for lines that policy gives items of their own; mapped by operators like any product."""


class CustomerReference(Value):
    """The customer a document is for. `qbo_id` is the custom field `qbo_customer_id`, when Metronome has one.

    `currency` is the document's: a QuickBooks customer has one for ever (docs/vendors/quickbooks.md §1.7). `away`: the
    customer was billed in another company first, for which the custom field speaks.
    """

    customer_id: str
    name: str
    qbo_id: str | None = None
    currency: str | None = None
    away: bool = False


class ItemReference(Value):
    """The item of a line. `product_id` None: a line without a product, or the single-item strategy.

    `qbo_id` is what facts or policy say outright (custom field `qbo_item_id`, the single item); without it the
    table decides, then `default_qbo_id`. `is_prepayment`: it is money that is owed, so that only a person says where it
    belongs: no item of income is created for it or taken instead.
    """

    name: str
    product_id: str | None = None
    qbo_id: str | None = None
    default_qbo_id: str | None = None
    is_prepayment: bool = False


class Line(Value):
    """One line. Quantity and unit price are both there only when they multiply to the amount, rounded half up.

    `tax_code` and `class_id` are QuickBooks's references, None where nothing is to be said; `service_date` is the day
    of service that its revenue reports go by.
    """

    item: ItemReference
    amount: Amount
    description: str
    quantity: Amount | None = None
    unit_price: Amount | None = None
    tax_code: str | None = None
    class_id: str | None = None
    service_date: date | None = None


GlobalTax = Literal["TaxExcluded", "TaxInclusive", "NotApplicable"]


class Document(Value):
    """All of one invoice or credit memo; amounts in whole units of `currency`, the lines add up to `total`.

    `constituents` are the invoices whose lines this consolidated one repeats, `replaces` the voided one from which it
    was regenerated: none of them may stand in the books beside it. `reverses` is the voided invoice whose document this
    one takes back, under the identity `reversal_id`. A due date and a sales term exclude each other.
    """

    kind: Kind
    invoice_id: str
    customer: CustomerReference
    currency: str
    doc_number: str
    txn_date: date
    due_date: date | None = None
    private_note: str
    customer_memo: str
    lines: tuple[Line, ...]
    total: Amount
    sales_term_id: str | None = None
    class_id: str | None = None
    department_id: str | None = None
    email: str | None = None
    custom_fields: dict[str, str] = Field(default_factory=dict)
    exchange_rate: Amount | None = None
    global_tax_calculation: GlobalTax | None = None
    constituents: tuple[str, ...] = ()
    replaces: str | None = None
    reverses: str | None = None

    @model_validator(mode="after")
    def _can_be_relied_on(self) -> "Document":
        """Whoever made the command: no other total, and no document that a look-up would not find."""
        if (lines := exact_sum([line.amount for line in self.lines])) != self.total:
            raise ValueError(f"total is {self.total}, the amounts of its lines add up to {lines}")
        if self.private_note.partition("\n")[0] != identity_line(self.invoice_id):
            raise ValueError(f"private_note does not begin with the line {identity_line(self.invoice_id)!r}")
        return self


def identity_line(invoice_id: str) -> str:
    """The first line of a PrivateNote: how a document is known as ours, whatever its number."""
    return f"Metronome invoice {invoice_id}"


def is_ours(found: dict[str, Any], invoice_id: str) -> bool:
    """Whether a document is the one of this invoice: its PrivateNote begins with the full id, never just the number.

    A void puts "Voided" before the note (§1.1).
    """
    first_line = str(found.get("PrivateNote") or "").partition("\n")[0]
    return bool(first_line.endswith(identity_line(invoice_id)))


DEFAULT_ITEM = "*"
