"""The query language: `SELECT * | COUNT(*) FROM Entity [WHERE …] [ORDERBY …]` (`facts/quickbooks.md` §2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from stream.sandbox.http import Json
from stream.sandbox.quickbooks.books import LISTS, NAME_PROPERTY, NAME_SPACES, SALES, Books
from stream.sandbox.quickbooks.errors import Refusal
from stream.sandbox.quickbooks.rules import properties

RESULTS_MAX = 1000
RESULTS_DEFAULT = 100
CONDITIONS_MAX = 30
TIMESTAMP_LENGTH_MIN = 11

_SHAPE = re.compile(
    r"^\s*select\s+(?P<what>\*|count\s*\(\s*\*\s*\))\s+from\s+(?P<entity>\w+)"
    r"(?:\s+where\s+(?P<where>.*?))?(?:\s+order\s*by\s+(?P<order>[\w.]+)(?:\s+(?P<direction>asc|desc))?)?"
    r"(?P<page>(?:\s+(?:startposition|maxresults)\s+\d+)*)\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_VALUE = r"'(?:\\.|[^'\\])*'|true\b|false\b|-?\d+(?:\.\d+)?"
_CONDITION = re.compile(
    rf"\s*(?P<name>[\w.]+)\s*(?:(?P<op><=|>=|=|<|>|\blike\b)\s*(?P<value>{_VALUE})"
    rf"|\bin\b\s*\((?P<values>\s*(?:{_VALUE})(?:\s*,\s*(?:{_VALUE}))*\s*)\))\s*(?P<and>\band\b|$)",
    re.IGNORECASE | re.DOTALL,
)
_VALUES = re.compile(_VALUE, re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    operator: str
    values: tuple[str, ...]

    def holds(self, entry: Json) -> bool:
        found = _value_of(entry, self.name)
        if found is None:
            return False
        match self.operator:
            case "in" | "=":
                return any(_compare(found, each) == 0 for each in self.values)
            case "like":
                pattern = ".*".join(re.escape(part) for part in self.values[0].split("%"))
                return re.fullmatch(pattern, str(found), re.IGNORECASE | re.DOTALL) is not None
            case operator:
                order = _compare(found, self.values[0])
                return order < 0 if operator == "<" else order > 0 if operator == ">" else _inclusive(operator, order)


def _inclusive(operator: str, order: int) -> bool:
    return order <= 0 if operator == "<=" else order >= 0


def run_query(text: str, books: Books) -> Json:
    """The QueryResponse. Raises Refusal 4000 for bad syntax, 4001 for an unknown entity or property."""
    shape = _SHAPE.match(text)
    if shape is None:
        raise _bad_syntax(f"Encountered {text[:100]!r}")
    entity = next((each for each in (*SALES, *LISTS) if each.lower() == shape["entity"].lower()), None)
    if entity is None:
        raise _invalid(f"invalid context declaration: {shape['entity']}")
    conditions = list(_conditions(shape["where"] or "", entity))
    if entity in LISTS and not any(each.name == "Active" for each in conditions):
        conditions.append(Condition("Active", "=", ("true",)))
    found = [each for each in _candidates(entity, conditions, books) if all(one.holds(each) for one in conditions)]
    if shape["what"] != "*":
        return {"totalCount": len(found)}
    if order := shape["order"]:
        _check_property(entity, order)
        descending = (shape["direction"] or "").lower() == "desc"
        found.sort(key=lambda each: _sort_key(_value_of(each, order)), reverse=descending)
    return _page(entity, found, shape["page"], books)


def _page(entity: str, found: list[Json], clause: str, books: Books) -> Json:
    numbers = {name.lower(): int(value) for name, value in re.findall(r"([a-z]+)\s+(\d+)", clause, re.IGNORECASE)}
    start = max(1, numbers.get("startposition", 1))
    size = numbers.get("maxresults", RESULTS_DEFAULT)
    if size > RESULTS_MAX:
        raise _bad_syntax(f"value {size} is too large. Max allowed value is {RESULTS_MAX}.")
    page = found[start - 1 : start - 1 + size]
    if not page:
        return {}
    if entity == "Customer":
        page = [with_balance(each, books) for each in page]
    response: Json = {entity: page, "startPosition": start, "maxResults": len(page)}
    if entity in SALES:
        response["totalCount"] = len(found)
    return response


def with_balance(customer: Json, books: Books) -> Json:
    """A customer with what it owes now."""
    balance = books.balances.get(customer["Id"]) or 0
    return {**customer, "Balance": balance, "BalanceWithJobs": balance}


def _conditions(where: str, entity: str) -> Iterator[Condition]:
    position = 0
    for _ in range(CONDITIONS_MAX):
        if not where[position:].strip():
            return
        found = _CONDITION.match(where, position)
        if found is None or (found["and"] and not where[found.end() :].strip()):
            break
        position = found.end()
        _check_property(entity, found["name"])
        values = tuple(_unquoted(each) for each in _VALUES.findall(found["values"] or found["value"]))
        operator = (found["op"] or "in").lower()
        if found["name"] == "Id" and operator not in ("=", "in"):
            raise _invalid("Property Id can be compared with = and IN only")
        yield Condition(found["name"], operator, values)
    else:
        raise _bad_syntax("too many conditions")
    if position < len(where):
        raise _bad_syntax(f"Encountered {where[position : position + 60]!r}")


def _bad_syntax(detail: str) -> Refusal:
    return Refusal("4000", "Error parsing query", f"QueryParserError: {detail}")


def _invalid(detail: str) -> Refusal:
    return Refusal("4001", "Invalid query", f"QueryValidationError: {detail}")


def _check_property(entity: str, name: str) -> None:
    kind = entity
    for part in name.split("."):
        if part not in properties().get(kind, {}):
            raise _invalid(f"Property {name} not found for Entity {entity}")
        kind = properties()[kind][part].removesuffix("[]")


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith("'") else text


def _candidates(entity: str, conditions: Iterable[Condition], books: Books) -> Iterable[Json]:
    """Everything of this entity, or what an index says when a condition names its key."""
    objects = books.objects[entity]
    for each in conditions:
        if each.operator not in ("=", "in"):
            continue
        if each.name == "Id":
            return [objects[value] for value in each.values if value in objects]
        if each.name == "DocNumber" and entity in SALES:
            held = {key: kind for value in each.values for key, kind in books.doc_numbers.get(value, {}).items()}
            return [objects[key] for key, kind in held.items() if kind == entity]
        if entity in NAME_SPACES and each.name == NAME_PROPERTY[entity]:
            holders = [books.holder_of(entity, value) for value in each.values]
            return [objects[holder[1]] for holder in holders if holder is not None and holder[0] == entity]
    return list(objects.values())


def _value_of(entry: Json, name: str) -> Any:
    value: Any = entry
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("value")
    return str(value).lower() if isinstance(value, bool) else value


def _compare(found: Any, asked: str) -> int:
    """-1, 0 or 1: numbers by size, timestamps by instant, text by its letters whatever their case."""
    left: Any = found
    right: Any = asked
    if isinstance(found, Decimal | int):
        right = _as_number(asked)
    else:
        left, right = _as_text(found), _as_text(asked)
    return int(left > right) - int(left < right)


def _as_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _invalid(f"value {text} is not a number") from None


def _as_text(value: Any) -> str:
    text = str(value)
    if len(text) > TIMESTAMP_LENGTH_MIN and text[10] == "T":
        try:
            return datetime.fromisoformat(text).astimezone(UTC).isoformat()
        except ValueError:
            pass
    return text.casefold()


def _sort_key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if isinstance(value, Decimal | int) else _as_text(value or ""))
