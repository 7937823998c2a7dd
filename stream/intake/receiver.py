"""The webhook endpoint: what Metronome signed goes to the log as it came, and 2xx means that the broker has it.

`POST /webhooks/metronome` answers 200 (recorded), 400 (the body is not encoded as it says), 401 (not signed, or stale),
413 (too large), or 503 (not now, so that Metronome sends it again). Nothing is judged here beyond the signature:
unknown events, broken JSON and an empty body are recorded too, and dealt with downstream. Nothing is read of what has
no signature. Answers and logs hold nothing of the body or of a secret.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web

from models.money import parse_json
from stream.kafka.producer import BrokerAway, Headers, RecordTooLarge
from stream.settings import Settings

from .signature import NotSigned, require_signature, verify

log = structlog.get_logger()

PATH = "/webhooks/metronome"
RETRY_AFTER_SECONDS = 30
BODY_TIMEOUT_SECONDS = 30
PUBLISHING_MAX = 256
KEY_BYTES_MAX = 200

Publish = Callable[[bytes | None, bytes, Headers], Awaitable[None]]


def create_receiver(settings: Settings, publish: Publish, clock: Callable[[], float] = time.time) -> web.Application:
    """The receiver as an application. `publish(key, body, headers)` returns once the broker has confirmed the record,
    and raises `BrokerAway` or `RecordTooLarge`; it is given `receiver.publish_timeout_seconds`.
    """
    endpoint = _Endpoint(settings, publish, clock)
    app = web.Application(client_max_size=settings.receiver.body_bytes_max, middlewares=[_json_errors])
    app.add_routes(
        [
            web.post(PATH, endpoint.receive, expect_handler=_go_on_with_the_body),
            web.get("/healthz", _healthz, expect_handler=_go_on_with_the_body),
        ]
    )
    return app


async def _go_on_with_the_body(request: web.Request) -> None:
    """As aiohttp's own for `Expect: 100-continue`. For all else it repeats the header in its answer, and breaks where
    that is no text."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


class _Endpoint:
    def __init__(self, settings: Settings, publish: Publish, clock: Callable[[], float]) -> None:
        self._receiver = settings.receiver
        self._secrets = [secret.get_secret_value() for secret in settings.metronome.webhook_secrets]
        self._publish = publish
        self._clock = clock
        self._publishing = 0

    async def receive(self, request: web.Request) -> web.Response:
        if not self._secrets:
            log.error("webhook_refused", reason="metronome.webhook_secrets is not set, so the endpoint is off")
            return _not_now("this endpoint is off: no webhook secret is configured")
        try:
            require_signature(request.headers)
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await request.read()
        except NotSigned as error:
            return _refused_unread(request, 401, str(error))
        except TimeoutError:
            return _refused(408, "the body took too long")
        except web.RequestPayloadError:
            return _refused_unread(request, 400, "the body is not encoded as its headers say")
        now = self._clock()
        try:
            date = verify(self._secrets, request.headers, body, now=now, window_seconds=self._receiver.window_seconds)
        except NotSigned as error:
            return _refused(401, str(error))
        headers = [
            ("received-at", datetime.fromtimestamp(now, UTC).isoformat().encode()),
            ("source", b"webhook"),
            ("metronome-date", date.encode("utf-8", "surrogateescape")),
        ]
        return await self._record(webhook_key(body), body, headers)

    async def _record(self, key: bytes | None, body: bytes, headers: Headers) -> web.Response:
        if self._publishing >= PUBLISHING_MAX:
            log.warning("webhook_refused", reason="too many wait for the broker", waiting=self._publishing)
            return _not_now("too many webhooks wait for the broker")
        self._publishing += 1
        try:
            async with asyncio.timeout(self._receiver.publish_timeout_seconds):
                await self._publish(key, body, headers)
        except (BrokerAway, TimeoutError) as error:
            log.warning("webhook_refused", reason=str(error) or "the broker did not confirm in time")
            return _not_now("the broker is away")
        except RecordTooLarge:
            return _refused(413, "the broker takes no record of this size")
        finally:
            self._publishing -= 1
        log.info("webhook_recorded", bytes=len(body), invoice=key is not None)
        return web.json_response({"status": "recorded"})


def webhook_key(body: bytes) -> bytes | None:
    """`properties.customer_id` of an invoice event (docs/vendors/metronome.md §3.1), the record's key, so that all
    webhooks of a customer lie in one partition (`agents/enrich.py`); None for all else.
    """
    try:
        match parse_json(body):
            case {"type": str(kind), "properties": {"customer_id": str(customer_id)}} if kind.startswith("invoice."):
                key = customer_id.encode()
                return key if 0 < len(key) <= KEY_BYTES_MAX else None
    except (ValueError, RecursionError, ArithmeticError):
        pass
    return None


def _not_now(reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _refused(status: int, reason: str) -> web.Response:
    log.warning("webhook_refused", reason=reason, status=status)
    return web.json_response({"error": reason}, status=status)


def _refused_unread(request: web.Request, status: int, reason: str) -> web.Response:
    """Refused, with the rest of the body left alone: aiohttp would read it, and fail where it is not as it says."""
    request.content.feed_eof()
    response = _refused(status, reason)
    response.force_close()
    return response


@web.middleware
async def _json_errors(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    """Every error as small JSON, aiohttp's own (no such path, body too large) among them."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _refused(413, f"the body is larger than {request.client_max_size} bytes")
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response({"error": error.reason}, status=error.status, headers=allow)
    except Exception as error:
        log.exception("webhook_failed", error=type(error).__name__)
        return web.json_response({"error": "something broke here; send it again"}, status=500)
    return response
