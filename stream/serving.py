"""Serving until somebody asks us to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from stream import OperatorError

SHUTDOWN_TIMEOUT_SECONDS = 4.0


class CannotListen(OperatorError):
    """An address cannot be listened on; the message says which, why, and where it is set."""


def stop_requested(also: Callable[[], None] | None = None) -> asyncio.Event:
    """Set by SIGTERM and SIGINT, which call `also` too."""
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        if also is not None:
            also()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


@asynccontextmanager
async def listening(application: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """The application served on its address, which is given; port 0 takes a free one. Raises CannotListen."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = str(error.strerror).rpartition(": ")[2]  # asyncio has the address before it
            raise CannotListen(
                f"cannot listen on {host}:{port}: {reason}. Stop what listens there, or set another host or port "
                "(receiver.*, web.* or worker.health_* of `metronome-qbo config`)"
            ) from None
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def serve(
    application: web.Application, host: str, port: int, beside: Coroutine[Any, Any, None], ready: Callable[[str], None]
) -> None:
    """Serve until asked to stop, with `beside` running; what it raises ends both. `ready` gets the address.

    Raises CannotListen.
    """
    stopping = stop_requested()
    running = asyncio.create_task(beside)
    stopped = asyncio.create_task(stopping.wait())
    try:
        # The requests under way end first: they may still need what runs beside.
        async with listening(application, host, port) as address:
            ready(address)
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
    finally:
        running.cancel()
        stopped.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)
