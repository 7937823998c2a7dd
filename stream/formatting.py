"""Plain words and figures for people: amounts, moments and states."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from models.money import EXACT

DEAD_LETTER = "dead letter"

STATE_WORDS = {
    "received": "Received",
    "enriched": "Read from Metronome",
    "commanded": "Being posted",
    "attempting": "Being posted",
    "posted": "Posted",
    "updated": "Posted, then updated",
    "voided": "Voided",
    "skipped": "Skipped by policy",
    "parked": "Waiting",
    "refused": "Refused",
    "uncertain": "Being checked in QuickBooks",
    DEAD_LETTER: "Could not be processed",
}

_WAITING_FOR = (
    ("customer", "Waiting for a customer mapping"),
    ("item", "Waiting for an item mapping"),
    ("connect", "Waiting for the company to be connected again"),
    ("setting", "Waiting for a setting"),
    ("open period", "Waiting for the accounting period to be opened"),
    ("quickbooks", "Waiting for QuickBooks to answer again"),
    ("quota", "Waiting: the quota of QuickBooks requests is used up"),
    ("mapping", "Waiting for a mapping to be corrected"),
    ("finalization", "Waiting for Metronome to finalize the invoice"),
)

_LAST_MS = 253_402_300_799_999  # the end of the year 9999, where datetime ends
_DIGITS_MAX = 40


def state_words(state: str, waits_for: str | None = None) -> str:
    """The state of an invoice as an accountant would say it, such as "Waiting for a customer mapping"."""
    if state == "parked" and waits_for:
        for beginning, words in _WAITING_FOR:
            if waits_for.startswith(beginning):
                return words
    return STATE_WORDS.get(state, state)


def amount_text(amount: Decimal | str) -> str:
    """All digits of an amount, at least two behind the point, with thousands separators: `-1,234.50`."""
    return _grouped(Decimal(amount), places_min=2)


def quantity_text(quantity: Decimal | str) -> str:
    """All digits of a quantity and no more: `50,000`, `0.125`."""
    return _grouped(Decimal(quantity), places_min=0)


def _grouped(number: Decimal, places_min: int) -> str:
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS_MAX:
        return str(number)
    number = number or Decimal(0)  # no -0.00
    exponent = number.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return format(number, f",.{max(places_min, -exponent)}f")


def money_text(amount: Decimal | str | None, currency: str | None) -> str:
    """`1,234.50 USD`; an empty text when there is no amount."""
    return "" if amount is None else f"{amount_text(amount)} {currency or ''}".rstrip()


def iso(moment: datetime) -> str:
    """UTC to the millisecond, `2026-11-02T01:02:03.371Z`: texts that sort as the moments do."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # within a day of the first or last moment that there is
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_of_ms(timestamp_ms: int) -> str:
    """A Kafka timestamp as `iso`; one that no calendar has becomes the nearest that it has."""
    return iso(datetime.fromtimestamp(min(max(timestamp_ms, 0), _LAST_MS) / 1000, UTC))


def moment_text(text: str | None) -> str:
    """An `iso` moment to be read: `2 Nov 2026, 01:02:03 UTC`."""
    if not text:
        return ""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"


def date_text(text: str) -> str:
    """`2026-11-02` to be read: `2 Nov 2026`."""
    moment = datetime.fromisoformat(text)
    return f"{moment.day} {moment:%b %Y}"


def seconds_text(seconds: float | None) -> str:
    """A duration to be read: `0.84 s`, `3 min 12 s`, `2 h 5 min`, `3 days`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"


def count_text(count: int, one: str, many: str) -> str:
    """`1 line`, `1,204 lines`."""
    return f"{count:,} {one if count == 1 else many}"
