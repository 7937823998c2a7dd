"""Kinds of invoices that differ in their head (`docs/vendors/metronome.md` §1.1, §1.5 to §1.8). Each docstring tells
the
kind."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from simulators.http import Json
from simulators.metronome.lines import due, plain
from simulators.metronome.maker import Make, Maker
from simulators.metronome.world import COMMIT_PRODUCT
from simulators.scene import AGENT_CREDITS, unit_of

IMPORTED_DAYS_AGO = 730
PARENT, FIRST_CHILD, SECOND_CHILD, PAID_FOR_CHILD = "Group", "Division One", "Division Two", "Division Three"


def scheduled(maker: Maker) -> list[Json]:
    """A scheduled invoice: charges, no period."""
    lines = maker.lines()
    charges = ((6, "charge"), (8, "onboarding"))
    return [
        maker.scheduled(
            lines.line("scheduled", product, Decimal(1), scheduled_charge_id=lines.id_of(name))
            for product, name in charges
        )
    ]


def commit_purchase(maker: Maker) -> list[Json]:
    """A scheduled invoice on which a prepaid commit is bought."""
    lines = maker.lines()
    bought = {"commit_id": lines.id_of("commit"), "commit_type": "PrepaidCommit"}
    return [maker.scheduled([lines.line("commit_purchase", COMMIT_PRODUCT, Decimal(1), **bought)])]


def true_up(maker: Maker) -> list[Json]:
    """A scheduled invoice with what is missing to a postpaid commit."""
    lines = maker.lines()
    missing = {"postpaid_commit": {"id": lines.id_of("commit")}, "scheduled_charge_id": lines.id_of("true-up")}
    return [maker.scheduled([lines.line("scheduled", 6, Decimal(1), price="812.37", **missing)])]


def equal_dates(maker: Maker) -> list[Json]:
    """A scheduled invoice whose period begins and ends in the same moment."""
    invoice = scheduled(maker)[0]
    return [invoice | {"start_timestamp": invoice["issued_at"], "end_timestamp": invoice["issued_at"]}]


def no_dates(maker: Maker) -> list[Json]:
    """No issue date and no period: only the webhook tells a date."""
    return [scheduled(maker)[0] | {"issued_at": None}]


def plan(maker: Maker) -> list[Json]:
    """A legacy Plan: adjustments that are money, sub lines that are detail, no product ids, no contract."""
    lines, unit = maker.lines(), unit_of(maker.currency)
    scale = lines.scale
    tiers: list[Json] = [
        {"starting_at": 0, "quantity": 1000, "price": plain(Decimal("0.02") * scale), "subtotal": 20 * scale},
        {"starting_at": 1000, "quantity": 4000, "price": plain(Decimal("0.01") * scale), "subtotal": 40 * scale},
    ]
    sub_lines: list[Json] = [
        {"name": "Events, tiered", "quantity": 5000, "subtotal": 60 * scale, "custom_fields": {}, "tiers": tiers},
        {"name": "Events, flat", "quantity": 10, "price": scale, "subtotal": 10 * scale, "custom_fields": {}},
    ]
    line: Json = {
        "name": "Events",
        "type": "usage",
        "quantity": 5010,
        "total": 70 * scale,
        "credit_type": unit,
        "group_key": "region",
        "group_value": "eu-west-1",
        "sub_line_items": sub_lines,
        "custom_fields": {},
    }
    adjustments: list[Json] = [
        {"name": "Monthly minimum ($100)", "total": 30 * scale, "credit_type": unit},
        {"name": "Launch credit", "total": -15 * scale, "credit_type": unit, "credit_grant_custom_fields": {}},
    ]
    plan_id = maker.world.id_of("plan")
    named: Json = {"plan_id": plan_id, "plan_name": "Legacy Growth", "plan_custom_fields": {}, "subtotal": 70 * scale}
    invoice = maker.invoice([line], invoice_adjustments=adjustments, **named)
    del invoice["contract_id"]
    return [invoice]


def consolidated(maker: Maker) -> list[Json]:
    """A parent's consolidated invoice after its constituents, which exist on their own but are not billed."""
    _family(maker)
    constituents = [
        maker.invoice(maker.lines(part=role).plain(), part=role, role=role, payer=_payer(maker))
        for role in (PARENT, FIRST_CHILD, SECOND_CHILD)
    ]
    lines = [
        line
        | {
            "origin": {name: each[name] for name in ("customer_id", "contract_id")}
            | {"invoice_id": each["id"], "line_item_id": maker.world.id_of("line", each["id"], index)}
        }
        for each in constituents
        for index, line in enumerate(each["line_items"])
    ]
    listed = [
        {"invoice_id": each["id"], "customer_id": each["customer_id"], "contract_id": each["contract_id"]}
        for each in constituents
    ]
    whole: Json = {"type": "USAGE_CONSOLIDATED", "constituent_invoices": listed, "payer": _payer(maker)}
    return [*constituents, maker.invoice(lines, part="consolidated", role=PARENT, **whole)]


