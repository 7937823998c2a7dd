"""Customers, vendors and employees: what QuickBooks adds to a written one (`docs/vendors/quickbooks.md` §2.1)."""

from __future__ import annotations

from simulators.http import Json
from simulators.quickbooks.books import CURRENCY_NAMES, Books, currency_ref, customer_defaults
from simulators.quickbooks.errors import Refusal, business
from simulators.quickbooks.rules import reference

NAME_PARTS = ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")


def customer(written: Json, name: str, books: Books, former: Json | None) -> Json:
    _check_email(written)
    for property_name, kind in (("SalesTermRef", "Term"), ("PaymentMethodRef", "PaymentMethod")):
        reference(books, kind, written.get(property_name), kind)
    defaults = customer_defaults(books, name, _currency(written, books, former))
    return {**defaults, "PrintOnCheckName": _print_name(written, name)}


def vendor(written: Json, name: str, books: Books, former: Json | None) -> Json:
    _check_email(written)
    reference(books, "Term", written.get("TermRef"), "Term")
    return {
        "Balance": 0,
        "Vendor1099": False,
        "CurrencyRef": currency_ref(_currency(written, books, former)),
        "PrintOnCheckName": _print_name(written, name),
    }


def employee(written: Json, name: str, books: Books, former: Json | None) -> Json:
    _check_email(written)
    return {"BillableTime": False, "PrintOnCheckName": _print_name(written, name)}


def _print_name(written: Json, name: str) -> str:
    """ "Given Family" when they are set, else the name; what is written takes precedence."""
    return " ".join(str(written[part]) for part in ("GivenName", "FamilyName") if written.get(part)) or name


def _currency(written: Json, books: Books, former: Json | None) -> str:
    """The entry's currency; once given it stays whatever is written (docs/vendors/quickbooks.md §1.7)."""
    ref = written.pop("CurrencyRef", None) or {}
    if former is not None:
        return str(former["CurrencyRef"]["value"])
    home = books.company.currency
    asked = str(ref.get("value") or home)
    if asked not in CURRENCY_NAMES:
        raise Refusal("2220", "Invalid currency", f"Invalid currency : {asked[:100]}", "CurrencyRef")
    if asked != home and not books.company.multicurrency:
        raise business("Multicurrency is switched off for this company.")
    return asked


def _check_email(written: Json) -> None:
    """An address needs an @ and a dot (docs/vendors/quickbooks.md §2.1); the code is that of e-mail in §6.2."""
    address = (written.get("PrimaryEmailAddr") or {}).get("Address")
    if address and not ("@" in address and "." in address):
        detail = f"Invalid Email Address format : {address[:100]}"
        raise Refusal("2210", "Invalid Email Address format", detail, "PrimaryEmailAddr")
