"""A document with more lines than QuickBooks takes: one line for many, which says what it sums."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from models.document import ItemReference
from models.money import exact_sum
from models.policy import Policy
from models.quickbooks import cut

from . import texts
from .amounts import Figures, multiplied
from .declined import refused

NAMES_MAX = 5
"""So many names of lines one that sums them says."""


class DraftLine(NamedTuple):
    """A line that may still be grouped with others; its figures, if it has any that multiply to its amount, and the
    days of its service."""

    item: ItemReference
    name: str
    amount: Decimal
    description: str
    figures: Figures | None = None
    tax_code: str | None = None
    class_id: str | None = None
    first_day: date | None = None
    last_day: date | None = None


def within_limit(drafts: list[DraftLine], policy: Policy) -> list[DraftLine]:
    """At most `line_limit` lines (docs/vendors/quickbooks.md §1.3), grouped by item and price, else by item; always
    apart by tax code and class. Raises Declined."""
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
    first_day = min(filter(None, (draft.first_day for draft in group)), default=None)
    last_day = max(filter(None, (draft.last_day for draft in group)), default=None)
    parts = [_names(draft.name for draft in group), f"{len(group):,} lines"]
    if figures is not None and figures.per != 1:
        parts.append(texts.scale(figures.per))
    if first_day is not None and last_day is not None:
        parts.append(texts.spoken_days(first_day, last_day))
    description = cut(" · ".join(parts), texts.DESCRIPTION_LENGTH_MAX)
    return group[0]._replace(
        amount=amount, description=description, figures=figures, first_day=first_day, last_day=last_day
    )


def _names(names: Iterable[str]) -> str:
    """Each name once, in order; of many the first ones, and how many more there are."""
    different = list(dict.fromkeys(names))
    more = len(different) - NAMES_MAX
    return ", ".join(different[:NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")
