"""The lines of generated invoices (`docs/vendors/metronome.md` §1.2, §1.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from simulators.http import Json
from simulators.metronome.world import PRODUCTS, World

LINES_MAX = 8
REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")
APPLIED_NAMES = {
    "PREPAID": "Prepaid Commit applied",
    "CREDIT": "Goodwill Credit applied",
    "POSTPAID": "Postpaid Commit applied",
}


class Lines:
    """The lines of one invoice: amounts in `unit` (cents for USD), every total the exact product of its factors."""

    def __init__(self, world: World, dice: Random, path: str, unit: Json, start: datetime, end: datetime) -> None:
        self.world, self.path, self.unit = world, path, unit
        self.dice = dice
        self.window = {"starting_at": text_of(start), "ending_before": text_of(end)}
        self.scale = 100 if unit["name"].endswith("(cents)") else 1

    def usage(self) -> list[Json]:
        shapes = (self.plain, self.grouped, self.tiered, self.tokens, self.seats, self.drawn_down, self.nothing_used)
        lines: list[Json] = []
        wanted = self.dice.randint(1, LINES_MAX)
        while len(lines) < wanted:
            more = list(self.dice.choice(shapes)())
            if len(lines) + len(more) > LINES_MAX:
                break
            lines += more
        return lines

    def scheduled(self) -> list[Json]:
        fee = self.line("scheduled", 6, Decimal(1), scheduled_charge_id=self.id_of("charge"))
        commit = self.line(
            "commit_purchase", 7, Decimal(1), commit_id=self.id_of("commit"), commit_type="PrepaidCommit"
        )
        onboarding = self.line("scheduled", 8, Decimal(1), scheduled_charge_id=self.id_of("onboarding"))
        return self.dice.choice(([fee], [commit], [fee, onboarding], [commit, fee]))

    def negative(self) -> list[Json]:
        """A "latest" metric that fell: a small charge and a larger negative one."""
        return [self.line("usage", 1, Decimal("2.5")), self.line("usage", 1, -self.quantity(10, 60, 4))]

    def plain(self) -> Iterator[Json]:
        yield self.line("usage", 0, self.quantity(100, 900_000, self.dice.choice((0, 0, 6))))

    def grouped(self) -> Iterator[Json]:
        for region in self.dice.sample(REGIONS, self.dice.randint(1, 2)):
            groups: Json = {"pricing_group_values": {"region": region, "gpu": self.dice.choice(("h200", "l4"))}}
            yield self.line("usage", 1, self.quantity(1, 400, 4), **groups)

    def tiered(self) -> Iterator[Json]:
        """One line per tier; bounds and sizes are strings, the last tier has no size."""
        first = Decimal(1000)
        yield self.line("usage", 2, first, tier={"level": 1, "starting_at": "0", "size": "1000"})
        last_tier = {"level": 2, "starting_at": "1000", "size": None}
        yield self.line("usage", 2, self.quantity(1, 50_000, 2), price="0.015", tier=last_tier)

    def tokens(self) -> Iterator[Json]:
        groups: Json = {"presentation_group_values": {"project": self.dice.choice(("alpha", "beta")), "team": None}}
        yield self.line("usage", 3, self.quantity(1_000_000, 90_000_000, 0), **groups)

    def seats(self) -> Iterator[Json]:
        prorated = self.dice.random() < 0.3
        price = "19.6451612903" if prorated else ""
        seats = Decimal(self.dice.randint(1, 40))
        extra: Json = {"subscription_id": self.id_of("subscription"), "subscription_custom_fields": {}}
        yield self.line("subscription", 5, seats, price=price, is_prorated=prorated, **extra)

    def drawn_down(self) -> Iterator[Json]:
        """Usage that a prepaid commit or a credit covers: a line and its equal negative."""
        commit = self.id_of("commit", self.dice.randrange(1000))
        applied = {"id": commit, "type": self.dice.choice(("PREPAID", "CREDIT")), "access_type": "SPEND"}
        yield from self.covered(4, self.quantity(10, 5000, 3), applied)

    def covered(self, product: int, quantity: Decimal, applied: Json, **extra: Any) -> Iterator[Json]:
        """A usage line that names the commit or credit which covers it, and the equal negative one."""
        commit_type = "PostpaidCommit" if applied["type"] == "POSTPAID" else "PrepaidCommit"
        commit: Json = {"commit_id": applied["id"], "commit_type": commit_type, "commit_custom_fields": {}}
        covered = self.line("usage", product, quantity, **commit, applied_commit_or_credit=applied, **extra)
        yield covered
        yield {
            **covered,
            "name": APPLIED_NAMES[applied["type"]],
            "type": "applied_commit_or_credit",
            "quantity": None,
            "unit_price": None,
            "total": plain(-Decimal(covered["total"])),
        }

    def nothing_used(self) -> Iterator[Json]:
        yield self.line("usage", 9, Decimal(self.dice.choice((0, 0, 1))))

    def line(self, kind: str, product: int, quantity: Decimal, price: str = "", **extra: Any) -> Json:
        """`price` in major units; the product's usual one when it is empty."""
        name, product_kind, usual_price = PRODUCTS[product]
        unit_price = Decimal(price or usual_price) * self.scale
        listed = {"USAGE": "Usage", "SUBSCRIPTION": "Subscription", "FIXED": "Fixed"}[product_kind]
        return {
            "name": name,
            "type": kind,
            "quantity": plain(quantity),
            "unit_price": plain(unit_price),
            "total": plain(quantity * unit_price),
            "credit_type": self.unit,
            "product_id": self.world.id_of("product", product),
            "product_type": f"{listed}ProductListItem",
            "product_tags": self.world.products[product]["current"]["tags"],
            **self.window,
            **extra,
        }

    def quantity(self, least: int, most: int, decimals: int) -> Decimal:
        return Decimal(self.dice.randint(least * 10**decimals, most * 10**decimals)).scaleb(-decimals)

    def id_of(self, *path: object) -> str:
        return self.world.id_of(self.path, *path)


def due(lines: Iterable[Json], unit: Json, adjustments: Iterable[Json] = ()) -> int | Decimal:
    """The total of an invoice by the sum rule (`docs/vendors/metronome.md` §1.4)."""
    counted = [
        line["total"]
        for line in lines
        if line["credit_type"]["id"] == unit["id"]
        and not (line["type"] == "applied_commit_or_credit" and line["applied_commit_or_credit"]["type"] == "POSTPAID")
    ]
    return plain(sum((Decimal(each) for each in (*counted, *(each["total"] for each in adjustments))), Decimal(0)))


def plain(value: Decimal) -> int | Decimal:
    """A whole number as int, any other without zeros at its end."""
    whole = int(value)
    return whole if value == whole else value.normalize()


def text_of(at: datetime) -> str:
    return at.isoformat()
