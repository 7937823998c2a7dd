"""How the companies of one run want their invoices kept: some of the policy's fields, by the seed."""

from decimal import Decimal
from random import Random
from typing import Any

from models.policy import Policy
from simulators.quickbooks.books import Books, add_item
from simulators.scene import Scene, unit_of

from .scene import START

SHARE = 0.4
CHANGES_MAX = 5
DEFAULT_ITEM_ID, ROUNDING_ITEM_ID = "9001", "9002"
"""Items of every company."""
OWN_ITEMS = {DEFAULT_ITEM_ID: "Services in General", ROUNDING_ITEM_ID: "Cents"}

DAY_SECONDS = 86_400.0
MIDNIGHT_SECONDS_MAX = 900.0
"""Before it a run begins."""

Change = dict[str, Any]

VOIDS: tuple[Change, ...] = ({"voids": "credit-memo"}, {"voids": "flag"})
VOIDS_SHARE = 0.5
CHANGES: tuple[tuple[Change, ...], ...] = (
    ({"customer_matching": "off"}, {"customer_matching": "ask"}),
    ({"missing_customer": "park"},),
    ({"missing_item": "park"}, {"missing_item": "default", "default_item_id": DEFAULT_ITEM_ID}),
    ({"item_strategy": "single-item", "default_item_id": DEFAULT_ITEM_ID},),
    ({"customer_currency": "per-currency"},),
    ({"zero_total": "skip"},),
    ({"zero_quantity_lines": "drop"},),
    ({"rounding": "rounding-line", "rounding_item_id": ROUNDING_ITEM_ID}, {"rounding": "rounding-line"}),
    ({"line_figures": "quantity-one"}, {"line_figures": "rescaled"}),
    ({"line_limit": 6, "item_strategy": "single-item", "default_item_id": DEFAULT_ITEM_ID},),
    ({"txn_date": "service-end"},),
    ({"draw_down_item": "own"}, {"commit_purchase_item": "own"}),
    ({"private_note_template": "{{ default }} for {{ customer_name }}"},),
    ({"customer_memo_template": "{{ kind }} of {{ total }} {{ currency }}"},),
    ({"description_template": "{{ name }}"},),
    ({"send_currency": False},),
)
"""Of each, one at most."""


def _name(change: Change) -> str:
    """By its first field, and its value where that is a word."""
    field, value = next(iter(change.items()))
    return f"policy {field}" if " " in str(value) else f"policy {field} = {value}"


_ALL = (*VOIDS, *(one for among in CHANGES for one in among))
EVERY = tuple(dict.fromkeys(map(_name, _ALL)))


def policy_of(seed: int, base: Policy, scene: Scene) -> Policy:
    """Its dice are its own: a seed whose policy is the default one stays as it was."""
    dice = Random(f"policy {seed}")
    if dice.random() >= SHARE:
        return base
    changed: Change = dict(dice.choice(VOIDS)) if dice.random() < VOIDS_SHARE else {}
    for among in dice.sample(CHANGES, dice.randint(1, CHANGES_MAX)):
        changed |= dice.choice(among)
    if {invoice["credit_type"]["name"] for invoice in scene.invoices} != {"USD (cents)"}:
        changed.pop("send_currency", None)  # without it every document is in the company's own currency
    if "send_currency" in changed:
        changed.pop("customer_currency", None)
    return Policy.model_validate(base.model_dump() | changed)


def start_of(seed: int, policy: Policy) -> float:
    """Epoch seconds at which the run begins. A credit memo is dated when the void became known: midnight may come."""
    dice = Random(f"midnight {seed}")
    if policy.voids != "credit-memo" or dice.random() < 0.5:
        return START
    return START - START % DAY_SECONDS + DAY_SECONDS - dice.uniform(0.0, MIDNIGHT_SECONDS_MAX)


def told(policy: Policy) -> set[str]:
    """What differs from the default, by its name in `met.py`."""
    return {_name(one) for one in _ALL if all(getattr(policy, field) == value for field, value in one.items())}


def prepare(scene: Scene, policy: Policy, seed: int) -> None:
    """Makes invoices for which the policy matters."""
    dice = Random(f"policy {seed} scene")
    if policy.zero_total == "skip":
        _to_nothing(dice.choice(scene.invoices))
    if policy.customer_currency == "per-currency":
        _to_another_currency(dice.choice(scene.invoices))


def open_books(books: Books) -> None:
    for number, name in OWN_ITEMS.items():
        add_item(books, number, name, START)


def _to_nothing(invoice: dict[str, Any]) -> None:
    line = dict(next(each for each in invoice["line_items"] if each.get("product_id")))
    line |= {"name": "Goodwill", "type": "usage", "quantity": None, "unit_price": None}
    line["total"] = -Decimal(invoice["total"])
    for name in ("commit_id", "commit_type", "commit_custom_fields", "applied_commit_or_credit", "tier"):
        line.pop(name, None)
    invoice["line_items"] = [*invoice["line_items"], line]
    invoice["total"] = Decimal(0)


def _to_another_currency(invoice: dict[str, Any]) -> None:
    """The same figures in EUR, or in GBP."""
    former = invoice["credit_type"]
    unit = unit_of("GBP" if former["name"] == "EUR" else "EUR")
    invoice["credit_type"] = unit
    invoice["line_items"] = [
        line | {"credit_type": unit} if line["credit_type"] == former else line for line in invoice["line_items"]
    ]
