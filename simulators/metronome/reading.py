"""How a request is read, and how it is refused: everything that a caller sends is checked here before it is used."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from simulators.http import Answer, Json, Request
from simulators.metronome.settings import MetronomeSettings

T = TypeVar("T")
PAGE_DEFAULT = 25
PAGE_MAX = 100
CURSOR_LENGTH_MAX = 200
TRUE = "true"


class Refusal(Exception):
    """Metronome answers `status` with {"message": …} (`docs/vendors/metronome.md` §4.2)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a handler: the ids of its path in their order, and its body as a JSON object."""

    request: Request
    ids: Sequence[str] = ()
    body: Json = field(default_factory=dict)
    settings: MetronomeSettings = field(default_factory=MetronomeSettings)

    def query(self, name: str) -> str:
        """Empty when it is not given."""
        return self.request.query.get(name, "")

    def text(self, name: str) -> str:
        """A required string of the body. Raises Refusal 400."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise Refusal(400, f"{name} is required and must be a string")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings of the body; empty when it is not given. Raises Refusal 400."""
        value = self.body.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise Refusal(400, f"{name} must be a list of strings")
        return value

    def moment(self, name: str) -> datetime | None:
        """An RFC 3339 timestamp of the body, or of the query. Raises Refusal 400."""
        value = self.body.get(name) or self.query(name)
        return moment(value, name) if value else None


# What a handler returns: the JSON of the answer, a whole answer, or nothing (200 with an empty body).
Result = Json | Answer | None


def json_object(body: bytes) -> Json:
    """The body as an object; an empty one is {}. Raises Refusal 400, also for what is nested too deep."""
    try:
        value = orjson.loads(body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "The body must be a JSON object")
    return value


def moment(value: Any, name: str) -> datetime:
    """A timestamp without zone is in UTC. Raises Refusal 400."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Refusal(400, f"{name} must be an RFC 3339 timestamp") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def timestamp(now: float) -> str:
    """`now` in seconds since 1970, as `2026-11-22T12:00:00.000+00:00`."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")


def limit_of(value: object, default: int = PAGE_DEFAULT, most: int = PAGE_MAX) -> int:
    """The page size that is asked for, as number or as text. Raises Refusal 400 outside of 1 to `most`."""
    if value in (None, ""):
        return default
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise Refusal(400, f"limit must be between 1 and {most}")
    return int(text)


def page(call: Call, found: Sequence[Json], shown: Callable[[Json], Json] = dict) -> Json:
    """A page by `limit` and `next_page` of the query, as most lists have it (`docs/vendors/metronome.md` §4.4)."""
    data, cursor = slice_of(found, call.query("next_page"), limit_of(call.query("limit")))
    return {"data": [shown(each) for each in data], "next_page": cursor}


def slice_of(found: Sequence[T], cursor: object, limit: int) -> tuple[Sequence[T], str | None]:
    """The part of `found` that `cursor` names, and the cursor of the next one. Raises Refusal 400."""
    start = position(cursor) if cursor else 0
    end = start + limit
    return found[start:end], cursor_to(end) if end < len(found) else None


def cursor_to(number: int) -> str:
    return base64.urlsafe_b64encode(f"from:{number}".encode()).decode()


def position(cursor: object) -> int:
    """The number in a cursor of `cursor_to`. Raises Refusal 400 for anything else."""
    try:
        if not isinstance(cursor, str) or len(cursor) > CURSOR_LENGTH_MAX:
            raise ValueError
        number = int(base64.urlsafe_b64decode(cursor).removeprefix(b"from:"))
    except (ValueError, binascii.Error):
        raise Refusal(400, "Invalid next_page") from None
    if number < 0:
        raise Refusal(400, "Invalid next_page")
    return number
