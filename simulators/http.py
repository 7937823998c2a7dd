"""Request and answer as plain values, and the thin aiohttp shell that carries them over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

BODY_MAX_BYTES = 4 * 1024 * 1024
"""Of a request to a vendor's path, after decompression."""
CONTROL_BODY_MAX_BYTES = 64 * 1024 * 1024
"""Of a request to a control: a snapshot comes back through one."""
BODY_SECONDS_MAX = 10.0
"""So long a body may take: aiohttp waits for ever for one that is not the deflate stream that its headers promise."""
SHUTDOWN_TIMEOUT_SECONDS = 1.0

Json = dict[str, Any]
Ending = Literal["whole", "truncated", "drop"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, the query is decoded, the body is decompressed."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: `ending` says how much of it reaches the caller, and it leaves after `delay_seconds`. `fault`
    names the fault that spoiled it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    ending: Ending = "whole"
    fault: str = ""


Core = Callable[[Request], Answer]


class Controls(Protocol):
    """What a server offers beside the vendor's own paths."""

    def owns(self, path: str) -> bool: ...

    async def answer(self, request: Request) -> Answer: ...


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
    """Serves one core on one address until stopped, with the controls in front of it.

    It stands on aiohttp's low-level server, because cores and controls know their own paths.
    """

    def __init__(self, core: Core, controls: Controls) -> None:
        self._core = core
        self._controls = controls
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self, host: str, port: int) -> None:
        """Listens on `host`; port 0 picks a free one. `url` is known afterwards."""
        server = web.Server(self._handle, request_factory=_bounded_request, access_log=None)
        runner = self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self.url = f"http://{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                request = await _read(incoming)
        except web.HTTPRequestEntityTooLarge as too_large:
            return web.Response(status=413, text=too_large.text)
        except (web.RequestPayloadError, TimeoutError):
            return web.Response(status=400, text="The body is not what its Content-Encoding says, or did not come.")
        is_control = self._controls.owns(request.path)
        answer = await self._controls.answer(request) if is_control else self._core(request)
        if answer.delay_seconds:
            await asyncio.sleep(answer.delay_seconds)
        if answer.ending == "whole":
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await _cut(incoming, answer)


def _bounded_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    bytes_max = CONTROL_BODY_MAX_BYTES if message.path.startswith("/_sandbox/") else BODY_MAX_BYTES
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=bytes_max)


async def _read(incoming: web.BaseRequest) -> Request:
    """aiohttp has undone Content-Encoding when the body arrives here, so the core must not see that header."""
    headers = {name.lower(): value for name, value in incoming.headers.items()}
    headers.pop("content-encoding", None)
    return Request(
        method=incoming.method,
        path=incoming.path,
        query=dict(incoming.query) if incoming.query_string else {},
        headers=headers,
        body=await incoming.read() if incoming.can_read_body else b"",
    )


async def _cut(incoming: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Closes the connection before or in the middle of the body."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.ending == "truncated":
        response.content_length = len(answer.body)
        await response.prepare(incoming)
        await response.write(answer.body[: len(answer.body) // 2])
    if incoming.transport is not None:
        incoming.transport.close()
    return response
