"""Books of one simulated company, and sales written into them, without requests."""

from __future__ import annotations

from typing import Any

import pytest

from simulators.http import Json
from simulators.quickbooks.books import Books, Company
from simulators.quickbooks.errors import Refusal
from simulators.quickbooks.sales import made_sale
from simulators.quickbooks.sample import opened
from tests.simulators.companies import invoice, line

__all__ = ["NOW", "changed", "company_books", "invoice", "line", "refused", "sold"]
NOW = 1_795_000_000.0


def company_books(**company: Any) -> Books:
    return opened(Company("111", **{"multicurrency": False, **company}), NOW)


def sold(books: Books, written: Json, kind: str = "Invoice", allow_duplicate: bool = False) -> Json:
    """The sale that is kept for what was written."""
    sale = made_sale(kind, written, books, NOW, None, allow_duplicate)
    books.put_sale(kind, sale)
    return sale


def changed(books: Books, former: Json, written: Json, kind: str = "Invoice") -> Json:
    """The sale after an update: `written` is whole for a full one; a sparse one starts with `{**former, …}`."""
    sale = made_sale(kind, written, books, NOW + 60, former, False)
    books.put_sale(kind, sale, former)
    return sale


def refused(books: Books, written: Json, kind: str = "Invoice") -> Json:
    """The error of a sale that is refused; the books stay as they were."""
    with pytest.raises(Refusal) as found:
        made_sale(kind, written, books, NOW, None, False)
    return found.value.error
