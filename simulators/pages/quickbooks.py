"""What can be seen of the simulated QuickBooks: pages for people, and the same as JSON."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal

from simulators.http import Answer, Json, Request, json_answer
from simulators.pages.rendering import (
    Cell,
    Column,
    Filter,
    Link,
    Option,
    Site,
    Slice,
    Table,
    document_page,
    list_page,
    money,
    plain,
)
from simulators.quickbooks.books import LISTS, SALES, sales_of
from simulators.quickbooks.core import QuickBooks

VOIDED = "Voided"
SITE = Site(
    "QuickBooks Online (sandbox)",
    (Link("Books", "/"), Link("Requests", "/requests"), Link("Counters", "/counters")),
)
SALE_COLUMNS = (
    Column("Number"), Column("Customer"), Column("Date", "short"), Column("Total", "number"), Column("Note", "long")
)  # fmt: skip
ENTRY_COLUMNS = (Column("Id"), Column("Name"), Column("Type"), Column("Currency"), Column("Active"))
LINE_COLUMNS = (
    Column("Line"), Column("Item"), Column("Description", "long"), Column("Quantity", "number"),
    Column("Price", "number"), Column("Amount", "number"),
)  # fmt: skip
AMOUNTS = ("TotalAmt", "HomeTotalAmt", "Balance", "RemainingCredit", "UnitPrice")
FACTS = (
    "DocNumber", "CustomerRef", "DisplayName", "Name", "FullyQualifiedName", "Type", "AccountType", "Active",
    "TxnDate", "DueDate", "SalesTermRef", "CurrencyRef", "ExchangeRate", *AMOUNTS, "ClassRef", "DepartmentRef",
    "IncomeAccountRef", "PrivateNote", "EmailStatus", "Id", "SyncToken",
)  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:~void)?")


def metronome_id(sale: Json) -> str:
    """The Metronome invoice that a QuickBooks sale names first in its private note, or ""."""
    found = _UUID.search(sale.get("PrivateNote") or "")
    return found[0] if found else ""


def state(core: QuickBooks) -> Json:
    """Counters; `duplicates` lists Metronome ids that more than one live sale of a company names."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    named: Counter[tuple[str, str]] = Counter()
    for realm, books in core.books.items():
        for kind, sign in (("Invoice", 1), ("CreditMemo", -1)):
            for sale in sales_of(books, kind):
                totals[sale["CurrencyRef"]["value"]] += sign * Decimal(sale["TotalAmt"])
                if (found := metronome_id(sale)) and not sale["PrivateNote"].startswith(VOIDED):
                    named[realm, found] += 1
    return {
        "invoices": sum(len(books.objects["Invoice"]) for books in core.books.values()),
        "credit_memos": sum(len(books.objects["CreditMemo"]) for books in core.books.values()),
        "customers": sum(len(books.objects["Customer"]) for books in core.books.values()),
        "totals": {currency: f"{total:.2f}" for currency, total in totals.items()},
        "duplicates": sorted(found for (_, found), times in named.items() if times > 1),
        "calls": dict(core.calls),
        "throttled": core.throttled,
        "metered_reads": core.metered_reads,
        "free_writes": sum(each.free_writes for each in core.meters.values()),
        "token_refreshes": core.oauth.refreshes,
    }


def sales(core: QuickBooks, kind: str) -> list[Json]:
    """Every sale of every company, with its realm id."""
    return [{"realm_id": realm, **sale} for realm, books in core.books.items() for sale in sales_of(books, kind)]


