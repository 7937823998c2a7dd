"""The rules that QuickBooks checks a written object against; each raises `Refusal` (`docs/vendors/quickbooks.md`
§1-§3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from simulators.http import Json
from simulators.quickbooks.books import Books
from simulators.quickbooks.errors import Refusal, bad_reference, bad_text, missing, not_found

CENT = Decimal("0.01")
NUMBER_LIMIT = Decimal(10) ** 11
NUMBER_LENGTH_MAX = 60
KNOWN_NAMES_SHOWN_MAX = 57
DEPTH_MAX = 30
SHOWN_VALUE_MAX = 100

PERSON = {"DisplayName": 500, "GivenName": 100, "MiddleName": 100, "FamilyName": 100, "Title": 16, "Suffix": 16}
LENGTHS_MAX: dict[str, dict[str, int]] = {
    "Invoice": {"DocNumber": 21, "PrivateNote": 4000, "PONumber": 15},
    "CreditMemo": {"DocNumber": 21, "PrivateNote": 4000, "PONumber": 15},
    "Customer": PERSON,
    "Vendor": PERSON,
    "Employee": PERSON,
    "Item": {"Name": 100, "Description": 4000, "PurchaseDesc": 1000, "Sku": 100},
}
LIST_NAME_MAX = 100
LINE_DESCRIPTION_MAX = 4000
CUSTOMER_MEMO_MAX = 1000
BILL_EMAIL_MAX = 100


@cache
def properties() -> dict[str, dict[str, str]]:
    """Property names and their types for each type of Intuit's schema that is served here."""
    loaded: dict[str, dict[str, str]] = _resource("properties.json")
    return loaded


@cache
def _resource(name: str) -> Any:
    return json.loads(resources.files("simulators.quickbooks").joinpath(name).read_text())


class _Property(NamedTuple):
    repeated: bool
    inner: str
    """The type of an object, "" for a plain value, "*" for anything."""
    read: Callable[[Any, str], Any]
    """Checks a plain value and gives it the type that the schema says."""


@cache
def _known(kind: str) -> dict[str, _Property]:
    values = _resource("values.json").get(kind, {})
    return {
        name: _Property(expected.endswith("[]"), expected.removesuffix("[]"), _reader(values.get(name, "string")))
        for name, expected in properties()[kind].items()
    }


def check_properties(kind: str, value: Json, depth: int = 0) -> None:
    """Unknown property anywhere, or an object where a plain value belongs: 2010, the whole request is refused.

    Plain values get the type of the schema in place: "12.5" becomes a number, 5 a text. Other codes: 2140 no number,
    2150 no date, 2170 no value of the enumeration.
    """
    known = _known(kind)
    for name, child in value.items():
        expected = known.get(name)
        if expected is None:
            raise _unknown_property(kind, name)
        repeated, inner, read = expected
        if child is None or child == "" or inner == "*":
            continue
        if not repeated and not inner:
            if read is not _text or type(child) is not str:
                value[name] = _read(kind, name, child, read)
            continue
        if repeated != isinstance(child, list):
            raise _unreadable(kind, name)
        if inner:
            for each in child if repeated else (child,):
                if not isinstance(each, dict) or depth >= DEPTH_MAX:
                    raise _unreadable(kind, name)
                check_properties(inner, each, depth + 1)
        else:
            value[name] = [_read(kind, name, each, read) for each in child]


def _read(kind: str, name: str, value: Any, read: Callable[[Any, str], Any]) -> Any:
    if isinstance(value, dict | list):
        raise _unreadable(kind, name)
    try:
        return read(value, name)
    except TypeError:
        raise _unreadable(kind, name) from None


def _reader(expected: str | list[str]) -> Callable[[Any, str], Any]:
    if isinstance(expected, list):
        return _enumeration(tuple(expected))
    return {
        "boolean": _boolean,
        "decimal": _decimal,
        "int": _whole,
        "positiveInteger": _whole,
        "date": _date,
        "dateTime": _instant,
    }.get(expected, _text)


