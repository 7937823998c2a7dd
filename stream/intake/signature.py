"""Metronome's webhook signature (docs/vendors/metronome.md §3.3): who sent these bytes, and when."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

SIGNATURE_HEADER = "Metronome-Webhook-Signature"
DATE_HEADER = "X-Metronome-Date"
OLD_DATE_HEADER = "Date"


class NotSigned(Exception):
    """The webhook is not to be believed; the message says why, and holds nothing of its body or of a secret."""


def sign(secret: str, date: str, body: bytes) -> str:
    """The lower-case hex HMAC-SHA256 of `date` as it stands in the header, a newline, and the exact body."""
    # aiohttp gives header bytes that are not UTF-8 as surrogates.
    message = date.encode("utf-8", "surrogateescape") + b"\n" + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def require_signature(headers: Mapping[str, str]) -> tuple[str, str]:
    """The signature and the date that it signs, as they stand in the headers. Raises `NotSigned`: "missing signature"
    or "missing date"."""
    signature = headers.get(SIGNATURE_HEADER)
    if not signature:
        raise NotSigned("missing signature")
    date = headers.get(DATE_HEADER) or headers.get(OLD_DATE_HEADER)
    if not date:
        raise NotSigned("missing date")
    return signature, date


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: float, window_seconds: float
) -> str:
    """The signed date header, when one of `secrets` signed `body` within `window_seconds` of `now`, either way.

    `headers` ignore case; `now` is in epoch seconds. Raises `NotSigned`: "missing signature", "missing date",
    "wrong signature", "unreadable date" or "stale date".
    """
    signature, date = require_signature(headers)
    given = signature.encode("utf-8", "surrogateescape")
    # Every secret is tried, so that the time taken does not tell which one fits.
    matches = [hmac.compare_digest(given, sign(secret, date, body).encode()) for secret in secrets]
    if not any(matches):
        raise NotSigned("wrong signature")
    if abs(_epoch_seconds(date) - now) > window_seconds:
        raise NotSigned("stale date")
    return date


def _epoch_seconds(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        raise NotSigned("unreadable date") from None
    if moment.tzinfo is None:
        raise NotSigned("unreadable date")
    return moment.timestamp()
