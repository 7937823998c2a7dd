"""JSON bodies that begin valid and are then spoiled: wrong types, huge numbers, deep nesting, lost or doubled keys."""

from __future__ import annotations

import gzip
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from simulators.http import dump

NESTING = 3_000
BOMB = gzip.compress(b" " * 10_000_000)
"""10 MB of blanks in 10 KB: a server must not unpack it all."""

RAW_VALUES = [
    b"NaN",
    b"-Infinity",
    b"1e999999999",
    b"-1e400",
    b"123456789012345678901234567890",
    b"0.000000000000000000000000000001",
    rb'"\ud800"',
    rb'"\u0000"',
    b'"' + b"x" * 5_000 + b'"',
    b"[" * NESTING + b"]" * NESTING,
    b'{"a":' * NESTING + b"1" + b"}" * NESTING,
    b'"\xff\xfe"',
    b'{"value": "1", "value": {"value": "2"}}',
    b"01",
]
"""JSON texts (or not quite) that no Python value would be dumped as."""

MARK = "a value to be replaced in the text"

odd_values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            *[None, True, False, 0, -1, Decimal(10**30), 2**62, Decimal("0.005"), Decimal("-1.0E-7")],
            *["", " ", "1", "-1", "0", "٣", "²", "1e5", "NaN", "Infinity", "1_000", "０", "\n", "a:b", "'", "\\"],
            *["2026-02-30", "0001-01-01", "9999-12-31", "2026-11-22T10:00:00Z", "not a date", "\x00", "🧾" * 30],
            *[[], {}, [[]], [None], {"value": None}, {"value": {}}, {"value": []}, {"Id": "1"}, {"": ""}],
        ]
    ),
    st.text(max_size=30),
    st.integers(-(2**62), 2**62),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside a JSON value, the value itself first."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path, *(each for key, child in children for each in places(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def without(value: Any, path: tuple[Any, ...]) -> Any:
    if len(path) == 1:
        copy = dict(value) if isinstance(value, dict) else list(value)
        del copy[path[0]]
        return copy
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = without(copy[path[0]], path[1:])
    return copy


def with_raw(value: Any, path: tuple[Any, ...], raw: bytes) -> bytes:
    """JSON text of `value` with `raw`, whatever it is, in one place."""
    return dump(replaced(value, path, MARK)).replace(b'"' + MARK.encode() + b'"', raw)


@st.composite
def texts_of(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """JSON text of one of `values`: mostly as it is, else spoiled in one or two places or as a whole."""
    value = draw(values)
    manner = draw(st.sampled_from(["as it is"] * 14 + ["replace"] * 4 + ["lose", "raw", "raw", "cut", "whole"]))
    if manner == "replace":
        for _ in range(draw(st.integers(1, 2))):
            value = replaced(value, draw(st.sampled_from(places(value))), draw(odd_values))
        # A lone surrogate has no UTF-8; RAW_VALUES has it as an escape.
        return dump(value)
    if manner == "lose" and len(places(value)) > 1:
        return dump(without(value, draw(st.sampled_from(places(value)[1:]))))
    if manner == "raw":
        return with_raw(value, draw(st.sampled_from(places(value))), draw(st.sampled_from(RAW_VALUES)))
    text = dump(value)
    if manner == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if manner == "whole":
        return draw(st.sampled_from([b"", b"\xef\xbb\xbf" + text, b"\x00", b"<a/>", b"null", text + text, *RAW_VALUES]))
    return text
