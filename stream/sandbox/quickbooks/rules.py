"""The rules that QuickBooks checks a written object against; each raises `Refusal` (`facts/quickbooks.md` §1-§3)."""

from __future__ import annotations

import json
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any

from stream.sandbox.http import Json
from stream.sandbox.quickbooks.books import Books
from stream.sandbox.quickbooks.errors import Refusal, bad_reference, business, duplicate_name, missing, not_found

CENT = Decimal("0.01")
SEVENTH_DECIMAL = Decimal("0.0000001")
ANOTHER_KIND = "Another customer, vendor or employee is already using this name. Please use a different name."
NUMBER_LIMIT = Decimal(10) ** 11
KNOWN_NAMES_SHOWN_MAX = 57

LENGTHS_MAX = {
    "Invoice": {"DocNumber": 21, "PrivateNote": 4000, "PONumber": 15},
    "CreditMemo": {"DocNumber": 21, "PrivateNote": 4000, "PONumber": 15},
    "Customer": {
        "DisplayName": 500,
        "GivenName": 100,
        "MiddleName": 100,
        "FamilyName": 100,
        "Title": 16,
        "Suffix": 16,
    },
    "Item": {"Name": 100, "Description": 4000, "PurchaseDesc": 1000, "Sku": 100},
}
LINE_DESCRIPTION_MAX = 4000
CUSTOMER_MEMO_MAX = 1000
BILL_EMAIL_MAX = 100


@cache
def properties() -> dict[str, dict[str, str]]:
    """Property names and their types for each type of Intuit's schema that is served here."""
    text = resources.files("stream.sandbox.quickbooks").joinpath("properties.json").read_text()
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


def check_properties(kind: str, value: Json) -> None:
    """Unknown property anywhere, or an object where a plain value belongs: 2010, the whole request is refused."""
    known = properties()[kind]
    for name, child in value.items():
        expected = known.get(name)
        if expected is None:
            raise _unknown_property(kind, name, known)
        if child is None or expected == "*":
            continue
        repeated = expected.endswith("[]")
        if repeated != isinstance(child, list):
            raise _unreadable(kind, name)
        inner = expected.removesuffix("[]")
        for each in child if repeated else (child,):
            if isinstance(each, dict) != bool(inner) or isinstance(each, list):
                raise _unreadable(kind, name)
            if inner:
                check_properties(inner, each)


def _unknown_property(kind: str, name: str, known: dict[str, str]) -> Refusal:
    names = ", ".join(f'"{each}"' for each in list(known)[:KNOWN_NAMES_SHOWN_MAX])
    cut = " [truncated]" if len(known) > KNOWN_NAMES_SHOWN_MAX else ""
    return Refusal(
        "2010",
        "Request has invalid or unsupported property",
        f'Property Name:Unrecognized field "{name}" (class com.intuit.schema.finance.v3.{kind}), not marked as '
        f"ignorable ({len(known)} known properties: {names}{cut}])\n specified is unsupported or invalid",
    )


def _unreadable(kind: str, name: str) -> Refusal:
    detail = f"Property Name:Can not construct instance of {name} in {kind} specified is unsupported or invalid"
    return Refusal("2010", "Request has invalid or unsupported property", detail)


def read_object(body: bytes) -> Json:
    """The JSON object of a request, its numbers exact."""
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        detail = "Property Name:failed to parse json object specified is unsupported or invalid"
        raise Refusal("2010", "Request has invalid or unsupported property", detail)
    return value


def check_lengths(kind: str, value: Json) -> None:
    for name, length_max in LENGTHS_MAX[kind].items():
        check_length(value.get(name), length_max, name)
    check_length((value.get("CustomerMemo") or {}).get("value"), CUSTOMER_MEMO_MAX, "CustomerMemo")
    check_length((value.get("BillEmail") or {}).get("Address"), BILL_EMAIL_MAX, "BillEmail.Address")
    for line in value.get("Line") or ():
        check_length(line.get("Description"), LINE_DESCRIPTION_MAX, "Line.Description")


def check_length(value: Any, length_max: int, element: str) -> None:
    if isinstance(value, str) and len(value) > length_max:
        raise Refusal(
            "2050",
            "String length is either shorter or longer than supported by specification",
            f"String length specified does not match the supported length. Min:0 Max:{length_max} "
            f"Supplied length:{len(value)}",
            element,
        )


def check_id(value: str) -> None:
    if not value.isdigit():
        raise Refusal("2030", "Invalid ID", f"Id should be a valid number. Supplied value:{value}", "Id")


def check_name(books: Books, kind: str, name: str, own_id: str = "") -> None:
    """Names are unique (case does not count) and hold no colon, tab or newline."""
    if not name.strip():
        raise missing("Name")
    if any(each in name for each in ":\t\n"):
        raise business("A name may not hold a colon, a tab or a new line.")
    holder = books.holder_of(kind, name)
    if holder is not None and holder != (kind, own_id):
        raise duplicate_name(ANOTHER_KIND if holder[0] != kind else "null")


def reference(books: Books, kind: str, ref: Any, label: str) -> Json | None:
    """The object that a reference points at, None without one; 2500 when there is none such, 610 when inactive."""
    value = ref.get("value") if isinstance(ref, dict) else None
    if value in (None, ""):
        return None
    found = books.objects[kind].get(str(value))
    if found is None:
        raise bad_reference(label, value)
    if not found["Active"]:
        raise not_found()
    return found


def number(value: Any, element: str) -> Decimal | None:
    """A JSON number, or a string that holds one; None when absent."""
    if value is None or value == "":
        return None
    try:
        read = Decimal(value) if not isinstance(value, bool) else Decimal("NaN")
    except (InvalidOperation, TypeError):
        read = Decimal("NaN")
    if not read.is_finite() or abs(read) >= NUMBER_LIMIT:
        raise Refusal("2140", "Invalid Number", f"Invalid Number : {element}. Supplied value:{value}", element)
    return read


def money(value: Decimal) -> Decimal | int:
    """Two decimals, half up, written as the service writes them: 100.0, 12.34, 0."""
    cents = value.quantize(CENT, ROUND_HALF_UP)
    if not cents:
        return 0
    short = cents.normalize()
    exponent = short.as_tuple().exponent
    return short if isinstance(exponent, int) and exponent < 0 else cents.quantize(Decimal("0.1"))


def seven_decimals(value: Decimal) -> Decimal | int:
    """Qty and UnitPrice keep seven decimals; the eighth is dropped (facts/quickbooks.md §1.4)."""
    cut = value.quantize(SEVENTH_DECIMAL, ROUND_DOWN)
    whole = int(cut)
    return whole if cut == whole else cut.normalize()


def check_amount(amount: Decimal, quantity: Decimal, unit_price: Decimal) -> None:
    """Amount equals Qty x UnitPrice rounded half up to the cent, exactly (facts/quickbooks.md §1.4)."""
    if amount != (quantity * unit_price).quantize(CENT, ROUND_HALF_UP):
        raise Refusal(
            "6070",
            "Amount calculation incorrect in the request.",
            f"Amount is not equal to UnitPrice * Qty. Supplied value:{amount:,}",
            "Line.Amount",
        )
