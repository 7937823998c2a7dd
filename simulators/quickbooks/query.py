"""The query language: `SELECT * | COUNT(*) FROM Entity [WHERE …] [ORDERBY …]` (`docs/vendors/quickbooks.md` §2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from simulators.http import Json
from simulators.quickbooks.books import LISTS, NAME_PROPERTY, SALES, Books
from simulators.quickbooks.company import company_info, preferences
from simulators.quickbooks.errors import Refusal
from simulators.quickbooks.lists import shown_entry
from simulators.quickbooks.rules import properties
from simulators.quickbooks.settings import QuickBooksSettings

QUERY_LENGTH_MAX = 100_000
RESULTS_MAX = 1000
RESULTS_DEFAULT = 100
CONDITIONS_MAX = 30
LATIN1_MAX = 0xFF
TIMESTAMP_LENGTH_MIN = 11
NUMBER_LENGTH_MAX = 30
ENTITIES = (*SALES, *LISTS, "Preferences", "CompanyInfo")

_TOKEN = re.compile(
    r"(?P<text>'(?:\\.|[^'\\])*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<sign><=|>=|[=<>(),*;])|(?P<space>\s+)",
    re.DOTALL,
)
Operator = Literal["=", "<", ">", "<=", ">=", "in", "like"]


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    operator: Operator
    values: tuple[str, ...]

    def holds(self, entry: Json) -> bool:
        found = _value_of(entry, self.name)
        if found is None:
            return False
        match self.operator:
            case "in" | "=":
                return any(_compare(found, each) == 0 for each in self.values)
            case "like":
                return _like(str(found).casefold(), self.values[0].casefold())
            case "<":
                return _compare(found, self.values[0]) < 0
            case ">":
                return _compare(found, self.values[0]) > 0
            case "<=":
                return _compare(found, self.values[0]) <= 0
            case ">=":
                return _compare(found, self.values[0]) >= 0


@dataclass(slots=True)
class Query:
    entity: str
    counts: bool
    conditions: list[Condition]
    order: list[tuple[str, bool]]
    """Property and whether it goes downwards."""
    start: int = 1
    size: int = RESULTS_DEFAULT


def run_query(text: str, books: Books, now: float, settings: QuickBooksSettings) -> Json:
    """The QueryResponse. Raises Refusal 4000 for bad syntax, 4001 for an unknown entity, property or page size."""
    if settings.query_beyond_latin1 == "refuse" and any(ord(each) > LATIN1_MAX for each in text):
        raise _bad_syntax("Lexical error")
    query = _Parser(text).query()
    conditions = query.conditions
    if query.entity in LISTS and not any(each.name == "Active" for each in conditions):
        conditions.append(Condition("Active", "=", ("true",)))
    candidates = _candidates(query.entity, conditions, books)
    found = [each for each in candidates if all(one.holds(each) for one in conditions)]
    if settings.query_lag_seconds:
        found = [each for each in found if _made_at(each) <= now - settings.query_lag_seconds]
    if query.counts:
        return {"totalCount": len(found)}
    _sort(found, query)
    page = found[query.start - 1 : query.start - 1 + query.size]
    if not page:
        return {}
    shown = [shown_entry(query.entity, each, books) for each in page]
    response: Json = {query.entity: shown, "startPosition": query.start, "maxResults": len(page)}
    if query.entity in SALES:
        response["totalCount"] = len(found)
    return response


def _made_at(entry: Json) -> float:
    made = (entry.get("MetaData") or {}).get("CreateTime")
    return datetime.fromisoformat(made).timestamp() if made else 0.0


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


class _Parser:
    """Reads one query, word by word."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def query(self) -> Query:
        self._word("select")
        counts = self._taken("count")
        if counts:
            self._sign("(")
            self._sign("*")
            self._sign(")")
        else:
            self._sign("*")
            while self._taken(","):  # python-quickbooks asks for "*, Sku"; all comes anyway
                self._next("word")
        self._word("from")
        named = self._next("word")
        entity = next((each for each in ENTITIES if each.lower() == named.lower()), None)
        if entity is None:
            raise _invalid(f"invalid context declaration: {named[:100]}")
        query = Query(entity, counts, [], [])
        if self._taken("where"):
            query.conditions = self._conditions(entity)
        if self._taken("orderby") or (self._taken("order") and self._word("by")):
            query.order = self._order(entity)
        self._page(query)
        while self._taken(";"):
            pass
        if self._at < len(self._tokens):
            raise self._unexpected()
        return query

    def _conditions(self, entity: str) -> list[Condition]:
        conditions = [self._condition(entity)]
        while self._taken("and"):
            conditions.append(self._condition(entity))
            if len(conditions) > CONDITIONS_MAX:
                raise _bad_syntax("too many conditions")
        return conditions

    def _condition(self, entity: str) -> Condition:
        name = self._next("word")
        _check_property(entity, name)
        operators: tuple[Operator, ...] = ("in", "like", "<=", ">=", "=", "<", ">")
        operator = next((each for each in operators if self._taken(each)), None)
        if operator is None:
            raise self._unexpected()
        if name == "Id" and operator not in ("=", "in"):
            raise _invalid("Property Id can be compared with = and IN only")
        if operator != "in":
            return Condition(name, operator, (self._value(),))
        self._sign("(")
        values = [self._value()]
        while self._taken(","):
            values.append(self._value())
        self._sign(")")
        return Condition(name, "in", tuple(values))

    def _value(self) -> str:
        token = self._peek()
        if token is not None and token.kind == "text":
            self._at += 1
            return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        if token is not None and token.kind == "number":
            return self._next("number")
        for word in ("true", "false"):
            if self._taken(word):
                return word
        raise self._unexpected()

    def _order(self, entity: str) -> list[tuple[str, bool]]:
        order: list[tuple[str, bool]] = []
        while not order or self._taken(","):
            name = self._next("word")
            _check_property(entity, name)
            downwards = self._taken("desc")
            if not downwards:
                self._taken("asc")
            order.append((name, downwards))
            if len(order) > CONDITIONS_MAX:
                raise _bad_syntax("too many properties to order by")
        return order

    def _page(self, query: Query) -> None:
        while True:
            if self._taken("startposition"):
                query.start = max(1, self._whole())
            elif self._taken("maxresults"):
                query.size = self._whole()
                if query.size < 1:
                    raise _invalid(f"value {query.size} is too small. Min allowed value is 1")
                if query.size > RESULTS_MAX:
                    raise _invalid(f"value {query.size} is too large. Max allowed value is {RESULTS_MAX}")
            else:
                return

    def _whole(self) -> int:
        text = self._next("number")
        if "." in text or len(text) > NUMBER_LENGTH_MAX:
            raise _bad_syntax(f"{text[:NUMBER_LENGTH_MAX]} is not a whole number")
        return int(text)

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _taken(self, text: str) -> bool:
        """Goes past this keyword or sign if it is the next."""
        token = self._peek()
        if token is None or token.kind not in ("word", "sign") or token.text.lower() != text:
            return False
        self._at += 1
        return True

    def _word(self, text: str) -> bool:
        if not self._taken(text):
            raise self._unexpected()
        return True

    _sign = _word

    def _next(self, kind: str) -> str:
        token = self._peek()
        if token is None or token.kind != kind:
            raise self._unexpected()
        self._at += 1
        return token.text

    def _unexpected(self) -> Refusal:
        token = self._peek()
        rest = self._text[token.position : token.position + 60] if token else "<EOF>"
        return _bad_syntax(f"Encountered {rest!r}")


