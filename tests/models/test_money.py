"""Units, cents, rounding and exact sums."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.document import ItemReference, Line
from models.metronome import LineItem
from models.money import EXPONENTS, UnknownUnit, exact_sum, parse_json, quantum, round_half_up, unit_of
from tests.builders import a_line


def test_us_dollars_are_counted_in_cents() -> None:
    unit = unit_of("USD (cents)")
    assert unit.currency == "USD"
    assert unit.major(Decimal("16721.4289012")) == Decimal("167.214289012")


@pytest.mark.parametrize("code", sorted(EXPONENTS))
def test_a_bare_currency_code_counts_whole_units(code: str) -> None:
    unit = unit_of(code)
    assert unit.currency == code
    assert unit.major(Decimal("61.98")) == Decimal("61.98")


@pytest.mark.parametrize(("code", "smallest"), [("JPY", "1"), ("HUF", "0.01"), ("USD", "0.01"), ("KWD", "0.001")])
def test_each_currency_has_its_own_smallest_amount(code: str, smallest: str) -> None:
    assert quantum(code) == Decimal(smallest)


@pytest.mark.parametrize(
    "name",
    ["JPY (cents)", "KWD (cents)", "Agent Credits", "usd (cents)", "USD(cents)", "XXX", "XXX (cents)", "", " (cents)"],
)
def test_any_other_unit_is_unknown_and_never_guessed(name: str) -> None:
    with pytest.raises(UnknownUnit, match="not a known currency"):
        unit_of(name)


def test_numbers_keep_every_digit_from_the_first_byte() -> None:
    assert parse_json(b"[0.12345678901234567890123, 12, 1E+2]") == [
        Decimal("0.12345678901234567890123"),
        12,
        Decimal(100),
    ]


@pytest.mark.parametrize("damaged", [float("nan"), 1.5])
def test_a_float_is_not_let_in(damaged: float) -> None:
    with pytest.raises(ValueError, match="a float has lost digits"):
        LineItem.model_validate(a_line() | {"total": damaged})


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("1861.075", "1861.08"), ("0.005", "0.01"), ("0.0049999", "0.00"), ("-0.005", "-0.01"), ("2.665", "2.67")],
)
def test_halves_round_away_from_zero(amount: str, rounded: str) -> None:
    assert round_half_up(Decimal(amount), quantum("USD")) == Decimal(rounded)


@given(st.lists(st.decimals("-1e12", "1e12", places=15), max_size=20))
def test_sums_are_exact_whatever_the_context_of_the_thread(amounts: list[Decimal]) -> None:
    with localcontext(prec=3):
        found = exact_sum(amounts)
    assert found == Decimal(sum(int(amount.scaleb(15)) for amount in amounts)).scaleb(-15)


@pytest.mark.parametrize("number", ["1e999999999", "-1E-999999999", "0e999999", "1E+1001", f"0.{'1' * 1001}"])
def test_a_number_that_nobody_can_write_out_is_in_no_record(number: str) -> None:
    with pytest.raises(ValidationError, match="a number of more than 1000 digits"):
        Line(item=ItemReference(name="Calls"), amount=1, description="", quantity=number, unit_price=1)


def test_a_number_of_a_thousand_digits_can_be_in_one() -> None:
    for number in ("1E+1000", "-1E-1000", "0.005", "0"):
        assert Line(item=ItemReference(name="Calls"), amount=number, description="").amount == Decimal(number)
