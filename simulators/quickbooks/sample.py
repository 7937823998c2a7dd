"""What a simulated company starts with: books like those of Intuit's sample company."""

from __future__ import annotations

from simulators.quickbooks.books import (
    Books,
    Changes,
    Company,
    add_customer,
    add_item,
    currency_ref,
    new_entry,
)

from . import tax

ACCOUNTS = (
    ("1", "Services", "Income", "ServiceFeeIncome", "Revenue"),
    ("45", "Sales of Product Income", "Income", "SalesOfProductIncome", "Revenue"),
    ("80", "Cost of Goods Sold", "Cost of Goods Sold", "SuppliesMaterialsCogs", "Expense"),
    ("81", "Inventory Asset", "Other Current Asset", "Inventory", "Asset"),
    ("84", "Accounts Receivable (A/R)", "Accounts Receivable", "AccountsReceivable", "Asset"),
    ("86", "Discounts given", "Income", "DiscountsRefundsGiven", "Revenue"),
)
TERMS = (("1", "Due on receipt", 0), ("2", "Net 15", 15), ("3", "Net 30", 30), ("4", "Net 60", 60))


def opened(company: Company, now: float, changes: Changes | None = None) -> Books:
    """Accounts, terms, payment methods, a few items, two customers, a vendor and an employee, and tax codes."""
    books = Books(company, changes or Changes())
    for number, name, kind, subtype, classification in ACCOUNTS:
        account = {
            "Name": name,
            "SubAccount": False,
            "FullyQualifiedName": name,
            "Classification": classification,
            "AccountType": kind,
            "AccountSubType": subtype,
            "CurrentBalance": 0,
            "CurrentBalanceWithSubAccounts": 0,
            "CurrencyRef": currency_ref(company.currency),
        }
        books.put_entry("Account", {**new_entry(books, number, now), **account})
    for number, name, days in TERMS:
        term = {"Name": name, "Type": "STANDARD", "DiscountPercent": 0, "DueDays": days}
        books.put_entry("Term", {**new_entry(books, number, now), **term})
    for number, name, kind in (("1", "Cash", "NON_CREDIT_CARD"), ("2", "Check", "NON_CREDIT_CARD")):
        books.put_entry("PaymentMethod", {**new_entry(books, number, now), "Name": name, "Type": kind})
    if company.multicurrency:
        foreign = [each for each in ("USD", "EUR", "GBP") if each != company.currency]
        for place, code in enumerate(foreign, 1):
            currency = {"Name": currency_ref(code)["name"], "Code": code}
            books.put_entry("CompanyCurrency", {**new_entry(books, str(place), now), **currency})
    for number, name in (("1", "Services"), ("2", "Hours"), ("3", "Concrete"), ("4", "Design")):
        add_item(books, number, name, now)
    _add_people(books, now)
    tax.seed(books, now)
    return books


def _add_people(books: Books, now: float) -> None:
    address = {"Id": "2", "Line1": "4581 Finch St.", "City": "Bayshore", "CountrySubDivisionCode": "CA"}
    address |= {"PostalCode": "94326", "Lat": "INVALID", "Long": "INVALID"}
    books.last_id["Address"] = 3
    add_customer(books, "1", "Amy's Bird Sanctuary", now, extra={"BillAddr": address, "ShipAddr": address})
    add_customer(books, "2", "Bill's Windsurf Shop", now)
    employee = {"BillableTime": False, "GivenName": "Emily", "FamilyName": "Platt"}
    employee |= {"DisplayName": "Emily Platt", "PrintOnCheckName": "Emily Platt"}
    books.put_entry("Employee", {**new_entry(books, "29", now), **employee})
    vendor = {"Balance": 0, "Vendor1099": False, "CurrencyRef": currency_ref(books.company.currency)}
    vendor |= {"DisplayName": "Books by Bessie", "PrintOnCheckName": "Books by Bessie"}
    books.put_entry("Vendor", {**new_entry(books, "30", now), **vendor})
