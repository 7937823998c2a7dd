"""How the sandbox's pages look: lists and single documents, made of plain tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from simulators.http import Answer, Json, dump, html_answer

ROWS_PER_PAGE = 100
PAGE_DIGITS_MAX = 6
DIGITS_MAX = 40

_templates = Environment(
    loader=PackageLoader("simulators.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Cell:
    text: str = ""
    href: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """`number` stands right, `short` is never broken, `long` is set smaller and broken anywhere."""

    title: str
    kind: Literal["", "number", "short", "long"] = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Each row has one cell for each column; `nothing` is said when there are no rows."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    nothing: str
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice above a list; it arrives as the query's `name`."""

    name: str
    title: str
    chosen: str
    options: Sequence[Option]


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Site:
    """The name above every page of a server, and the way to its other pages."""

    title: str
    links: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list a page shows: page 1 has the newest."""

    number: int
    total: int

    @classmethod
    def asked(cls, text: str, total: int) -> Slice:
        """The page that the query names, or page 1."""
        is_number = text.isascii() and text.isdigit() and len(text) <= PAGE_DIGITS_MAX
        return cls(max(1, int(text)) if is_number else 1, total)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // ROWS_PER_PAGE))

    def of(self, found: Sequence[Json]) -> list[Json]:
        """This part of `found`, which has the oldest first; the newest first."""
        end = max(0, len(found) - (self.number - 1) * ROWS_PER_PAGE)
        return list(found[max(0, end - ROWS_PER_PAGE) : end])[::-1]

    def words(self, what: str) -> str:
        return f"{self.total:,} {what}" + (f" · page {self.number} of {self.pages}" if self.pages > 1 else "")


def list_page(
    site: Site,
    here: str,
    heading: str,
    subtitle: str,
    tables: Sequence[Table],
    *,
    filters: Sequence[Filter] = (),
    part: Slice | None = None,
    json_path: str,
) -> Answer:
    """Tables under each other, with links to the newer and older rows and to the same as JSON."""
    query = {each.name: each.chosen for each in filters if each.chosen}

    def page_href(number: int) -> str:
        return f"{here}?{urlencode({**query, 'page': number})}"

    json_query = {**query, **({"page": part.number} if part is not None and part.number > 1 else {})}
    return _rendered(
        "rows.html",
        site=site,
        here=here,
        heading=heading,
        subtitle=subtitle,
        filters=filters,
        tables=tables,
        newer=page_href(part.number - 1) if part is not None and 1 < part.number <= part.pages else "",
        older=page_href(part.number + 1) if part is not None and part.number < part.pages else "",
        json_href=f"{json_path}?{urlencode(json_query)}" if json_query else json_path,
    )


def document_page(
    site: Site,
    heading: str,
    subtitle: str,
    facts: dict[str, str],
    tables: Sequence[Table],
    document: Json,
    json_path: str,
) -> Answer:
    """One object: its facts and tables, and its JSON beside them."""
    return _rendered(
        "document.html",
        site=site,
        here="",
        heading=heading,
        subtitle=subtitle,
        facts=[{"title": title, "text": text} for title, text in facts.items() if text],
        tables=tables,
        json=json.dumps(orjson.loads(dump(document)), indent=2, ensure_ascii=False),
        json_href=json_path,
    )


def _rendered(template: str, **values: object) -> Answer:
    return html_answer(_templates.get_template(template).render(values))


def money(value: object, places: int = 2) -> str:
    """An amount with its thousands apart and at least two decimals; "" for none."""
    if value is None or value == "":
        return ""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > DIGITS_MAX or abs(amount.adjusted()) > DIGITS_MAX:
        return str(value)
    return f"{amount:,.{max(places, -exponent)}f}"


def plain(value: object) -> str:
    """A value of a vendor's object in a word or two: a reference by its name."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case {"value": reference, **rest}:
            return str(rest.get("name") or reference)
        case dict() | list():
            return dump(value).decode()
    return str(value)
