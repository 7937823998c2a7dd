"""What Metronome's custom fields say about a document: ids of QuickBooks, tax codes, an e-mail address.

Those of a line's product come first, then the contract's, then the customer's. A value that cannot be what it should
be is refused by name, so that it is corrected where it stands.
"""

import re
from collections.abc import Sequence

from models.metronome import LineItem
from models.policy import Policy
from models.quickbooks import clean

from .declined import refused

EMAIL_LENGTH_MAX = 100
"""docs/vendors/quickbooks.md §1.3."""
TEXT_LENGTH_MAX = 31
"""What a custom field of QuickBooks's sales forms holds; docs/vendors/quickbooks.md §1.3 knows their number, not this.
"""

# An address holds an @ and a dot (docs/vendors/quickbooks.md §2.1); several are told apart by commas.
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+")
_BETWEEN_EMAILS = re.compile(r"[\s,;]+")
_TAX_CODE = re.compile(r"[A-Za-z0-9]{1,30}")

Fields = dict[str, str]


def id_in(fields: Fields | None, field: str, owner: str) -> str | None:
    """The QuickBooks id in a custom field, None when absent; ids are digits (docs/vendors/quickbooks.md §1.1)."""
    value = fields.get(field, "").strip() if fields else ""
    if value and not (value.isascii() and value.isdigit()):
        raise refused("bad custom field", f"{field} of {owner} is {value!r}, not a QuickBooks id, which is all digits")
    return value or None


class MappedFields:
    """The fields that policy maps beyond the usual ones, looked up for one invoice."""

    def __init__(self, contract: Fields | None, customer: Fields | None) -> None:
        self._contract, self._customer = contract or {}, customer or {}
        self._common = (self._contract, self._customer)

    def line_id(self, field: str | None, line: LineItem) -> str | None:
        """The QuickBooks id that `field` holds for a line; None where it is off, absent or empty."""
        return None if field is None else _checked_id(field, self._of_line(field, line))

    def tax_code(self, line: LineItem, policy: Policy) -> str | None:
        """The line's tax code: a custom field in the policy's order, else the policy's own (§1.6 of
        docs/vendors/quickbooks.md). Who buys decides first, since reverse charge and exemption depend on that."""
        said = {
            "customer": (self._customer, "the customer"),
            "contract": (self._contract, "the contract"),
            "product": (line.product_custom_fields or {}, f"product {line.product_id} (line {line.name!r})"),
        }
        for fields, owner in (said[whose] for whose in policy.tax_code_order):
            value = fields.get(policy.tax_code_field, "").strip()
            if value and not _TAX_CODE.fullmatch(value):
                field = policy.tax_code_field
                raise refused(
                    "bad custom field", f"{field} of {owner} is {value!r}, not a tax code such as TAX, NON or 5"
                )
            if value:
                return value
        return policy.tax_code

    def document_id(self, field: str | None, lines: Sequence[LineItem]) -> str | None:
        """The one QuickBooks id that `field` holds for all lines that say something."""
        return None if field is None else _checked_id(field, self._of_document(field, lines))

    def email(self, field: str | None, lines: Sequence[LineItem]) -> str | None:
        """The addresses that `field` holds, with commas between them, as QuickBooks takes them."""
        value = self._of_document(field, lines) if field is not None else ""
        addresses = list(filter(None, _BETWEEN_EMAILS.split(value)))
        if not all(_EMAIL.fullmatch(each) for each in addresses) or (value and not addresses):
            raise refused("bad custom field", f"{field} is {value!r}, not an e-mail address or several with commas")
        if len(joined := ", ".join(addresses)) > EMAIL_LENGTH_MAX:
            raise refused("bad custom field", f"{field} is longer than {EMAIL_LENGTH_MAX} characters: {value!r}")
        return joined or None

    def texts(self, fields: Fields, lines: Sequence[LineItem]) -> Fields:
        """The values for QuickBooks's own custom fields, by DefinitionId."""
        found = {definition: self._of_document(field, lines) for definition, field in fields.items()}
        for definition, value in found.items():
            if len(value) > TEXT_LENGTH_MAX:
                field = fields[definition]
                raise refused("bad custom field", f"{field} is longer than {TEXT_LENGTH_MAX} characters: {value!r}")
        return {definition: value for definition, value in found.items() if value}

    def _of_line(self, field: str, line: LineItem) -> str:
        for fields in (line.product_custom_fields or {}, *self._common):
            if value := clean(fields.get(field, "")):
                return value
        return ""

    def _of_document(self, field: str, lines: Sequence[LineItem]) -> str:
        values = {value: None for line in lines if (value := self._of_line(field, line))}
        if len(values) > 1:
            first, second = list(values)[:2]
            raise refused("bad custom field", f"{field} is {first!r} for one line and {second!r} for another")
        return next(iter(values), "")


def _checked_id(field: str, value: str) -> str | None:
    return id_in({field: value}, field, "product, contract or customer")
