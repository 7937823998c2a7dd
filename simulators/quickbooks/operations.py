"""What can be done to one object: read, create, update, void, delete, send, print (docs/vendors/quickbooks.md §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from simulators.http import Json
from simulators.quickbooks.books import LISTS, SALES, Books
from simulators.quickbooks.errors import missing, not_found, stale, unsupported
from simulators.quickbooks.lists import MAKERS, made_entry, put_with_inner, shown_entry
from simulators.quickbooks.rules import check_id
from simulators.quickbooks.sales import check_open, made_sale, voided, with_invoice_link

from . import papers

ENTITIES: Mapping[str, str] = {name.lower(): name for name in (*SALES, *LISTS)}
WRITABLE = (*SALES, *MAKERS)
OPERATIONS = ("", "create", "update", "void", "delete")


def read(kind: str, number: str, books: Books, include: str = "") -> Json:
    """`include` is the query parameter of that name, whatever the case of its words."""
    if kind not in ("TaxCode", "ExchangeRate"):
        check_id(number)
    found = existing(books, kind, number)
    if kind == "Invoice" and "invoicelink" in include.lower():
        return with_invoice_link(found, books)
    return shown_entry(kind, found, books)


def write(kind: str, written: Json, books: Books, now: float, operation: str = "", include: str = "") -> Json:
    """Create, full update, sparse update, void or delete. Returns what the answer shows; raises Refusal."""
    options = include.lower()
    if kind not in WRITABLE or operation not in OPERATIONS:
        raise unsupported(f"{kind.lower()}?operation={operation[:50]}")
    number = _plain(written.get("Id"))
    former = _current(books, kind, number, written) if number else None
    if operation in ("void", "delete") or "void" in options.split(","):
        if former is None:
            raise missing("Id")
        return _void_or_delete(kind, operation, former, books, now)
    if former is not None and written.get("sparse") in (True, "true"):
        written = {**former, **written}
    if kind in SALES:
        return _write_sale(kind, written, books, now, former, options)
    entry = made_entry(kind, written, books, now, former)
    if entry is not former:
        put_with_inner(kind, entry, books, former)
    return shown_entry(kind, entry, books)


def send(kind: str, number: str, books: Books, now: float, send_to: str) -> Json:
    """E-mails a sale; nothing leaves the simulator."""
    check_id(number)
    former = existing(books, kind, number)
    sale = papers.sent(kind, former, books, now, send_to)
    books.put_sale(kind, sale, former)
    return sale


def pdf(kind: str, number: str, books: Books) -> bytes:
    check_id(number)
    return papers.pdf(kind, existing(books, kind, number), books)


def existing(books: Books, kind: str, number: str) -> Json:
    found = books.objects[kind].get(number)
    if found is None:
        raise not_found()
    return found


def _write_sale(kind: str, written: Json, books: Books, now: float, former: Json | None, options: str) -> Json:
    if former is not None:
        check_open(books, date.fromisoformat(former["TxnDate"]), "6200")
    sale = made_sale(kind, written, books, now, former, "allowduplicatedocnum" in options)
    books.put_sale(kind, sale, former)
    return with_invoice_link(sale, books) if kind == "Invoice" and "invoicelink" in options else sale


def _void_or_delete(kind: str, operation: str, former: Json, books: Books, now: float) -> Json:
    if kind not in SALES or (kind == "CreditMemo" and operation != "delete"):
        raise unsupported(f"{kind.lower()}?operation={operation}")
    check_open(books, date.fromisoformat(former["TxnDate"]), "6200")
    if operation == "delete":
        books.delete_sale(kind, former, now)
        return {"domain": "QBO", "status": "Deleted", "Id": former["Id"]}
    sale = voided(former, books, now)
    books.put_sale(kind, sale, former)
    return sale


def _plain(value: Any) -> str:
    """An Id or SyncToken as text, whether it came as text or as a number."""
    return "" if value is None else str(value)


def _current(books: Books, kind: str, number: str, written: Json) -> Json:
    """The stored object that an update names, if the SyncToken is the one of now."""
    check_id(number)
    former = existing(books, kind, number)
    token = _plain(written.get("SyncToken"))
    if not token:
        raise missing("SyncToken")
    if token != former["SyncToken"]:
        raise stale()
    return former
