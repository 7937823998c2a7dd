"""The arithmetic: sums, rounding that adds up, quantities that multiply."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.translate.amounts import (
    broken_sum,
    counted_lines,
    figure_out_of_range,
    quantity_and_price,
)
from models.metronome import Invoice, LineItem
from models.money import parse_json, round_half_up, unit_of
from models.quickbooks import plain_number
from tests.builders import CENTS, CREDITS, a_line, an_invoice, json_of

CENT = Decimal("0.01")
USD = unit_of("USD (cents)")
EUR = unit_of("EUR")

amounts = st.decimals("-9999999", "9999999", places=6)


def read(invoice: dict[str, Any]) -> Invoice:
    return Invoice.model_validate(parse_json(json_of(invoice)))


def line(quantity: str | None, unit_price: str | None) -> LineItem:
    return LineItem.model_validate(
        {"type": "usage", "name": "n", "total": 0, "credit_type": CENTS, "quantity": quantity, "unit_price": unit_price}
    )


def decimals(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


def test_lines_in_another_unit_and_postpaid_draw_downs_do_not_count_and_adjustments_do() -> None:
    postpaid = a_line(-500, type="applied_commit_or_credit", applied_commit_or_credit={"id": "c", "type": "POSTPAID"})
    prepaid = a_line(-300, type="applied_commit_or_credit", applied_commit_or_credit={"id": "c", "type": "PREPAID"})
    covered = a_line(500, applied_commit_or_credit={"id": "c", "type": "POSTPAID"})
    minimum = {"name": "Monthly minimum", "total": 40, "credit_type": CENTS}
    in_units = {"name": "Units", "total": 7, "credit_type": CREDITS}
    invoice = an_invoice(
        [covered, postpaid, prepaid, a_line(450, credit_type=CREDITS)], invoice_adjustments=[minimum, in_units]
    )
    assert [int(line.total) for line in counted_lines(read(invoice))] == [500, -300, 40]


def sum_of(invoice: dict[str, Any], unit: Any = USD) -> str | None:
    parsed = read(invoice)
    return broken_sum(parsed, counted_lines(parsed), unit)


def test_a_total_that_is_one_cent_off_is_refused_with_both_numbers() -> None:
    reason = sum_of(an_invoice([a_line(1000), a_line(250)], total=1251))
    assert reason == "the lines add up to 1250, but the invoice's total is 1251 (USD (cents)), off by -1"


@pytest.mark.parametrize("off", ["0.001", "-0.001", "0.1"])
def test_a_total_that_is_a_thousandth_of_a_cent_off_is_no_noise(off: str) -> None:
    assert sum_of(an_invoice([a_line(1000)], total=1000 + Decimal(off))) is not None


def test_the_last_place_of_a_double_is_noise() -> None:
    lines = [a_line(Decimal("3.045")), a_line(Decimal("58.935483870967744"))]
    assert sum_of(an_invoice(lines, total=Decimal("61.980483870967745")), EUR) is None


def test_noise_of_lines_that_cancel_is_measured_by_the_lines() -> None:
    lines = [a_line(Decimal("123456789.1")), a_line(Decimal("-123456789.1"))]
    assert sum_of(an_invoice(lines, total=Decimal("0.0000149"))) is None


@pytest.mark.parametrize(("total", "is_noise"), [("4e-10", True), ("2e-9", False)])
def test_near_zero_only_a_billionth_of_a_unit_is_noise(total: str, is_noise: bool) -> None:
    assert (sum_of(an_invoice([a_line(0)], total=Decimal(total))) is None) == is_noise


def test_noise_never_reaches_a_tenth_of_a_cent_however_large_the_figures() -> None:
    lines = [a_line(Decimal(10) ** 11), a_line(Decimal(10) ** 11)]
    assert sum_of(an_invoice(lines, total=2 * Decimal(10) ** 11 + Decimal("0.11"))) is not None


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20), st.integers(1, 10**9))
def test_any_whole_cent_that_is_missing_is_noticed(totals: list[int], missing: int) -> None:
    lines = [a_line(total) for total in totals]
    assert sum_of(an_invoice(lines, total=sum(totals) - missing)) is not None


def test_doubles_added_in_any_order_pass_the_sum_rule() -> None:
    parts = [0.1 * number for number in range(1, 800)]
    lines = [a_line(Decimal(json.dumps(part))) for part in parts]
    assert sum_of(an_invoice(lines, total=Decimal(json.dumps(sum(parts))))) is None


def test_the_reason_names_the_line_that_should_not_have_counted() -> None:
    invoice = an_invoice([a_line(5), a_line(9, name="Egress")], total=5)
    assert "which is the total of line 'Egress'" in str(sum_of(invoice))


def test_the_reason_names_the_line_that_was_left_out_but_is_in_the_total() -> None:
    postpaid = a_line(
        -9, name="True-up", type="applied_commit_or_credit", applied_commit_or_credit={"id": "c", "type": "POSTPAID"}
    )
    assert "line 'True-up', left out of the sum" in str(sum_of(an_invoice([a_line(50), postpaid], total=41)))


def test_the_reason_names_the_line_whose_product_is_not_its_total() -> None:
    wrong = a_line(700, name="Seats", quantity=3, unit_price=200)
    assert "line 'Seats' has total 700, but its quantity × unit price is 600" in str(
        sum_of(an_invoice([a_line(5), wrong], total=605))
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"total": Decimal("1e12")}, "total 1E+12"),
        ({"total": Decimal("-1e99999999999")}, "total -1E+99999999999"),
        ({"quantity": Decimal("1e24")}, "1E+24"),
        ({"unit_price": Decimal("-1e999999")}, "-1E+999999"),
    ],
)
def test_figures_that_no_document_can_hold_are_named(changes: dict[str, Any], named: str) -> None:
    invoice = read(an_invoice([a_line(**changes)], total=0))
    reason = figure_out_of_range(invoice, counted_lines(invoice), USD)
    assert reason is not None
    assert named in reason
    assert "'API Calls'" in reason


def test_the_largest_amount_that_quickbooks_holds_is_in_range() -> None:
    invoice = read(an_invoice([a_line(Decimal("999999999999.99"))]))
    assert figure_out_of_range(invoice, counted_lines(invoice), USD) is None


@pytest.mark.parametrize(
    ("quantity", "unit_price", "amount", "sent"),
    [
        ("140.73", "5400", "7599.42", ("140.73", "54")),
        ("128.350", "1450", "1861.08", ("128.35", "14.5")),  # 1861.075: half up, never half even
        ("50000", "0.1", "50.00", ("50000", "0.001")),
        ("1E+2", "1E+2", "100.00", ("100", "1")),
        ("0", "9", "0.00", ("0", "0.09")),
        ("0.0000001", "300", "0.00", ("0.0000001", "3")),
        ("99999999999", "0", "0.00", ("99999999999", "0")),
    ],
)
def test_quantity_and_price_that_multiply_to_the_amount_are_sent(
    quantity: str, unit_price: str, amount: str, sent: tuple[str, str]
) -> None:
    found = quantity_and_price(line(quantity, unit_price), Decimal(amount), USD)
    assert found is not None
    assert (plain_number(found[0]), plain_number(found[1])) == sent


@pytest.mark.parametrize(
    ("quantity", "unit_price", "amount", "why"),
    [
        ("128.350", "1450", "1861.07", "the product rounds half up to 1861.08"),
        ("100", "100", "100.01", "a cent from the spread"),
        ("33.333333333333336", "300", "100.00", "more than 7 decimals"),
        ("0.00000001", "300", "0.00", "8 decimals"),
        ("1", "0.000001", "0.00", "8 decimals of a dollar, 6 of a cent"),
        ("123456789.1234567", "0", "0.00", "16 digits"),
        ("100000000000", "0", "0.00", "12 digits before the point"),
        ("-10", "400", "-40.00", "negative quantity"),
        ("10", "-400", "-40.00", "negative price"),
        (None, "400", "40.00", "no quantity"),
        ("10", None, "40.00", "no price"),
    ],
)
def test_quantity_and_price_that_quickbooks_would_refuse_stay_out(
    quantity: str | None, unit_price: str | None, amount: str, why: str
) -> None:
    assert quantity_and_price(line(quantity, unit_price), Decimal(amount), USD) is None, why


def test_on_a_credit_memo_a_returned_quantity_is_positive_and_a_charged_one_stays_out() -> None:
    returned, charged = line("-10", "400"), line("10", "400")
    assert quantity_and_price(returned, Decimal("40.00"), USD, negated=True) == (Decimal(10), Decimal(4), 1)
    assert quantity_and_price(charged, Decimal("-40.00"), USD, negated=True) is None


@given(
    st.decimals("-1000", "1000000", allow_nan=False, allow_infinity=False),
    st.decimals("-1000", "1000000", allow_nan=False, allow_infinity=False),
    st.booleans(),
)
def test_whatever_is_sent_has_seven_decimals_and_multiplies_to_the_amount(
    quantity: Decimal, unit_price: Decimal, negated: bool
) -> None:
    priced = LineItem(
        type="usage", name="n", total=Decimal(0), credit_type=CENTS, quantity=quantity, unit_price=unit_price
    )
    amount = round_half_up(quantity * unit_price / 100, CENT)
    found = quantity_and_price(priced, amount, USD, negated=negated)
    if found is not None:
        assert round_half_up(found[0] * found[1], CENT) == amount
        for number in found[:2]:
            assert Decimal(json.dumps(float(number))) == number, "a double keeps it"
            assert number >= 0
            assert 0 <= -int(number.as_tuple().exponent) <= 7