def _tokens(text: str) -> list[_Token]:
    if len(text) > QUERY_LENGTH_MAX:
        raise _bad_syntax("the query is too long")
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise _bad_syntax(f"Encountered {text[position : position + 60]!r}")
        if found.lastgroup != "space":
            tokens.append(_Token(found.lastgroup, found[0], position))
        position = found.end()
    return tokens


def _bad_syntax(detail: str) -> Refusal:
    return Refusal("4000", "Error parsing query", f"QueryParserError: {detail}")


def _invalid(detail: str) -> Refusal:
    return Refusal("4001", "Invalid query", f"QueryValidationError: {detail}")


def _check_property(entity: str, name: str) -> None:
    kind = entity
    for part in name.split("."):
        if part not in properties().get(kind, {}):
            raise _invalid(f"Property {name[:100]} not found for Entity {entity}")
        kind = properties()[kind][part].removesuffix("[]")


def _candidates(entity: str, conditions: Iterable[Condition], books: Books) -> Iterable[Json]:
    """Everything of this entity, or what an index says when a condition names its key."""
    if entity == "Preferences":
        return [preferences(books)]
    if entity == "CompanyInfo":
        return [company_info(books)]
    objects = books.objects[entity]
    for each in conditions:
        if each.operator not in ("=", "in"):
            continue
        values = dict.fromkeys(each.values)
        if each.name == "Id":
            return [objects[value] for value in values if value in objects]
        if each.name == "DocNumber" and entity in SALES:
            held = {key: kind for value in values for key, kind in books.doc_numbers.get(value, {}).items()}
            return [objects[key] for key, kind in held.items() if kind == entity]
        if each.name == NAME_PROPERTY.get(entity):
            names = {value.casefold() for value in values}
            return [found for name in names for found in books.named(entity, name)]
    return objects.values()


def _sort(found: list[Json], query: Query) -> None:
    """As asked; else lists by their full names and sales with the last changed first, as in the recordings
    (all/customers, all/vendors_by_5, all/sales_receipts)."""
    found.sort(key=_number_of)
    if query.entity in SALES and not query.order:
        found.sort(key=lambda each: (each["MetaData"]["LastUpdatedTime"], _number_of(each)), reverse=True)
    elif query.entity in NAME_PROPERTY and not query.order:
        found.sort(key=lambda each: str(each.get("FullyQualifiedName") or each[NAME_PROPERTY[query.entity]]))
    for name, downwards in reversed(query.order):
        found.sort(key=lambda each, name=name: _sort_key(_value_of(each, name)), reverse=downwards)  # type: ignore[misc]


def _number_of(entry: Json) -> tuple[int, str]:
    number = str(entry["Id"])
    return (int(number) if number.isdigit() else 0, number)


def _value_of(entry: Json, name: str) -> Any:
    value: Any = entry
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("value")
    if value is None and name == "Active":
        return "true"  # the tax codes TAX and NON do not say it
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
        read = Decimal(text)
    except InvalidOperation:
        read = Decimal("NaN")
    if not read.is_finite():
        raise _invalid(f"value {text[:100]} is not a number")
    return read


def _as_text(value: Any) -> str:
    text = str(value)
    if len(text) > TIMESTAMP_LENGTH_MIN and text[10] == "T":
        try:
            return datetime.fromisoformat(text).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            pass
    return text.casefold()


def _like(text: str, pattern: str) -> bool:
    """Whether the text has the pattern's parts in their order; `%` stands for any letters."""
    first, *rest = pattern.split("%")
    if not rest:
        return text == first
    *middle, last = rest
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def _sort_key(value: Any) -> tuple[bool, bool, Any]:
    """What is missing goes first, then numbers, then text."""
    number = isinstance(value, Decimal | int)
    return (value is not None, not number, value if number else _as_text(value or ""))
