"""Request and answer as plain values, and the thin aiohttp shell that carries them over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiohttp import web

BODY_MAX_BYTES = 4 * 1024 * 1024
SHUTDOWN_TIMEOUT_SECONDS = 1.0

Json = dict[str, Any]
Ending = Literal["whole", "truncated", "drop"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, the query is decoded."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: `ending` says how much of it reaches the caller, and it leaves after `delay_seconds`."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    ending: Ending = "whole"


Core = Callable[[Request], Answer]


def _exact(value: object) -> orjson.Fragment:
    """Decimals leave as JSON numbers with every digit; anything else unknown is a mistake here."""
    return orjson.Fragment(str(value))


def dump(value: object) -> bytes:
    """JSON text of `value`; a Decimal becomes a number with all its digits."""
    return orjson.dumps(value, default=_exact)


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, dump(value), {"Content-Type": "application/json", **(headers or {})})


def html_answer(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


class Shell:
    """Serves one core on one address until stopped; `routes` go before the core and may be asynchronous."""

    def __init__(self, core: Core, routes: Sequence[web.RouteDef] = ()) -> None:
        self._core = core
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.add_routes(routes)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS)
        self.url = ""

    async def start(self, host: str, port: int) -> None:
        """Listens on `host`; port 0 picks a free one. `url` is known afterwards."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound = self._runner.addresses[0]
        self.url = f"http://{host}:{bound[1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        request = Request(
            method=incoming.method,
            path=incoming.path,
            query=dict(incoming.query),
            headers={name.lower(): value for name, value in incoming.headers.items()},
            body=await incoming.read(),
        )
        answer = self._core(request)
        if answer.delay_seconds:
            await asyncio.sleep(answer.delay_seconds)
        if answer.ending == "whole":
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await _cut(incoming, answer)


async def _cut(incoming: web.Request, answer: Answer) -> web.StreamResponse:
    """Closes the connection before or in the middle of the body."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.ending == "truncated":
        response.content_length = len(answer.body)
        await response.prepare(incoming)
        await response.write(answer.body[: len(answer.body) // 2])
    if incoming.transport is not None:
        incoming.transport.close()
    return response
