"""The lines of a sale: amounts checked and computed, discounts, what lines may be, how many, and their ids."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.selling import changed, company_books, invoice, line, refused, sold

CENTS = st.decimals(min_value=0, max_value=99_999, places=2, allow_nan=False, allow_infinity=False)
PERCENT_OFF = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}


def product(amount: str, quantity: str, price: str) -> dict[str, Any]:
    return line(Decimal(amount), Qty=Decimal(quantity), UnitPrice=Decimal(price))


@pytest.mark.parametrize(
    ("switch", "amount", "accepted"),
    [
        ("away-from-zero", "-1861.08", True),
        ("away-from-zero", "-1861.07", False),
        ("toward-positive", "-1861.07", True),
        ("toward-positive", "-1861.08", False),
    ],
)
def test_a_negative_half_cent_goes_the_way_of_the_switch(switch: str, amount: str, accepted: bool) -> None:
    """1861.075, measured for positive amounts only."""
    books = company_books(negative_half=switch)
    written = invoice(Line=[line(5000), product(amount, "-128.350", "14.50")])
    if accepted:
        assert sold(books, written)["Line"][1]["Amount"] == Decimal(amount)
    else:
        assert refused(books, written)["code"] == "6070"


@pytest.mark.parametrize(("uses", "amount"), [("stored", "12345.67"), ("sent", "12345.68")])
def test_the_check_uses_the_price_as_stored_or_as_sent(uses: str, amount: str) -> None:
    """100,000 times 0.12345675 is 12,345.68; times what is stored, 0.1234567, it is a cent less."""
    books = company_books(amount_check_uses=uses)
    quantity, price = "100000", "0.12345675"
    made = sold(books, invoice(Line=[product(amount, quantity, price)]))
    assert made["Line"][0]["SalesItemLineDetail"]["UnitPrice"] == Decimal("0.1234567")
    other = "12345.68" if uses == "stored" else "12345.67"
    assert refused(books, invoice(Line=[product(other, quantity, price)]))["code"] == "6070"
    assert sold(books, invoice(Line=[product("0", quantity, price) | {"Amount": None}]))["TotalAmt"] == Decimal(amount)


@pytest.mark.parametrize(("decimals", "kept"), [(7, "0.1234567"), (5, "0.12345")])
def test_prices_keep_as_many_decimals_as_the_switch_says(decimals: int, kept: str) -> None:
    made = sold(company_books(decimals_kept=decimals), invoice(Line=[product("0.12", "1", "0.12345678")]))
    assert made["Line"][0]["SalesItemLineDetail"]["UnitPrice"] == Decimal(kept)


@given(amounts=st.lists(CENTS, min_size=1, max_size=20))
def test_the_total_is_the_sum_of_the_lines_to_the_cent(amounts: list[Decimal]) -> None:
    made = sold(company_books(), invoice(Line=[line(each) for each in amounts]))
    assert made["TotalAmt"] == made["Balance"] == sum(amounts)


@given(quantity=CENTS, price=CENTS)
def test_a_product_rounded_by_hand_is_accepted_and_a_cent_more_is_not(quantity: Decimal, price: Decimal) -> None:
    whole, rest = divmod(int(quantity * 100) * int(price * 100), 100)
    amount = Decimal(whole + (rest >= 50)) / 100
    books = company_books()
    assert sold(books, invoice(Line=[line(amount, Qty=quantity, UnitPrice=price)]))["TotalAmt"] == amount
    if not quantity and not price:
        return  # two zeros beside an amount say nothing, see below
    wrong = invoice(Line=[line(amount + Decimal("0.01"), Qty=quantity, UnitPrice=price)])
    assert refused(books, wrong)["code"] == "6070"


@pytest.mark.parametrize(("amount", "code"), [("9999999999.99", ""), ("10000000000", "2140")])
def test_an_amount_has_ten_digits_before_the_point(amount: str, code: str) -> None:
    books = company_books()
    if code:
        assert refused(books, invoice(Line=[line(amount)]))["code"] == code
    else:
        assert sold(books, invoice(Line=[line(amount)]))["TotalAmt"] == Decimal(amount)


def test_discounts_stand_behind_the_subtotal_and_count_from_it() -> None:
    """Recorded (invoice_with_discount_line_item_response): after the subtotal, without an Id, 10 % of 50."""
    by_amount = {"Amount": "4.5", "DetailType": "DiscountLineDetail", "DiscountLineDetail": {}}
    made = sold(company_books(), invoice(Line=[PERCENT_OFF, line(30), line(20), by_amount]))
    assert [(each.get("Id"), each["DetailType"], each["Amount"]) for each in made["Line"]] == [
        ("1", "SalesItemLineDetail", 30),
        ("2", "SalesItemLineDetail", 20),
        (None, "SubTotalLineDetail", 50),
        (None, "DiscountLineDetail", 5),
        (None, "DiscountLineDetail", Decimal("4.5")),
    ]
    assert made["Line"][3]["DiscountLineDetail"] == {
        "PercentBased": True,
        "DiscountPercent": 10,
        "DiscountAccountRef": {"value": "86", "name": "Discounts given"},
    }
    assert made["TotalAmt"] == Decimal("40.5")


def test_a_discount_needs_the_preference_an_amount_and_an_account_that_exists() -> None:
    books = company_books()
    none = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {}}
    assert refused(books, invoice(Line=[line(5), none]))["code"] == "2020"
    wrong = {**PERCENT_OFF, "DiscountLineDetail": {"DiscountAccountRef": {"value": "999"}}, "Amount": 1}
    assert refused(books, invoice(Line=[line(5), wrong]))["code"] == "2500"
    assert refused(company_books(allow_discount=False), invoice(Line=[line(5), PERCENT_OFF]))["code"] == "6000"
    too_much = {"Amount": 6, "DetailType": "DiscountLineDetail", "DiscountLineDetail": {}}
    assert refused(books, invoice(Line=[line(5), too_much]))["code"] == "6000"


def test_an_inventory_item_needs_a_quantity_and_a_category_is_no_item() -> None:
    books = company_books()
    for number, kind in (("1", "Inventory"), ("2", "Category")):
        books.put_entry("Item", {**books.objects["Item"][number], "Type": kind}, books.objects["Item"][number])
    error = refused(books, invoice())
    assert (error["code"], error["Message"]) == ("6520", "Quantity required for inventory item")
    assert sold(books, invoice(Line=[line(5, Qty=1)]))["TotalAmt"] == 5
    assert refused(books, invoice(Line=[line(5, ItemRef={"value": "2"})]))["code"] == "6440"


def test_a_quantity_and_a_price_of_zero_beside_an_amount_are_as_good_as_none() -> None:
    """python-quickbooks writes them when nobody set them."""
    made = sold(company_books(), invoice(Line=[line(Decimal("12.34"), Qty=0, UnitPrice=0)]))
    assert made["TotalAmt"] == Decimal("12.34")
    assert {"Qty", "UnitPrice"}.isdisjoint(made["Line"][0]["SalesItemLineDetail"])
    assert sold(company_books(), invoice(Line=[line(0, Qty=0, UnitPrice=0)]))["TotalAmt"] == 0


@pytest.mark.parametrize(
    ("kind", "code"), [("GroupLineDetail", "6430"), ("PaymentLineDetail", "6430"), ("Nonsense", "2170"), (None, "2020")]
)
def test_other_kinds_of_lines_are_refused(kind: str | None, code: str) -> None:
    assert refused(company_books(), invoice(Line=[{"Amount": 1, "DetailType": kind}]))["code"] == code


def test_a_transaction_has_so_many_lines_and_fewer_when_taxable() -> None:
    few = company_books(line_limit=3)
    assert len(sold(few, invoice(Line=[line(1)] * 3))["Line"]) == 4
    assert refused(few, invoice(Line=[line(1)] * 4))["code"] == "2250"
    books = company_books(tax_mode="us-manual")
    taxable = line(1, TaxCodeRef={"value": "TAX"})
    assert sold(books, invoice(Line=[line(1)] * 751))["TotalAmt"] == 751
    assert sold(books, invoice(Line=[taxable] * 750))["TotalAmt"] == 750
    assert refused(books, invoice(Line=[taxable] * 751))["code"] == "2250"


def test_lines_keep_their_ids_through_an_update_and_new_ones_get_the_next() -> None:
    books = company_books()
    made = sold(books, invoice(Line=[line(1), line(2), line(3)]))
    first, _, third, _ = made["Line"]
    updated = changed(books, made, {**made, "Line": [third, line(9), first]})
    assert [(each.get("Id"), each.get("LineNum"), each["Amount"]) for each in updated["Line"]] == [
        ("3", 1, 3),
        ("4", 2, 9),
        ("1", 3, 1),
        (None, None, 13),
    ]


def test_a_line_id_that_is_unknown_or_named_twice_is_a_new_line() -> None:
    books = company_books()
    assert sold(books, invoice(Line=[{**line(1), "Id": "77"}]))["Line"][0]["Id"] == "1"
    made = sold(books, invoice())
    twice = changed(books, made, {**made, "Line": [made["Line"][0]] * 2})
    assert [each["Id"] for each in twice["Line"][:-1]] == ["1", "2"]
