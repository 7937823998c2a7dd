"""The words on a document: PrivateNote for the bookkeeper, CustomerMemo for the customer, Description for each line.

Lengths are QuickBooks's limits (docs/vendors/quickbooks.md §1.3), counted in UTF-16 units as its server counts them, so
that a text of emoji fits too. Billing periods end on their last day (`agents/translate/dates.py`).
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from models.document import Kind, doc_number, identity_line
from models.metronome import Invoice, LineItem
from models.money import EXACT, Unit, round_half_up
from models.quickbooks import clean, cut
from models.record import utc

from .amounts import APPLIED, QUANTITY_DECIMALS_MAX, SCALES
from .dates import days, last_day

PRIVATE_NOTE_LENGTH_MAX = 4000
CUSTOMER_MEMO_LENGTH_MAX = 1000
DESCRIPTION_LENGTH_MAX = 4000

SHOWN_STEP = Decimal(1).scaleb(-QUANTITY_DECIMALS_MAX)
SMALL_RATE = Decimal("0.001")
"""A rate below that has too few digits left after seven decimals."""

WINDOWS_CACHED_MAX = 1024
"""Most lines of a month have the same days."""

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

LINE_TYPES = {
    "usage": "usage",
    "subscription": "subscription",
    "scheduled": "scheduled charge",
    "commit_purchase": "commit purchase",
    "cpu_conversion": "conversion of pricing units",
}
"""Metronome's line types in words (docs/vendors/metronome.md §1.5); an unknown one is shown as it is."""


def private_note(
    invoice: Invoice, *, contract_name: str | None, memo_ref: str | None, more: Mapping[str, str | None] | None = None
) -> str:
    """Where the document comes from. The first line is always `Metronome invoice <full id>`, whatever is cut.

    `more`: what else there is to say, by name.
    """
    period = days(invoice.start_timestamp, invoice.end_timestamp)
    facts = {
        "Status": invoice.status,
        "Billing period": " – ".join(day.isoformat() for day in period) if period else None,
        "Contract": invoice.contract_id,
        "Contract name": contract_name,
        "Reference": memo_ref,
        **_relations(invoice),
        **(more or {}),
    }
    lines = [f"{name}: {clean(text)}" for name, text in facts.items() if text]
    return below_identity(invoice.id, "\n".join(lines))


def below_identity(invoice_id: str, text: str) -> str:
    """A PrivateNote: the line by which a document is known as ours, and `text` as far as there is room."""
    return cut("\n".join(filter(None, (identity_line(invoice_id), text))), PRIVATE_NOTE_LENGTH_MAX)


def _relations(invoice: Invoice) -> dict[str, str | None]:
    """The other invoices that this one replaces, corrects or repeats."""
    correction = invoice.correction_record
    correcting = None
    if correction is not None:
        why = ": ".join(filter(None, (correction.reason, correction.memo)))
        correcting = f"{correction.corrected_invoice_id}{f' ({why})' if why else ''}"
    return {
        "Replaces": invoice.regenerated_from_invoice_id,
        "Corrects": correcting,
        "Consolidates": ", ".join(each.invoice_id for each in invoice.constituent_invoices or ()),
    }


def customer_memo(invoice: Invoice, *, kind: Kind, plan: str | None, txn_date: date) -> str:
    """For the customer: what is charged or credited, for which period, on which plan; and to which invoice it belongs,
    as a credit note must say (Article 219 of the EU's VAT directive)."""
    what = "Credit" if kind == "creditmemo" else _what_is_billed(invoice)
    period = days(invoice.start_timestamp, invoice.end_timestamp)
    plan = clean(plan or "")
    on_plan = f" on the {plan}{'' if plan.lower().endswith('plan') else ' plan'}" if plan else ""
    if period:
        sentence = f"{what} for {spoken_period(*period)}{on_plan}"
    else:
        sentence = f"{what}{on_plan}{',' if on_plan else ''} billed {spoken_period(txn_date, txn_date)}"
    belongs = _belongs_to(invoice)
    return cut(sentence, CUSTOMER_MEMO_LENGTH_MAX - 1 - len(belongs)) + "." + belongs


def _what_is_billed(invoice: Invoice) -> str:
    if not invoice.type.startswith("USAGE"):
        return "Charges"
    kinds = {line.type for line in invoice.line_items} & {"usage", "subscription"}
    return {
        frozenset({"subscription"}): "Subscription",
        frozenset({"usage", "subscription"}): "Usage and subscription",
    }.get(frozenset(kinds), "Usage")


def _belongs_to(invoice: Invoice) -> str:
    """The document that this one corrects or replaces, by the number that the customer has."""
    if invoice.correction_record is not None:
        return f" It corrects invoice {doc_number(invoice.correction_record.corrected_invoice_id)}."
    if invoice.regenerated_from_invoice_id is not None:
        return f" It replaces invoice {doc_number(invoice.regenerated_from_invoice_id)}."
    return ""


