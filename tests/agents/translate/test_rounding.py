"""The one rounding: every cent stays in its item, and every line is off by less than one."""

from collections.abc import Hashable, Sequence
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.translate.rounding import Share, rounded
from models.money import exact_sum, round_half_up

CENT = Decimal("0.01")
A, B = "item 31", "item 32"

amounts = st.decimals("-9999999", "9999999", places=6)
shares = st.lists(st.builds(Share, amounts, st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=30)


def of(*texts: str, group: Hashable = A, multiplies: bool = False) -> list[Share]:
    return [Share(Decimal(text), group, multiplies) for text in texts]


def total_of(lines: Sequence[Share]) -> Decimal:
    return round_half_up(exact_sum([line.exact for line in lines]), CENT)


def cents(lines: Sequence[Share], left_max: int = 0) -> list[int]:
    return [int(amount / CENT) for amount in rounded(lines, total_of(lines), CENT, left_max).amounts]


def by_group(lines: Sequence[Share], found: Sequence[Decimal]) -> dict[Hashable, Decimal]:
    sums: dict[Hashable, Decimal] = {}
    for line, amount in zip(lines, found, strict=True):
        sums[line.group] = sums.get(line.group, Decimal(0)) + amount
    return sums


@given(shares)
def test_lines_add_up_to_the_total_and_neither_a_line_nor_an_item_is_off_by_a_cent(lines: list[Share]) -> None:
    total = total_of(lines)
    found, left = rounded(lines, total, CENT)
    assert exact_sum(found) == total
    assert left == {}
    assert all(abs(amount - line.exact) < CENT for amount, line in zip(found, lines, strict=True))
    exact = by_group(lines, [line.exact for line in lines])
    assert all(abs(amount - exact[group]) < CENT for group, amount in by_group(lines, found).items())
    assert all(amount.as_tuple().exponent == -2 for amount in found)


@given(shares, st.integers(0, 3))
def test_what_is_left_for_a_rounding_line_is_bounded_by_item(lines: list[Share], left_max: int) -> None:
    found, left = rounded(lines, total_of(lines), CENT, left_max)
    assert exact_sum([*found, *left.values()]) == total_of(lines)
    assert all(CENT <= abs(amount) <= left_max * CENT for amount in left.values())
    assert all(abs(amount - line.exact) < CENT for amount, line in zip(found, lines, strict=True))


@given(st.lists(amounts, min_size=1, max_size=30))
def test_where_rounding_each_line_half_up_adds_up_nothing_else_happens(exact: list[Decimal]) -> None:
    half_up = [amount.quantize(CENT, ROUND_HALF_UP) for amount in exact]
    lines = [Share(amount, A) for amount in exact]
    if exact_sum(half_up) == total_of(lines):
        assert rounded(lines, total_of(lines), CENT).amounts == half_up


def test_twenty_and_twenty_equal_lines_of_two_items_are_half_and_half() -> None:
    """20 × 0.104 = 2.08 each; each line rounded by itself, ties to the earlier, made 2.16 and 2.00."""
    lines = of(*["0.104"] * 20) + of(*["0.104"] * 20, group=B)
    found = by_group(lines, rounded(lines, Decimal("4.16"), CENT).amounts)
    assert found == {A: Decimal("2.08"), B: Decimal("2.08")}


def test_three_thirds_of_a_dollar_give_the_spare_cent_to_the_first() -> None:
    assert cents(of(*["0.3333333333333333"] * 3)) == [34, 33, 33]


def test_the_spare_cent_goes_to_the_line_that_lost_most() -> None:
    assert cents(of("1.001", "1.004", "1.003")) == [100, 101, 100]


def test_a_charge_and_the_commit_that_covers_it_round_to_opposite_amounts() -> None:
    assert cents(of("-10.005", "10.005")) == [-1001, 1001]
    assert cents(of("-10.005") + of("10.005", group=B)) == [-1001, 1001]


def test_doubles_noise_around_whole_cents_moves_nothing() -> None:
    assert cents(of("3.0449999999999999999", "58.935483870967744")) == [304, 5894]


def test_the_cent_goes_to_a_line_that_says_no_figures_anyway() -> None:
    """3.045 lost less than 58.9355, but has figures that multiply to 3.05."""
    assert cents(of("3.045", multiplies=True) + of("58.935483870967744")) == [305, 5893]
    assert cents(of("41.2345678", multiplies=True) + of("99.691358", group=B)) == [4123, 9970]
    assert cents(of("41.2345678") + of("99.691358", group=B)) == [4124, 9969]


def test_where_all_multiply_one_gives_way() -> None:
    assert cents(of(*["0.3333333333333333"] * 3, multiplies=True)) == [34, 33, 33]
    assert cents(of(*["0.666"] * 2, multiplies=True)) == [67, 66]


def test_a_rounding_line_takes_a_cent_and_not_a_revenue() -> None:
    third = of(*["0.3333333333333333"] * 3)
    assert rounded(third, Decimal("1.00"), CENT, 1) == ([Decimal("0.33")] * 3, {A: CENT})
    lines = of(*["0.004"] * 20) + of(*["0.004"] * 20, group=B)
    found, left = rounded(lines, Decimal("0.16"), CENT, 1)
    assert (by_group(lines, found), left) == ({A: Decimal("0.08"), B: Decimal("0.08")}, {})


def test_a_total_that_is_not_the_rounded_sum_is_a_bug_that_shows() -> None:
    with pytest.raises(AssertionError, match="not the rounded sum"):
        rounded(of("1.00"), Decimal("5.00"), CENT)
