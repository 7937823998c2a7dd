"""What was billed and what stands in the books, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from models.money import quantum, round_half_up, unit_of

US, EU = "9341450000000001", "9341450000000002"
"""The companies of invoices in dollars and in euros."""


@dataclass
class Verdict:
    """Both books compared; `examples` are invoice ids, `strangers` documents that belong to no invoice."""

    duplicates: int = 0
    lost: int = 0
    cents_off: Decimal = Decimal(0)
    examples: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.duplicates} duplicates, {self.lost} lost, {self.cents_off:f} cents off"


def compare(billed: dict[str, Any], held: Sequence[dict[str, Any]]) -> Verdict:
    """Each invoice once, in the company of its currency, with Metronome's total to the cent."""
    verdict = Verdict()
    documents_by_invoice: dict[str, list[dict[str, Any]]] = {each: [] for each in billed}
    for document in held:
        invoice_id = str(document["PrivateNote"]).partition("\n")[0].removeprefix("Metronome invoice ")
        total, currency = billed_total(billed[invoice_id]) if invoice_id in billed else (None, "")
        if total is None or document["realm_id"] != {"USD": US, "EUR": EU}[currency]:
            verdict.strangers.append(f"{document['realm_id']}/{document['Id']}")
        else:
            documents_by_invoice[invoice_id].append(document)
    for invoice_id, found in documents_by_invoice.items():
        total, currency = billed_total(billed[invoice_id])
        verdict.lost += not found
        verdict.duplicates += max(0, len(found) - 1)
        off = sum((abs(Decimal(each["TotalAmt"]) - total) for each in found), Decimal(0))
        verdict.cents_off += off / quantum(currency)
        if len(found) != 1 or off:
            verdict.examples.append(invoice_id)
    return verdict


def billed_total(invoice: dict[str, Any]) -> tuple[Decimal, str]:
    """Metronome's total in whole units, to the cent and without its sign, and its currency."""
    unit = unit_of(invoice["credit_type"]["name"])
    total = round_half_up(unit.major(Decimal(invoice["total"])), quantum(unit.currency))
    return total.copy_abs(), unit.currency
