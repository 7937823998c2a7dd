"""The books of one simulated QuickBooks company: its objects, the indexes over them, and what it starts with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from stream.sandbox.http import Json

CURRENCY_NAMES = {"USD": "United States Dollar", "EUR": "Euro", "GBP": "British Pound Sterling"}
LISTS = ("Customer", "Vendor", "Item", "Account", "Term")
SALES = ("Invoice", "CreditMemo")
# Customers, vendors and employees share one set of names (facts/quickbooks.md §2.1); items have their own.
NAME_SPACES = {"Customer": "names", "Vendor": "names", "Item": "items"}
NAME_PROPERTY = {"Customer": "DisplayName", "Vendor": "DisplayName", "Item": "Name"}


@dataclass(frozen=True, slots=True)
class Company:
    """The settings of one company, as its owner would choose them."""

    realm_id: str
    name: str = "Sandbox Company US"
    currency: str = "USD"
    multicurrency: bool = True
    custom_txn_numbers: bool = True
    warn_duplicate_doc_numbers: bool = False
    allow_discount: bool = True
    book_close_date: date | None = None
    utc_offset_hours: int = -7


@dataclass(slots=True)
class Books:
    """Objects by type and id. Objects are replaced, never changed in place."""

    company: Company
    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {each: {} for each in (*SALES, *LISTS)})
    doc_numbers: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[str, dict[str, tuple[str, str]]] = field(default_factory=lambda: defaultdict(dict))
    balances: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    last_doc_number: str = "1000"
    _last_id: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def new_id(self, kind: str) -> str:
        run = "sales" if kind in SALES else NAME_SPACES.get(kind, kind)
        self._last_id[run] += 1
        return str(self._last_id[run])

    def new_doc_number(self) -> str:
        """One more than the last number, prefix kept: App_1000 -> App_1001 (facts/quickbooks.md §1.8)."""
        found = re.search(r"\d+$", self.last_doc_number)
        digits = found[0] if found else ""
        prefix = self.last_doc_number[: len(self.last_doc_number) - len(digits)]
        return f"{prefix}{int(digits or 0) + 1:0{len(digits)}d}"

    def put_sale(self, kind: str, sale: Json, former: Json | None = None) -> None:
        if former is not None:
            self._forget_sale(kind, former)
        self.objects[kind][sale["Id"]] = sale
        if number := sale.get("DocNumber"):
            self.doc_numbers[number][sale["Id"]] = kind
            self.last_doc_number = number
        self.balances[sale["CustomerRef"]["value"]] += _owed(kind, sale)

    def delete_sale(self, kind: str, sale: Json) -> None:
        self._forget_sale(kind, sale)
        del self.objects[kind][sale["Id"]]

    def _forget_sale(self, kind: str, sale: Json) -> None:
        if number := sale.get("DocNumber"):
            self.doc_numbers[number].pop(sale["Id"], None)
        self.balances[sale["CustomerRef"]["value"]] -= _owed(kind, sale)

    def put_entry(self, kind: str, entry: Json, former: Json | None = None) -> None:
        """Stores a list entry (customer, item …) and its name."""
        if kind in NAME_SPACES:
            names = self.names[NAME_SPACES[kind]]
            if former is not None:
                names.pop(former[NAME_PROPERTY[kind]].casefold(), None)
            names[entry[NAME_PROPERTY[kind]].casefold()] = (kind, entry["Id"])
        self.objects[kind][entry["Id"]] = entry
        run = NAME_SPACES.get(kind, kind)
        self._last_id[run] = max(self._last_id[run], int(entry["Id"]))

    def holder_of(self, kind: str, name: str) -> tuple[str, str] | None:
        """(type, id) of the list entry that has this name; case does not matter."""
        return self.names[NAME_SPACES[kind]].get(name.casefold())

    def timestamp(self, now: float, timespec: str = "seconds") -> str:
        """`now` (epoch seconds) in the company's own zone."""
        zone = timezone(timedelta(hours=self.company.utc_offset_hours))
        return datetime.fromtimestamp(now, zone).isoformat(timespec=timespec)


