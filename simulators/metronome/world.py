"""The customers, products and contracts of one seed, as Metronome shows them, and what QuickBooks holds of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid5

from simulators.http import Json
from simulators.scene import QuickBooksEntry

NAMESPACE = UUID("6f1c7f0e-3c39-5f0e-9d7b-5a1d0c0ffee0")
CUSTOMERS_MIN = 4
CUSTOMERS_MAX = 60
FIRST_QUICKBOOKS_CUSTOMER = 58
FIRST_QUICKBOOKS_ITEM = 31
# Every fourth customer carries no QuickBooks id; every other one of these is in the books under its name all the same.
# The last two products have no item.
UNMAPPED_CUSTOMER_EVERY = 4
NAMED_CUSTOMER_EVERY = 8
UNMAPPED_PRODUCTS = 2

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
# Made only for the kinds of invoices that need it, with an item in QuickBooks.
COMPOSITE_PRODUCT = ("Premium Support (10 % of usage)", "COMPOSITE", "1.00")
COMMIT_PRODUCT = 7
# Customers of the usual mix are numbered below this.
FIRST_PARTY = 1000
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


class World:
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
        self.mapped = mapped
        self.eur_share = eur_share
        self._parties: dict[tuple[str, str], tuple[Json, Json]] = {}
        for index, (name, kind, _) in enumerate(PRODUCTS):
            self._add_product(index, name, kind, mapped and index < len(PRODUCTS) - UNMAPPED_PRODUCTS)
        in_eur = round(customers * eur_share)
        for index in range(customers):
            first, last = FIRST_WORDS[index % len(FIRST_WORDS)], LAST_WORDS[index // len(FIRST_WORDS) % len(LAST_WORDS)]
            currency = "EUR" if index >= customers - in_eur else "USD"
            self._add_customer(
                index, index, f"{first} {last}", currency, mapped and (index + 1) % UNMAPPED_CUSTOMER_EVERY != 0
            )

    def id_of(self, *path: object) -> str:
        return str(uuid5(NAMESPACE, "/".join(str(each) for each in (self.seed, *path))))

    def composite_product(self) -> Json:
        """The product whose price depends on that of others; it exists once it has been asked for."""
        if len(self.products) == len(PRODUCTS):
            self._add_product(len(PRODUCTS), *COMPOSITE_PRODUCT[:2], mapped=self.mapped)
        return self.products[len(PRODUCTS)]

    def party(self, currency: str, role: str = "") -> tuple[Json, Json]:
        """A customer that is billed in `currency` and its contract, the same ones for the same arguments."""
        if (currency, role) not in self._parties:
            name = f"Northwind {currency}{' ' if role else ''}{role}"
            self._add_customer(name, FIRST_PARTY + len(self._parties), name, currency, self.mapped)
            self._parties[currency, role] = (self.customers[-1], self.contracts[-1])
        return self._parties[currency, role]

    def _add_product(self, index: int, name: str, kind: str, mapped: bool) -> None:
        product: Json = {
            "id": self.id_of("product", index),
            "type": kind,
            "initial": {"name": name, "starting_at": "2025-01-01T00:00:00+00:00"},
            "current": {"name": name, "tags": ["metered"] if kind == "USAGE" else []},
            "updates": [],
            "custom_fields": {},
        }
        if mapped:
            entry = QuickBooksEntry(str(FIRST_QUICKBOOKS_ITEM + index), name)
            self.quickbooks_items.append(entry)
            product["custom_fields"] = {"qbo_item_id": entry.id}
        self.products.append(product)

    def _add_customer(self, path: object, index: int, name: str, currency: str, mapped: bool) -> None:
        """`path` makes the ids in Metronome, `index` the one in QuickBooks."""
        customer: Json = {
            "id": self.id_of("customer", path),
            "external_id": f"customer-{index}",
            "name": name,
            "ingest_aliases": [f"customer-{index}"],
            "customer_config": {"salesforce_account_id": None},
            "created_at": "2025-01-15T09:00:00+00:00",
            "updated_at": "2025-01-15T09:00:00+00:00",
            "custom_fields": {},
        }
        entry = QuickBooksEntry(str(FIRST_QUICKBOOKS_CUSTOMER + index), name, currency)
        if mapped:
            self.quickbooks_customers.append(entry)
            customer["custom_fields"] = {"qbo_customer_id": entry.id}
        elif (index + 1) % NAMED_CUSTOMER_EVERY == 0:
            self.quickbooks_customers.append(entry)
        self.customers.append(customer)
        self.currencies.append(currency)
        self.contracts.append(
            {
                "id": self.id_of("contract", path),
                "customer_id": customer["id"],
                "name": f"{name} {PLANS[index % len(PLANS)]}",
                "starting_at": "2025-02-01T00:00:00+00:00",
                "ending_before": None,
                "net_payment_terms_days": (30, 15, None)[index % 3],
                "custom_fields": {"qbo_memo_ref": f"MSA-{1000 + index}"} if self.mapped else {},
            }
        )

    def period(self, months_ago: int) -> tuple[datetime, datetime]:
        """A whole calendar month whose invoice has been issued before now."""
        end = (self.now - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for _ in range(months_ago):
            end = (end - timedelta(days=1)).replace(day=1)
        return (end - timedelta(days=1)).replace(day=1), end
