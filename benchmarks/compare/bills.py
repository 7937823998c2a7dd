"""The input that the libraries get: Metronome's invoices as a person would read them, nothing rounded yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models.money import quantum, round_half_up, unit_of

Json = dict[str, Any]
DOC_NUMBER_CHARACTERS = 17


@dataclass(frozen=True)
class Line:
    """`amount` is in whole units of the currency, as exact as Metronome tells it."""

    item: str
    description: str
    amount: str


@dataclass(frozen=True)
class Bill:
    """One invoice of Metronome. `total` is what it bills, to the cent; the libraries are not shown it."""

    invoice_id: str
    doc_number: str
    customer_id: str
    customer: str
    currency: str
    date: str
    lines: tuple[Line, ...]
    total: Decimal

    @property
    def has_fractions(self) -> bool:
        """Whether a line has fractions of a cent."""
        return any(
            Decimal(each.amount) != round_half_up(Decimal(each.amount), quantum(self.currency)) for each in self.lines
        )

    @property
    def note(self) -> str:
        return f"Metronome invoice {self.invoice_id}"

    def webhook(self) -> bytes:
        """What Metronome announces the invoice with."""
        ids = {"invoice_id": self.invoice_id, "customer_id": self.customer_id}
        return json.dumps({"id": self.invoice_id, "type": "invoice.finalized", "properties": ids}).encode()

    def as_json(self) -> Json:
        """What the libraries' loops are given."""
        return {
            "id": self.invoice_id,
            "doc_number": self.doc_number,
            "note": self.note,
            "customer": self.customer,
            "currency": self.currency,
            "date": self.date,
            "lines": [
                {"item": each.item, "description": each.description, "amount": each.amount} for each in self.lines
            ],
        }


def bills_of(invoices: Sequence[Json], customers: Mapping[str, str]) -> list[Bill]:
    """`customers` are names by Metronome's ids."""
    products = {
        line["product_id"]: line["name"]
        for invoice in invoices
        for line in invoice["line_items"]
        if line["type"] != "applied_commit_or_credit"
    }
    return [_bill(invoice, customers[invoice["customer_id"]], products) for invoice in invoices]


def _bill(invoice: Json, customer: str, products: Mapping[str, str]) -> Bill:
    """Only the lines that count (docs/vendors/metronome.md §1.4)."""
    unit = unit_of(invoice["credit_type"]["name"])
    counted = [
        line
        for line in invoice["line_items"]
        if line["credit_type"]["id"] == invoice["credit_type"]["id"]
        and not (line["type"] == "applied_commit_or_credit" and line["applied_commit_or_credit"]["type"] == "POSTPAID")
    ]
    return Bill(
        invoice_id=invoice["id"],
        doc_number=invoice["id"].replace("-", "")[:DOC_NUMBER_CHARACTERS],
        customer_id=invoice["customer_id"],
        customer=customer,
        currency=unit.currency,
        date=invoice["issued_at"][:10],
        lines=tuple(
            Line(products[each["product_id"]], _description(each), f"{unit.major(Decimal(each['total'])):f}")
            for each in counted
        ),
        total=round_half_up(unit.major(Decimal(invoice["total"])), quantum(unit.currency)),
    )


def _description(line: Json) -> str:
    if line.get("quantity") is None:
        return str(line["name"])
    return f"{line['name']}: {line['quantity']} × {line['unit_price']}"
