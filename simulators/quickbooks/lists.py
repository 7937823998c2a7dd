"""List entries (customers, items, accounts …): create, full and sparse update (`docs/vendors/quickbooks.md` §2)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from simulators.http import Json
from simulators.quickbooks.addresses import kept_address
from simulators.quickbooks.books import INNER_FLAG, NAME_PROPERTY, PEOPLE, Books
from simulators.quickbooks.errors import business, duplicate_name, missing
from simulators.quickbooks.rules import check_lengths, check_properties, properties, reference

from . import catalog, people

Maker = Callable[[Json, str, Books, Json | None], Json]
"""(written, name, books, former) -> the properties that are computed or have a default. May correct `written`."""

MAKERS: dict[str, Maker] = {
    "Customer": people.customer,
    "Vendor": people.vendor,
    "Employee": people.employee,
    "Item": catalog.item,
    "Account": catalog.account,
    "Term": catalog.term,
    "Class": catalog.plain,
    "Department": catalog.plain,
    "PaymentMethod": catalog.payment_method,
    "CompanyCurrency": catalog.company_currency,
}
ANOTHER_KIND = "Another customer, vendor or employee is already using this name. Please use a different name."
DELETED = " (deleted)"
ADDRESSES = ("BillAddr", "ShipAddr", "PrimaryAddr")
LEVELS_MAX = 4
ENTITY_FIELDS = ("domain", "sparse", "status", "Id", "SyncToken", "MetaData")
COMPUTED = ("FullyQualifiedName", "Level")
BALANCES = ("Balance", "BalanceWithJobs", "CurrentBalance", "CurrentBalanceWithSubAccounts")
SERVER_FIELDS = frozenset((*ENTITY_FIELDS, *COMPUTED, *BALANCES))


def made_entry(kind: str, written: Json, books: Books, now: float, former: Json | None) -> Json:
    """The entry that QuickBooks keeps for what was written; `former` itself when nothing changes, as recorded in
    deactivate/account. Raises Refusal."""
    written = dict(written)
    check_properties(kind, written)
    check_lengths(kind, written)
    name = _name(kind, written, former)
    own_id = former["Id"] if former else ""
    active = written.get("Active") is not False
    shown = _shown_name(kind, name, active)
    place = _place(kind, written, shown, books, own_id)
    if active:
        _check_name(books, kind, shown, own_id, (place.get("ParentRef") or {}).get("value"))
    for each in ADDRESSES:
        if written.get(each):
            written[each] = kept_address(written[each], (former or {}).get(each), books)
    defaults = MAKERS[kind](written, shown, books, former)
    kept = {key: value for key, value in written.items() if key not in SERVER_FIELDS and value not in (None, "")}
    kept = {key: value for key, value in kept.items() if properties()[kind][key] != "*"}
    entry = {**defaults, **kept, NAME_PROPERTY[kind]: shown, **place, "Active": active}
    if former is not None and entry == {key: value for key, value in former.items() if key in entry}:
        dropped = [key for key in former if key not in entry and key not in SERVER_FIELDS]
        if not dropped:
            return former
    stamp = books.timestamp(now)
    meta = {"CreateTime": former["MetaData"]["CreateTime"] if former else stamp, "LastUpdatedTime": stamp}
    number = own_id or books.new_id(kind)
    token = str(int(former["SyncToken"]) + 1) if former else "0"
    return {**entry, "domain": "QBO", "sparse": False, "Id": number, "SyncToken": token, "MetaData": meta}


def put_with_inner(kind: str, entry: Json, books: Books, former: Json | None) -> None:
    """Stores the entry; those inside it get its new full name."""
    books.put_entry(kind, entry, former)
    if former is None or former.get("FullyQualifiedName") == entry.get("FullyQualifiedName"):
        return
    for each in books.inner(kind, entry["Id"]):
        full_name = f"{entry['FullyQualifiedName']}:{each[NAME_PROPERTY[kind]]}"
        put_with_inner(kind, {**each, "FullyQualifiedName": full_name}, books, each)


def shown_entry(kind: str, entry: Json, books: Books) -> Json:
    """As an answer shows it: a customer with what it and those inside it owe now."""
    if kind != "Customer":
        return entry
    balance = books.balances.get(entry["Id"]) or 0
    return {**entry, "Balance": balance, "BalanceWithJobs": _owed_with_inner(entry["Id"], books) or 0}


def _owed_with_inner(number: str, books: Books) -> Decimal:
    inner = (_owed_with_inner(each["Id"], books) for each in books.inner("Customer", number))
    return sum(inner, start=books.balances.get(number) or Decimal(0))


def _name(kind: str, written: Json, former: Json | None) -> str:
    """As written, or built of the parts of a person's name. A sparse update cannot clear it (docs/vendors/quickbooks.md
    §2.1).
    """
    name = written.get(NAME_PROPERTY[kind])
    if not name and former is not None and written.get("sparse") is True:
        name = former[NAME_PROPERTY[kind]]
    if not name and kind in PEOPLE:
        name = " ".join(str(written[part]) for part in people.NAME_PARTS if written.get(part))
    if not str(name or "").strip():
        raise missing(NAME_PROPERTY[kind])
    return str(name)


def _shown_name(kind: str, name: str, active: bool) -> str:
    """An inactive entry carries " (deleted)" behind its name, which frees the name; a currency keeps its code."""
    if kind == "CompanyCurrency":
        return name
    return name.removesuffix(DELETED) + ("" if active else DELETED)


def _check_name(books: Books, kind: str, name: str, own_id: str, parent: str | None) -> None:
    """Names hold no colon, tab or newline and are unique under one parent, whatever their case: those of customers,
    vendors and employees among all of them (recorded: all/customers has a "Jack Doe" beside "Doe, Jack:Jack Doe")."""
    if any(each in name for each in ":\t\n"):
        raise business("A name may not hold a colon, a tab or a new line.")
    for other in PEOPLE if kind in PEOPLE else (kind,):
        for each in books.named(other, name):
            same_place = (each.get("ParentRef") or {}).get("value") == parent
            if same_place and (other, each["Id"]) != (kind, own_id):
                raise duplicate_name(ANOTHER_KIND if other != kind else "null")


def _place(kind: str, written: Json, shown: str, books: Books, own_id: str) -> Json:
    """Whether and where the entry is inside another: flag, ParentRef, Level and full name."""
    flag = INNER_FLAG.get(kind)
    if flag is None:
        return {}
    parent_ref = written.pop("ParentRef", None)
    by_reference = kind in ("Account", "Class", "Department") and parent_ref
    inner = written.pop(flag, None) is True or bool(by_reference)
    if not inner:
        return {**({} if kind == "Item" else {flag: False}), "FullyQualifiedName": shown}
    parent = reference(books, kind, parent_ref, "ParentRef")
    if parent is None:
        raise missing("ParentRef")
    above = _above(kind, parent, books)
    if own_id in above:
        raise business("An entry cannot be inside itself.")
    level = len(above)
    if level + _height(kind, own_id, books) > LEVELS_MAX:
        raise business(f"Entries can be nested {LEVELS_MAX} levels deep at most.")
    place: Json = {flag: True, "ParentRef": {"value": parent["Id"]}}
    if "Level" in properties()[kind]:
        place["Level"] = level
    return {**place, "FullyQualifiedName": f"{parent['FullyQualifiedName']}:{shown}"}


def _above(kind: str, entry: Json, books: Books) -> list[str]:
    """The ids of the entry and of those around it, outwards."""
    ids = [entry["Id"]]
    while parent := (entry.get("ParentRef") or {}).get("value"):
        entry = books.objects[kind][parent]
        ids.append(parent)
    return ids


def _height(kind: str, number: str, books: Books) -> int:
    """How many levels lie inside the entry."""
    return max((1 + _height(kind, each["Id"], books) for each in books.inner(kind, number)), default=0)