def description(
    line: LineItem,
    unit: Unit,
    *,
    with_quantity: bool,
    per: int = 1,
    whose: str | None = None,
    style: Literal["guide", "customer"] = "guide",
) -> str:
    """What a line is for. `with_quantity`: its own figures are not sent, so quantity and rate are said here.

    `per`: what the unit price is said per. `whose`: the customer whose line a consolidated invoice repeats. In the
    style "customer" nothing is said that only Metronome and we know.
    """
    for_customer = style == "customer"
    parts = [clean(line.name), "" if for_customer else clean(line_type(line))]
    if whose:
        parts.append(clean(f"for {whose}"))
    if with_quantity:
        parts.append(quantity_and_rate(line, unit))
    if per != 1:
        parts.append(scale(per))
    parts.append(window(line.starting_at, line.ending_before))
    if line.tier is not None:
        parts.append(clean(tier(line)))
    if grouped := groups(line):
        parts.append(clean(", ".join([f"{key}: {value}" for key, value in grouped.items()])))
    if line.product_id and not for_customer:
        parts.append(clean(f"product {short_id(line.product_id)}"))
    return cut(" · ".join(filter(None, parts)), DESCRIPTION_LENGTH_MAX)


def scale(per: int) -> str:
    """How many a unit price is said per, and a quantity counted in."""
    return f"per {per:,}"


def with_scale(text: str, per: int) -> str:
    """A Description that says its scale, whatever else it says: without it the quantity on it would be wrong."""
    said = f" · {scale(per)}"
    return cut(text, DESCRIPTION_LENGTH_MAX - len(said)) + said


def short_id(whole: str) -> str:
    """The beginning of an id of Metronome's; the whole one is in the facts, on our log."""
    return whole.partition("-")[0]


def groups(line: LineItem) -> dict[str, str]:
    """The values by which the line was split off others of its product; nulls occur (docs/vendors/metronome.md §7)."""
    pricing, presentation = line.pricing_group_values, line.presentation_group_values
    if not pricing and not presentation:
        return {}
    values = {**(pricing or {}), **(presentation or {})}
    return {key: value for key, value in values.items() if value is not None}


def line_type(line: LineItem) -> str:
    """The line's type in words."""
    if line.type == APPLIED:
        applied = line.applied_commit_or_credit
        return "credit applied" if applied is not None and applied.type == "CREDIT" else "commit applied"
    words = LINE_TYPES.get(line.type, line.type.replace("_", " "))
    return f"{words}, prorated" if line.is_prorated else words


def quantity_and_rate(line: LineItem, unit: Unit) -> str:
    """`33.3333333 × 3 USD`, or as much of it as the line has; a small rate per 1,000 or 1,000,000."""
    if line.quantity is None:
        return ""
    quantity = readable(_for_people(line.quantity))
    if line.unit_price is None:
        return f"quantity {quantity}"
    price = unit.major(line.unit_price)
    per = next((each for each in (1, *SCALES) if _is_short(EXACT.multiply(price, Decimal(each)))), None)
    if per is None:
        per = 1 if price.copy_abs() >= SMALL_RATE else SCALES[-1]
    rate = readable(_for_people(EXACT.multiply(price, Decimal(per))))
    return f"{quantity} × {rate} {unit.currency}" + (f" {scale(per)}" if per != 1 else "")


def _for_people(number: Decimal) -> Decimal:
    """Rounded to what QuickBooks would show; more digits are those of a computer's arithmetic."""
    short = number if _is_short(number) else round_half_up(number, SHOWN_STEP)
    return short or number  # nothing that there is is shown as none


def _is_short(number: Decimal) -> bool:
    exponent = number.normalize(EXACT).as_tuple().exponent
    return not isinstance(exponent, int) or exponent >= -QUANTITY_DECIMALS_MAX


@lru_cache(maxsize=WINDOWS_CACHED_MAX)
def window(start: datetime | None, end: datetime | None) -> str:
    """`2026-10-01 – 2026-10-31`; one date for a single day; `from` or `until` where only one end is known."""
    match days(start, end), start, end:
        case (first, last), _, _:
            return spoken_days(first, last)
        case None, datetime(), None:
            return f"from {utc(start).date().isoformat()}"
        case None, None, datetime():
            return f"until {last_day(end).isoformat()}"
        case _:
            return ""


def spoken_days(first: date, last: date) -> str:
    return first.isoformat() if first == last else f"{first.isoformat()} – {last.isoformat()}"


def tier(line: LineItem) -> str:
    """`tier 2 (above 1000)`: the lower bound of a tier is exclusive (docs/vendors/metronome.md §7)."""
    if line.tier is None:
        return ""
    above = f" (above {line.tier.starting_at})" if line.tier.starting_at else ""
    return f"tier {readable(line.tier.level)}{above}"


def spoken_period(first: date, last: date) -> str:
    """`October 1 – 31, 2026`, naming month and year twice only where they differ."""
    ending = f"{MONTHS[last.month - 1]} {last.day}, {last.year}"
    if first == last:
        return ending
    if first.year != last.year:
        return f"{MONTHS[first.month - 1]} {first.day}, {first.year} – {ending}"
    if first.month != last.month:
        return f"{MONTHS[first.month - 1]} {first.day} – {ending}"
    return f"{MONTHS[first.month - 1]} {first.day} – {last.day}, {last.year}"


def readable(number: Decimal) -> str:
    """All digits of a number without exponent or trailing zeros; only a freak number keeps its exponent."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -40 or number.adjusted() > 30:
        return str(number)
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
