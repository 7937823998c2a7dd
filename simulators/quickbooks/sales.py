"""Invoices and credit memos: what QuickBooks makes of a written one, and void (`docs/vendors/quickbooks.md` §1)."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from simulators.http import Json
from simulators.quickbooks.addresses import kept_address
from simulators.quickbooks.books import Books, currency_ref
from simulators.quickbooks.errors import CLOSED, Refusal, business, missing
from simulators.quickbooks.lines import kept_reference, made_lines
from simulators.quickbooks.papers import check_address, no_address
from simulators.quickbooks.rates import rate_on
from simulators.quickbooks.rules import check_lengths, check_properties, money, reference
from simulators.quickbooks.tax import calculation_of, tax_detail

DUE_DAYS_DEFAULT = 30
PRIVATE_NOTE_MAX = 4000
AUTOMATIC_NUMBER = "AUTO_GENERATE"
# Kept from the request as they are; everything else of a sale is computed, or read-only and silently ignored.
KEPT = (
    "PrivateNote",
    "CustomerMemo",
    "SalesTermRef",
    "BillEmail",
    "BillEmailCc",
    "BillEmailBcc",
    "PONumber",
    "ShipDate",
    "TrackingNum",
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
SHIP_FROM = {"Id": "3", "Line1": "123 Sierra Way", "Line2": "San Pablo, CA  87999", "Lat": "INVALID", "Long": "INVALID"}
MODIFIED_BY = {"value": "1000000001"}


def made_sale(kind: str, written: Json, books: Books, now: float, former: Json | None, allow_duplicate: bool) -> Json:
    """The sale that QuickBooks keeps for what was written. `written` is whole: a sparse update is merged before, and
    what a full update leaves out becomes empty.

    Raises Refusal with the code of the first rule it breaks.
    """
    check_properties(kind, written)
    check_lengths(kind, written)
    customer = reference(books, "Customer", written.get("CustomerRef"), "Names")
    if customer is None:
        raise missing("CustomerRef")
    currency = _currency(written, customer, books)
    calculation = calculation_of(written, books)
    lines = made_lines(written.get("Line"), books, calculation, former["Line"] if former else ())
    tax, tax_amount = tax_detail(written, lines.taxed, lines.remaining, books, calculation)
    total = lines.subtotal - lines.discount + tax_amount
    if total < 0:
        raise business("Enter a transaction amount that is 0 or greater.")
    stamp = books.timestamp(now)
    txn_date = date.fromisoformat(written.get("TxnDate") or stamp[:10])
    check_open(books, txn_date, "6210")
    _check_email(kind, written)

    sale = _head(kind, written, books, stamp, former)
    if doc_number := _doc_number(kind, written, books, former, allow_duplicate):
        sale["DocNumber"] = doc_number
    sale["TxnDate"] = txn_date.isoformat()
    sale |= _tracked(written, books)
    sale["CurrencyRef"] = currency_ref(currency)
    sale["LinkedTxn"] = _links(written, former)
    sale["Line"] = lines.stored
    if tax is not None:
        sale["TxnTaxDetail"] = tax
    sale["CustomerRef"] = {"value": customer["Id"], "name": customer["DisplayName"]}
    sale |= _addresses(written, customer, former, books)
    sale |= {name: value for name in KEPT if (value := written.get(name)) not in (None, "")}
    if calculation:
        sale["GlobalTaxCalculation"] = calculation
    sale |= _totals(kind, total, _rate(written, currency, txn_date, books), books)
    if kind == "Invoice":
        sale["DueDate"] = _due_date(written, customer, txn_date, books).isoformat()
    if former and "DeliveryInfo" in former:
        sale["DeliveryInfo"] = former["DeliveryInfo"]
    if books.company.recorded_year >= 2026:
        _add_what_2026_shows(kind, sale, written, books)
    sale["Id"] = sale["Id"] or books.new_id(kind)
    return sale


def _head(kind: str, written: Json, books: Books, stamp: str, former: Json | None) -> Json:
    head: Json = {name: written.get(name) or default for name, default in DEFAULTED[kind].items()}
    head |= {"domain": "QBO", "sparse": False}
    head["Id"] = former["Id"] if former else ""
    head["SyncToken"] = str(int(former["SyncToken"]) + 1) if former else "0"
    created = former["MetaData"]["CreateTime"] if former else stamp
    head["MetaData"] = {"CreateTime": created, "LastUpdatedTime": stamp}
    head["CustomField"] = _custom_fields(written.get("CustomField") or (), books)
    return head


def _totals(kind: str, total: Decimal, rate: Decimal | int, books: Books) -> Json:
    """No payments are served, so all of a sale is still owed."""
    shown = money(total)
    totals: Json = {"TotalAmt": shown, "Balance": shown}
    if books.company.multicurrency:
        totals |= {"ExchangeRate": rate, "HomeTotalAmt": money(total * rate)}
    if kind == "CreditMemo":
        totals["RemainingCredit"] = shown
    return totals


def _add_what_2026_shows(kind: str, sale: Json, written: Json, books: Books) -> None:
    """What answers recorded in 2026 have beyond those of 2020 (docs/vendors/quickbooks.md §1.2, §1.9)."""
    sale["MetaData"]["LastModifiedByRef"] = MODIFIED_BY
    sale["ShipFromAddr"] = SHIP_FROM
    if kind == "Invoice":
        for name in ("AllowOnlineCreditCardPayment", "AllowOnlineACHPayment"):
            sale[name] = written.get(name) is not False
    for line in sale["Line"]:
        line["CustomExtensions"] = []
        if detail := line.get("SalesItemLineDetail"):
            detail["ItemAccountRef"] = books.objects["Item"][detail["ItemRef"]["value"]]["IncomeAccountRef"]


def voided(sale: Json, books: Books, now: float) -> Json:
    """The same sale with every amount, quantity and tax 0 and "Voided" in front of its note."""
    note = f"Voided - {sale['PrivateNote']}" if sale.get("PrivateNote") else "Voided"
    gone = {"TotalAmt": 0, "Balance": 0, "TxnTaxDetail": {"TotalTax": 0}, "HomeTotalAmt": 0}
    return {
        **sale,
        "SyncToken": str(int(sale["SyncToken"]) + 1),
        "MetaData": {**sale["MetaData"], "LastUpdatedTime": books.timestamp(now)},
        "PrivateNote": note[:PRIVATE_NOTE_MAX],
        "Line": [_zeroed(line) for line in sale["Line"]],
        **{name: value for name, value in gone.items() if name in sale},
    }


def _zeroed(line: Json) -> Json:
    detail = line.get("SalesItemLineDetail")
    zeroed = {**line, "Amount": 0} if "Amount" in line else dict(line)
    if detail is not None:
        zeroed["SalesItemLineDetail"] = {**detail, **{name: 0 for name in ("Qty", "TaxInclusiveAmt") if name in detail}}
    return zeroed


def with_invoice_link(sale: Json, books: Books) -> Json:
    """An invoice as `include=invoiceLink` shows it (docs/vendors/quickbooks.md §1.9); the link leads nowhere."""
    secret = hashlib.sha256(f"{books.company.realm_id}/{sale['Id']}".encode()).hexdigest()
    return {**sale, "InvoiceLink": f"https://developer.intuit.com/comingSoonview/{secret}?cta=v3invoicelink"}


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


def _rate(written: Json, currency: str, txn_date: date, books: Books) -> Decimal | int:
    """Home currency for one unit of the sale's: the rate sent, 1 without one, or where QuickBooks replaces it (both
    are reported, docs/vendors/quickbooks.md §1.7) its own of the day."""
    if currency == books.company.currency:
        return 1
    if books.company.exchange_rate_sent == "replaced":
        return rate_on(books, currency, txn_date.isoformat())
    return Decimal(written.get("ExchangeRate") or 1)


def _check_email(kind: str, written: Json) -> None:
    """6420 for a sale that is to be e-mailed to nobody; 2210 for what is no address."""
    addresses = (written.get("BillEmail") or {}).get("Address")
    if addresses:
        check_address(addresses)
    elif written.get("EmailStatus") == "NeedToSend":
        raise no_address(kind)


def _custom_fields(written: Any, books: Books) -> list[Json]:
    """The company's own fields, each with the text written for its DefinitionId; what names no such field is ignored.
    Fields of the newer kind (`include=enhancedAllCustomFields`) are not served: their answer's shape is not known."""
    values = {str(each.get("DefinitionId")): each.get("StringValue") for each in written}
    fields = []
    for number, name in enumerate(books.company.custom_fields, start=1):
        shown = {"DefinitionId": str(number), "Name": name, "Type": "StringType"}
        if value := values.get(str(number)):
            shown["StringValue"] = value
        fields.append(shown)
    return fields


