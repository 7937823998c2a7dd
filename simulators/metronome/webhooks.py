"""Sends webhooks: dated, signed, and again until they are taken (`docs/vendors/metronome.md` §3.2, §3.3)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate

import aiohttp

from simulators.http import Json
from simulators.metronome.notices import Notice, finalized

TIMEOUT_SECONDS = 30.0
AT_ONCE_MAX = 8
# The documented schedule: up to a quarter of an hour, until two days after the first attempt. Its first delay is not
# documented; with one second it makes these attempts.
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 900.0
ATTEMPTS_IN_TWO_DAYS = 201


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a refused notice is sent again: delays double from the first one up to `delay_max_seconds`.

    The defaults suit a sandbox. `redated`: each attempt is dated and signed anew, which Metronome must do but does not
    document; without it the receiver sees the date of the first attempt.
    """

    delay_seconds: float = 0.25
    delay_max_seconds: float = 5.0
    attempts_max: int = 20
    redated: bool = True

    @classmethod
    def documented(cls, compress: float = 1.0, *, redated: bool = True) -> Schedule:
        """Metronome's own two days, `compress` times as fast."""
        return cls(FIRST_DELAY_SECONDS / compress, LONGEST_DELAY_SECONDS / compress, ATTEMPTS_IN_TWO_DAYS, redated)

    def delays(self) -> Iterator[float]:
        delay = self.delay_seconds
        for _ in range(self.attempts_max - 1):
            yield min(delay, self.delay_max_seconds)
            delay = min(delay * 2, self.delay_max_seconds)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one notice; `status` is the last HTTP status, 0 when there was no answer. `invoice_id` is the id
    of what the notice is about when that is no invoice."""

    invoice_id: str
    status: int
    attempts: int

    @property
    def accepted(self) -> bool:
        """Any status above 299 is a refusal."""
        return 200 <= self.status < 300


def sign(secret: str, date: str, body: bytes) -> str:
    """Lower-case hex of HMAC-SHA256 over the date, a newline and the exact body."""
    return hmac.new(secret.encode(), date.encode() + b"\n" + body, hashlib.sha256).hexdigest()


def finalized_notice(invoice: Json, now: float) -> bytes:
    """The exact body of `invoice.finalized`."""
    return finalized(invoice, now).body


def signed_headers(secret: str, now: float, body: bytes) -> dict[str, str]:
    date = formatdate(now, usegmt=True)
    return {
        "Content-Type": "application/json",
        "Date": date,
        "X-Metronome-Date": date,
        "Metronome-Webhook-Signature": sign(secret, date, body),
    }


async def send_finalized(
    url: str, invoices: Sequence[Json], secret: str, clock: Callable[[], float], schedule: Schedule
) -> list[Delivery]:
    """Sends one notice for each invoice."""
    return await send(url, [finalized(each, clock()) for each in invoices], secret, clock, schedule)


async def send(
    url: str, notices: Sequence[Notice], secret: str, clock: Callable[[], float], schedule: Schedule
) -> list[Delivery]:
    """Sends these notices, some at once, each until it is taken or the schedule has ended."""
    places = asyncio.Semaphore(AT_ONCE_MAX)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def deliver(each: Notice) -> Delivery:
            async with places:
                return await _deliver(session, url, each, secret, clock, schedule)

        return await asyncio.gather(*(deliver(each) for each in notices))


async def _deliver(
    session: aiohttp.ClientSession,
    url: str,
    notice: Notice,
    secret: str,
    clock: Callable[[], float],
    schedule: Schedule,
) -> Delivery:
    delays = schedule.delays()
    headers = signed_headers(secret, clock(), notice.body)
    for attempt in range(1, schedule.attempts_max + 1):
        if schedule.redated:
            headers = signed_headers(secret, clock(), notice.body)
        try:
            async with session.post(url, data=notice.body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        delivery = Delivery(notice.subject_id, status, attempt)
        if delivery.accepted or attempt == schedule.attempts_max:
            break
        await asyncio.sleep(next(delays))
    return delivery
