"""Exchange rates: QuickBooks' own of the day, and those that a user stores (`docs/vendors/quickbooks.md` §1.7)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from zlib import crc32

from simulators.http import Json
from simulators.quickbooks.books import CURRENCY_NAMES, Books
from simulators.quickbooks.errors import Refusal, missing, stale
from simulators.quickbooks.rules import bad_date, check_properties, number

# US dollars for one unit; invented, near what they were.
DOLLARS = {
    "USD": Decimal(1),
    "EUR": Decimal("1.1"),
    "GBP": Decimal("1.3"),
    "CAD": Decimal("0.72"),
    "AUD": Decimal("0.66"),
    "CHF": Decimal("1.15"),
    "JPY": Decimal("0.0067"),
}
DOLLARS_OF_OTHERS = Decimal("0.1")
SIXTH_DECIMAL = Decimal("0.000001")
SPREAD_STEPS = 401


def rate_on(books: Books, currency: str, day: str) -> Decimal:
    """How much of the home currency one unit of `currency` is on this day (ISO date): the stored rate, else
    QuickBooks' own, which differs from day to day by up to 2 % and is the same whenever it is asked."""
    if number_of_rate := books.rates.get((currency, day)):
        return Decimal(books.objects["ExchangeRate"][number_of_rate]["Rate"])
    if currency == books.company.currency:
        return Decimal(1)
    middle = DOLLARS.get(currency, DOLLARS_OF_OTHERS) / DOLLARS.get(books.company.currency, DOLLARS_OF_OTHERS)
    steps = crc32(f"{currency}/{day}".encode()) % SPREAD_STEPS - SPREAD_STEPS // 2
    return (middle * (1 + Decimal(steps) / 10_000)).quantize(SIXTH_DECIMAL)


def read_rate(books: Books, currency: str, day: str, now: float) -> Json:
    """The ExchangeRate of a currency on a day (that of today without one). Without Id and SyncToken until a user
    stores one."""
    if not currency:
        raise missing("sourcecurrencycode")
    _check_currency(currency)
    day = _day(day) or books.timestamp(now)[:10]
    if number_of_rate := books.rates.get((currency, day)):
        return books.objects["ExchangeRate"][number_of_rate]
    stamp = books.timestamp(now)
    return {
        "SourceCurrencyCode": currency,
        "TargetCurrencyCode": books.company.currency,
        "Rate": rate_on(books, currency, day),
        "AsOfDate": day,
        "domain": "QBO",
        "sparse": False,
        "MetaData": {"CreateTime": stamp, "LastUpdatedTime": stamp},
    }


def write_rate(written: Json, books: Books, now: float) -> Json:
    """Stores the rate of one currency and day. The first time needs no SyncToken, later ones that of now."""
    check_properties("ExchangeRate", written)
    currency = str(written.get("SourceCurrencyCode") or "")
    rate = number(written.get("Rate"), "Rate")
    if not currency or rate is None:
        raise missing("SourceCurrencyCode" if not currency else "Rate")
    _check_currency(currency)
    if rate <= 0:
        raise Refusal("2290", "Negative amount", "Rate must be greater than 0", "Rate")
    if (written.get("TargetCurrencyCode") or books.company.currency) != books.company.currency:
        raise Refusal("2220", "Invalid currency", "Invalid currency : the target is the home currency", "Target")
    day = _day(written.get("AsOfDate")) or books.timestamp(now)[:10]
    stored = books.rates.get((currency, day))
    former = books.objects["ExchangeRate"][stored] if stored else None
    if former is not None:
        token = written.get("SyncToken")
        if token in (None, ""):
            raise missing("SyncToken")
        if token != former["SyncToken"]:
            raise stale()
    stamp = books.timestamp(now)
    entry: Json = {
        "SourceCurrencyCode": currency,
        "TargetCurrencyCode": books.company.currency,
        "Rate": rate,
        "AsOfDate": day,
        "domain": "QBO",
        "sparse": False,
        "Id": former["Id"] if former else books.new_id("ExchangeRate"),
        "SyncToken": str(int(former["SyncToken"]) + 1) if former else "0",
        "MetaData": {
            "CreateTime": former["MetaData"]["CreateTime"] if former else stamp,
            "LastUpdatedTime": stamp,
        },
    }
    books.put_entry("ExchangeRate", entry, former)
    return entry


def _check_currency(code: str) -> None:
    if code not in CURRENCY_NAMES:
        raise Refusal("2220", "Invalid currency", f"Invalid currency : {code[:100]}", "SourceCurrencyCode")


def _day(value: Any) -> str:
    """ISO date, "" when left out."""
    if value in (None, ""):
        return ""
    try:
        return date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError:
        raise bad_date("AsOfDate", value) from None
