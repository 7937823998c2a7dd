"""Invoices and credit memos: what QuickBooks makes of a written one, and void (`facts/quickbooks.md` §1)."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from stream.sandbox.http import Json
from stream.sandbox.quickbooks.books import Books, currency_ref
from stream.sandbox.quickbooks.errors import CLOSED, Refusal, business, missing
from stream.sandbox.quickbooks.rules import (
    CENT,
    check_amount,
    check_lengths,
    check_properties,
    money,
    number,
    reference,
    seven_decimals,
)

DUE_DAYS_DEFAULT = 30
PRIVATE_NOTE_MAX = 4000
CUSTOM_FIELDS = [{"DefinitionId": "1", "Name": "Crew #", "Type": "StringType"}]
# Kept from the request as they are; everything else of a sale is computed, or read-only and silently ignored.
KEPT = (
    "PrivateNote",
    "CustomerMemo",
    "SalesTermRef",
    "BillEmail",
    "BillEmailCc",
    "BillEmailBcc",
    "ClassRef",
    "DepartmentRef",
    "PONumber",
    "ShipDate",
    "TrackingNum",
    "GlobalTaxCalculation",
)
DEFAULTED: dict[str, Json] = {
    "CreditMemo": {"ApplyTaxAfterDiscount": False, "PrintStatus": "NeedToPrint", "EmailStatus": "NotSet"},
}
DEFAULTED["Invoice"] = {
    "AllowIPNPayment": False,
    "AllowOnlinePayment": False,
    "AllowOnlineCreditCardPayment": False,
    "AllowOnlineACHPayment": False,
    **DEFAULTED["CreditMemo"],
}
ADDRESSES = ("BillAddr", "ShipAddr")


def made_sale(kind: str, written: Json, books: Books, now: float, former: Json | None, allow_duplicate: bool) -> Json:
    """The sale that QuickBooks keeps for what was written. `written` is whole: a sparse update is merged before.

    Raises Refusal with the code of the first rule it breaks.
    """
    check_properties(kind, written)
    check_lengths(kind, written)
    customer = reference(books, "Customer", written.get("CustomerRef"), "Names")
    if customer is None:
        raise missing("CustomerRef")
    currency = _currency(written, customer, books)
    lines, total = _lines(written.get("Line"), books)
    if total < 0:
        raise business("Enter a transaction amount that is 0 or greater.")
    stamp = books.timestamp(now)
    txn_date = _date(written.get("TxnDate"), "TxnDate") or date.fromisoformat(stamp[:10])
    check_open(books, txn_date, "6210")

    sale: Json = {name: written.get(name) or default for name, default in DEFAULTED[kind].items()}
    sale |= {"domain": "QBO", "sparse": False}
    sale["Id"] = former["Id"] if former else ""
    sale["SyncToken"] = str(int(former["SyncToken"]) + 1) if former else "0"
    created = former["MetaData"]["CreateTime"] if former else stamp
    sale["MetaData"] = {"CreateTime": created, "LastUpdatedTime": stamp}
    sale["CustomField"] = written.get("CustomField") or CUSTOM_FIELDS
    if doc_number := _doc_number(kind, written, books, former, allow_duplicate):
        sale["DocNumber"] = doc_number
    sale["TxnDate"] = txn_date.isoformat()
    sale["CurrencyRef"] = currency_ref(currency)
    if books.company.multicurrency:
        sale["ExchangeRate"] = number(written.get("ExchangeRate"), "ExchangeRate") or 1
    sale["LinkedTxn"] = []
    sale["Line"] = lines
    sale["TxnTaxDetail"] = {"TotalTax": 0}
    sale["CustomerRef"] = {"value": customer["Id"], "name": customer["DisplayName"]}
    sale |= {name: value for name in ADDRESSES if (value := written.get(name) or customer.get(name))}
    sale |= {name: value for name in KEPT if (value := written.get(name)) not in (None, "")}
    sale["TotalAmt"] = sale["Balance"] = money(total)
    if kind == "Invoice":
        sale["DueDate"] = _due_date(written, txn_date, books).isoformat()
    else:
        sale["RemainingCredit"] = sale["TotalAmt"]
    sale["Id"] = sale["Id"] or books.new_id(kind)
    return sale


def voided(sale: Json, books: Books, now: float) -> Json:
    """The same sale with every amount and quantity 0 and "Voided" in front of its note."""
    note = f"Voided - {sale['PrivateNote']}" if sale.get("PrivateNote") else "Voided"
    return {
        **sale,
        "SyncToken": str(int(sale["SyncToken"]) + 1),
        "MetaData": {**sale["MetaData"], "LastUpdatedTime": books.timestamp(now)},
        "PrivateNote": note[:PRIVATE_NOTE_MAX],
        "Line": [_zeroed(line) for line in sale["Line"]],
        "TotalAmt": 0,
        "Balance": 0,
    }


def _zeroed(line: Json) -> Json:
    detail = line.get("SalesItemLineDetail")
    zeroed = {**line, "Amount": 0} if "Amount" in line else dict(line)
    if detail is not None and "Qty" in detail:
        zeroed["SalesItemLineDetail"] = {**detail, "Qty": 0}
    return zeroed


def check_open(books: Books, txn_date: date, code: str) -> None:
    """Closed books refuse. 6210 for a date written into the closed period, 6200 for changing what lies in it:
    the facts know both codes and one text, not which is which."""
    closed = books.company.book_close_date
    if closed is not None and txn_date <= closed:
        raise Refusal(code, "Account Period Closed, Cannot Update Through Services API", CLOSED, "")


def _currency(written: Json, customer: Json, books: Books) -> str:
    own: str = customer["CurrencyRef"]["value"]
    asked: str = (written.get("CurrencyRef") or {}).get("value") or books.company.currency
    if asked != own:
        raise business(
            f"The currency of the transaction ({asked}) is not the currency of the customer ({own}). "
            "Change the transaction currency."
        )
    return own


def _doc_number(kind: str, written: Json, books: Books, former: Json | None, allow_duplicate: bool) -> str:
    company = books.company
    asked = str(written.get("DocNumber") or "")
    if not asked and not company.custom_txn_numbers:
        return str(former.get("DocNumber", "")) if former else books.new_doc_number()
    if asked and company.custom_txn_numbers and company.warn_duplicate_doc_numbers and not allow_duplicate:
        own_id = former["Id"] if former else ""
        for other_id, other_kind in books.doc_numbers.get(asked, {}).items():
            if other_id != own_id:
                raise Refusal(
                    "6140",
                    "Duplicate Document Number Error",
                    "Duplicate Document Number Error : You must specify a different number. This number has already "
                    f"been used. DocNumber={asked} is assigned to TxnType={other_kind} with TxnId={other_id}",
                    "",
                )
    return asked


def _due_date(written: Json, txn_date: date, books: Books) -> date:
    if given := _date(written.get("DueDate"), "DueDate"):
        return given
    term = reference(books, "Term", written.get("SalesTermRef"), "Term")
    return txn_date + timedelta(days=term["DueDays"] if term else DUE_DAYS_DEFAULT)


def _date(value: Any, element: str) -> date | None:
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        raise Refusal("2150", "Invalid Date", f"Invalid date : {element}. Supplied value:{value}", element) from None


def _lines(written: Any, books: Books) -> tuple[list[Json], Decimal]:
    """The stored lines, closed by a subtotal, and the total."""
    if not written:
        raise missing("Line")
    lines: list[Json] = []
    subtotal = discount = Decimal(0)
    for line in written:
        kind = line.get("DetailType")
        stored: Json = {"Id": str(len(lines) + 1), "LineNum": len(lines) + 1}
        if line.get("Description"):
            stored["Description"] = line["Description"]
        if kind == "SalesItemLineDetail":
            subtotal += _sales_item(line, stored, books)
        elif kind == "DescriptionOnly":
            stored |= {"DetailType": kind, "DescriptionLineDetail": line.get("DescriptionLineDetail") or {}}
        elif kind == "DiscountLineDetail":
            discount += _discount(line, stored, subtotal, books)
        elif kind == "SubTotalLineDetail":
            continue
        elif not kind:
            raise missing("Line.DetailType")
        else:
            raise Refusal("2170", "Invalid Enumeration", f"Invalid Enumeration : {kind} is not a DetailType", "Line")
        lines.append(stored)
    lines.append({"Amount": money(subtotal), "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}})
    return lines, subtotal - discount


def _sales_item(line: Json, stored: Json, books: Books) -> Decimal:
    detail = line.get("SalesItemLineDetail") or {}
    item = reference(books, "Item", detail.get("ItemRef"), "Item")
    if item is None:
        # Intuit's schema says of ItemRef: without it the line is text and its amount is ignored.
        stored |= {"DetailType": "DescriptionOnly", "DescriptionLineDetail": {}}
        return Decimal(0)
    amount = _amount(line, detail)
    kept: Json = {"ItemRef": {"value": item["Id"], "name": item["Name"]}}
    for name in ("Qty", "UnitPrice"):
        if (value := number(detail.get(name), f"Line.{name}")) is not None:
            kept[name] = seven_decimals(value)
    for name in ("ServiceDate", "ClassRef"):
        if detail.get(name):
            kept[name] = detail[name]
    kept["TaxCodeRef"] = {"value": _tax_code(detail)}
    stored |= {"Amount": money(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": kept}
    return amount


def _amount(line: Json, detail: Json) -> Decimal:
    """The line's amount to the cent; computed when left out, checked when Qty and UnitPrice are both there."""
    amount = number(line.get("Amount"), "Line.Amount")
    quantity = number(detail.get("Qty"), "Line.Qty")
    unit_price = number(detail.get("UnitPrice"), "Line.UnitPrice")
    if quantity is not None and unit_price is not None:
        quantity, unit_price = Decimal(seven_decimals(quantity)), Decimal(seven_decimals(unit_price))
        if amount is None:
            amount = quantity * unit_price
        else:
            check_amount(amount, quantity, unit_price)
    if amount is None:
        raise missing("Line.Amount")
    return amount.quantize(CENT, ROUND_HALF_UP)


def _tax_code(detail: Json) -> str:
    code = (detail.get("TaxCodeRef") or {}).get("value") or "NON"
    if code not in ("TAX", "NON"):
        supplied = f"Valid line TaxCodes for US should be TAX or NON. Supplied value: {code}"
        raise Refusal("6100", "Invalid Line TaxCode", supplied, "")
    return str(code)


def _discount(line: Json, stored: Json, subtotal: Decimal, books: Books) -> Decimal:
    if not books.company.allow_discount:
        raise business("Discounts are switched off for this company.")
    detail = line.get("DiscountLineDetail") or {}
    amount = number(line.get("Amount"), "Line.Amount")
    if detail.get("PercentBased"):
        percent = number(detail.get("DiscountPercent"), "Line.DiscountPercent") or Decimal(0)
        amount = subtotal * percent / 100
    if amount is None:
        raise missing("Line.Amount")
    account = {"DiscountAccountRef": {"value": "86", "name": "Discounts given"}}
    stored |= {"Amount": money(amount), "DetailType": "DiscountLineDetail", "DiscountLineDetail": {**detail, **account}}
    return amount.quantize(CENT, ROUND_HALF_UP)
