"""The books of one simulated QuickBooks company: its objects and the indexes over them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal

from simulators.http import Json

CURRENCY_NAMES = {
    "USD": "United States Dollar",
    "EUR": "Euro",
    "GBP": "British Pound Sterling",
    "AUD": "Australian Dollar",
    "BRL": "Brazilian Real",
    "CAD": "Canadian Dollar",
    "CHF": "Swiss Franc",
    "CZK": "Czech Koruna",
    "INR": "Indian Rupee",
    "JPY": "Japanese Yen",
    "MXN": "Mexican Peso",
    "NGN": "Nigerian Naira",
    "NOK": "Norwegian Krone",
    "NZD": "New Zealand Dollar",
    "PLN": "Polish Zloty",
    "SEK": "Swedish Krona",
    "SGD": "Singapore Dollar",
    "TRY": "Turkish Lira",
    "ZAR": "South African Rand",
}
LISTS = (
    "Customer",
    "Vendor",
    "Employee",
    "Item",
    "Account",
    "Term",
    "Class",
    "Department",
    "TaxCode",
    "TaxRate",
    "CompanyCurrency",
    "PaymentMethod",
    "ExchangeRate",
)
SALES = ("Invoice", "CreditMemo")
# Customers, vendors and employees share one set of names and one run of ids (docs/vendors/quickbooks.md §2.1).
PEOPLE = ("Customer", "Vendor", "Employee")
NAME_PROPERTY = {
    **dict.fromkeys(PEOPLE, "DisplayName"),
    **dict.fromkeys(("Item", "Account", "Term", "Class", "Department", "TaxCode", "TaxRate", "PaymentMethod"), "Name"),
    "CompanyCurrency": "Code",
}
# The lists with entries inside entries, and the property that says that an entry is inside another.
INNER_FLAG = {
    "Customer": "Job",
    "Item": "SubItem",
    "Account": "SubAccount",
    "Class": "SubClass",
    "Department": "SubDepartment",
}
TOMBSTONES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Company:
    """The settings of one company, as its owner would choose them; behind a `?` in the facts, both answers.

    `shows_book_close_date`: whether Preferences tell it (docs/vendors/quickbooks.md §11.6).
    """

    realm_id: str
    name: str = "Sandbox Company US"
    currency: str = "USD"
    multicurrency: bool = True
    custom_txn_numbers: bool = True
    warn_duplicate_doc_numbers: bool = False
    allow_discount: bool = True
    book_close_date: date | None = None
    utc_offset_hours: int = -7
    country: str = "US"
    tax_mode: Literal["us-none", "us-manual", "us-automated", "global"] = "us-none"
    class_tracking: Literal["", "transaction", "line"] = ""
    track_departments: bool = False
    custom_fields: tuple[str, ...] = ("Crew #",)
    negative_half: Literal["away-from-zero", "toward-positive"] = "away-from-zero"
    decimals_kept: int = 7
    amount_check_uses: Literal["stored", "sent"] = "stored"
    line_limit: int = 10_000
    exchange_rate_sent: Literal["kept", "replaced"] = "kept"
    default_doc_number_kept: bool = True
    shows_book_close_date: bool = False
    untracked_references: Literal["ignored", "refused"] = "ignored"
    recorded_year: Literal[2020, 2026] = 2020


@dataclass(slots=True)
class Changes:
    """The keys of rows that changed since someone cleared them; filled only while `track` is on."""

    track: bool = False
    keys: set[str] = field(default_factory=set)

    def mark(self, *parts: str) -> None:
        if self.track:
            self.keys.add("/".join(parts))


@dataclass(slots=True)
class Books:
    """Objects by type and id. Objects are replaced, never changed in place."""

    company: Company
    changes: Changes = field(default_factory=Changes)
    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {each: {} for each in (*SALES, *LISTS)})
    deleted: dict[tuple[str, str], str] = field(default_factory=dict)
    """(type, id) of each deleted sale -> when, in the company's own zone."""
    doc_numbers: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[str, dict[str, dict[str, None]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(dict)))
    children: dict[str, dict[str, dict[str, None]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    rates: dict[tuple[str, str], str] = field(default_factory=dict)
    """(source currency, date) -> id of the stored ExchangeRate."""
    balances: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    last_doc_number: str = "1000"
    preferences_token: int = 0
    last_id: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def new_id(self, kind: str) -> str:
        run = _run_of_ids(kind)
        self.last_id[run] += 1
        return str(self.last_id[run])

    def new_doc_number(self) -> str:
        """One more than the last number, prefix kept: App_1000 -> App_1001 (docs/vendors/quickbooks.md §1.8)."""
        found = re.search(r"[0-9]+$", self.last_doc_number)
        digits = found[0] if found else ""
        prefix = self.last_doc_number[: len(self.last_doc_number) - len(digits)]
        return f"{prefix}{int(digits or 0) + 1:0{len(digits)}d}"

    def put_sale(self, kind: str, sale: Json, former: Json | None = None) -> None:
        if former is not None:
            self._forget_sale(kind, former)
        self.index_sale(kind, sale)
        number = sale.get("DocNumber")
        if number and (former is None or number != former.get("DocNumber")):
            self.last_doc_number = number
        self.changes.mark(self.company.realm_id, kind, sale["Id"])
        self.changes.mark(self.company.realm_id, "counters")

    def delete_sale(self, kind: str, sale: Json, now: float) -> None:
        self._forget_sale(kind, sale)
        del self.objects[kind][sale["Id"]]
        self.deleted[kind, sale["Id"]] = self.timestamp(now)
        self.changes.mark(self.company.realm_id, kind, sale["Id"])
        self.changes.mark(self.company.realm_id, "deleted", kind, sale["Id"])
        if len(self.deleted) > TOMBSTONES_MAX:
            oldest = next(iter(self.deleted))
            del self.deleted[oldest]
            self.changes.mark(self.company.realm_id, "deleted", *oldest)

    def index_sale(self, kind: str, sale: Json) -> None:
        self.objects[kind][sale["Id"]] = sale
        if number := sale.get("DocNumber"):
            holders = self.doc_numbers[number]
            holders[sale["Id"]] = kind
            if len(holders) > 1:
                self.doc_numbers[number] = dict(sorted(holders.items(), key=lambda each: int(each[0])))
        self.balances[sale["CustomerRef"]["value"]] += _owed(kind, sale)

    def _forget_sale(self, kind: str, sale: Json) -> None:
        if number := sale.get("DocNumber"):
            self.doc_numbers[number].pop(sale["Id"], None)
            if not self.doc_numbers[number]:
                del self.doc_numbers[number]
        self.balances[sale["CustomerRef"]["value"]] -= _owed(kind, sale)

    def put_entry(self, kind: str, entry: Json, former: Json | None = None) -> None:
        """Stores a list entry (customer, item …), its name and its place among the others."""
        if former is not None:
            self._forget_entry(kind, former)
        self.index_entry(kind, entry)
        number = entry["Id"]
        if number.isdigit():
            run = _run_of_ids(kind)
            self.last_id[run] = max(self.last_id[run], int(number))
        self.changes.mark(self.company.realm_id, kind, number)
        self.changes.mark(self.company.realm_id, "counters")

    def index_entry(self, kind: str, entry: Json) -> None:
        if name_property := NAME_PROPERTY.get(kind):
            self.names[kind][entry[name_property].casefold()][entry["Id"]] = None
        if parent := (entry.get("ParentRef") or {}).get("value"):
            self.children[kind][parent][entry["Id"]] = None
        if kind == "ExchangeRate":
            self.rates[entry["SourceCurrencyCode"], entry["AsOfDate"]] = entry["Id"]
        self.objects[kind][entry["Id"]] = entry

    def _forget_entry(self, kind: str, entry: Json) -> None:
        if name_property := NAME_PROPERTY.get(kind):
            name = entry[name_property].casefold()
            self.names[kind][name].pop(entry["Id"], None)
            if not self.names[kind][name]:
                del self.names[kind][name]
        if parent := (entry.get("ParentRef") or {}).get("value"):
            self.children[kind][parent].pop(entry["Id"], None)

    def named(self, kind: str, name: str) -> list[Json]:
        """The entries of this list that have this name, active or not; case does not matter."""
        return [self.objects[kind][each] for each in self.names[kind].get(name.casefold(), ())]

    def inner(self, kind: str, number: str) -> list[Json]:
        """The entries directly inside this one."""
        return [self.objects[kind][each] for each in self.children[kind].get(number, ())]

    def timestamp(self, now: float, timespec: str = "seconds") -> str:
        """`now` (epoch seconds) in the company's own zone."""
        return datetime.fromtimestamp(now, self.zone).isoformat(timespec=timespec)

    @property
    def zone(self) -> timezone:
        return timezone(timedelta(hours=self.company.utc_offset_hours))


def _run_of_ids(kind: str) -> str:
    return "sales" if kind in SALES else "people" if kind in PEOPLE else kind


def _owed(kind: str, sale: Json) -> Decimal:
    return Decimal(sale["Balance"]) * (1 if kind == "Invoice" else -1)


def currency_ref(code: str) -> Json:
    return {"value": code, "name": CURRENCY_NAMES.get(code, code)}


def new_entry(books: Books, number: str, now: float) -> Json:
    """What every list entry has at birth."""
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
    entry = {**new_entry(books, number, now), **customer_defaults(books, name, currency), **(extra or {})}
    books.put_entry("Customer", entry, books.objects["Customer"].get(number))


def add_item(books: Books, number: str, name: str, now: float) -> None:
    income = {"IncomeAccountRef": {"value": "1", "name": "Services"}}
    entry = {**new_entry(books, number, now), **item_defaults(name), **income}
    books.put_entry("Item", entry, books.objects["Item"].get(number))


def sales_of(books: Books, kind: str) -> Iterable[Json]:
    return books.objects[kind].values()
