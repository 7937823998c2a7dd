"""Customers and items: create, full and sparse update (`facts/quickbooks.md` §2.1, §2.2)."""

from __future__ import annotations

from stream.sandbox.http import Json
from stream.sandbox.quickbooks.books import CURRENCY_NAMES, NAME_PROPERTY, Books, customer_defaults, item_defaults
from stream.sandbox.quickbooks.errors import Refusal, business, missing
from stream.sandbox.quickbooks.rules import check_lengths, check_name, check_properties, number, reference

NAME_PARTS = ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")
DELETED = " (deleted)"
SERVER_FIELDS = ("domain", "sparse", "Id", "SyncToken", "MetaData", "Balance", "BalanceWithJobs", "FullyQualifiedName")


def made_entry(kind: str, written: Json, books: Books, now: float, former: Json | None) -> Json:
    """The customer or item that QuickBooks keeps for what was written. Raises Refusal."""
    written = dict(written)
    check_properties(kind, written)
    check_lengths(kind, written)
    name = _name(kind, written)
    defaults = _customer(written, name, books, former) if kind == "Customer" else _item(written, name, books)
    own_id = former["Id"] if former else ""
    active = written.get("Active") is not False
    shown = _shown_name(name, active)
    if active:
        check_name(books, kind, shown, own_id)
    stamp = books.timestamp(now)
    kept = {key: value for key, value in written.items() if key not in SERVER_FIELDS and value not in (None, "")}
    meta = {"CreateTime": former["MetaData"]["CreateTime"] if former else stamp, "LastUpdatedTime": stamp}
    return {
        **defaults,
        **kept,
        NAME_PROPERTY[kind]: shown,
        "FullyQualifiedName": shown,
        "domain": "QBO",
        "sparse": False,
        "Id": own_id or books.new_id(kind),
        "SyncToken": str(int(former["SyncToken"]) + 1) if former else "0",
        "MetaData": meta,
        "Active": active,
    }


def _name(kind: str, written: Json) -> str:
    name = written.get(NAME_PROPERTY[kind])
    if not name and kind == "Customer":
        name = " ".join(str(written[part]) for part in NAME_PARTS if written.get(part))
    if not name:
        raise missing(NAME_PROPERTY[kind])
    return str(name)


def _shown_name(name: str, active: bool) -> str:
    """An inactive entry carries " (deleted)" behind its name, which frees the name."""
    return name.removesuffix(DELETED) + ("" if active else DELETED)


def _customer(written: Json, name: str, books: Books, former: Json | None) -> Json:
    asked = (written.get("CurrencyRef") or {}).get("value") or books.company.currency
    if asked not in CURRENCY_NAMES:
        raise Refusal("2220", "Invalid currency", f"Invalid currency : {asked}", "CurrencyRef")
    if asked != books.company.currency and not books.company.multicurrency:
        raise business("Multicurrency is switched off for this company.")
    if former is not None:
        asked = former["CurrencyRef"]["value"]
    defaults = customer_defaults(books, name, asked)
    parts = [str(written[part]) for part in ("GivenName", "FamilyName") if written.get(part)]
    if parts and not written.get("PrintOnCheckName"):
        defaults["PrintOnCheckName"] = " ".join(parts)
    if former is not None:
        written["CurrencyRef"] = former["CurrencyRef"]
    return defaults


def _item(written: Json, name: str, books: Books) -> Json:
    defaults = item_defaults(name)
    kind = written.get("Type") or "Service"
    if kind not in ("Service", "NonInventory"):
        raise Refusal("2170", "Invalid Enumeration", f"Invalid Enumeration : {kind} is not served here", "Type")
    account = reference(books, "Account", written.get("IncomeAccountRef"), "Account")
    if account is None:
        raise missing("IncomeAccountRef")
    if account["AccountType"] != "Income":
        raise business("You need to select an income account for this item.")
    written["IncomeAccountRef"] = {"value": account["Id"], "name": account["Name"]}
    number(written.get("UnitPrice"), "UnitPrice")
    return defaults
