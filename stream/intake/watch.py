"""Rounds over all of Metronome's customers, beside the ledger: what was missed goes on the webhook topic.

Metronome has no list over customers, so that a round asks for each customer's invoices, and stops by the day of issue.
The ledger is followed through its changelog in no group, and only what the look-back needs is kept of it: about
12 MB for 100,000 invoices (measured).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import aiohttp
import structlog

from agents.clients.failures import Failure, NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from agents.clients.metronome import Listed
from agents.clients.retry import RetryPolicy
from agents.clients.transport import AiohttpTransport
from agents.watch import (
    RECEIVED_AT_HEADER,
    SOURCE,
    SOURCE_HEADER,
    STATUSES,
    Announced,
    Horizon,
    KnownInvoices,
    Status,
    announcement_of,
    is_past,
    to_announce,
)
from models.events import Announcement
from models.metronome import FINALIZED, VOID, Customer, ListedInvoice
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.producer import publishing
from stream.serving import stop_requested
from stream.settings import Settings
from stream.topics import changelog, prepare_topics, topic_names
from stream.wiring import metronome_client

from .ledger_follower import following

PROGRESS_SECONDS = 30.0
FORBIDDEN = 403
DOUBTFUL_IN_A_ROW_MAX = 3
"""When so many customers after each other get no answer within their retry, it is not about customers."""

log = structlog.get_logger()

T = TypeVar("T")
Announce = Callable[[Announcement], Awaitable[None]]


class Lists(Protocol):
    """Metronome, as `agents.clients.metronome` offers it."""

    async def customers(self, *, archived: bool, limit: int, next_page: str | None) -> Listed[Customer]: ...
    async def invoices(
        self, customer_id: str, *, status: str, limit: int, next_page: str | None
    ) -> Listed[ListedInvoice]: ...


class Stopping(Exception):
    """We were asked to end."""


@dataclass
class Round:
    """What one round came to. `undated` invoices are final, unknown and have no day of issue, and are left to people;
    `failed_customers` have lists that Metronome would not give."""

    customers: int = 0
    invoices: int = 0
    announced_finalized: int = 0
    announced_voids: int = 0
    undated: int = 0
    failed_customers: int = 0
    requests: int = 0
    stopped: bool = False
    seconds: float = 0.0


@dataclass
class Watch:
    """Asks at most `requests_per_second`, one after the other, and ends between two requests when `stopping` is set."""

    metronome: Lists
    known: KnownInvoices
    announced: Announced
    horizon: Horizon
    requests_per_second: float
    page_size: int
    retry_seconds: float
    backoff_max_seconds: float
    stopping: asyncio.Event
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    _next_request_at: float = field(default=0.0, init=False)
    _next_progress_at: float = field(default=0.0, init=False)
    _doubtful_in_a_row: int = field(default=0, init=False)

    async def round(self, announce: Announce) -> Round:
        """One walk over all customers. `announce` returns once the broker has confirmed.

        Raises Wait, OutcomeUnknown or TokenRefused when Metronome is away or does not accept the token, and whatever
        `announce` raises.
        """
        done, began, self._doubtful_in_a_row = Round(), self.monotonic(), 0
        self._next_progress_at = began + PROGRESS_SECONDS
        self.known.forget_old(self.now())
        self.announced.forget_old(self.now())
        try:
            for archived in (False, True):
                async for customer_id in self._customers(done, archived=archived):
                    await self._customer(customer_id, done, announce)
        except Stopping:
            done.stopped = True
        done.seconds = round(self.monotonic() - began, 3)
        return done

    async def _customers(self, done: Round, *, archived: bool) -> AsyncIterator[str]:
        ask = partial(self.metronome.customers, archived=archived, limit=self.page_size)
        next_page: str | None = None
        while True:
            page = await self._ask(done, partial(ask, next_page=next_page))
            for customer in page.rows:
                yield customer.id
            if (next_page := page.next_page) is None:
                return

    async def _customer(self, customer_id: str, done: Round, announce: Announce) -> None:
        done.customers += 1
        try:
            for status in STATUSES:
                await self._invoices(customer_id, status, done, announce)
            self._doubtful_in_a_row = 0
        except (NotFound, Refused, OutcomeUnknown, TokenRefused) as failure:
            if isinstance(failure, TokenRefused) and failure.facts.status != FORBIDDEN:
                raise  # the token is no good for any customer
            done.failed_customers += 1
            self._doubtful_in_a_row += isinstance(failure, OutcomeUnknown)
            if self._doubtful_in_a_row >= DOUBTFUL_IN_A_ROW_MAX:
                raise
            log.warning("customer_not_watched", customer=customer_id, reason=str(failure))
        self._progress(done)

    async def _invoices(self, customer_id: str, status: Status, done: Round, announce: Announce) -> None:
        """From the newest on, to the first that is too old. Voids, which are few, to the last: those without a day of
        issue stand behind."""
        ask = partial(self.metronome.invoices, customer_id, status=status, limit=self.page_size)
        next_page: str | None = None
        while True:
            page = await self._ask(done, partial(ask, next_page=next_page))
            for invoice in page.rows:
                done.invoices += 1
                await self._look_at(invoice, done, announce)
            next_page = page.next_page
            too_old = status == FINALIZED and any(is_past(each, self.horizon, self.now()) for each in page.rows)
            if next_page is None or too_old:
                return

    async def _look_at(self, invoice: ListedInvoice, done: Round, announce: Announce) -> None:
        if invoice.status == FINALIZED and invoice.issued_at is None and invoice.id not in self.known:
            done.undated += 1
            log.warning("invoice_without_date", invoice=invoice.id, status=invoice.status)
        why, announcement = to_announce(invoice, self.known, self.horizon, self.now()), announcement_of(invoice)
        if why is None or announcement.id in self.announced:
            return
        await announce(announcement)
        self.announced.add(announcement.id, self.now())
        if why == VOID:
            done.announced_voids += 1
        else:
            done.announced_finalized += 1

    async def _ask(self, done: Round, request: Callable[[], Awaitable[T]]) -> T:
        """The answer to one request, asked again within the bound while Metronome throttles or is away."""
        retries = RetryPolicy(self.retry_seconds, self.backoff_max_seconds, self.monotonic, self._pause).start()
        while True:
            await self._pause(max(0.0, self._next_request_at - self.monotonic()))
            self._next_request_at = self.monotonic() + 1 / self.requests_per_second
            done.requests += 1
            try:
                return await request()
            except (Wait, OutcomeUnknown) as failure:
                log.warning("metronome_waits", reason=str(failure))
                await retries.wait(failure)

    async def _pause(self, seconds: float) -> None:
        """Raises Stopping as soon as we are asked to end."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return
        raise Stopping

    def _progress(self, done: Round) -> None:
        if self.monotonic() >= self._next_progress_at:
            self._next_progress_at = self.monotonic() + PROGRESS_SECONDS
            log.info("watch_progress", customers=done.customers, invoices=done.invoices, requests=done.requests)


