"""The whole sandbox, both simulators behind their HTTP shells, in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import quote, urlencode, urlsplit

from simulators.http import Answer, Request
from simulators.quickbooks.books import Company
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS
from tests.simulators.companies import REALM
from tests.simulators.fuzz.metronome import SCENE


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in its thread for the length of the block."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND_SECONDS)
        loop.close()


@contextmanager
def served(loop: asyncio.AbstractEventLoop) -> Iterator[Sandbox]:
    """A new sandbox on free loopback ports, without rate limits."""
    starting = start_sandbox(seed=1, scene=SCENE, companies=[Company(REALM, multicurrency=False)], limits=False)
    sandbox = asyncio.run_coroutine_threadsafe(starting, loop).result(BOUND_SECONDS)
    try:
        yield sandbox
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.stop(), loop).result(BOUND_SECONDS)


def send(url: str, request: Request) -> Answer:
    """The answer over HTTP; OSError when none comes in time."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=BOUND_SECONDS)
    path = quote(request.path, safe="/%")
    headers = {name: value.encode("utf-8").decode("latin-1") for name, value in request.headers.items()}
    try:
        connection.request(request.method, f"{path}?{urlencode(request.query)}", request.body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read(), dict(response.getheaders()))
    finally:
        connection.close()