def payer(maker: Maker) -> list[Json]:
    """A child's own invoice that its parent pays."""
    _family(maker)
    return [maker.invoice(maker.lines().plain(), role=PAID_FOR_CHILD, payer=_payer(maker))]


def unbillable(maker: Maker) -> list[Json]:
    """An invoice that is not for billing."""
    return [maker.invoice(maker.lines().plain(), billable_status="unbillable")]


def imported(maker: Maker) -> list[Json]:
    """Imported history: dates of two years ago, nothing else tells it."""
    ago = timedelta(days=IMPORTED_DAYS_AGO)
    maker.period = (maker.period[0] - ago, maker.period[1] - ago)
    return [maker.invoice(maker.lines().plain())]


def void(maker: Maker) -> list[Json]:
    """A voided invoice; it keeps its lines."""
    return [maker.invoice(maker.lines().usage(), status="VOID")]


def draft(maker: Maker) -> list[Json]:
    """A draft."""
    return [maker.invoice(maker.lines().usage(), status="DRAFT")]


def regenerated(maker: Maker) -> list[Json]:
    """A voided invoice and the one that replaces it, with another quantity."""
    former = maker.invoice(maker.lines().plain(), part="former", status="VOID")
    link = {"regenerated_from_invoice_id": former["id"]}
    return [former, maker.invoice(maker.lines(part="new").plain(), part="new", **link)]


def correction(maker: Maker) -> list[Json]:
    """An invoice and a correction of it."""
    corrected = maker.invoice(maker.lines().plain(), part="corrected")
    record = {"corrected_invoice_id": corrected["id"], "memo": "Usage came in late", "reason": "BILLING_ERROR"}
    made: Json = {"correction_record": record, "created_at": corrected["issued_at"]}
    return [corrected, maker.invoice(maker.lines(part="correction").plain(), part="correction", **made)]


def currencies(maker: Maker) -> list[Json]:
    """One invoice in every currency that Metronome bills in, whole amounts."""
    made = []
    for currency in maker.currencies:
        maker.currency = currency
        seats = maker.lines(part=currency).line("subscription", 5, Decimal(3))
        made.append(maker.invoice([seats], part=currency))
    return made


def custom_unit(maker: Maker) -> list[Json]:
    """A whole invoice in a custom pricing unit: not money."""
    lines = maker.lines(AGENT_CREDITS)
    return [maker.invoice(lines.plain(), credit_type=AGENT_CREDITS)]


def unknown_unit(maker: Maker) -> list[Json]:
    """An invoice in a unit that no list names."""
    unit = unit_of("Compute Tokens")
    return [maker.invoice(maker.lines(unit).plain(), credit_type=unit)]


def broken(maker: Maker) -> list[Json]:
    """A total that is not the sum of its lines."""
    lines = maker.lines()
    held = [*lines.plain(), *lines.tokens()]
    return [maker.invoice(held, total=plain(Decimal(due(held, lines.unit)) + lines.scale))]


def _payer(maker: Maker) -> Json:
    customer, contract = maker.world.party(maker.currency, PARENT)
    return {"contract_id": contract["id"], "customer_id": customer["id"]}


def _family(maker: Maker) -> None:
    """A parent, two children on its consolidated invoice, and one with invoices of its own that the parent pays."""
    _, parent = maker.world.party(maker.currency, PARENT)
    children = []
    for role in (FIRST_CHILD, SECOND_CHILD, PAID_FOR_CHILD):
        customer, contract = maker.world.party(maker.currency, role)
        children.append({"contract_id": contract["id"], "customer_id": customer["id"]})
        contract["hierarchy_configuration"] = {
            "parent": _payer(maker),
            "payer": "PARENT",
            "usage_statement_behavior": "SEPARATE" if role == PAID_FOR_CHILD else "CONSOLIDATE",
        }
    behavior = {"invoice_consolidation_type": "CONCATENATE"}
    parent["hierarchy_configuration"] = {"children": children, "parent_behavior": behavior}


INVOICE_KINDS: dict[str, Make] = {
    "scheduled": scheduled,
    "commit-purchase": commit_purchase,
    "true-up": true_up,
    "equal-dates": equal_dates,
    "no-dates": no_dates,
    "plan": plan,
    "consolidated": consolidated,
    "payer": payer,
    "unbillable": unbillable,
    "imported": imported,
    "void": void,
    "draft": draft,
    "regenerated": regenerated,
    "correction": correction,
    "currencies": currencies,
    "custom-unit": custom_unit,
    "unknown-unit": unknown_unit,
    "broken": broken,
}
