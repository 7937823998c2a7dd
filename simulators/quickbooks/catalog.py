"""Items, accounts, terms and the small lists: what QuickBooks adds to a written one (`docs/vendors/quickbooks.md`
§2.2).
"""

from __future__ import annotations

from typing import NamedTuple

from simulators.http import Json
from simulators.quickbooks.books import CURRENCY_NAMES, Books, currency_ref, item_defaults
from simulators.quickbooks.errors import Refusal, business, missing
from simulators.quickbooks.rules import reference, required_reference

ITEM_TYPES = ("Service", "NonInventory", "Inventory", "Category")
EXPENSE_ACCOUNT_TYPES = ("Expense", "Other Expense", "Cost of Goods Sold")
# Items need both accounts there (docs/vendors/quickbooks.md §2.2).
TWO_ACCOUNT_COUNTRIES = ("CA", "GB", "UK")


class _AccountType(NamedTuple):
    classification: str
    subtype: str
    """The one that an account gets when none is written."""


ACCOUNT_TYPES = {
    "Bank": _AccountType("Asset", "CashOnHand"),
    "Accounts Receivable": _AccountType("Asset", "AccountsReceivable"),
    "Other Current Asset": _AccountType("Asset", "OtherCurrentAssets"),
    "Fixed Asset": _AccountType("Asset", "OtherFixedAssets"),
    "Other Asset": _AccountType("Asset", "OtherLongTermAssets"),
    "Accounts Payable": _AccountType("Liability", "AccountsPayable"),
    "Credit Card": _AccountType("Liability", "CreditCard"),
    "Other Current Liability": _AccountType("Liability", "OtherCurrentLiabilities"),
    "Long Term Liability": _AccountType("Liability", "OtherLongTermLiabilities"),
    "Equity": _AccountType("Equity", "OpeningBalanceEquity"),
    "Income": _AccountType("Revenue", "ServiceFeeIncome"),
    "Cost of Goods Sold": _AccountType("Expense", "SuppliesMaterialsCogs"),
    "Expense": _AccountType("Expense", "OtherMiscellaneousServiceCost"),
    "Other Income": _AccountType("Revenue", "OtherMiscellaneousIncome"),
    "Other Expense": _AccountType("Expense", "OtherMiscellaneousExpense"),
}


def item(written: Json, name: str, books: Books, former: Json | None) -> Json:
    kind = written.get("Type") or (former or {}).get("Type") or "Service"
    if kind not in ITEM_TYPES:
        raise Refusal("2170", "Invalid Enumeration", f"Invalid Enumeration : {kind} is not served here", "Type")
    if kind == "Category":
        return {"Name": name, "Type": kind}
    needs_both = kind == "Inventory" or books.company.country in TWO_ACCOUNT_COUNTRIES
    _income_account(written, books, kind)
    _expense_account(written, books, needs_both)
    defaults = {**item_defaults(name), "Type": kind}
    if kind == "Inventory":
        _check_inventory(written, books)
        defaults |= {"TrackQtyOnHand": True}
    return defaults


def _income_account(written: Json, books: Books, kind: str) -> None:
    account = required_reference(books, "Account", written, "IncomeAccountRef")
    if account["AccountType"] != "Income":
        raise business("You need to select an income account for this item.")
    if kind == "Inventory" and account["AccountSubType"] != "SalesOfProductIncome":
        raise business("The income account of an inventory item has the subtype SalesOfProductIncome.")
    written["IncomeAccountRef"] = {"value": account["Id"], "name": account["FullyQualifiedName"]}


def _expense_account(written: Json, books: Books, needed: bool) -> None:
    account = reference(books, "Account", written.get("ExpenseAccountRef"), "Account")
    if account is None:
        if needed:
            raise missing("ExpenseAccountRef")
        return
    if account["AccountType"] not in EXPENSE_ACCOUNT_TYPES:
        raise business("You need to select an expense account for this item.")
    written["ExpenseAccountRef"] = {"value": account["Id"], "name": account["FullyQualifiedName"]}


def _check_inventory(written: Json, books: Books) -> None:
    """Stock needs its quantity, the day from which it counts, and an asset account."""
    for name in ("QtyOnHand", "InvStartDate"):
        if written.get(name) in (None, ""):
            raise missing(name)
    asset = required_reference(books, "Account", written, "AssetAccountRef")
    written["AssetAccountRef"] = {"value": asset["Id"], "name": asset["FullyQualifiedName"]}


def account(written: Json, name: str, books: Books, former: Json | None) -> Json:
    """Needs AccountType or a subtype that tells it."""
    subtype = written.get("AccountSubType") or ""
    kind = written.get("AccountType") or _type_of(subtype)
    if kind not in ACCOUNT_TYPES:
        raise missing("AccountType")
    code = (written.pop("CurrencyRef", None) or {}).get("value") or books.company.currency
    written["AccountType"] = kind
    written.pop("Classification", None)
    return {
        "Name": name,
        "SubAccount": False,
        "Classification": ACCOUNT_TYPES[kind].classification,
        "AccountType": kind,
        "AccountSubType": ACCOUNT_TYPES[kind].subtype,
        "CurrentBalance": 0,
        "CurrentBalanceWithSubAccounts": 0,
        "CurrencyRef": former["CurrencyRef"] if former else currency_ref(code),
    }


def _type_of(subtype: str) -> str:
    if subtype == "SalesOfProductIncome":
        return "Income"
    return next((kind for kind, each in ACCOUNT_TYPES.items() if each.subtype == subtype), "")


def term(written: Json, name: str, books: Books, former: Json | None) -> Json:
    """Due after a number of days, or on a day of the month (recorded: term.xml)."""
    written.pop("Type", None)
    if written.get("DueDays") is not None:
        return {"Name": name, "Type": "STANDARD", "DiscountPercent": 0}
    if written.get("DayOfMonthDue") is not None:
        return {"Name": name, "Type": "DATE_DRIVEN", "DiscountPercent": 0}
    raise missing("DueDays")


def plain(written: Json, name: str, books: Books, former: Json | None) -> Json:
    """A class or a department."""
    return {"Name": name}


def payment_method(written: Json, name: str, books: Books, former: Json | None) -> Json:
    return {"Name": name, "Type": "NON_CREDIT_CARD"}


def company_currency(written: Json, name: str, books: Books, former: Json | None) -> Json:
    if not books.company.multicurrency:
        raise business("Multicurrency is switched off for this company.")
    if name not in CURRENCY_NAMES or name == books.company.currency:
        raise Refusal("2220", "Invalid currency", f"Invalid currency : {name}", "Code")
    written.pop("Name", None)
    return {"Name": CURRENCY_NAMES[name]}
