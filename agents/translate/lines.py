"""The lines of a document: rounded so that they add up, with figures that multiply, and no more than there may be."""

from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from models.document import ItemReference, Line
from models.metronome import LineItem
from models.money import EXACT, Unit, exact_sum, quantum, round_half_up
from models.policy import Policy
from models.quickbooks import clean
from models.record import utc

from . import templates, texts
from .amounts import CENT, Figures, quantity_and_price, rescaled
from .custom_fields import MappedFields
from .dates import last_day_of
from .declined import refused
from .grouping import DraftLine, within_limit
from .items import item_of, product_names, rounding_item
from .rounding import Share, rounded

ROUNDING = "Rounding"


class Place(NamedTuple):
    """Where a line stands in the books; lines of one place are one revenue, and are rounded together."""

    item: ItemReference
    tax_code: str | None
    class_id: str | None

    @property
    def group(self) -> Hashable:
        item = self.item
        return item.qbo_id or item.product_id or item.default_qbo_id or item.name, self.tax_code, self.class_id


class LineContext(NamedTuple):
    """What all lines of a document have in common. `negated`: it is a credit memo, with every sign turned. `whose`: the
    name of each customer whose lines a consolidated invoice repeats, by id."""

    invoice_id: str
    customer_id: str
    unit: Unit
    further: MappedFields
    policy: Policy
    negated: bool
    whose: Mapping[str, str]


def document_lines(billed: Sequence[LineItem], total: Decimal, bill: LineContext) -> tuple[Line, ...]:
    """The lines, adding up to `total` without its sign: QuickBooks takes a negative total as a positive credit memo.

    Raises Declined, naming the line, for one that cannot stand in the books as it was billed.
    """
    policy, step = bill.policy, quantum(bill.unit.currency)
    names = product_names(billed)
    places = [_place(line, names, bill) for line in billed]
    shares = [_share(line, place, bill, step) for line, place in zip(billed, places, strict=True)]
    left_max = policy.rounding_line_max if policy.rounding == "rounding-line" else 0
    amounts, left = rounded(shares, total.copy_abs(), step, left_max)
    if step < CENT:
        _refuse_finer_than_cents(
            [*(line.name for line in billed), ROUNDING], [*amounts, exact_sum([*left.values()])], bill.unit
        )
    drafts = [_draft(*each, bill) for each in zip(billed, places, amounts, strict=True)]
    drafts += _rounding_lines(places, left, policy)
    return tuple(_line(draft, policy) for draft in within_limit(drafts, policy))


def _place(line: LineItem, names: dict[str, str], bill: LineContext) -> Place:
    policy = bill.policy
    class_id = bill.further.line_id(policy.class_field, line) if policy.class_on == "line" else None
    return Place(item_of(line, names, policy), bill.further.tax_code(line, policy), class_id)


def _share(line: LineItem, place: Place, bill: LineContext, step: Decimal) -> Share:
    exact = bill.unit.major(line.total)
    exact = exact.copy_negate() if bill.negated else exact
    return Share(exact, place.group, _figures(line, round_half_up(exact, step), bill) is not None)


def _rounding_lines(places: Sequence[Place], left: Mapping[Hashable, Decimal], policy: Policy) -> list[DraftLine]:
    """One for the lines of each tax code and class: it is taxed and reported as they are."""
    amounts: dict[tuple[str | None, str | None], Decimal] = {}
    for group, place in {place.group: place for place in places}.items():
        key = place.tax_code, place.class_id
        amounts[key] = EXACT.add(amounts.get(key, Decimal(0)), left.get(group, Decimal(0)))
    return [
        DraftLine(rounding_item(policy), ROUNDING, amount, ROUNDING, tax_code=code, class_id=class_id)
        for (code, class_id), amount in amounts.items()
        if amount
    ]


def _refuse_finer_than_cents(names: Sequence[str], amounts: Sequence[Decimal], unit: Unit) -> None:
    for name, amount in zip(names, amounts, strict=True):
        if amount != amount.quantize(CENT):
            raise refused(
                "more than two decimals",
                f"line {name!r} is {amount} {unit.currency}: QuickBooks keeps two decimals, and would round it",
            )


def _figures(line: LineItem, amount: Decimal, bill: LineContext) -> Figures | None:
    """Quantity and price that QuickBooks multiplies to `amount`, if they can be said."""
    figures = quantity_and_price(line, amount, bill.unit, negated=bill.negated)
    if figures is None and bill.policy.line_figures == "rescaled":
        figures = rescaled(line, amount, bill.unit, negated=bill.negated)
    return figures


def _draft(line: LineItem, place: Place, amount: Decimal, bill: LineContext) -> DraftLine:
    figures = _figures(line, amount, bill)
    per = 1 if figures is None else figures.per
    description = texts.description(
        line, bill.unit, with_quantity=figures is None, per=per, whose=_whose(line, bill), style=bill.policy.line_text
    )
    if bill.policy.description_template is not None:
        description = _by_template(line, amount, bill, description, bill.policy.description_template)
        if per != 1 and texts.scale(per) not in description:
            description = texts.with_scale(description, per)
    return DraftLine(
        item=place.item,
        name=clean(line.name),
        amount=amount,
        description=description,
        figures=figures,
        tax_code=place.tax_code,
        class_id=place.class_id,
        first_day=utc(line.starting_at).date() if line.starting_at is not None else None,
        last_day=last_day_of(line.starting_at, line.ending_before) if line.ending_before is not None else None,
    )


def _whose(line: LineItem, bill: LineContext) -> str | None:
    """Of a line that a consolidated invoice repeats from another customer's, the name of that one."""
    origin = line.origin.customer_id if line.origin is not None else None
    if origin is None or origin == bill.customer_id:
        return None
    return bill.whose.get(origin) or f"customer {texts.short_id(origin)}"


def _by_template(line: LineItem, amount: Decimal, bill: LineContext, default: str, template: str) -> str:
    price = line.unit_price
    values = {
        "default": default,
        "name": clean(line.name),
        "type": texts.line_type(line),
        "quantity": line.quantity,
        "unit_price": None if price is None else bill.unit.major(price),
        "amount": amount,
        "currency": bill.unit.currency,
        "period": texts.window(line.starting_at, line.ending_before),
        "tier": texts.tier(line),
        "groups": texts.groups(line),
        "product_id": line.product_id,
        "custom_fields": line.product_custom_fields or {},
        "invoice_id": bill.invoice_id,
    }
    return templates.render("description_template", template, values, texts.DESCRIPTION_LENGTH_MAX)


def _line(draft: DraftLine, policy: Policy) -> Line:
    quantity, price = draft.figures[:2] if draft.figures else (None, None)
    if quantity is None and policy.line_figures == "quantity-one" and draft.amount >= 0:
        quantity, price = Decimal(1), draft.amount
    return Line(
        item=draft.item,
        amount=draft.amount,
        description=draft.description,
        quantity=quantity,
        unit_price=price,
        tax_code=draft.tax_code,
        class_id=draft.class_id,
        service_date={"none": None, "start": draft.first_day, "end": draft.last_day}[policy.service_date],
    )
