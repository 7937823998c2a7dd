"""The lines of a document: rounded so that they add up, with figures that multiply, and no more than there may be."""

from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from typing import NamedTuple

from models.document import ItemReference, Line
from models.metronome import LineItem
from models.money import Unit, exact_sum, quantum
from models.policy import Policy
from models.quickbooks import clean, cut

from . import templates, texts
from .amounts import CENT, Figures, multiplied, quantity_and_price, rescaled, rounded_apart, spread
from .custom_fields import MappedFields, tax_code
from .declined import refused
from .items import item_of, product_names, rounding_item

ROUNDING = "Rounding"


class DraftLine(NamedTuple):
    """A line that may still be grouped with others, and its figures, if it has any that multiply to its amount."""

    item: ItemReference
    amount: Decimal
    description: str
    figures: Figures | None = None
    tax_code: str | None = None
    class_id: str | None = None


class LineContext(NamedTuple):
    """What all lines of a document have in common."""

    invoice_id: str
    unit: Unit
    further: MappedFields
    policy: Policy


def document_lines(billed: Sequence[LineItem], total: Decimal, bill: LineContext) -> tuple[Line, ...]:
    """The lines, adding up to `total` without its sign: QuickBooks takes a negative total as a positive credit memo.

    Raises Declined, naming the line, for one that cannot stand in the books as it was billed.
    """
    unit, policy, negated = bill.unit, bill.policy, total < 0
    exact = [unit.major(line.total) for line in billed]
    if negated:
        exact = [amount.copy_negate() for amount in exact]
    step, to_reach = quantum(unit.currency), total.copy_abs()
    difference = Decimal(0)
    if policy.rounding == "rounding-line":
        amounts, difference = rounded_apart(exact, to_reach, step)
    else:
        amounts = spread(exact, to_reach, step)
    if step < CENT:
        _refuse_finer_than_cents([*(line.name for line in billed), ROUNDING], [*amounts, difference], unit)
    names = product_names(billed)
    drafts = [
        _draft(line, amount, item_of(line, names, policy), bill, negated=negated)
        for line, amount in zip(billed, amounts, strict=True)
    ]
    if difference:
        drafts.append(DraftLine(rounding_item(policy), difference, ROUNDING, tax_code=policy.tax_code))
    return tuple(_line(draft, policy) for draft in _within_limit(drafts, policy))


def _refuse_finer_than_cents(names: Sequence[str], amounts: Sequence[Decimal], unit: Unit) -> None:
    for name, amount in zip(names, amounts, strict=True):
        if amount != amount.quantize(CENT):
            raise refused(
                "more than two decimals",
                f"line {name!r} is {amount} {unit.currency}: QuickBooks keeps two decimals, and would round it",
            )


def _draft(line: LineItem, amount: Decimal, item: ItemReference, bill: LineContext, *, negated: bool) -> DraftLine:
    unit, policy = bill.unit, bill.policy
    figures = quantity_and_price(line, amount, unit, negated=negated)
    if figures is None and policy.line_figures == "rescaled":
        figures = rescaled(line, amount, unit, negated=negated)
    per = 1 if figures is None else figures.per
    description = texts.description(line, unit, with_quantity=figures is None, per=per)
    if policy.description_template is not None:
        description = _by_template(line, amount, bill, description, policy.description_template)
    class_id = bill.further.line_id(policy.class_field, line) if policy.class_on == "line" else None
    return DraftLine(item, amount, description, figures, tax_code(line, policy), class_id)


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


def _within_limit(drafts: list[DraftLine], policy: Policy) -> list[DraftLine]:
    """At most `line_limit` lines (docs/vendors/quickbooks.md §1.3), grouped by item and price, else by item."""
    if len(drafts) <= policy.line_limit:
        return drafts
    if policy.too_many_lines == "group":
        for key in (_item_and_price, _item):
            grouped = _grouped(drafts, key)
            if len(grouped) <= policy.line_limit:
                return grouped
    raise refused(
        "too many lines", f"{len(drafts)} lines are more than the {policy.line_limit} of the policy's line_limit"
    )


def _item_and_price(draft: DraftLine) -> Hashable:
    figures = draft.figures
    return _item(draft), None if figures is None else (figures.unit_price, figures.per)


def _item(draft: DraftLine) -> Hashable:
    return draft.item, draft.tax_code, draft.class_id


def _grouped(drafts: Sequence[DraftLine], key: Callable[[DraftLine], Hashable]) -> list[DraftLine]:
    groups: dict[Hashable, list[DraftLine]] = {}
    for draft in drafts:
        groups.setdefault(key(draft), []).append(draft)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: Sequence[DraftLine]) -> DraftLine:
    """One line for many: their amounts added, their figures too where all have the same price."""
    amount = exact_sum([draft.amount for draft in group])
    shared = {(draft.figures.unit_price, draft.figures.per) if draft.figures else None for draft in group}
    figures = None
    if len(shared) == 1 and (priced := shared.pop()) is not None:
        quantity = exact_sum([draft.figures.quantity for draft in group if draft.figures])
        figures = multiplied(quantity, priced[0], amount, priced[1])
    details = "; ".join(draft.description for draft in group)
    description = cut(f"{len(group)} lines: {details}", texts.DESCRIPTION_LENGTH_MAX)
    return group[0]._replace(amount=amount, description=description, figures=figures)


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
    )
