"""Real-shaped Metronome invoices from a seed: same seed, same bytes (`facts/metronome.md` §1).

USD invoices count in cents, EUR invoices in whole euros; each customer has one currency. The total of an invoice is
the exact sum of its lines, fractions of a cent included.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid5

from stream.sandbox.http import Json
from stream.sandbox.scene import EUR, USD, QuickBooksEntry, Scene

NAMESPACE = UUID("6f1c7f0e-3c39-5f0e-9d7b-5a1d0c0ffee0")
LINES_MAX = 8
CUSTOMERS_MIN = 4
CUSTOMERS_MAX = 60
FIRST_QUICKBOOKS_CUSTOMER = 58
FIRST_QUICKBOOKS_ITEM = 31
# Every fourth customer carries no QuickBooks id; every other one of these is in the books under its name all the same.
# The last two products have no item.
UNMAPPED_CUSTOMER_EVERY = 4
NAMED_CUSTOMER_EVERY = 8
UNMAPPED_PRODUCTS = 2
UNITS = {"USD": USD, "EUR": EUR}

# name, type, price in major units
PRODUCTS = (
    ("API Calls", "USAGE", "0.001"),
    ("GPU Hours", "USAGE", "3.00"),
    ("Storage GB", "USAGE", "0.02"),
    ("Input Tokens", "USAGE", "0.0000035"),
    ("Data Transfer GB", "USAGE", "0.0875"),
    ("Pro Seat", "SUBSCRIPTION", "29.00"),
    ("Platform Fee", "FIXED", "499.00"),
    ("Prepaid Commit", "FIXED", "5000.00"),
    ("Onboarding", "FIXED", "1250.00"),
    ("Support Incidents", "USAGE", "75.00"),
)
FIRST_WORDS = (
    "Acme",
    "Blue Harbor",
    "Cobalt",
    "Delta & Sons",
    "Evergreen",
    "Foxglove",
    "Granite",
    "Halcyon",
    "Iron Oak",
)
LAST_WORDS = ("Labs", "Analytics", "Robotics", "O'Neill Ltd", "Systems", "Data Works", "AI", "Biosciences")
PLANS = ("Starter", "Growth", "Enterprise")
REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")


def generate(
    seed: int,
    count: int,
    *,
    now: datetime,
    eur_share: float = 0.2,
    mapped: bool = True,
    drafts: int = 0,
    voids: int = 0,
    negatives: int = 0,
) -> Scene:
    """`count` finalized invoices with total >= 0, then `drafts`, `voids` and `negatives` more of those kinds.

    `mapped`: customers, products and contracts carry their `qbo_…` custom fields; the entries that these name stand in
    the scene. `eur_share`: part of the customers that is billed in EUR. All dates lie before `now`.
    """
    world = _World(seed, now, max(CUSTOMERS_MIN, min(CUSTOMERS_MAX, count // 4)), eur_share, mapped)
    kinds = ["FINALIZED"] * count + ["DRAFT"] * drafts + ["VOID"] * voids + ["NEGATIVE"] * negatives
    invoices = tuple(world.invoice(index, kind) for index, kind in enumerate(kinds))
    keys = (("customer", "qbo_customer_id"), ("contract_product", "qbo_item_id"), ("contract", "qbo_memo_ref"))
    return Scene(
        customers=tuple(world.customers),
        products=tuple(world.products),
        contracts=tuple(world.contracts),
        invoices=invoices,
        custom_field_keys=keys if mapped else (),
        quickbooks_customers=tuple(world.quickbooks_customers),
        quickbooks_items=tuple(world.quickbooks_items),
    )


class _World:
    """Customers, products and contracts of one seed, and the dice that make invoices for them."""

    def __init__(self, seed: int, now: datetime, customers: int, eur_share: float, mapped: bool) -> None:
        self.seed = seed
        self.now = now.astimezone(UTC)
        self.dice = Random(seed)
        self.customers: list[Json] = []
        self.products: list[Json] = []
        self.contracts: list[Json] = []
        self.quickbooks_customers: list[QuickBooksEntry] = []
        self.quickbooks_items: list[QuickBooksEntry] = []
        self.currencies: list[str] = []
        for index in range(len(PRODUCTS)):
            self._add_product(index, mapped)
        in_eur = round(customers * eur_share)
        for index in range(customers):
            self._add_customer(index, "EUR" if index >= customers - in_eur else "USD", mapped)

    def id_of(self, *path: object) -> str:
        return str(uuid5(NAMESPACE, "/".join(str(each) for each in (self.seed, *path))))

    def _add_product(self, index: int, mapped: bool) -> None:
        name, kind, _ = PRODUCTS[index]
        product: Json = {
            "id": self.id_of("product", index),
            "type": kind,
            "initial": {"name": name, "starting_at": "2025-01-01T00:00:00+00:00"},
            "current": {"name": name, "tags": ["metered"] if kind == "USAGE" else []},
            "updates": [],
            "custom_fields": {},
        }
        if mapped and index < len(PRODUCTS) - UNMAPPED_PRODUCTS:
            entry = QuickBooksEntry(str(FIRST_QUICKBOOKS_ITEM + index), name)
            self.quickbooks_items.append(entry)
            product["custom_fields"] = {"qbo_item_id": entry.id}
        self.products.append(product)

    def _add_customer(self, index: int, currency: str, mapped: bool) -> None:
        first, last = FIRST_WORDS[index % len(FIRST_WORDS)], LAST_WORDS[index // len(FIRST_WORDS) % len(LAST_WORDS)]
        name = f"{first} {last}"
        customer: Json = {
            "id": self.id_of("customer", index),
            "external_id": f"customer-{index}",
            "name": name,
            "ingest_aliases": [f"customer-{index}"],
            "customer_config": {"salesforce_account_id": None},
            "created_at": "2025-01-15T09:00:00+00:00",
            "updated_at": "2025-01-15T09:00:00+00:00",
            "custom_fields": {},
        }
        entry = QuickBooksEntry(str(FIRST_QUICKBOOKS_CUSTOMER + index), name, currency)
        if mapped and (index + 1) % UNMAPPED_CUSTOMER_EVERY:
            self.quickbooks_customers.append(entry)
            customer["custom_fields"] = {"qbo_customer_id": entry.id}
        elif (index + 1) % NAMED_CUSTOMER_EVERY == 0:
            self.quickbooks_customers.append(entry)
        self.customers.append(customer)
        self.currencies.append(currency)
        self.contracts.append(
            {
                "id": self.id_of("contract", index),
                "customer_id": customer["id"],
                "name": f"{name} {PLANS[index % len(PLANS)]}",
                "starting_at": "2025-02-01T00:00:00+00:00",
                "ending_before": None,
                "net_payment_terms_days": (30, 15, None)[index % 3],
                "custom_fields": {"qbo_memo_ref": f"MSA-{1000 + index}"} if mapped else {},
            }
        )

    def invoice(self, index: int, kind: str) -> Json:
        who = self.dice.randrange(len(self.customers))
        contract, unit = self.contracts[who], UNITS[self.currencies[who]]
        scheduled = kind != "NEGATIVE" and self.dice.random() < 0.15
        start, end = self._period(self.dice.randrange(3))
        maker = _Lines(self, f"invoice/{index}", unit, start, end)
        lines = maker.negative() if kind == "NEGATIVE" else maker.scheduled() if scheduled else maker.usage()
        invoice: Json = {
            "id": self.id_of("invoice", index),
            "customer_id": self.customers[who]["id"],
            "contract_id": contract["id"],
            "type": "SCHEDULED" if scheduled else "USAGE",
            "status": "FINALIZED" if kind == "NEGATIVE" else kind,
            "billable_status": "billable",
            "credit_type": unit,
            "issued_at": _text(end + timedelta(days=1)),
            "external_invoice": None,
            "revenue_system_invoices": None,
            "line_items": lines,
            "total": _plain(sum((Decimal(each["total"]) for each in lines), Decimal(0))),
        }
        if not scheduled:
            invoice |= {"start_timestamp": _text(start), "end_timestamp": _text(end)}
        if contract["net_payment_terms_days"] is not None:
            invoice["net_payment_terms_days"] = contract["net_payment_terms_days"]
        return invoice

    def _period(self, months_ago: int) -> tuple[datetime, datetime]:
        """A whole calendar month whose invoice has been issued before now."""
        end = (self.now - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for _ in range(months_ago):
            end = (end - timedelta(days=1)).replace(day=1)
        return (end - timedelta(days=1)).replace(day=1), end


class _Lines:
    """The lines of one invoice: amounts in `unit` (cents for USD), every total the exact product of its factors."""

    def __init__(self, world: _World, path: str, unit: Json, start: datetime, end: datetime) -> None:
        self.world, self.path, self.unit = world, path, unit
        self.dice = world.dice
        self.window = {"starting_at": _text(start), "ending_before": _text(end)}
        self.scale = 100 if unit is USD else 1

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
        fee = self._line("scheduled", 6, Decimal(1), scheduled_charge_id=self._id("charge"))
        commit = self._line("commit_purchase", 7, Decimal(1), commit_id=self._id("commit"), commit_type="PrepaidCommit")
        onboarding = self._line("scheduled", 8, Decimal(1), scheduled_charge_id=self._id("onboarding"))
        return self.dice.choice(([fee], [commit], [fee, onboarding], [commit, fee]))

    def negative(self) -> list[Json]:
        """A "latest" metric that fell: a small charge and a larger negative one."""
        return [self._line("usage", 1, Decimal("2.5")), self._line("usage", 1, -self._quantity(10, 60, 4))]

    def plain(self) -> Iterator[Json]:
        yield self._line("usage", 0, self._quantity(100, 900_000, self.dice.choice((0, 0, 6))))

    def grouped(self) -> Iterator[Json]:
        for region in self.dice.sample(REGIONS, self.dice.randint(1, 2)):
            groups: Json = {"pricing_group_values": {"region": region, "gpu": self.dice.choice(("h200", "l4"))}}
            yield self._line("usage", 1, self._quantity(1, 400, 4), **groups)

    def tiered(self) -> Iterator[Json]:
        """One line per tier; bounds and sizes are strings, the last tier has no size."""
        first = Decimal(1000)
        yield self._line("usage", 2, first, tier={"level": 1, "starting_at": "0", "size": "1000"})
        last_tier = {"level": 2, "starting_at": "1000", "size": None}
        yield self._line("usage", 2, self._quantity(1, 50_000, 2), price="0.015", tier=last_tier)

    def tokens(self) -> Iterator[Json]:
        groups: Json = {"presentation_group_values": {"project": self.dice.choice(("alpha", "beta")), "team": None}}
        yield self._line("usage", 3, self._quantity(1_000_000, 90_000_000, 0), **groups)

    def seats(self) -> Iterator[Json]:
        prorated = self.dice.random() < 0.3
        price = "19.6451612903" if prorated else ""
        seats = Decimal(self.dice.randint(1, 40))
        extra: Json = {"subscription_id": self._id("subscription"), "subscription_custom_fields": {}}
        yield self._line("subscription", 5, seats, price=price, is_prorated=prorated, **extra)

    def drawn_down(self) -> Iterator[Json]:
        """Usage that a prepaid commit or a credit covers: a line and its equal negative."""
        commit = self._id("commit", self.dice.randrange(1000))
        applied = {"id": commit, "type": self.dice.choice(("PREPAID", "CREDIT")), "access_type": "SPEND"}
        extra: Json = {"commit_id": commit, "commit_type": "PrepaidCommit", "commit_custom_fields": {}}
        covered = self._line("usage", 4, self._quantity(10, 5000, 3), **extra, applied_commit_or_credit=applied)
        yield covered
        yield {
            **covered,
            "name": "Prepaid Commit applied" if applied["type"] == "PREPAID" else "Goodwill Credit applied",
            "type": "applied_commit_or_credit",
            "quantity": None,
            "unit_price": None,
            "total": _plain(-Decimal(covered["total"])),
        }

    def nothing_used(self) -> Iterator[Json]:
        yield self._line("usage", 9, Decimal(self.dice.choice((0, 0, 1))))

    def _line(self, kind: str, product: int, quantity: Decimal, price: str = "", **extra: Any) -> Json:
        name, product_kind, usual_price = PRODUCTS[product]
        unit_price = Decimal(price or usual_price) * self.scale
        listed = {"USAGE": "Usage", "SUBSCRIPTION": "Subscription", "FIXED": "Fixed"}[product_kind]
        return {
            "name": name,
            "type": kind,
            "quantity": _plain(quantity),
            "unit_price": _plain(unit_price),
            "total": _plain(quantity * unit_price),
            "credit_type": self.unit,
            "product_id": self.world.id_of("product", product),
            "product_type": f"{listed}ProductListItem",
            "product_tags": self.world.products[product]["current"]["tags"],
            **self.window,
            **extra,
        }

    def _quantity(self, least: int, most: int, decimals: int) -> Decimal:
        return Decimal(self.dice.randint(least * 10**decimals, most * 10**decimals)).scaleb(-decimals)

    def _id(self, *path: object) -> str:
        return self.world.id_of(self.path, *path)


def _plain(value: Decimal) -> int | Decimal:
    """A whole number as int, any other without zeros at its end."""
    whole = int(value)
    return whole if value == whole else value.normalize()


def _text(at: datetime) -> str:
    return at.isoformat()
