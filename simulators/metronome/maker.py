"""What makes the invoices of one kind: its own dice, so that no kind changes the numbers of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from simulators.http import Json
from simulators.metronome.lines import Lines, due, text_of
from simulators.metronome.world import World
from simulators.scene import unit_of


class Maker:
    """Makes the invoices of number `number` of a kind. `currency` is drawn by the world's share of EUR."""

    def __init__(self, world: World, kind: str, number: int, currencies: Sequence[str]) -> None:
        self.world = world
        self.path = f"{kind}/{number}"
        self.dice = Random(f"{world.seed}/{self.path}")
        self.currencies = currencies
        self.currency = "EUR" if self.dice.random() < world.eur_share else "USD"
        self.period = world.period(self.dice.randrange(3))

    def lines(self, unit: Json | None = None, part: str = "") -> Lines:
        """Shapes of lines that count in `unit`, of the currency when none is given."""
        start, end = self.period
        return Lines(self.world, self.dice, f"{self.path}/{part}", unit or unit_of(self.currency), start, end)

    def invoice(self, lines: Iterable[Json], *, part: str = "", role: str = "", **changes: Any) -> Json:
        """A finalized usage invoice over `lines`, for the customer in this role; `changes` replace any field."""
        customer, contract = self.world.party(self.currency, role)
        unit = changes.get("credit_type") or unit_of(self.currency)
        start, end = self.period
        held = list(lines)
        invoice: Json = {
            "id": self.world.id_of("invoice", self.path, part),
            "customer_id": customer["id"],
            "contract_id": contract["id"],
            "type": "USAGE",
            "status": "FINALIZED",
            "billable_status": "billable",
            "credit_type": unit,
            "issued_at": text_of(end + timedelta(days=1)),
            "start_timestamp": text_of(start),
            "end_timestamp": text_of(end),
            "external_invoice": None,
            "revenue_system_invoices": None,
            "line_items": held,
            "total": due(held, unit, changes.get("invoice_adjustments", ())),
        }
        if contract["net_payment_terms_days"] is not None:
            invoice["net_payment_terms_days"] = contract["net_payment_terms_days"]
        return invoice | changes

    def scheduled(self, lines: Iterable[Json], **changes: Any) -> Json:
        """An invoice for scheduled charges or commits: it has no period (`docs/vendors/metronome.md` §1.1)."""
        invoice = self.invoice(lines, **changes)
        del invoice["start_timestamp"], invoice["end_timestamp"]
        return invoice | {"type": "SCHEDULED"}


Make = Callable[[Maker], list[Json]]
