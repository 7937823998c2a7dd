"""Sales tax as each kind of company has it: which codes a line may carry, and what a sale's tax is.

`Company.tax_mode` (`docs/vendors/quickbooks.md` §1.6): `us-none` taxes nothing, `us-manual` honours the tax that the
request brings, `us-automated` computes it, `global` computes it by the code of each line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from simulators.http import Json
from simulators.quickbooks.books import Books, new_entry
from simulators.quickbooks.errors import Refusal, business
from simulators.quickbooks.rules import CENT, money, reference

US_CODES = ("TAX", "NON")
# (id, name, percent) of each rate and (id, name, rates) of each code that a new company has.
US_RATES = (("3", "California", Decimal("8.25")),)
US_GROUPS = (("2", "California", ("3",)),)
GLOBAL_RATES = (
    ("1", "20.0% S", Decimal(20)),
    ("2", "Exempt", Decimal(0)),
    ("3", "5.0% R", Decimal(5)),
    ("4", "GST", Decimal(5)),
    ("5", "PST", Decimal(7)),
)
GLOBAL_GROUPS = (
    ("2", "20.0% S", ("1",)),
    ("3", "Exempt", ("2",)),
    ("4", "5.0% R", ("3",)),
    ("5", "GST/PST", ("4", "5")),
)
AUTOMATED_CODE = "2"
NO_RATE = "Make sure all your transactions have a GST/HST rate before you save."


@dataclass(frozen=True, slots=True)
class TaxedLine:
    """A line as taxes see it: its code, its amount without tax, and with it when prices include tax (else the same)."""

    code: str
    net: Decimal
    gross: Decimal


def seed(books: Books, now: float) -> None:
    """The tax codes and rates that a new company has; US companies without sales tax have TAX and NON only."""
    mode = books.company.tax_mode
    rates, groups = (GLOBAL_RATES, GLOBAL_GROUPS) if mode == "global" else (US_RATES, US_GROUPS)
    if mode != "global":
        for code in US_CODES:
            fields = {"Name": code, "Description": code, "Taxable": code == "TAX", "TaxGroup": False}
            books.put_entry("TaxCode", {**new_entry(books, code, now), **fields})
    if mode == "us-none":
        return
    for number, name, percent in rates:
        fields = {"Name": name, "Description": name, "RateValue": percent, "SpecialTaxType": "NONE"}
        fields |= {"AgencyRef": {"value": "1"}, "DisplayType": "ReadOnly"}
        books.put_entry("TaxRate", {**new_entry(books, number, now), **fields})
    for number, name, members in groups:
        details = [
            {
                "TaxRateRef": {"value": member, "name": books.objects["TaxRate"][member]["Name"]},
                "TaxTypeApplicable": "TaxOnAmount",
                "TaxOrder": 0,
            }
            for member in members
        ]
        fields = {"Name": name, "Description": name, "Taxable": True, "TaxGroup": True}
        fields |= {"SalesTaxRateList": {"TaxRateDetail": details}, "PurchaseTaxRateList": {"TaxRateDetail": []}}
        books.put_entry("TaxCode", {**new_entry(books, number, now), **fields})


def calculation_of(written: Json, books: Books) -> str:
    """GlobalTaxCalculation of a sale; "" in the US, where there is none."""
    if books.company.tax_mode != "global":
        return ""
    return written.get("GlobalTaxCalculation") or "TaxExcluded"


def line_code(detail: Json, item: Json, books: Books, calculation: str) -> str:
    """The tax code of a line, "" for none. Raises Refusal 6100 (US), 6000 without a code elsewhere, 2500."""
    ref = detail.get("TaxCodeRef") or {}
    code = str(ref.get("value") or "")
    if not calculation:
        taxable = item.get("Taxable") and books.company.tax_mode != "us-none"
        return _us_code(code or ("TAX" if taxable else "NON"))
    if calculation == "NotApplicable":
        return ""
    if not code:
        raise business(NO_RATE)
    reference(books, "TaxCode", ref, "TaxCode")
    return code


def _us_code(code: str) -> str:
    if code not in US_CODES:
        supplied = f"Valid line TaxCodes for US should be TAX or NON. Supplied value: {code}"
        raise Refusal("6100", "Invalid Line TaxCode", supplied, "")
    return code


def net_of(gross: Decimal, code: str, books: Books) -> Decimal:
    """The part of an amount that is not tax, to the cent."""
    percent = sum((each for _, each in _rates(code, books)), Decimal(0))
    return _cents(gross * 100 / (100 + percent))


def tax_detail(
    written: Json, lines: Sequence[TaxedLine], remaining: Decimal, books: Books, calculation: str
) -> tuple[Json | None, Decimal]:
    """TxnTaxDetail of a sale, None for none, and its tax. `remaining` is what discounts leave of the lines, 0 to 1."""
    if calculation == "NotApplicable":
        return None, Decimal(0)
    if calculation:
        return _by_line(lines, remaining, books, included=calculation == "TaxInclusive")
    if books.company.tax_mode == "us-manual":
        return _brought(written.get("TxnTaxDetail") or {}, books)
    if books.company.tax_mode == "us-automated":
        return _automated(lines, remaining if written.get("ApplyTaxAfterDiscount") else Decimal(1), books)
    return {"TotalTax": 0}, Decimal(0)


def _brought(sent: Json, books: Books) -> tuple[Json, Decimal]:
    """The request's own tax: a TxnTaxCodeRef counts with TotalTax and TaxLine only, alone it gives 0."""
    code = reference(books, "TaxCode", sent.get("TxnTaxCodeRef"), "TaxCode")
    if code is None:
        return {"TotalTax": 0}, Decimal(0)
    kept: Json = {"TxnTaxCodeRef": {"value": code["Id"]}}
    if not sent.get("TotalTax") or not sent.get("TaxLine"):
        return {**kept, "TotalTax": 0}, Decimal(0)
    tax = _cents(Decimal(sent["TotalTax"]))
    for line in sent["TaxLine"]:
        reference(books, "TaxRate", (line.get("TaxLineDetail") or {}).get("TaxRateRef"), "TaxRate")
    return {**kept, "TotalTax": money(tax), "TaxLine": sent["TaxLine"]}, tax