def _owed(kind: str, sale: Json) -> Decimal:
    return Decimal(sale["Balance"]) * (1 if kind == "Invoice" else -1)


def currency_ref(code: str) -> Json:
    return {"value": code, "name": CURRENCY_NAMES.get(code, code)}


def opened(company: Company, now: float) -> Books:
    """Books like those of Intuit's sample company: accounts, terms, a few items, two customers and one vendor."""
    books = Books(company)
    for number, name, kind, subtype in (
        ("1", "Services", "Income", "ServiceFeeIncome"),
        ("45", "Sales of Product Income", "Income", "SalesOfProductIncome"),
        ("84", "Accounts Receivable (A/R)", "Accounts Receivable", "AccountsReceivable"),
        ("86", "Discounts given", "Income", "DiscountsRefundsGiven"),
    ):
        fields = {"Name": name, "FullyQualifiedName": name, "AccountType": kind, "AccountSubType": subtype}
        books.put_entry("Account", {**_entry(books, number, now), **fields})
    for number, name, days in (("1", "Due on receipt", 0), ("2", "Net 15", 15), ("3", "Net 30", 30)):
        books.put_entry("Term", {**_entry(books, number, now), "Name": name, "Type": "STANDARD", "DueDays": days})
    for number, name in (("1", "Services"), ("2", "Hours"), ("3", "Concrete"), ("4", "Design")):
        add_item(books, number, name, now)
    address = {"Id": "2", "Line1": "4581 Finch St.", "City": "Bayshore", "CountrySubDivisionCode": "CA"}
    address |= {"PostalCode": "94326", "Lat": "INVALID", "Long": "INVALID"}
    add_customer(books, "1", "Amy's Bird Sanctuary", now, extra={"BillAddr": address, "ShipAddr": address})
    add_customer(books, "2", "Bill's Windsurf Shop", now)
    vendor = {"DisplayName": "Books by Bessie", "PrintOnCheckName": "Books by Bessie", "Balance": 0}
    books.put_entry("Vendor", {**_entry(books, "30", now), **vendor, "CurrencyRef": currency_ref(company.currency)})
    return books


def _entry(books: Books, number: str, now: float) -> Json:
    stamp = books.timestamp(now)
    meta = {"CreateTime": stamp, "LastUpdatedTime": stamp}
    return {"domain": "QBO", "sparse": False, "Id": number, "SyncToken": "0", "MetaData": meta, "Active": True}


def customer_defaults(books: Books, name: str, currency: str) -> Json:
    """What QuickBooks adds to a new customer (recorded: create/customer)."""
    return {
        "Taxable": True,
        "Job": False,
        "BillWithParent": False,
        "Balance": 0,
        "BalanceWithJobs": 0,
        "CurrencyRef": currency_ref(currency or books.company.currency),
        "PreferredDeliveryMethod": "Print",
        "FullyQualifiedName": name,
        "DisplayName": name,
        "PrintOnCheckName": name,
        "DefaultTaxCodeRef": {"value": "2"},
    }


def item_defaults(name: str) -> Json:
    return {
        "Name": name,
        "FullyQualifiedName": name,
        "Taxable": False,
        "UnitPrice": 0,
        "Type": "Service",
        "PurchaseCost": 0,
        "TrackQtyOnHand": False,
    }


def add_customer(
    books: Books, number: str, name: str, now: float, currency: str = "", extra: Json | None = None
) -> None:
    entry = {**_entry(books, number, now), **customer_defaults(books, name, currency), **(extra or {})}
    books.put_entry("Customer", entry)


def add_item(books: Books, number: str, name: str, now: float) -> None:
    income = {"IncomeAccountRef": {"value": "1", "name": "Services"}}
    books.put_entry("Item", {**_entry(books, number, now), **item_defaults(name), **income})


def sales_of(books: Books, kind: str) -> Iterable[Json]:
    return books.objects[kind].values()