def _text(value: Any, _: str) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(value: Any, _: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise TypeError


def _decimal(value: Any, name: str) -> Decimal | int | None:
    return value if type(value) is int and abs(value) < NUMBER_LIMIT else number(value, name)


def _whole(value: Any, name: str) -> int:
    read = number(value, name)
    if read is None or read != int(read):
        raise TypeError
    return int(read)


def _date(value: Any, name: str) -> str:
    try:
        return date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError:
        raise bad_date(name, value) from None


def _instant(value: Any, name: str) -> str:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise bad_date(name, value) from None
    return str(value)


def bad_date(name: str, value: object) -> Refusal:
    return Refusal("2150", "Invalid Date", f"Invalid date : {name}. Supplied value:{_shown(value)}", name)


def _enumeration(allowed: tuple[str, ...]) -> Callable[[Any, str], str]:
    def read(value: Any, name: str) -> str:
        if value not in allowed:
            detail = f"Invalid Enumeration : {_shown(value)} is not one of {', '.join(allowed)}"
            raise Refusal("2170", "Invalid Enumeration", detail, name)
        return str(value)

    return read


def _shown(value: object) -> str:
    return str(value)[:SHOWN_VALUE_MAX]


def _unknown_property(kind: str, name: str) -> Refusal:
    known = properties()[kind]
    names = ", ".join(f'"{each}"' for each in list(known)[:KNOWN_NAMES_SHOWN_MAX])
    cut = " [truncated]" if len(known) > KNOWN_NAMES_SHOWN_MAX else ""
    return Refusal(
        "2010",
        "Request has invalid or unsupported property",
        f'Property Name:Unrecognized field "{_shown(name)}" (class com.intuit.schema.finance.v3.{kind}), not marked as '
        f"ignorable ({len(known)} known properties: {names}{cut}])\n specified is unsupported or invalid",
    )


def _unreadable(kind: str, name: str) -> Refusal:
    detail = f"Property Name:Can not construct instance of {name} in {kind} specified is unsupported or invalid"
    return Refusal("2010", "Request has invalid or unsupported property", detail)


def read_object(body: bytes) -> Json:
    """The JSON object of a request, its numbers exact. Bytes that are not UTF-8 are code 500
    (docs/vendors/quickbooks.md §1.9).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_text() from None
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError):
        value = None
    if not isinstance(value, dict):
        detail = "Property Name:failed to parse json object specified is unsupported or invalid"
        raise Refusal("2010", "Request has invalid or unsupported property", detail)
    if _HALF_PAIR.search(body) and _has_half_pair(value):
        raise bad_text()
    return value


_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


def _has_half_pair(value: Json) -> bool:
    """Whether a text holds half a surrogate pair, which is no character."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except (UnicodeEncodeError, RecursionError):
        return True
    return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def check_lengths(kind: str, value: Json) -> None:
    for name, length_max in LENGTHS_MAX.get(kind, {"Name": LIST_NAME_MAX}).items():
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
    if not (value.isascii() and value.isdigit()):
        raise Refusal("2030", "Invalid ID", f"Id should be a valid number. Supplied value:{_shown(value)}", "Id")


def reference(books: Books, kind: str, ref: Any, label: str) -> Json | None:
    """The object that a reference points at, None without one; 2500 when there is none such, 610 when inactive."""
    value = ref.get("value") if isinstance(ref, dict) else None
    if value in (None, ""):
        return None
    found = books.objects[kind].get(str(value))
    if found is None:
        raise bad_reference(label, _shown(value))
    if not found.get("Active", True):
        raise not_found()
    return found


def required_reference(books: Books, kind: str, written: Json, name: str) -> Json:
    """The object that this property points at; 2020 when it is left out."""
    found = reference(books, kind, written.get(name), kind)
    if found is None:
        raise missing(name)
    return found


def number(value: Any, element: str) -> Decimal | None:
    """A JSON number, or a string that holds one; None when absent."""
    if value is None or value == "":
        return None
    try:
        read = Decimal(value) if not isinstance(value, bool) else Decimal("NaN")
    except (InvalidOperation, TypeError):
        read = Decimal("NaN")
    # copy_abs, since abs() rounds, and overflows on the exponents that JSON allows.
    if not read.is_finite() or read.copy_abs() >= NUMBER_LIMIT or len(str(read)) > NUMBER_LENGTH_MAX:
        detail = f"Invalid Number : {element}. Supplied value:{_shown(value)}"
        raise Refusal("2140", "Invalid Number", detail, element)
    return read


def money(value: Decimal) -> Decimal | int:
    """Two decimals, half up, written as the service writes them: 100.0, 12.34, 0."""
    cents = value.quantize(CENT, ROUND_HALF_UP)
    if not cents:
        return 0
    short = cents.normalize()
    exponent = short.as_tuple().exponent
    return short if isinstance(exponent, int) and exponent < 0 else cents.quantize(Decimal("0.1"))
