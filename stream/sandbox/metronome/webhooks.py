"""Metronome's webhooks: signed `invoice.finalized` notices, sent again until taken (`facts/metronome.md` §3)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from uuid import UUID, uuid5

import aiohttp

from stream.sandbox.http import Json, dump

TIMEOUT_SECONDS = 30.0
AT_ONCE_MAX = 8


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a refused notice is sent again: delays double from the first one up to `delay_max_seconds`.

    Metronome reaches 15 minutes and gives up after two days; the sandbox does the same in less time.
    """

    delay_seconds: float = 0.25
    delay_max_seconds: float = 5.0
    attempts_max: int = 20

    def delays(self) -> Iterator[float]:
        delay = self.delay_seconds
        for _ in range(self.attempts_max - 1):
            yield delay
            delay = min(delay * 2, self.delay_max_seconds)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one notice; `status` is the last HTTP status, 0 when there was no answer."""

    invoice_id: str
    status: int
    attempts: int

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


def sign(secret: str, date: str, body: bytes) -> str:
    """Lower-case hex of HMAC-SHA256 over the date, a newline and the exact body."""
    return hmac.new(secret.encode(), date.encode() + b"\n" + body, hashlib.sha256).hexdigest()


def finalized_notice(invoice: Json, now: float) -> bytes:
    """The compact JSON body. Its id depends on the invoice only: a repeat is recognised by it."""
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    notice_id = str(uuid5(UUID(invoice["id"]), "finalized"))
    properties = {
        "invoice_id": invoice["id"],
        "customer_id": invoice["customer_id"],
        "invoice_finalized_date": at,
    }
    return dump({"id": notice_id, "type": "invoice.finalized", "properties": properties})


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
    """Sends one notice for each invoice, some at once; each attempt is dated and signed anew."""
    places = asyncio.Semaphore(AT_ONCE_MAX)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def deliver(invoice: Json) -> Delivery:
            async with places:
                body = finalized_notice(invoice, clock())
                return await _deliver(session, url, invoice["id"], body, secret, clock, schedule)

        return await asyncio.gather(*(deliver(each) for each in invoices))


async def _deliver(
    session: aiohttp.ClientSession,
    url: str,
    invoice_id: str,
    body: bytes,
    secret: str,
    clock: Callable[[], float],
    schedule: Schedule,
) -> Delivery:
    delays = schedule.delays()
    for attempt in range(1, schedule.attempts_max + 1):
        try:
            headers = signed_headers(secret, clock(), body)
            async with session.post(url, data=body, headers=headers) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        delivery = Delivery(invoice_id, status, attempt)
        if delivery.accepted or attempt == schedule.attempts_max:
            break
        await asyncio.sleep(next(delays))
    return delivery
