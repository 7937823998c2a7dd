"""Preferences and CompanyInfo: what a company tells of itself, and what of it can be changed over the API
(`docs/vendors/quickbooks.md` §2.3; recorded: preferences.xml, company_info.xml)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulators.http import Json
from simulators.quickbooks.books import Books
from simulators.quickbooks.errors import business, missing, stale
from simulators.quickbooks.rules import check_properties

COUNTRY_CODES = {"US": "USA", "GB": "GBR", "UK": "GBR", "CA": "CAN", "AU": "AUS", "IE": "IRL", "FR": "FRA", "DE": "DEU"}


def preferences(books: Books) -> Json:
    company = books.company
    accounting: Json = {
        "UseAccountNumbers": False,
        "TrackDepartments": company.track_departments,
        "ClassTrackingPerTxn": company.class_tracking == "transaction",
        "ClassTrackingPerTxnLine": company.class_tracking == "line",
        "FirstMonthOfFiscalYear": "January",
        "TaxYearMonth": "January",
        "CustomerTerminology": "Customers",
    }
    if company.book_close_date is not None and company.shows_book_close_date:
        accounting["BookCloseDate"] = company.book_close_date.isoformat()
    sales_tax = company.tax_mode != "us-none"
    return {
        "AccountingInfoPrefs": accounting,
        "ProductAndServicesPrefs": {"ForSales": True, "QuantityWithPriceAndRate": True, "QuantityOnHand": True},
        "SalesFormsPrefs": {
            "CustomField": _custom_fields(company.custom_fields),
            "CustomTxnNumbers": company.custom_txn_numbers,
            "AllowDeposit": False,
            "AllowDiscount": company.allow_discount,
            "AllowEstimates": True,
            "AllowServiceDate": True,
            "AllowShipping": False,
            "DefaultTerms": {"value": "3"},
        },
        "EmailMessagesPrefs": {"InvoiceMessage": {"Subject": f"Invoice from {company.name}"}},
        "VendorAndPurchasesPrefs": {"TrackingByCustomer": False, "BillableExpenseTracking": False},
        "TimeTrackingPrefs": {"UseServices": False, "WorkWeekStartDate": "Monday"},
        "TaxPrefs": {"UsingSalesTax": sales_tax, "PartnerTaxEnabled": company.tax_mode == "us-automated"},
        "CurrencyPrefs": {"MultiCurrencyEnabled": company.multicurrency, "HomeCurrency": {"value": company.currency}},
        "ReportPrefs": {"ReportBasis": "Accrual", "CalcAgingReportFromTxnDate": False},
        "domain": "QBO",
        "sparse": False,
        "Id": "1",
        "SyncToken": str(books.preferences_token),
    }


def _custom_fields(names: tuple[str, ...]) -> list[Json]:
    """Which of the custom fields are used, and what they are called."""
    used = [
        {"Name": f"SalesFormsPrefs.UseSalesCustom{number}", "Type": "BooleanType", "BooleanValue": number <= len(names)}
        for number in (1, 2, 3)
    ]
    called = [
        {"Name": f"SalesFormsPrefs.SalesCustomName{number}", "Type": "StringType", "StringValue": name}
        for number, name in enumerate(names, 1)
    ]
    return [{"CustomField": each} for each in (used, called) if each]


def write_preferences(written: Json, books: Books) -> Json:
    """Changes numbering, discounts, tracking and multicurrency; everything else is ignored. Multicurrency cannot be
    switched off again."""
    check_properties("Preferences", written)
    token = written.get("SyncToken")
    if token in (None, ""):
        raise missing("SyncToken")
    if token != str(books.preferences_token):
        raise stale()
    company = books.company
    sales = written.get("SalesFormsPrefs") or {}
    accounting = written.get("AccountingInfoPrefs") or {}
    multicurrency = _said(written.get("CurrencyPrefs") or {}, "MultiCurrencyEnabled", company.multicurrency)
    if company.multicurrency and not multicurrency:
        raise business("Multicurrency cannot be switched off.")
    per_line = _said(accounting, "ClassTrackingPerTxnLine", company.class_tracking == "line")
    per_transaction = _said(accounting, "ClassTrackingPerTxn", company.class_tracking == "transaction")
    books.company = replace(
        company,
        custom_txn_numbers=_said(sales, "CustomTxnNumbers", company.custom_txn_numbers),
        allow_discount=_said(sales, "AllowDiscount", company.allow_discount),
        track_departments=_said(accounting, "TrackDepartments", company.track_departments),
        class_tracking="line" if per_line else "transaction" if per_transaction else "",
        multicurrency=multicurrency,
    )
    books.preferences_token += 1
    books.changes.mark(company.realm_id, "company")
    return preferences(books)


def _said(values: Json, name: str, former: bool) -> bool:
    said: Any = values.get(name)
    return former if said is None else bool(said)


def company_info(books: Books) -> Json:
    company = books.company
    address = {"Id": "1", "Line1": "123 Sierra Way", "City": "San Pablo", "CountrySubDivisionCode": "CA"}
    address |= {"Country": COUNTRY_CODES.get(company.country, company.country), "PostalCode": "87999"}
    return {
        "CompanyName": company.name,
        "LegalName": company.name,
        "CompanyAddr": address,
        "CustomerCommunicationAddr": address,
        "LegalAddr": address,
        "CompanyStartDate": "2015-06-05",
        "FiscalYearStartMonth": "January",
        "Country": company.country,
        "Email": {"Address": "noreply@example.com"},
        "SupportedLanguages": "en",
        "NameValue": [
            {"Name": "OfferingSku", "Value": "QuickBooks Online Plus"},
            {"Name": "SubscriptionStatus", "Value": "SUBSCRIBED"},
        ],
        "domain": "QBO",
        "sparse": False,
        "Id": "1",
        "SyncToken": "0",
    }
