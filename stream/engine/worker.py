"""Runs the topology in one process: declares topics, starts Faust, serves health, and ends when asked to."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import faust
import structlog
from aiohttp import web

from agents.clients.transport import AiohttpTransport
from agents.connections import FINISH_SECONDS
from agents.delivery import StopWorker
from stream import OperatorError
from stream.intake.receiver import PATH, create_receiver
from stream.kafka.producer import WebhookPublisher
from stream.serving import listening, stop_requested
from stream.settings import Settings
from stream.topics import prepare_topics, topic_names
from stream.wiring import oauth_client

from .app import Engine
from .clock import say_if_clock_is_wrong
from .dead_letters import dead_letters_in_a_row

log = structlog.get_logger()

HEALTH_PATH = "/healthz"
CONNECTIONS_PER_HOST_MAX = 100
POLL_SECONDS = 0.2


class WorkerCrashed(OperatorError):
    """The worker stopped because of a fault that it must not pass over; start it again when that is corrected."""


async def run_worker(
    settings: Settings, ready: Callable[[str], None], check: Callable[[Settings], Awaitable[None]]
) -> None:
    """Runs until SIGTERM or SIGINT. `check` is done once the topics are there; `ready` gets one line when the tables
    are recovered.

    Raises WorkerCrashed, CannotListen, and as `prepare_topics` and `check`.
    """
    engine: Engine | None = None

    def end_within_bounds(code: int, reason: str | None = None) -> None:
        _end_within(settings.worker.shutdown_timeout_seconds, code, reason, lambda: _is_refreshing(engine))

    stopping = stop_requested(lambda: end_within_bounds(0))
    settings.worker.data_directory.mkdir(parents=True, exist_ok=True)
    installation = await prepare_topics(settings)
    await check(settings)
    connector = aiohttp.TCPConnector(limit_per_host=CONNECTIONS_PER_HOST_MAX)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
        transport = AiohttpTransport(session)
        in_a_row = await dead_letters_in_a_row(settings)
        engine = Engine(settings, transport, oauth_client(settings, transport), installation, in_a_row)
        app = engine.app
        app.finalize()
        async with _served(settings, engine) as where:
            vendors = settings.quickbooks.url, settings.metronome.url
            checking = asyncio.create_task(say_if_clock_is_wrong(transport, vendors))
            started = asyncio.create_task(_started(app))
            stopped = asyncio.create_task(stopping.wait())
            crashed = asyncio.create_task(_until_crashed(engine))
            try:
                await asyncio.wait({started, stopped, crashed}, return_when=asyncio.FIRST_COMPLETED)
                if started.done() and not crashed.done() and not stopping.is_set():
                    started.result()
                    ready(f"worker ready, {where}")
                    await asyncio.wait({stopped, crashed}, return_when=asyncio.FIRST_COMPLETED)
                if crashed.done():
                    crashed.result()
            finally:
                if app.crash_reason is not None:
                    end_within_bounds(1, _in_words(app.crash_reason))
                await _stop(app, checking, started, stopped, crashed)


async def _started(app: faust.App) -> None:
    """Returns when the tables are recovered, which takes for ever where the group lets this worker in no more."""
    await app.start()
    await app.tables.wait_until_recovery_completed()


async def _stop(app: faust.App, *tasks: "asyncio.Task[object]") -> None:
    """Raises WorkerCrashed with the reason for which the app ends, if there is one, however its stop ends."""
    reason = app.crash_reason
    try:
        await app.stop()
    finally:
        for task in tasks:
            task.cancel()
        if reason is not None:
            raise WorkerCrashed(_in_words(reason)) from reason


def _in_words(reason: BaseException) -> str:
    return f"{type(reason).__name__}: {reason}"


async def _until_crashed(engine: Engine) -> None:
    """Returns once the app has a reason to end: one that Faust found, or the watchdog."""
    watching = asyncio.create_task(engine.watchdog.until_ended())
    try:
        while engine.app.crash_reason is None:
            await asyncio.sleep(POLL_SECONDS)
            if watching.done():
                await engine.app.crash(StopWorker(watching.result()))
    finally:
        watching.cancel()


@asynccontextmanager
async def _served(settings: Settings, engine: Engine) -> AsyncIterator[str]:
    """The health page, and the webhook endpoint when `worker.hosts_receiver` says so; says where they are."""
    worker, receiver = settings.worker, settings.receiver
    async with AsyncExitStack() as stack:
        health = web.Application()
        health.router.add_get(HEALTH_PATH, lambda _: _health(engine))
        address = await stack.enter_async_context(listening(health, worker.health_host, worker.health_port))
        where = f"health on {address}{HEALTH_PATH}"
        if worker.hosts_receiver:
            publisher = WebhookPublisher(settings, topic_names(settings).webhooks, _nothing)
            publishing = asyncio.create_task(publisher.run())
            stack.callback(publishing.cancel)
            endpoint = create_receiver(settings, publisher.publish)
            address = await stack.enter_async_context(listening(endpoint, receiver.host, receiver.port))
            where += f", webhooks on {address}{PATH}"
        yield where


async def _nothing() -> None:
    """The worker declared the topics already."""


async def _health(engine: Engine) -> web.Response:
    crashed = engine.app.crash_reason is not None
    recovered = engine.app.tables.recovery.completed.is_set()
    unconfirmed = engine.watchdog.unconfirmed_seconds
    working = "working" if unconfirmed is None else f"waiting {unconfirmed:.0f} s for Kafka to confirm a record"
    state = "crashed" if crashed else working if recovered else "recovering tables"
    return web.json_response({"status": state}, status=503 if crashed else 200)


def _is_refreshing(engine: Engine | None) -> bool:
    return engine is not None and engine.pipeline.connections.is_refreshing


def _end_within(seconds: int, code: int, reason: str | None, is_refreshing: Callable[[], bool]) -> None:
    """End even when stopping hangs; the next start repeats the work.

    A send hangs with the broker away, and Faust waits for ever for a consumer whose thread ended while it was asked to
    stop. Only a token refresh has `FINISH_SECONDS` more: half of one loses the company.
    """

    def end() -> None:
        latest = time.monotonic() + FINISH_SECONDS
        while is_refreshing() and time.monotonic() < latest:
            time.sleep(POLL_SECONDS)
        log.warning("worker_ended_by_force", after_seconds=seconds)
        if reason is not None:
            print(reason, file=sys.stderr, flush=True)
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
