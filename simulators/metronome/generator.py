"""Real-shaped Metronome invoices from a seed: same seed, same bytes (`docs/vendors/metronome.md` §1).

USD invoices count in cents, all others in whole units; each customer has one currency. The total of an invoice is the
exact sum of the lines that count, fractions of a cent included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from simulators.http import Json
from simulators.metronome.invoice_kinds import INVOICE_KINDS
from simulators.metronome.line_kinds import LINE_KINDS
from simulators.metronome.lines import Lines, due, text_of
from simulators.metronome.maker import Maker
from simulators.metronome.world import COMMIT_PRODUCT, World
from simulators.scene import AGENT_CREDITS, FIAT, Scene, unit_of

CUSTOMERS_MIN = 4
CUSTOMERS_MAX = 60
# Part of the invoices of the mix "every-kind" that are usual ones, once there is one of each kind.
USUAL_SHARE = 0.6
_MAKERS = {**LINE_KINDS, **INVOICE_KINDS}
# Every kind of invoice that can be asked for, with what it is. One of a kind may be several invoices.
KINDS: Mapping[str, str] = {name: (make.__doc__ or "").strip() for name, make in _MAKERS.items()}


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
    kinds: Mapping[str, int] | None = None,
    mix: Literal["usual", "every-kind"] = "usual",
    extra_currencies: Sequence[str] = (),
) -> Scene:
    """`count` finalized invoices with total >= 0, then `drafts`, `voids` and `negatives` more of those kinds, then so
    many of each of `kinds` (names of `KINDS`). With mix "every-kind", `count` holds one of each kind as far as it goes,
    and usual and other ones beyond.

    `mapped`: customers, products and contracts carry their `qbo_…` custom fields; the entries that these name stand in
    the scene. `eur_share`: part of the customers that is billed in EUR. `extra_currencies` join Metronome's own in the
    kind "currencies", e.g. JPY. All dates lie before `now`. Raises ValueError for an unknown kind.
    """
    wanted = Counter(kinds or {})
    if unknown := set(wanted) - set(KINDS):
        raise ValueError(f"unknown kind of invoice: {', '.join(sorted(unknown))}; known are {', '.join(KINDS)}")
    if mix == "every-kind":
        drawn = _every_kind(seed, count)
        count -= drawn.total()
        wanted += drawn
    world = World(seed, now, max(CUSTOMERS_MIN, min(CUSTOMERS_MAX, count // 4)), eur_share, mapped)
    usual = ["FINALIZED"] * count + ["DRAFT"] * drafts + ["VOID"] * voids + ["NEGATIVE"] * negatives
    invoices = [_usual(world, index, kind) for index, kind in enumerate(usual)]
    for kind in KINDS:
        for number in range(wanted[kind]):
            invoices += _MAKERS[kind](Maker(world, kind, number, (*FIAT, *extra_currencies)))
    keys = (("customer", "qbo_customer_id"), ("contract_product", "qbo_item_id"), ("contract", "qbo_memo_ref"))
    scene = Scene(
        customers=tuple(world.customers),
        products=tuple(world.products),
        contracts=tuple(world.contracts),
        commits=_commits(world, invoices),
        invoices=tuple(invoices),
        custom_field_keys=keys if mapped else (),
        quickbooks_customers=tuple(world.quickbooks_customers),
        quickbooks_items=tuple(world.quickbooks_items),
    )
    return replace(scene, credit_types=_credit_types(extra_currencies)) if wanted else scene


def _every_kind(seed: int, count: int) -> Counter[str]:
    """One of each kind as far as `count` goes, then some more of them; the large one only once."""
    dice = Random(f"{seed}/mix")
    drawn = Counter(list(KINDS)[:count])
    others = [each for each in KINDS if each != "large"]
    drawn.update(dice.choice(others) for _ in range(count - len(drawn)) if dice.random() >= USUAL_SHARE)
    return drawn


def _usual(world: World, index: int, kind: str) -> Json:
    dice = world.dice
    who = dice.randrange(len(world.customers))
    contract, unit = world.contracts[who], unit_of(world.currencies[who])
    scheduled = kind != "NEGATIVE" and dice.random() < 0.15
    start, end = world.period(dice.randrange(3))
    maker = Lines(world, dice, f"invoice/{index}", unit, start, end)
    lines = maker.negative() if kind == "NEGATIVE" else maker.scheduled() if scheduled else maker.usage()
    invoice: Json = {
        "id": world.id_of("invoice", index),
        "customer_id": world.customers[who]["id"],
        "contract_id": contract["id"],
        "type": "SCHEDULED" if scheduled else "USAGE",
        "status": "FINALIZED" if kind == "NEGATIVE" else kind,
        "billable_status": "billable",
        "credit_type": unit,
        "issued_at": text_of(end + timedelta(days=1)),
        "external_invoice": None,
        "revenue_system_invoices": None,
        "line_items": lines,
        "total": due(lines, unit),
    }
    if not scheduled:
        invoice |= {"start_timestamp": text_of(start), "end_timestamp": text_of(end)}
    if contract["net_payment_terms_days"] is not None:
        invoice["net_payment_terms_days"] = contract["net_payment_terms_days"]
    return invoice


def _commits(world: World, invoices: Sequence[Json]) -> tuple[Json, ...]:
    """The commits and credits that the lines name. Each has a product of its own, which is never that of the lines
    that it covers (`docs/vendors/metronome.md` §1.5), and an access of twice what the first of these lines took."""
    product = world.products[COMMIT_PRODUCT]
    found: dict[str, Json] = {}
    for invoice in invoices:
        for line in invoice["line_items"]:
            commit_id = line.get("commit_id") or (line.get("postpaid_commit") or {}).get("id")
            if not commit_id or commit_id in found:
                continue
            applied = line.get("applied_commit_or_credit") or {}
            kind = applied.get("type") or ("PREPAID" if line.get("commit_type") == "PrepaidCommit" else "POSTPAID")
            access = {"id": world.id_of("segment", commit_id), "amount": abs(line["total"]) * 2}
            access |= {"starting_at": line["starting_at"], "ending_before": line["ending_before"]}
            found[commit_id] = {
                "id": commit_id,
                "customer_id": invoice["customer_id"],
                "type": kind,
                "name": {"CREDIT": "Goodwill Credit", "PREPAID": "Prepaid Commit", "POSTPAID": "Postpaid Commit"}[kind],
                "product": {"id": product["id"], "name": product["current"]["name"]},
                "created_at": "2025-02-01T00:00:00+00:00",
                "contract": {"id": invoice["contract_id"]},
                "access_schedule": {"schedule_items": [access], "credit_type": line["credit_type"]},
            }
    return tuple(found.values())


def _credit_types(extra_currencies: Sequence[str]) -> tuple[Json, ...]:
    money = [{**unit_of(each), "is_currency": True} for each in dict.fromkeys((*FIAT, *extra_currencies))]
    return (*money, {**AGENT_CREDITS, "is_currency": False})