def _automated(lines: Sequence[TaxedLine], remaining: Decimal, books: Books) -> tuple[Json, Decimal]:
    """One rate on the sum of the TAX lines, whatever code the request named."""
    taxable = _cents(sum((each.net for each in lines if each.code == "TAX"), Decimal(0)) * remaining)
    if not taxable:
        return {"TotalTax": 0}, Decimal(0)
    [(rate, percent)] = _rates(AUTOMATED_CODE, books)
    tax = _cents(taxable * percent / 100)
    detail = {"TxnTaxCodeRef": {"value": AUTOMATED_CODE}, "TotalTax": money(tax)}
    return {**detail, "TaxLine": [_tax_line(rate, percent, tax, taxable)]}, tax


def _by_line(lines: Sequence[TaxedLine], remaining: Decimal, books: Books, included: bool) -> tuple[Json, Decimal]:
    """One TaxLine for each rate, its amount the sum of what each line owes, rounded line by line.

    With tax included a line's tax is what its price holds beyond its net amount, so that nothing is lost to rounding
    (recorded: 7.20 + 2.40 at 13 % hold 0.83 + 0.28 = 1.11, where 13 % of the net 8.49 were 1.10).
    """
    taxes: dict[str, Decimal] = defaultdict(Decimal)
    nets: dict[str, Decimal] = defaultdict(Decimal)
    percents: dict[str, Decimal] = {}
    for line in lines:
        rates = _rates(line.code, books)
        gross = _cents(line.gross * remaining)
        net = net_of(line.gross * remaining, line.code, books) if included else _cents(line.net * remaining)
        left = gross - net
        for position, (rate, percent) in enumerate(rates, start=1):
            last = included and position == len(rates)
            owed = left if last else _cents(net * percent / 100)
            left -= owed
            taxes[rate] += owed
            nets[rate] += net
            percents[rate] = percent
    total = sum(taxes.values(), Decimal(0))
    tax_lines = [_tax_line(rate, percents[rate], tax, nets[rate]) for rate, tax in taxes.items()]
    return {"TotalTax": money(total), "TaxLine": tax_lines}, total


def _tax_line(rate: str, percent: Decimal, tax: Decimal, net: Decimal) -> Json:
    detail = {"TaxRateRef": {"value": rate}, "PercentBased": True, "TaxPercent": percent}
    detail["NetAmountTaxable"] = money(net)
    return {"Amount": money(tax), "DetailType": "TaxLineDetail", "TaxLineDetail": detail}


def _rates(code: str, books: Books) -> list[tuple[str, Decimal]]:
    """(id, percent) of each rate of a code."""
    details: list[Any] = books.objects["TaxCode"][code]["SalesTaxRateList"]["TaxRateDetail"]
    ids = [each["TaxRateRef"]["value"] for each in details]
    return [(each, Decimal(books.objects["TaxRate"][each]["RateValue"])) for each in ids]


def _cents(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)
