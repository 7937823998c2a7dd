"""QuickBooks Online's objects, in Intuit's words, as far as we send or read them (docs/vendors/quickbooks.md §1-§2)."""

import re
import unicodedata
from decimal import Decimal
from typing import Any

from .document import Document, Line

MINOR_VERSION = 75

ENTITY = {"invoice": "Invoice", "creditmemo": "CreditMemo"}
"""The envelope's key for each kind of document."""

QUERY_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'"})


def quoted(text: str) -> str:
    """`text` as a literal of the query language: backslash escapes, not doubled quotes (§2.4, recorded)."""
    return "'" + text.translate(QUERY_ESCAPES) + "'"


def body_of(
    document: Document, *, customer_ref: str, item_refs: list[str], doc_number: str, send_currency: bool = True
) -> dict[str, Any]:
    """The JSON object to POST. `item_refs` are the QuickBooks item ids, one for each line, in order.

    A credit memo has the shape of an invoice without a due date (§1.5). CurrencyRef is needed when the company has
    multicurrency on (§1.7).
    """
    body: dict[str, Any] = {
        "CustomerRef": {"value": customer_ref},
        "DocNumber": doc_number,
        "TxnDate": document.txn_date.isoformat(),
        "PrivateNote": document.private_note,
        "CustomerMemo": {"value": document.customer_memo},
        "Line": [_line(line, ref) for line, ref in zip(document.lines, item_refs, strict=True)],
    }
    if send_currency:
        body["CurrencyRef"] = {"value": document.currency}
    if document.kind == "invoice" and document.due_date is not None:
        body["DueDate"] = document.due_date.isoformat()
    return body | _further_fields(document)


def _further_fields(document: Document) -> dict[str, Any]:
    """What a document says only by policy (§1.6, §1.7, §1.9)."""
    refs = {
        "SalesTermRef": document.sales_term_id,
        "ClassRef": document.class_id,
        "DepartmentRef": document.department_id,
    }
    fields: dict[str, Any] = {name: {"value": value} for name, value in refs.items() if value is not None}
    if document.email is not None:
        fields["BillEmail"] = {"Address": document.email}
    if document.custom_fields:
        fields["CustomField"] = [
            {"DefinitionId": definition, "Type": "StringType", "StringValue": value}
            for definition, value in document.custom_fields.items()
        ]
    if document.exchange_rate is not None:
        fields["ExchangeRate"] = document.exchange_rate
    if document.global_tax_calculation is not None:
        fields["GlobalTaxCalculation"] = document.global_tax_calculation
    return fields


def _line(line: Line, item_ref: str) -> dict[str, Any]:
    detail: dict[str, Any] = {"ItemRef": {"value": item_ref}}
    if line.quantity is not None and line.unit_price is not None:
        detail |= {"Qty": line.quantity, "UnitPrice": line.unit_price}
    if line.tax_code is not None:
        detail["TaxCodeRef"] = {"value": line.tax_code}
    if line.class_id is not None:
        detail["ClassRef"] = {"value": line.class_id}
    if line.service_date is not None:
        detail["ServiceDate"] = line.service_date.isoformat()
    return {
        "Amount": line.amount,
        "DetailType": "SalesItemLineDetail",
        "Description": line.description,
        "SalesItemLineDetail": detail,
    }


def plain_number(number: Decimal) -> str:
    """A JSON number of the same value with no exponent: Decimal("1E+2") is 100."""
    return format(number, "f")


# Line breaks and tabs become spaces; other control characters vanish, and so do halves of characters that a cut in
# the middle of an emoji left behind, which no encoding can carry, and the codes that are no characters (U+FFFE and
# its like), which XML cannot.
_SPACES = (0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)
_NONCHARACTERS = (
    *range(0xFDD0, 0xFDF0),
    *(plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)),
)
_VANISHING = (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), *_NONCHARACTERS)

_CONTROL = dict.fromkeys(_VANISHING) | dict.fromkeys(_SPACES, " ")


def clean(text: str) -> str:
    """`text` on one line, without control characters and what is no character."""
    return text.strip() if text.isprintable() else text.translate(_CONTROL).strip()


def cut(text: str, length_max: int) -> str:
    """At most `length_max` UTF-16 units of `text`, never half a character; what was cut ends in an ellipsis."""
    if 2 * len(text) <= length_max or len(text.encode("utf-16-le")) <= 2 * length_max:
        return text
    return text.encode("utf-16-le")[: 2 * (length_max - 1)].decode("utf-16-le", errors="ignore") + "…"


CUSTOMER_NAME_CHARACTERS_MAX = 500

ITEM_NAME_CHARACTERS_MAX = 100

INACTIVE_SUFFIX = " (deleted)"
"""QuickBooks puts it behind the name of a list entry that is made inactive (docs/vendors/quickbooks.md §2.1)."""

_NOT_IN_NAMES = str.maketrans({":": " ", "\t": " ", "\n": " ", "\r": " "})


def tidy_name(name: str, length_max: int) -> str:
    """`name` without what QuickBooks refuses, no blank at its ends or twice within, at most `length_max` units."""
    return _shortened(" ".join(clean(name.translate(_NOT_IN_NAMES)).split()), length_max)


def with_suffix(name: str, suffix: str, length_max: int) -> str:
    """A tidy name that ends in `suffix` and is not too long; the name gives way."""
    room = length_max - _length(suffix)
    return tidy_name(_shortened(name, room) + suffix, length_max)


def same_name(one: str, other: str) -> bool:
    """Whether a person takes them for the same: no matter the capitals, how many blanks there are, how an accent is
    encoded, or what an inactive entry carries."""
    return _as_read(one) == _as_read(other)


def _as_read(name: str) -> str:
    composed = unicodedata.normalize("NFC", name.removesuffix(INACTIVE_SUFFIX))
    return " ".join(composed.casefold().split())


def name_pattern(name: str) -> str:
    """A LIKE pattern in ASCII that each spelling of `name` fits; other names may fit it too (§2.4, §12.5). The name
    itself when it has one spelling only."""
    plain = "".join(each if "!" <= each <= "~" else "%" for each in unicodedata.normalize("NFC", name))
    return name if plain == name else re.sub("%+", "%", f"%{plain}%")


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _shortened(text: str, length_max: int) -> str:
    """Never half a character."""
    if _length(text) <= length_max:
        return text
    return text.encode("utf-16-le")[: 2 * length_max].decode("utf-16-le", errors="ignore").strip()


RUN_SECONDS_MAX = 121.0
"""QuickBooks may run a write for 120 s (docs/vendors/quickbooks.md §1.1); sooner, "not found" may only mean "not yet".
"""

QUERY_LAG_SECONDS = 10.0
"""So long after a write a query may not see it yet; no figure is published."""

SEEN_SECONDS_MAX = RUN_SECONDS_MAX + QUERY_LAG_SECONDS
"""So long after a write left, that it is not found proves nothing."""
