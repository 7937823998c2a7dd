"""The QuickBooks document that an invoice becomes, before customers and items are looked up in the tables.

It names customers and items by their Metronome ids, so that it is the same bytes whatever the tables hold.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

from .record import Value

Kind = Literal["invoice", "creditmemo"]

DOC_NUMBER_PREFIX = "MTR-"
DOC_NUMBER_HEX_MIN = 8
DOC_NUMBER_HEX_MAX = 17  # 21 characters in all (facts/quickbooks.md §1.3)


def doc_number(invoice_id: str, hex_digits: int = DOC_NUMBER_HEX_MIN) -> str:
    """`MTR-` and the first hex digits of the invoice id, upper case; more digits when that number is taken."""
    digits = "".join(character for character in invoice_id if character.isalnum())
    return DOC_NUMBER_PREFIX + digits[:hex_digits].upper()


class CustomerNeed(Value):
    """The customer a document is for. `qbo_id` is the custom field `qbo_customer_id`, when Metronome has one."""

    customer_id: str
    name: str
    qbo_id: str | None = None


class ItemNeed(Value):
    """The item of a line. `product_id` None: a line without a product, or the single-item strategy.

    `qbo_id` is what facts or policy say outright (custom field `qbo_item_id`, the single item); without it the
    table decides, then `default_qbo_id`.
    """

    name: str
    product_id: str | None = None
    qbo_id: str | None = None
    default_qbo_id: str | None = None


class Line(Value):
    """One line. Quantity and unit price are both there only when they multiply to the amount, rounded half up."""

    item: ItemNeed
    amount: Decimal
    description: str
    quantity: Decimal | None = None
    unit_price: Decimal | None = None


class Document(Value):
    """All of one invoice or credit memo; amounts in whole units of `currency`, the lines add up to `total`."""

    kind: Kind
    invoice_id: str
    customer: CustomerNeed
    currency: str
    doc_number: str
    txn_date: date
    due_date: date | None = None
    private_note: str
    customer_memo: str
    lines: tuple[Line, ...]
    total: Decimal
