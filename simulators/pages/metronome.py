"""What can be seen of the simulated Metronome: pages for people, and the same as JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal

from simulators.http import Answer, Json, Request, json_answer
from simulators.metronome.core import Metronome
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

SITE = Site(
    "Metronome (sandbox)",
    (
        Link("Invoices", "/"),
        Link("Customers", "/customers"),
        Link("Requests", "/requests"),
        Link("Counters", "/counters"),
    ),
)
INVOICE_COLUMNS = (
    Column("Invoice", "long"), Column("Customer"), Column("Issued", "short"), Column("Type"), Column("Status"),
    Column("Total", "number"),
)  # fmt: skip
CUSTOMER_COLUMNS = (Column("Customer", "long"), Column("Name"), Column("Invoices", "number"), Column("Custom fields"))
LINE_COLUMNS = (
    Column("Line", "long"), Column("Type"), Column("Quantity", "number"),
    Column("Price", "number"), Column("Total", "number"),
)  # fmt: skip


def state(core: Metronome) -> Json:
    """Counters."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for invoice in core.invoices.values():
        totals[invoice["credit_type"]["name"]] += Decimal(invoice["total"])
    return {
        "invoices": len(core.invoices),
        "statuses": dict(Counter(each["status"] for each in core.invoices.values())),
        "totals": {unit: str(total) for unit, total in totals.items()},
        "calls": dict(core.calls),
    }


class MetronomePages:
    """`/` and `/invoices.json`, `/invoices/<id>`, `/customers`, each with `.json`, and its own `/_sandbox` paths."""

    def __init__(self, core: Metronome) -> None:
        self._core = core

    def answer(self, request: Request) -> Answer | None:
        """None when the path is no page of Metronome's."""
        match request.path.strip("/").split("/"):
            case [""]:
                return self._invoices(request.query)
            case ["invoices.json"]:
                return self._invoices_json(request.query)
            case ["invoices", name]:
                return self._invoice(name.removesuffix(".json"), as_json=name.endswith(".json"))
            case ["customers"]:
                return self._customers(request.query)
            case ["customers.json"]:
                return self._customers_json(request.query)
            case ["_sandbox", "state"]:
                return json_answer(state(self._core))
            case ["_sandbox", "invoices"]:
                return json_answer([self._core.shown_invoice(each) for each in self._core.invoices.values()])
        return None

    def _found(self, query: Mapping[str, str]) -> tuple[list[Json], Slice]:
        """One page of the invoices that the query asks for, and which page that is."""
        held = [
            each
            for each in self._core.invoices.values()
            if query.get("status", "") in ("", each["status"])
            and query.get("type", "") in ("", each.get("type"))
            and query.get("customer", "") in ("", each["customer_id"])
        ]
        part = Slice.asked(query.get("page", ""), len(held))
        return part.of(held), part

    def _invoices_json(self, query: Mapping[str, str]) -> Answer:
        found, part = self._found(query)
        about = {"total": part.total, "page": part.number, "pages": part.pages}
        return json_answer({**about, "invoices": [self._core.shown_invoice(each) for each in found]})

    def _invoices(self, query: Mapping[str, str]) -> Answer:
        found, part = self._found(query)
        table = Table(INVOICE_COLUMNS, [self._invoice_row(each) for each in found], "There are none.")
        every = list(self._core.invoices.values())
        filters = [
            _filter("status", "Status", query, Counter(str(each["status"]) for each in every)),
            _filter("type", "Type", query, Counter(str(each.get("type", "")) for each in every)),
        ]
        if customer := query.get("customer", ""):
            options = [Option("", "All customers"), Option(customer, self._name_of(customer))]
            filters.append(Filter("customer", "Customer", customer, options))
        subtitle = part.words("invoices")
        return list_page(
            SITE, "/", "Invoices", subtitle, [table], filters=filters, part=part, json_path="/invoices.json"
        )

    def _invoice_row(self, invoice: Json) -> list[Cell]:
        return [
            Cell(str(invoice["id"]), f"/invoices/{invoice['id']}"),
            Cell(self._name_of(invoice["customer_id"])),
            Cell(str(invoice.get("issued_at") or "")[:10]),
            Cell(str(invoice.get("type") or "")),
            Cell(str(invoice["status"])),
            Cell(f"{money(invoice['total'], 0)} {invoice['credit_type']['name']}"),
        ]

    def _name_of(self, customer_id: str) -> str:
        return str(self._core.store.objects["customer"].get(customer_id, {}).get("name", customer_id))

    def _invoice(self, invoice_id: str, *, as_json: bool) -> Answer | None:
        held = self._core.invoices.get(invoice_id)
        if held is None:
            return None
        shown = self._core.shown_invoice(held)
        if as_json:
            return json_answer(shown)
        facts = {
            name: plain(value)
            for name, value in shown.items()
            if isinstance(value, str | int | bool | Decimal) and name != "total"
        }
        facts["total"] = money(shown["total"], 0)
        facts |= {
            name: ", ".join(f"{key}: {text}" for key, text in shown[name].items())
            for name in ("custom_fields", "customer_custom_fields", "contract_custom_fields")
            if shown.get(name)
        }
        subtitle = f"{self._name_of(shown['customer_id'])} · {shown['credit_type']['name']}"
        path = f"/invoices/{invoice_id}.json"
        return document_page(SITE, f"Invoice {invoice_id}", subtitle, facts, [_lines(shown)], shown, path)

    def _found_customers(self, query: Mapping[str, str]) -> tuple[list[Json], Slice]:
        held = list(self._core.store.objects["customer"].values())
        part = Slice.asked(query.get("page", ""), len(held))
        return part.of(held), part

    def _customers_json(self, query: Mapping[str, str]) -> Answer:
        found, part = self._found_customers(query)
        customers = [{**each, "custom_fields": self._core.store.fields_of("customer", each["id"])} for each in found]
        about = {"total": part.total, "page": part.number, "pages": part.pages}
        return json_answer({**about, "customers": customers})

    def _customers(self, query: Mapping[str, str]) -> Answer:
        found, part = self._found_customers(query)
        billed = Counter(each["customer_id"] for each in self._core.invoices.values())
        rows = []
        for each in found:
            fields = self._core.store.fields_of("customer", each["id"])
            rows.append([
                Cell(each["id"], f"/?customer={each['id']}"),
                Cell(str(each.get("name", ""))),
                Cell(f"{billed[each['id']]:,}"),
                Cell("\n".join(f"{key}: {value}" for key, value in fields.items())),
            ])  # fmt: skip
        table = Table(CUSTOMER_COLUMNS, rows, "There are none.")
        subtitle = part.words("customers")
        return list_page(SITE, "/customers", "Customers", subtitle, [table], part=part, json_path="/customers.json")


def _filter(name: str, title: str, query: Mapping[str, str], counts: Mapping[str, int]) -> Filter:
    options = [Option(value, f"{value} ({count:,})") for value, count in sorted(counts.items()) if value]
    return Filter(name, title, query.get(name, ""), [Option("", "All"), *options])


def _lines(invoice: Json) -> Table:
    rows = [
        [
            Cell(str(line.get("name") or "")),
            Cell(str(line.get("type") or "")),
            Cell(money(line.get("quantity"), 0)),
            Cell(money(line.get("unit_price"), 0)),
            Cell(money(line.get("total"), 0)),
        ]
        for line in invoice.get("line_items", ())
    ]
    return Table(LINE_COLUMNS, rows, "It has no lines.", "Lines")