class QuickBooksPages:
    """`/` and `/books.json`, `/books/<realm>/<kind>/<id>` with or without `.json`, and the books' `/_sandbox` paths."""

    def __init__(self, core: QuickBooks) -> None:
        self._core = core

    def answer(self, request: Request) -> Answer | None:
        """None when the path is no page of the books."""
        match request.path.strip("/").split("/"):
            case [""]:
                return self._books(request.query)
            case ["books.json"]:
                return self._books_json(request.query)
            case ["books", realm, kind, name]:
                return self._document(realm, kind, name.removesuffix(".json"), as_json=name.endswith(".json"))
            case ["_sandbox", "state"]:
                return json_answer(state(self._core))
            case ["_sandbox", "invoices"]:
                return json_answer(sales(self._core, "Invoice"))
            case ["_sandbox", "creditmemos"]:
                return json_answer(sales(self._core, "CreditMemo"))
        return None

    def _found(self, query: Mapping[str, str]) -> tuple[str, str, list[Json], Slice]:
        """The kind and company that are asked for, one page of such objects, and which page that is."""
        kind = query.get("kind") or SALES[0]
        company = query.get("company", "")
        held = [
            {"realm_id": realm, "Object": each}
            for realm, books in self._core.books.items()
            if company in ("", realm)
            for each in books.objects.get(kind, {}).values()
        ]
        part = Slice.asked(query.get("page", ""), len(held))
        return kind, company, part.of(held), part

    def _books_json(self, query: Mapping[str, str]) -> Answer:
        kind, company, found, part = self._found(query)
        objects = [{"realm_id": each["realm_id"], **each["Object"]} for each in found]
        about = {"kind": kind, "company": company, "total": part.total, "page": part.number, "pages": part.pages}
        return json_answer({**about, "objects": objects})

    def _books(self, query: Mapping[str, str]) -> Answer:
        kind, company, found, part = self._found(query)
        rows = [(_sale_row if kind in SALES else _entry_row)(kind, each["realm_id"], each["Object"]) for each in found]
        columns = SALE_COLUMNS if kind in SALES else ENTRY_COLUMNS
        table = Table(columns, rows, "There are none yet.")
        counts = {each: sum(len(books.objects[each]) for books in self._core.books.values()) for each in SALES + LISTS}
        kinds = [Option(each, f"{each} ({count:,})") for each, count in counts.items() if count or each in SALES]
        companies = [Option(realm, f"{books.company.name} ({realm})") for realm, books in self._core.books.items()]
        filters = (
            Filter("kind", "Kind", kind, kinds),
            Filter("company", "Company", company, [Option("", "All companies"), *companies]),
        )
        names = ", ".join(each.text for each in companies[:3]) + (" …" if len(companies) > 3 else "")
        subtitle = f"{names} · {part.words('documents' if kind in SALES else 'entries')}"
        return list_page(SITE, "/", "Books", subtitle, [table], filters=filters, part=part, json_path="/books.json")

    def _document(self, realm: str, kind: str, number: str, *, as_json: bool) -> Answer | None:
        books = self._core.books.get(realm)
        found = books.objects.get(kind, {}).get(number) if books is not None else None
        if books is None or found is None:
            return None
        if as_json:
            return json_answer({"realm_id": realm, **found})
        heading = f"{kind} {found.get('DocNumber') or _name(found)}"
        subtitle = f"{books.company.name} ({realm})"
        tables = [_lines(found)] if kind in SALES else []
        path = f"/books/{realm}/{kind}/{number}.json"
        return document_page(SITE, heading, subtitle, _facts(found), tables, found, path)


def _name(entry: Json) -> str:
    return str(entry.get("DisplayName") or entry.get("FullyQualifiedName") or entry.get("Name") or entry.get("Id", ""))


def _sale_row(kind: str, realm: str, sale: Json) -> list[Cell]:
    sign = -1 if kind == "CreditMemo" else 1
    return [
        Cell(str(sale.get("DocNumber") or f"(id {sale['Id']})"), f"/books/{realm}/{kind}/{sale['Id']}"),
        Cell(plain(sale.get("CustomerRef"))),
        Cell(str(sale.get("TxnDate", ""))),
        Cell(f"{money(Decimal(sale['TotalAmt']) * sign)} {sale['CurrencyRef']['value']}"),
        Cell(str(sale.get("PrivateNote") or "")),
    ]


def _entry_row(kind: str, realm: str, entry: Json) -> list[Cell]:
    number = str(entry.get("Id", ""))
    return [
        Cell(number, f"/books/{realm}/{kind}/{number}"),
        Cell(_name(entry)),
        Cell(str(entry.get("Type") or entry.get("AccountType") or "")),
        Cell(str((entry.get("CurrencyRef") or {}).get("value", ""))),
        Cell(plain(entry.get("Active"))),
    ]


def _lines(sale: Json) -> Table:
    rows = []
    for line in sale.get("Line", ()):
        kind = str(line.get("DetailType", ""))
        detail = line.get(kind) or {}
        what = plain(detail.get("ItemRef")) or kind.removesuffix("Detail").removesuffix("Line")
        rows.append([
            Cell(str(line.get("LineNum") or "")),
            Cell(what),
            Cell(str(line.get("Description") or "")),
            Cell(money(detail.get("Qty"), 0)),
            Cell(money(detail.get("UnitPrice"))),
            Cell(money(line.get("Amount"))),
        ])  # fmt: skip
    return Table(LINE_COLUMNS, rows, "It has no lines.", "Lines")


def _facts(found: Json) -> dict[str, str]:
    """What people look for first, by QuickBooks' own names; all the rest is in the JSON."""
    facts = {name: money(found.get(name)) if name in AMOUNTS else plain(found.get(name)) for name in FACTS}
    times = found.get("MetaData") or {}
    return {**facts, "Created": str(times.get("CreateTime", "")), "Updated": str(times.get("LastUpdatedTime", ""))}
