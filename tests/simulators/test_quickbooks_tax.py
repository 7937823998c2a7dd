"""Sales tax in each kind of company: `docs/vendors/quickbooks.md` §1.6, and what was recorded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from simulators.http import Json
from simulators.quickbooks.books import Books
from tests.simulators.selling import changed, company_books, invoice, line, refused, sold


def taxed(amount: object, code: str | None, **detail: object) -> Json:
    ref = {"TaxCodeRef": {"value": code}} if code else {}
    return line(amount, **detail, **ref)


def tax_lines(sale: Json) -> list[tuple[str, Any, Any, Any]]:
    """(rate, percent, net, tax) of each."""
    details = [(each["TaxLineDetail"], each["Amount"]) for each in sale["TxnTaxDetail"].get("TaxLine", ())]
    return [(one["TaxRateRef"]["value"], one["TaxPercent"], one["NetAmountTaxable"], amount) for one, amount in details]


def canadian_books() -> Books:
    """One code of 13 %, as in the recorded Canadian invoice."""
    books = company_books(tax_mode="global", country="CA", currency="CAD")
    rate = {**books.objects["TaxRate"]["1"], "RateValue": Decimal(13)}
    books.put_entry("TaxRate", rate, books.objects["TaxRate"]["1"])
    return books


@pytest.mark.parametrize("mode", ["us-none", "us-manual", "us-automated"])
def test_a_us_line_is_tax_or_non_and_nothing_else(mode: str) -> None:
    books = company_books(tax_mode=mode)
    error = refused(books, invoice(Line=[taxed(100, "2")]))
    assert (error["code"], error["Detail"]) == (
        "6100",
        "Valid line TaxCodes for US should be TAX or NON. Supplied value: 2",
    )
    made = sold(books, invoice(Line=[taxed(100, None)]))
    assert made["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"] == {"value": "NON"}
    assert "GlobalTaxCalculation" not in sold(books, invoice(GlobalTaxCalculation="TaxInclusive"))


def test_a_company_without_sales_tax_ignores_tax_details() -> None:
    books = company_books(tax_mode="us-none")
    detail = {"TxnTaxCodeRef": {"value": "2"}, "TotalTax": 8}
    made = sold(books, invoice(Line=[taxed(100, "TAX")], TxnTaxDetail=detail))
    assert (made["TotalAmt"], made["TxnTaxDetail"]) == (100, {"TotalTax": 0})


def test_a_tax_code_alone_gives_no_tax_without_automation() -> None:
    """Measured: TotalTax and TaxLine had to be sent too."""
    books = company_books(tax_mode="us-manual")
    code = {"TxnTaxCodeRef": {"value": "2"}}
    for detail in (code, {**code, "TotalTax": 8}):
        made = sold(books, invoice(Line=[taxed(100, "TAX")], TxnTaxDetail=detail))
        assert (made["TotalAmt"], made["TxnTaxDetail"]) == (100, {**code, "TotalTax": 0})


def test_tax_that_the_request_brings_is_honoured_without_automation() -> None:
    books = company_books(tax_mode="us-manual")
    rate = {"TaxRateRef": {"value": "3"}, "PercentBased": True, "TaxPercent": "8.25", "NetAmountTaxable": 100}
    tax_line = {"Amount": "8.25", "DetailType": "TaxLineDetail", "TaxLineDetail": rate}
    detail = {"TxnTaxCodeRef": {"value": "2"}, "TotalTax": "8.25", "TaxLine": [tax_line]}
    made = sold(books, invoice(Line=[taxed(100, "TAX"), taxed(50, "NON")], TxnTaxDetail=detail))
    assert (made["TotalAmt"], made["Balance"]) == (Decimal("158.25"), Decimal("158.25"))
    assert tax_lines(made) == [("3", Decimal("8.25"), 100, Decimal("8.25"))]
    assert changed(books, made, {**made, "PrivateNote": "n"})["TotalAmt"] == Decimal("158.25")


@pytest.mark.parametrize(("field", "value"), [("TxnTaxCodeRef", "99"), ("TaxRateRef", "99")])
def test_a_tax_code_or_rate_that_is_not_there_is_2500(field: str, value: str) -> None:
    rate = {"TaxRateRef": {"value": value if field == "TaxRateRef" else "3"}}
    code = {"value": value if field == "TxnTaxCodeRef" else "2"}
    tax_line = {"Amount": 1, "DetailType": "TaxLineDetail", "TaxLineDetail": rate}
    detail = {"TxnTaxCodeRef": code, "TotalTax": 1, "TaxLine": [tax_line]}
    error = refused(company_books(tax_mode="us-manual"), invoice(Line=[taxed(100, "TAX")], TxnTaxDetail=detail))
    assert error["code"] == "2500"


def test_automation_taxes_the_taxable_lines_and_overwrites_a_supplied_code() -> None:
    books = company_books(tax_mode="us-automated")
    lines = [taxed("100.06", "TAX"), taxed("0.06", "TAX"), taxed(50, "NON")]
    made = sold(books, invoice(Line=lines, TxnTaxDetail={"TxnTaxCodeRef": {"value": "77"}, "TotalTax": 1}))
    assert tax_lines(made) == [("3", Decimal("8.25"), Decimal("100.12"), Decimal("8.26"))]
    assert made["TxnTaxDetail"]["TxnTaxCodeRef"] == {"value": "2"}
    assert made["TotalAmt"] == Decimal("158.38")
    assert sold(books, invoice(Line=[taxed(50, "NON")]))["TxnTaxDetail"] == {"TotalTax": 0}


def test_automation_taxes_a_taxable_item_by_itself() -> None:
    books = company_books(tax_mode="us-automated")
    books.put_entry("Item", {**books.objects["Item"]["1"], "Taxable": True}, books.objects["Item"]["1"])
    assert sold(books, invoice())["TotalAmt"] == Decimal("108.25")


@pytest.mark.parametrize(("after_discount", "tax"), [(True, "7.43"), (False, "8.25")])
def test_a_discount_comes_before_the_tax_when_the_sale_says_so(after_discount: bool, tax: str) -> None:
    discount = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}
    written = invoice(Line=[taxed(100, "TAX"), discount], ApplyTaxAfterDiscount=after_discount)
    made = sold(company_books(tax_mode="us-automated"), written)
    assert (made["TxnTaxDetail"]["TotalTax"], made["TotalAmt"]) == (Decimal(tax), 90 + Decimal(tax))


def test_elsewhere_each_line_needs_a_tax_code() -> None:
    books = company_books(tax_mode="global")
    error = refused(books, invoice(Line=[taxed(100, "2"), taxed(5, None)]))
    assert error["code"] == "6000"
    assert error["Detail"].endswith("Make sure all your transactions have a GST/HST rate before you save.")
    assert refused(books, invoice(Line=[taxed(100, "99")]))["code"] == "2500"
    text = {"DetailType": "DescriptionOnly", "Description": "no code needed"}
    assert sold(books, invoice(Line=[taxed(100, "2"), text]))["TotalAmt"] == 120


def test_tax_comes_on_top_by_default_with_a_line_for_each_rate() -> None:
    books = company_books(tax_mode="global")
    made = sold(books, invoice(Line=[taxed(100, "2"), taxed("10.5", "3"), taxed(50, "2"), taxed(200, "5")]))
    assert made["GlobalTaxCalculation"] == "TaxExcluded"
    assert tax_lines(made) == [
        ("1", Decimal(20), 150, 30),
        ("2", Decimal(0), Decimal("10.5"), 0),
        ("4", Decimal(5), 200, 10),
        ("5", Decimal(7), 200, 14),
    ]
    assert (made["TxnTaxDetail"]["TotalTax"], made["TotalAmt"]) == (54, Decimal("414.5"))
    assert made["Line"][-1]["Amount"] == Decimal("360.5")


def test_tax_is_rounded_line_by_line() -> None:
    """Three times 20 % of 0.03 is three times 0.01, not 0.02."""
    made = sold(company_books(tax_mode="global"), invoice(Line=[taxed("0.03", "2")] * 3))
    assert tax_lines(made) == [("1", Decimal(20), Decimal("0.09"), Decimal("0.03"))]
    assert made["TotalAmt"] == Decimal("0.12")


def test_prices_with_tax_inside_are_taken_apart() -> None:
    """Amount follows from UnitPrice whatever was sent, and no 6070 is raised."""
    books = company_books(tax_mode="global")
    written = invoice(Line=[taxed(999, "2", Qty=3, UnitPrice=10)], GlobalTaxCalculation="TaxInclusive")
    made = sold(books, written)
    [first, subtotal] = made["Line"]
    assert (first["Amount"], subtotal["Amount"], made["TotalAmt"]) == (25, 25, 30)
    detail = first["SalesItemLineDetail"]
    assert (detail["TaxInclusiveAmt"], detail["UnitPrice"]) == (30, Decimal("8.3333333"))
    assert tax_lines(made) == [("1", Decimal(20), 25, 5)]
    again = changed(books, made, {**made})
    assert {**again, "SyncToken": "0", "MetaData": made["MetaData"]} == made


@pytest.mark.parametrize(
    ("amount", "net", "tax"), [("0.01", "0.01", "0"), ("9.99", "8.33", "1.66"), ("5", "4.17", "0.83")]
)
def test_net_and_tax_always_add_up_to_the_price(amount: str, net: str, tax: str) -> None:
    written = invoice(Line=[taxed(amount, "2")], GlobalTaxCalculation="TaxInclusive")
    made = sold(company_books(tax_mode="global"), written)
    assert (made["Line"][0]["Amount"], made["TxnTaxDetail"]["TotalTax"]) == (Decimal(net), Decimal(tax))
    assert made["TotalAmt"] == Decimal(amount)


def test_two_rates_inside_a_price_share_its_tax() -> None:
    written = invoice(Line=[taxed("10", "5")], GlobalTaxCalculation="TaxInclusive")
    made = sold(company_books(tax_mode="global"), written)
    assert [each[2:] for each in tax_lines(made)] == [
        (Decimal("8.93"), Decimal("0.45")),
        (Decimal("8.93"), Decimal("0.62")),
    ]
    assert made["TotalAmt"] == 10


def test_the_recorded_canadian_invoice_comes_out_to_the_cent() -> None:
    """Recorded (invoice_with_bundle_line_item): 7.96 and 2.65 net, 20 % off, 1.11 tax of 13 %, total 9.60."""
    discount = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 20}}
    lines = [taxed(None, "2", Qty=15, UnitPrice="0.6"), taxed(None, "2", Qty=24, UnitPrice="0.125"), discount]
    made = sold(canadian_books(), invoice(Line=lines, GlobalTaxCalculation="TaxInclusive"))
    assert [each["Amount"] for each in made["Line"]] == [Decimal(each) for each in ("7.96", "2.65", "10.61", "2.12")]
    prices = [each["SalesItemLineDetail"]["UnitPrice"] for each in made["Line"][:2]]
    assert prices == [Decimal("0.5306667"), Decimal("0.1104167")]
    assert tax_lines(made) == [("1", Decimal(13), Decimal("8.49"), Decimal("1.11"))]
    assert made["TotalAmt"] == Decimal("9.6")


def test_no_tax_applies_when_the_sale_says_so() -> None:
    """Recorded (fetch_credit_memo): no code on the line and no TxnTaxDetail."""
    written = invoice(Line=[taxed(100, None)], GlobalTaxCalculation="NotApplicable")
    made = sold(company_books(tax_mode="global"), written, kind="CreditMemo")
    assert (made["TotalAmt"], made["GlobalTaxCalculation"]) == (100, "NotApplicable")
    assert "TxnTaxDetail" not in made
    assert "TaxCodeRef" not in made["Line"][0]["SalesItemLineDetail"]


def test_a_way_to_calculate_that_does_not_exist_is_2170() -> None:
    written = invoice(Line=[taxed(100, "2")], GlobalTaxCalculation="TaxIncluded")
    assert refused(company_books(tax_mode="global"), written)["code"] == "2170"


def test_a_company_has_the_codes_of_its_country() -> None:
    codes = {mode: set(company_books(tax_mode=mode).objects["TaxCode"]) for mode in ("us-none", "us-manual", "global")}
    assert codes == {"us-none": {"TAX", "NON"}, "us-manual": {"TAX", "NON", "2"}, "global": {"2", "3", "4", "5"}}
