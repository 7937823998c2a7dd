from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from stream import formatting as words


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1234567.5", "1,234,567.50"),
        ("1E+2", "100.00"),
        ("-0.12345", "-0.12345"),
        ("-0", "0.00"),
        ("1E+9999", "1E+9999"),
    ],
)
def test_amounts_show_all_their_digits_and_at_least_two_places(amount: str, text: str) -> None:
    assert words.amount_text(Decimal(amount)) == text


def test_an_amount_longer_than_the_default_precision_is_not_rounded() -> None:
    assert words.amount_text("12345678901234567890123456789012.123").endswith("789,012.123")


def test_a_quantity_shows_no_digit_that_it_has_not() -> None:
    assert [words.quantity_text(each) for each in ("50000", "0.1250")] == ["50,000", "0.125"]


def test_moments_are_kept_in_utc_so_that_their_texts_sort() -> None:
    moment = datetime(2026, 11, 2, 1, 2, 3, 371_000, timezone(timedelta(hours=2)))
    assert words.iso(moment) == "2026-11-01T23:02:03.371Z"
    assert words.moment_text(words.iso(moment)) == "1 Nov 2026, 23:02:03 UTC"


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**63 - 1])
def test_any_kafka_timestamp_has_a_text(timestamp_ms: int) -> None:
    assert words.iso_of_ms(timestamp_ms).endswith("Z")


def test_the_first_and_last_moments_of_the_calendar_have_a_text() -> None:
    assert words.iso(datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))).startswith("9999")
    assert words.iso(datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))).startswith("0001")
    assert words.iso(datetime.min.replace(tzinfo=UTC)).startswith("0001")


def test_a_parked_invoice_says_what_it_waits_for() -> None:
    assert words.state_words("parked", "customer/c1") == "Waiting for a customer mapping"
    assert words.state_words("parked", "setting/policy.income_account_id") == "Waiting for a setting"
    assert words.state_words("parked", "something new") == "Waiting"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.8412, "0.84 s"), (125, "2 min 5 s"), (7500, "2 h 5 min"), (300_000, "3 days")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert words.seconds_text(seconds) == text
