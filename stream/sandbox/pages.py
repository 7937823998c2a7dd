"""What can be seen of the simulated books: a page for people, JSON for tests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from decimal import Decimal

from jinja2 import Environment, PackageLoader, StrictUndefined

from stream.sandbox.http import Json
from stream.sandbox.metronome.core import Metronome
from stream.sandbox.quickbooks.books import sales_of
from stream.sandbox.quickbooks.core import QuickBooks

ROWS_MAX = 500
VOIDED = "Voided"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_templates = Environment(
    loader=PackageLoader("stream.sandbox"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def metronome_id(sale: Json) -> str:
    """The Metronome invoice that a QuickBooks sale names first in its private note, or ""."""
    found = _UUID.search(sale.get("PrivateNote") or "")
    return found[0] if found else ""


def quickbooks_state(core: QuickBooks) -> Json:
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
        "token_refreshes": core.oauth.refreshes,
    }


def quickbooks_sales(core: QuickBooks, kind: str = "Invoice") -> list[Json]:
    """Every sale of every company, with its realm id."""
    return [{"realm_id": realm, **sale} for realm, books in core.books.items() for sale in sales_of(books, kind)]


def metronome_state(core: Metronome) -> Json:
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for invoice in core.invoices.values():
        totals[invoice["credit_type"]["name"]] += Decimal(invoice["total"])
    return {
        "invoices": len(core.invoices),
        "statuses": dict(Counter(each["status"] for each in core.invoices.values())),
        "totals": {unit: str(total) for unit, total in totals.items()},
        "calls": dict(core.calls),
    }


def quickbooks_page(core: QuickBooks) -> str:
    rows = [
        {
            "number": sale.get("DocNumber", ""),
            "customer": sale["CustomerRef"]["name"],
            "date": sale["TxnDate"],
            "total": f"{Decimal(sale['TotalAmt']) * sign:,.2f}",
            "unit": sale["CurrencyRef"]["value"],
            "note": sale.get("PrivateNote", ""),
        }
        for kind, sign in (("Invoice", 1), ("CreditMemo", -1))
        for sale in quickbooks_sales(core, kind)
    ]
    companies = ", ".join(f"{books.company.name} ({realm})" for realm, books in core.books.items())
    return _page("QuickBooks Online (sandbox)", companies, rows)


def metronome_page(core: Metronome) -> str:
    customers = core.store.objects["customer"]
    rows = [
        {
            "number": invoice["id"],
            "customer": customers[invoice["customer_id"]]["name"],
            "date": str(invoice.get("issued_at") or "")[:10],
            "total": f"{Decimal(invoice['total']):,f}",
            "unit": invoice["credit_type"]["name"],
            "note": invoice["status"],
        }
        for invoice in core.invoices.values()
    ]
    return _page("Metronome (sandbox)", f"{len(customers)} customers", rows)


def _page(title: str, subtitle: str, rows: list[Json]) -> str:
    newest = rows[::-1][:ROWS_MAX]
    template = _templates.get_template("books.html")
    return template.render(title=title, subtitle=subtitle, rows=newest, rows_total=len(rows))
