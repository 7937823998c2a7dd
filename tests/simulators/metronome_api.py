"""The simulated Metronome without sockets, on a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from simulators.http import Answer, Request, dump
from simulators.metronome.core import Metronome
from simulators.metronome.settings import MetronomeSettings
from simulators.scene import Scene
from tests.simulators.companies import Clock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOKEN = "sandbox-token"


class Api:
    """Requests with the right token unless told otherwise; `get` and `post` expect 200."""

    def __init__(self, scene: Scene, settings: MetronomeSettings | None = None, track: bool = False) -> None:
        self.scene = scene
        self.clock = Clock()
        self.core = Metronome(scene, TOKEN, self.clock, settings, track=track)

    def ask(
        self, method: str, path: str, value: object = None, token: str = TOKEN, key: str = "", **query: str
    ) -> Answer:
        headers = {"authorization": f"Bearer {token}"} | ({"idempotency-key": key} if key else {})
        return self.core.answer(Request(method, path, query, headers, b"" if value is None else dump(value)))

    def send(
        self, method: str, path: str, value: object = None, token: str = TOKEN, key: str = "", **query: str
    ) -> tuple[int, Any]:
        answer = self.ask(method, path, value, token, key, **query)
        return answer.status, json.loads(answer.body, parse_float=Decimal) if answer.body else None

    def get(self, path: str, **query: str) -> Any:
        status, value = self.send("GET", path, **query)
        assert status == 200, value
        return value

    def post(self, path: str, value: object, **query: str) -> Any:
        status, answer = self.send("POST", path, value, **query)
        assert status == 200, answer
        return answer

    def invoice(self, index: int = 0) -> Any:
        invoice = self.scene.invoices[index]
        return self.get(f"/v1/customers/{invoice['customer_id']}/invoices/{invoice['id']}")["data"]


@asynccontextmanager
async def served(core: Metronome) -> AsyncIterator[str]:
    """The core on a free port, and its URL."""

    async def handle(incoming: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        body = await incoming.read()
        answer = core.answer(Request(incoming.method, incoming.path, dict(incoming.query), headers, body))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))