async def run_watch(
    settings: Settings, *, once: bool, dry_run: bool, ready: Callable[[str], None], report: Callable[[Round], None]
) -> None:
    """Rounds until SIGTERM or SIGINT, or one. `report` gets each round; `ready` a line when the ledger is read.

    A round that fails is logged and followed by the next; the only one raises its Failure or BrokerUnreachable. Raises
    BrokerUnreachable, ReadFailed, TopicMismatch or TopicUnavailable when the ledger cannot be followed.
    """
    stopping = stop_requested()
    horizon = _horizon(settings)
    await prepare_topics(settings, only={topic_names(settings).webhooks, changelog(settings, "invoices")})
    known = KnownInvoices(
        max(horizon.finalized, horizon.voids) + timedelta(days=1),
        lambda realm: settings.policy_of(realm).voids == "flag",
    )
    async with aiohttp.ClientSession() as session, following(settings, known.enter) as ledger:
        await _first(ledger.caught_up(), stopping.wait(), ledger.broken())
        if stopping.is_set():
            return
        if not once:
            ready(f"watch ready, every {settings.watch.interval_seconds} s; the ledger has {len(known):,} invoices")
        watch = _watch(settings, AiohttpTransport(session), known, horizon, stopping)
        rounds = _rounds(settings, watch, once=once, dry_run=dry_run, report=report)
        await _first(rounds, ledger.broken())


async def _rounds(
    settings: Settings, watch: Watch, *, once: bool, dry_run: bool, report: Callable[[Round], None]
) -> None:
    while not watch.stopping.is_set():
        try:
            report(await _one_round(settings, watch, dry_run=dry_run))
        except (Failure, BrokerUnreachable) as failure:
            if once:
                raise
            log.error("round_failed", reason=str(failure))
        if once:
            return
        try:
            async with asyncio.timeout(settings.watch.interval_seconds):
                await watch.stopping.wait()
        except TimeoutError:
            continue


async def _one_round(settings: Settings, watch: Watch, *, dry_run: bool) -> Round:
    """A producer for each round: one that failed does not serve again."""
    if dry_run:
        return await watch.round(_only_say)
    async with publishing(settings) as publisher:

        async def announce(found: Announcement) -> None:
            headers = {RECEIVED_AT_HEADER: watch.now().isoformat().encode(), SOURCE_HEADER: SOURCE.encode()}
            await publisher.send(topic_names(settings).webhooks, found.customer_id.encode(), found.encode(), headers)
            log.info("announced", invoice=found.invoice_id, status=found.status)

        return await watch.round(announce)


async def _only_say(found: Announcement) -> None:
    log.info("would_announce", invoice=found.invoice_id, status=found.status)


def _horizon(settings: Settings) -> Horizon:
    watch = settings.watch
    return Horizon(
        finalized=timedelta(days=watch.look_back_days),
        voids=timedelta(days=watch.void_look_back_days),
        grace=timedelta(minutes=watch.grace_minutes),
        repeat_after=timedelta(hours=watch.repeat_after_hours),
    )


def _watch(
    settings: Settings,
    transport: AiohttpTransport,
    known: KnownInvoices,
    horizon: Horizon,
    stopping: asyncio.Event,
) -> Watch:
    return Watch(
        metronome=metronome_client(settings, transport),
        known=known,
        announced=Announced(horizon.repeat_after),
        horizon=horizon,
        requests_per_second=settings.watch.requests_per_second,
        page_size=settings.watch.page_size,
        retry_seconds=settings.watch.retry_seconds,
        backoff_max_seconds=settings.metronome.backoff_max_seconds,
        stopping=stopping,
    )


async def _first(*coroutines: Coroutine[Any, Any, None] | Coroutine[Any, Any, bool]) -> None:
    """Returns when the first of them ends, or raises what it raised; the others are cancelled."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
