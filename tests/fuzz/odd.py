"""Odd values, and what is made of valid JSON with them: a type flipped, a key lost, doubled or renamed, pieces spliced.

Everything comes from the dice that are passed in, so a seed repeats it.
"""

import json
from random import Random
from typing import Any

from tests.simulators.fuzz.bodies import RAW_VALUES, places, replaced, without

RAW = [
    *RAW_VALUES,
    *(b"1e308", b"-0", b"0e99999", b"1e-999999", b"9" * 400, b"9" * 5_000, b"0.1" + b"0" * 400, b"Infinity"),
    *(rb'"\udc00x"', rb'"\ud83d\ude00"', b"tru", b"'single'", b"[1,]", b"/**/1"),
]
"""JSON texts (or not quite) that no Python value would be dumped as."""

VALUES: list[Any] = [
    *[None, True, False, 0, 1, -1, 10**30, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 0.1, 0.005, 1e22, -1e-7],
    *["", " ", "0", "-1", "00", "1.", ".5", "1e5", "1E+400", "1E+999999", "-1E-999999", "NaN", "sNaN", "Infinity"],
    *["1E+999999999", "-1E-999999999", "0E+999999999", "1e1000000000000000000"],
    *["٣", "²", "1_000", "0x1", "true", "null", "\n", "\x00", "a/b", "../x", "'", '"', "\\", "%", "{{ x }}", "<b>&"],
    *["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"],
    *["2026-02-30", "2026-11-22", "2026-11-22T10:00:00", "Sun, 22 Nov 2026 10:00:00 GMT", "1763805600", 1e18],
    *["🧾" * 30, "\u202e", "\ufffe", "é", "e\u0301", "x" * 5_000, "株式会社", "Invoice", "VOID", "DRAFT"],
    *[[], {}, [[]], [None], [{}], {"": ""}, {"value": None}, {"value": {}}, {"Id": "1"}, ["x"] * 50, [[[[[]]]]]],
]

PAGES = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"0",
    b"\x00",
    b"\xff\xfe\x00",
    b"\x1f\x8b\x08\x00",
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    b"<?xml version='1.0'?><IntuitResponse><Fault type='SERVICE'><Error code='3001'/></Fault></IntuitResponse>",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    b"<a" * 2_000,
    b'{"data": null}',
    b'{"data": []}',
    b'{"message": null}',
    b'{"Fault": {}}',
    b'{"Fault": null, "QueryResponse": {}}',
    b'{"QueryResponse": null}',
    b'{"Invoice": null}',
    b'{"BatchItemResponse": null}',
    *RAW,
]
"""Whole bodies that hold nothing of what was asked for."""

TELLING = {
    *(
        "TotalAmt",
        "Id",
        "SyncToken",
        "PrivateNote",
        "DocNumber",
        "CurrencyRef",
        "CustomerRef",
        "Invoice",
        "Error",
        "code",
    ),
    *(
        "total",
        "amount",
        "quantity",
        "unit_price",
        "invoice_id",
        "customer_id",
        "realm",
        "status",
        "line_items",
        "data",
    ),
    *("type", "state", "changed_at", "lines", "document", "subject", "command", "result", "facts", "access_token"),
}
NUMBER_MAX = 10**15
TELLING_SHARE = 0.4
"""Of the oddities, those that are in a place that is read."""

MARK = "\x01replaced in the text\x01"


def spoiled(dice: Random, body: bytes, others: list[bytes]) -> bytes:
    """The body with something wrong; `others` are pieces for splices. What is no JSON is spoiled as bytes."""
    manner = dice.choices(("json", "bytes", "page"), (16, 3, 1))[0]
    if manner == "page":
        return dice.choice(PAGES)
    if manner == "bytes":
        return _spoiled_bytes(dice, body, others)
    try:
        return _spoiled_json(dice, json.loads(body), others)
    except (ValueError, RecursionError):
        return _spoiled_bytes(dice, body, others)


def _spoiled_bytes(dice: Random, body: bytes, others: list[bytes]) -> bytes:
    at = dice.randint(0, len(body))
    match dice.randrange(6):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + dice.randbytes(dice.randint(1, 8)) + body[at + 1 :]
        case 2:
            return body[:at] + dice.choice(RAW) + body[at:]
        case 3:
            other = dice.choice(others) if others else b""
            return body[:at] + other[dice.randint(0, len(other)) :]
        case 4:
            return b"\xef\xbb\xbf" + body
        case _:
            return body + body


def _spoiled_json(dice: Random, value: Any, others: list[bytes]) -> bytes:
    raw: list[bytes] = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        value = _with_one_oddity(dice, value, others, raw)
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    for each in raw:
        text = text.replace(json.dumps(MARK).encode(), each, 1)
    return text


def _with_one_oddity(dice: Random, value: Any, others: list[bytes], raw: list[bytes]) -> Any:
    inside = places(value)
    path = dice.choice(inside)
    if dice.random() < TELLING_SHARE:
        path = dice.choice([each for each in inside if each and each[-1] in TELLING] or inside)
    manner = dice.randrange(8)
    if manner <= 1 or len(inside) == 1:
        return replaced(value, path, dice.choice(VALUES))
    if manner == 2:
        raw.append(dice.choice(RAW))
        return replaced(value, path, MARK)
    path = path or dice.choice(inside[1:])
    if manner == 3:
        return without(value, path)
    if manner == 4:
        return replaced(value, path, changed(dice, at(value, path)))
    if manner == 5:  # what stands elsewhere
        return replaced(value, path, at(value, dice.choice(inside[1:])))
    if manner == 6:  # what another one has there
        return replaced(value, path, _from_another(dice, others, path))
    if isinstance(path[-1], str):  # the same key once more, with another value; or another key
        holder = dict(at(value, path[:-1]))
        holder[dice.choice((path[-1] + "x", path[-1].upper(), path[-1].lower(), ""))] = dice.choice(VALUES)
        return replaced(value, path[:-1], holder)
    holder = list(at(value, path[:-1]))
    return replaced(value, path[:-1], dice.choice((holder * 2, holder[::-1], holder[:1], [holder])))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def changed(dice: Random, value: Any) -> Any:
    """Nearly the same: another number, or the same said in another type."""
    match value:
        case None:
            return ""
        case bool():
            return str(value)
        case int() | float() if abs(value) < NUMBER_MAX:
            return dice.choice((str(value), value + 1, round(value + 0.01, 2), value * 100, -value))
        case int() | float():
            return -value
        case str() if value.lstrip("-").replace(".", "", 1).isdecimal():
            return float(value)
        case str():
            return [value]
        case list():
            return {str(index): each for index, each in enumerate(value)}
        case _:
            return json.dumps(value)


def _from_another(dice: Random, others: list[bytes], path: tuple[Any, ...]) -> Any:
    try:
        return at(json.loads(dice.choice(others)), path)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return dice.choice(VALUES)
