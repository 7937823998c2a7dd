"""What happens in one run: companies, customers, products and invoices of one seed, with the cases that hurt.

Equal names, equal beginnings of ids (and so equal document numbers), totals on half a cent, currencies, draw-downs,
credit memos, customers and items that have to be created, and documents that a person wrote by hand.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from random import Random
from typing import Any

from simulators.metronome.generator import generate
from simulators.quickbooks.books import Company
from simulators.scene import Scene

Json = dict[str, Any]

START = 1_795_000_000.0
FIRST_REALM = 9_341_450_000_000_001
REALM_FIELD = "qbo_realm_id"
INVOICES_MIN, INVOICES_MAX = 3, 7
MANY_EVERY = 201
MANY_MIN, MANY_MAX = 50, 500
"""One seed of so many has so many invoices: more than there are slots, places in a batch, and requests in a minute."""
SAME_BEGINNINGS = (8, 8, 10, 13)
"""Characters of an id that two invoices share; the shortest document number shows eight."""


SPELT = (lambda name: name.replace(" ", "  "), lambda name: f"Łódź {name}", lambda name: f"株式会社 {name}")
"""Names with two blanks, or beyond Latin-1."""


@dataclass(frozen=True)
class Plot:
    """The scene, and whose invoices lie in which company."""

    scene: Scene
    companies: tuple[Company, ...]
    realm_of_customer: dict[str, str]
    handwritten: tuple[str, ...]
    """Ids of invoices whose document number a person has used already."""
    connected_late: frozenset[str]
    """Companies that nobody connects before their first invoices come."""


def plot_of(seed: int, dice: Random) -> Plot:
    scene = generate(
        seed,
        _how_many(seed, dice),
        now=datetime.fromtimestamp(START, UTC),
        eur_share=dice.choice((0.0, 0.25, 0.5)),
        negatives=int(dice.random() < 0.25),
    )
    realms = [str(FIRST_REALM + index) for index in range(dice.choice((1, 2, 2, 3)))]
    companies = tuple(
        Company(
            realm,
            name=f"Company {index}",
            warn_duplicate_doc_numbers=dice.random() < 0.5,
            custom_txn_numbers=dice.random() < 0.8,
            default_doc_number_kept=dice.random() < 0.5,
            recorded_year=dice.choice((2020, 2026)),
            negative_half=dice.choice(("away-from-zero", "toward-positive")),
            amount_check_uses=dice.choice(("stored", "sent")),
        )
        for index, realm in enumerate(realms)
    )
    of_customer = _customers(scene, realms, dice)
    _products(scene, dice)
    _invoices(scene, of_customer, dice)
    handwritten = tuple(invoice["id"] for invoice in scene.invoices if dice.random() < 0.1)
    keys = (*scene.custom_field_keys, ("customer", REALM_FIELD))
    kept = tuple(entry for entry in scene.quickbooks_customers if dice.random() < 0.6 or _is_mapped(scene, entry.id))
    scene = Scene(
        customers=scene.customers,
        products=scene.products,
        contracts=scene.contracts,
        invoices=scene.invoices,
        custom_field_keys=keys,
        quickbooks_customers=kept,
        quickbooks_items=scene.quickbooks_items,
    )
    connected_late = frozenset(realm for realm in realms if dice.random() < 0.15)
    return Plot(scene, companies, of_customer, handwritten, connected_late)


def _how_many(seed: int, dice: Random) -> int:
    few = dice.randint(INVOICES_MIN, INVOICES_MAX)
    return few if seed % MANY_EVERY else Random(f"many {seed}").randint(MANY_MIN, MANY_MAX)


def _is_mapped(scene: Scene, qbo_id: str) -> bool:
    return any(customer["custom_fields"].get("qbo_customer_id") == qbo_id for customer in scene.customers)


def _customers(scene: Scene, realms: list[str], dice: Random) -> dict[str, str]:
    """Gives each customer a company; some lose their mapping, and two may have one name."""
    for customer in scene.customers:
        if dice.random() < 0.5:
            customer["custom_fields"] = {}
    if dice.random() < 0.5:
        first, second = dice.sample(scene.customers, 2)
        second["name"] = first["name"]
        realm = dice.choice(realms)
        first["custom_fields"], second["custom_fields"] = {REALM_FIELD: realm}, {REALM_FIELD: realm}
    for customer in scene.customers:
        if dice.random() < 0.2:
            customer["name"] = dice.choice(SPELT)(customer["name"])
        customer["custom_fields"] = {REALM_FIELD: dice.choice(realms), **customer["custom_fields"]}
    return {customer["id"]: customer["custom_fields"][REALM_FIELD] for customer in scene.customers}


def _products(scene: Scene, dice: Random) -> None:
    for product in scene.products:
        if dice.random() < 0.25:
            product["custom_fields"] = {}


def _invoices(scene: Scene, realm_of: dict[str, str], dice: Random) -> None:
    invoices = list(scene.invoices)
    for invoice in invoices:
        if dice.random() < 0.1:
            invoice["billable_status"] = "unbillable"
        if dice.random() < 0.4 and Decimal(invoice["total"]) >= 0:
            _to_half_a_cent(invoice)
    if dice.random() < 0.5:
        first, second = dice.sample(invoices, 2)
        if realm_of[first["customer_id"]] == realm_of[second["customer_id"]]:
            same = dice.choice(SAME_BEGINNINGS)
            second["id"] = first["id"][:same] + second["id"][same:]


def _to_half_a_cent(invoice: Json) -> None:
    """Adds a line that brings the total to an even number of cents and a half: where rounding rules part."""
    cents = Decimal(1) if invoice["credit_type"]["name"].endswith("(cents)") else Decimal("0.01")
    total = Decimal(invoice["total"])
    even = (total / (2 * cents)).to_integral_value(ROUND_FLOOR) * 2 * cents
    wanted = even + Decimal("2.5") * cents
    line = dict(next(each for each in invoice["line_items"] if each.get("product_id")))
    line |= {"name": "Rounding", "type": "usage", "quantity": None, "unit_price": None, "total": wanted - total}
    for name in ("commit_id", "commit_type", "commit_custom_fields", "applied_commit_or_credit", "tier"):
        line.pop(name, None)
    invoice["line_items"] = [*invoice["line_items"], line]
    invoice["total"] = wanted