def _tracked(written: Json, books: Books) -> Json:
    """ClassRef and DepartmentRef, for a company that tracks them by transaction."""
    company = books.company
    found = {
        "ClassRef": kept_reference("Class", written.get("ClassRef"), books, company.class_tracking == "transaction"),
        "DepartmentRef": kept_reference("Department", written.get("DepartmentRef"), books, company.track_departments),
    }
    return {name: ref for name, ref in found.items() if ref}


def _addresses(written: Json, customer: Json, former: Json | None, books: Books) -> Json:
    """Those written, else the customer's."""
    kept: Json = {}
    for name in ADDRESSES:
        known = (former or {}).get(name) or customer.get(name)
        if address := written.get(name):
            kept[name] = kept_address(address, known, books)
        elif name in customer:
            kept[name] = customer[name]
    return kept


def _links(written: Json, former: Json | None) -> list[Json]:
    """Nothing that a sale could be linked to (estimates, payments) is served, so a new link is 620."""
    links: list[Json] = written.get("LinkedTxn") or []
    if links != (former["LinkedTxn"] if former else []):
        raise Refusal("620", "Transaction could not be linked", "LinkedTxn names a transaction not found", "LinkedTxn")
    return links


def _doc_number(kind: str, written: Json, books: Books, former: Json | None, allow_duplicate: bool) -> str:
    """The number as the company numbers (docs/vendors/quickbooks.md §1.8, §3.3), "" for none."""
    company = books.company
    own = str(former.get("DocNumber", "")) if former else ""
    asked = str(written.get("DocNumber") or "")
    automatic = kind == "Invoice" and (asked == AUTOMATIC_NUMBER or (not asked and written.get("AutoDocNumber")))
    ignored = not company.custom_txn_numbers and not (asked and company.default_doc_number_kept)
    if automatic or ignored:
        return own or books.new_doc_number()
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


def _due_date(written: Json, customer: Json, txn_date: date, books: Books) -> date:
    """The date written, or TxnDate and the days of the term: the sale's, else the customer's, else 30."""
    if given := written.get("DueDate"):
        return date.fromisoformat(given)
    term = reference(books, "Term", written.get("SalesTermRef") or customer.get("SalesTermRef"), "Term")
    days = int(term.get("DueDays", DUE_DAYS_DEFAULT)) if term else DUE_DAYS_DEFAULT
    return txn_date + timedelta(days=max(0, min(days, (date.max - txn_date).days)))
