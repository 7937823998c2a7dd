"""Hiding tokens and other secrets in what is shown or stored for showing."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from models.money import parse_json

MASK = "•••"
NESTED_MAX = 100

# Not JSON, too deep, or a number or character that JSON cannot carry (orjson says TypeError).
UNREADABLE = (ValueError, TypeError, RecursionError)

# `sync_token` is QuickBooks' version number of an object, and `…_expires_at` a moment: neither is secret.
_SECRET_NAME = re.compile(r"(token|secret|password|authorization|signature|api_?key)$", re.IGNORECASE)
_PUBLIC_NAME = re.compile(r"sync_?token$", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(
    r"""(?P<name>["']?[\w-]*(?:token|secret|password|authorization|api_?key)["']?\s*[:=]\s*)(?P<value>"[^"]*"?|'[^']*'?|[^\s,;&}]+)""",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _PUBLIC_NAME.search(name)


def masked(value: Any, depth: int = 0) -> Any:
    """A copy of parsed JSON in which the value of every field with a secret's name is `•••`."""
    if depth > NESTED_MAX:
        return MASK
    if isinstance(value, dict):
        return {
            name: MASK if is_secret(name) and part not in (None, "") else masked(part, depth + 1)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [masked(part, depth + 1) for part in value]
    return value


def masked_json(raw: bytes) -> str:
    """A record's value on one line with its secrets masked; what is not JSON is masked as text."""
    try:
        return orjson.dumps(masked(parse_json(raw)), default=str).decode()
    except UNREADABLE:
        return masked_text(raw.decode(errors="replace"))


def masked_text(text: str) -> str:
    """Text that is no JSON, with whatever stands behind a secret's name masked."""
    return _SECRET_IN_TEXT.sub(
        lambda found: found[0] if "sync" in found["name"].lower() else f"{found['name']}{MASK}", text
    )


def pretty(raw: bytes, characters_max: int) -> str:
    """A record's value to be read by a person: indented JSON with its numbers as they were written, or text.

    A field that holds JSON as text (Metronome's answer) is shown as JSON. Secrets are masked; what is longer than
    `characters_max` is cut and says so.
    """
    try:
        text = orjson.dumps(masked(_opened(_parse_verbatim(raw))), option=orjson.OPT_INDENT_2).decode()
    except UNREADABLE:
        text = masked_text(raw.decode(errors="replace"))
    if len(text) <= characters_max:
        return text
    return f"{text[:characters_max]}\n… and {len(text) - characters_max:,} more characters"


def _parse_verbatim(raw: bytes | str) -> Any:
    as_written = orjson.Fragment
    return json.loads(raw, parse_float=as_written, parse_int=as_written, parse_constant=as_written)


def _opened(value: Any, depth: int = 0) -> Any:
    if depth > NESTED_MAX:
        return value
    if isinstance(value, dict):
        return {name: _opened(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_opened(part, depth + 1) for part in value]
    if isinstance(value, str) and value.startswith("{"):
        try:
            return _parse_verbatim(value)
        except UNREADABLE:
            return value
    return value
