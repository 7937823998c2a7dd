"""The words on a document: PrivateNote for the bookkeeper, CustomerMemo for the customer, Description for each line.

Lengths are QuickBooks's limits (facts/quickbooks.md §1.3), counted in UTF-16 units as its server counts them, so that
a text of emoji fits too. Billing periods are days in UTC, which is how Metronome cuts them, and end on their last day
(Metronome's own ends are exclusive, facts/metronome.md §7).
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from models.document import Kind
from models.metronome import Invoice, LineItem
from models.money import Unit

from .amounts import APPLIED

PRIVATE_NOTE_LENGTH_MAX = 4000
CUSTOMER_MEMO_LENGTH_MAX = 1000
DESCRIPTION_LENGTH_MAX = 4000

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
"""Metronome's line types in words (facts/metronome.md §1.5); an unknown one is shown as it is."""

# Line breaks and tabs become spaces; other control characters vanish, and so do halves of characters that a cut in
# the middle of an emoji left behind, which no encoding can carry.
_SPACES = (0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000))) | dict.fromkeys(_SPACES, " ")


def private_note(invoice: Invoice, *, contract_name: str | None, memo_ref: str | None) -> str:
    """Where the document comes from. The first line is always `Metronome invoice <full id>`, whatever is cut."""
    period = days(invoice.start_timestamp, invoice.end_timestamp)
    facts = {
        "Status": invoice.status,
        "Billing period": " – ".join(day.isoformat() for day in period) if period else None,
        "Contract": invoice.contract_id,
        "Contract name": contract_name,
        "Reference": memo_ref,
    }
    lines = [f"{name}: {clean(text)}" for name, text in facts.items() if text]
    return cut("\n".join([f"Metronome invoice {invoice.id}", *lines]), PRIVATE_NOTE_LENGTH_MAX)


def customer_memo(invoice: Invoice, *, kind: Kind, plan: str | None, txn_date: date) -> str:
    """One sentence for the customer: what is charged or credited, for which period, on which plan."""
    what = "Credit" if kind == "creditmemo" else "Usage" if invoice.type.startswith("USAGE") else "Charges"
    period = days(invoice.start_timestamp, invoice.end_timestamp)
    plan = clean(plan or "")
    on_plan = f" on the {plan}{'' if plan.lower().endswith('plan') else ' plan'}" if plan else ""
    if period:
        sentence = f"{what} for {spoken_period(*period)}{on_plan}"
    else:
        sentence = f"{what}{on_plan}{',' if on_plan else ''} billed {spoken_period(txn_date, txn_date)}"
    return cut(sentence, CUSTOMER_MEMO_LENGTH_MAX - 1) + "."


def description(line: LineItem, unit: Unit, *, with_quantity: bool) -> str:
    """What a line is for. `with_quantity`: the line goes as Amount only, so quantity and rate are said here."""
    groups = {**(line.pricing_group_values or {}), **(line.presentation_group_values or {})}
    parts = [
        line.name,
        line_type(line),
        quantity_and_rate(line, unit) if with_quantity else "",
        window(line.starting_at, line.ending_before),
        tier(line),
        ", ".join(f"{key}: {value}" for key, value in groups.items() if value is not None),
        f"product {line.product_id}" if line.product_id else "",
    ]
    return cut(" · ".join(text for text in map(clean, parts) if text), DESCRIPTION_LENGTH_MAX)


def line_type(line: LineItem) -> str:
    """The line's type in words."""
    if line.type == APPLIED:
        applied = line.applied_commit_or_credit
        return "credit applied" if applied is not None and applied.type == "CREDIT" else "commit applied"
    words = LINE_TYPES.get(line.type, line.type.replace("_", " "))
    return f"{words}, prorated" if line.is_prorated else words


def quantity_and_rate(line: LineItem, unit: Unit) -> str:
    """`33.333333333333336 × 3 USD`, or as much of it as the line has."""
    if line.quantity is None:
        return ""
    rate = f" × {readable(unit.major(line.unit_price))} {unit.currency}" if line.unit_price is not None else ""
    return f"{'' if rate else 'quantity '}{readable(line.quantity)}{rate}"


def window(start: datetime | None, end: datetime | None) -> str:
    """`2026-10-01 – 2026-10-31`; one date for a single day; `from` or `until` where only one end is known."""
    match days(start, end), start, end:
        case (first, last), _, _:
            return first.isoformat() if first == last else f"{first.isoformat()} – {last.isoformat()}"
        case None, datetime(), None:
            return f"from {utc(start).date().isoformat()}"
        case None, None, datetime():
            return f"until {_last_day(end).isoformat()}"
        case _:
            return ""


def tier(line: LineItem) -> str:
    """`tier 2 (above 1000)`: the lower bound of a tier is exclusive (facts/metronome.md §7)."""
    if line.tier is None:
        return ""
    above = f" (above {line.tier.starting_at})" if line.tier.starting_at else ""
    return f"tier {readable(line.tier.level)}{above}"


def days(start: datetime | None, end: datetime | None) -> tuple[date, date] | None:
    """First and last day, both included, of the time from `start` to before `end`; None unless both are known."""
    if start is None or end is None:
        return None
    first = utc(start).date()
    return first, max(first, _last_day(end))


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; one without a zone is in UTC already, as all of Metronome's are. Raises OverflowError."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _last_day(end: datetime) -> date:
    return (utc(end) - timedelta(microseconds=1)).date()


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


def clean(text: str) -> str:
    """`text` on one line, without control characters."""
    return text.translate(_CONTROL).strip()


def cut(text: str, length_max: int) -> str:
    """At most `length_max` UTF-16 units of `text`, never half a character; what was cut ends in an ellipsis."""
    if 2 * len(text) <= length_max or len(text.encode("utf-16-le")) <= 2 * length_max:
        return text
    return text.encode("utf-16-le")[: 2 * (length_max - 1)].decode("utf-16-le", errors="ignore") + "…"
