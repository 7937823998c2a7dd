"""The one rounding of an invoice: its total to the cent, and of that what belongs to each item, and to each line.

First the lines of one item, tax code and class together, so that no cent wanders from one item to another, nor to
another tax; then the lines among themselves. Both by the largest-remainder method: everything is rounded down, and the
steps that are missing go where most was lost. So neither a group nor a line differs from what it is exactly by a whole
step. A line that says quantity and price keeps its amount, which is their product, as long as another one without them
can take the step.
"""

from collections.abc import Hashable, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from models.money import EXACT, exact_sum, round_half_up


class Share(NamedTuple):
    """What a line is exactly, the group that it belongs to, and whether it says figures that multiply to its rounded
    amount."""

    exact: Decimal
    group: Hashable
    multiplies: bool = False


class Rounded(NamedTuple):
    """The amount of each line, and by group what is left for a rounding line; all of it adds up to the total."""

    amounts: list[Decimal]
    left: dict[Hashable, Decimal]


class _Line(NamedTuple):
    """A line in whole steps: rounded down, half up, and what rounding down lost."""

    floor: int
    half_up: int
    lost: Decimal
    is_negative: bool
    multiplies: bool

    @property
    def ceiling(self) -> int:
        return self.floor + (self.lost > 0)


def rounded(shares: Sequence[Share], total: Decimal, step: Decimal, left_max: int = 0) -> Rounded:
    """Amounts of whole `step`s that add up to `total`, which must be the rounded sum of what the lines are exactly.

    `left_max`: a group whose lines, each rounded half up, miss its sum by no more steps than this keeps them, and the
    difference is left for a rounding line.
    """
    lines = [_line(share, step) for share in shares]
    groups: dict[Hashable, list[int]] = {}
    for index, share in enumerate(shares):
        groups.setdefault(share.group, []).append(index)
    sums = _sums(
        [_line(Share(exact_sum([shares[index].exact for index in each]), None), step) for each in groups.values()],
        [[lines[index] for index in each] for each in groups.values()],
        int(EXACT.divide(total, step)),
    )
    steps, left = [0] * len(lines), {}
    for (group, members), wanted in zip(groups.items(), sums, strict=True):
        missed = wanted - sum(lines[index].half_up for index in members)
        kept = missed if abs(missed) <= left_max else 0
        if kept:
            left[group] = EXACT.multiply(Decimal(kept), step)
        for index, amount in zip(members, _spread([lines[index] for index in members], wanted - kept), strict=True):
            steps[index] = amount
    amounts = [EXACT.multiply(Decimal(each), step) for each in steps]
    assert exact_sum([*amounts, *left.values()]) == total, "the total is not the rounded sum of the lines"
    return Rounded(amounts, left)


def _line(share: Share, step: Decimal) -> _Line:
    scaled = EXACT.divide(share.exact, step)
    floor = int(scaled.to_integral_value(ROUND_FLOOR))
    half_up = int(round_half_up(scaled, Decimal(1)))
    return _Line(floor, half_up, EXACT.subtract(scaled, Decimal(floor)), share.exact < 0, share.multiplies)


def _sums(groups: Sequence[_Line], lines: Sequence[Sequence[_Line]], total: int) -> list[int]:
    """The sum of each group in steps: rounded down or up, rather up where no line loses its figures by that."""
    sums = [each.floor for each in groups]
    broken_more = [
        _broken(members, each.ceiling) - _broken(members, each.floor)
        for members, each in zip(lines, groups, strict=True)
    ]
    between = [index for index, each in enumerate(groups) if each.lost]
    between.sort(key=lambda index: (broken_more[index], *_by_loss(groups[index]), index))
    for index in between[: total - sum(sums)]:
        sums[index] += 1
    return sums


def _broken(lines: Sequence[_Line], wanted: int) -> int:
    """How many lines have to lose their figures for the group to add up to this."""
    kept = sum(line.half_up for line in lines if line.multiplies)
    least = kept + sum(line.floor for line in lines if not line.multiplies)
    most = kept + sum(line.ceiling for line in lines if not line.multiplies)
    return max(least - wanted, wanted - most, 0)


def _spread(lines: Sequence[_Line], wanted: int) -> list[int]:
    """The amount of each line in steps, rounded down or up; those with figures give way last."""
    amounts = [line.half_up if line.multiplies else line.floor for line in lines]
    missing = wanted - sum(amounts)
    order = sorted(range(len(lines)), key=lambda index: (lines[index].multiplies, *_by_loss(lines[index]), index))
    for index in order if missing > 0 else reversed(order):
        if missing == 0:
            break
        line = lines[index]
        if missing > 0 and amounts[index] < line.ceiling:
            amounts[index], missing = amounts[index] + 1, missing - 1
        elif missing < 0 and amounts[index] > line.floor:
            amounts[index], missing = amounts[index] - 1, missing + 1
    return amounts


def _by_loss(line: _Line) -> tuple[Decimal, bool]:
    """Those that lost most come first; of equals those above zero, since halves round away from zero."""
    return line.lost.copy_negate(), line.is_negative
