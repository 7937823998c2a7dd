"""`metronome-qbo web`: the pages, and the projection that feeds them."""

import asyncio
import signal
from typing import Annotated

import typer
from aiohttp import web as aiohttp_web

from stream.index import Index, NotAnIndex
from stream.projection import Projection
from stream.reader import ReadFailed
from stream.settings import Settings
from stream.topics import BrokerUnreachable
from stream.web.app import create_web

from .common import Config, clear_errors, load_settings, out

SHUTDOWN_TIMEOUT_SECONDS = 4.0


def web(
    host: Annotated[str | None, typer.Option(help="Listen here instead of web.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen here instead of web.port; 0 takes a free one.")] = None,
    config: Config = None,
) -> None:
    """Show what came in and what became of it, as web pages.

    Follows all topics into a disposable index (web.index); delete that file at any time and it comes back. Reads in
    no consumer group and writes nothing to Kafka.

    Examples:

      metronome-qbo web

      metronome-qbo web --port 8090
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    with clear_errors(BrokerUnreachable, ReadFailed, NotAnIndex, OSError):
        asyncio.run(
            _serve(
                settings,
                settings.web.host if host is None else host,
                settings.web.port if port is None else port,
            )
        )


async def _serve(settings: Settings, host: str, port: int) -> None:
    """Serve and follow until SIGTERM or SIGINT; an error of the projection ends both."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    index = Index(settings.web.index)
    runner = aiohttp_web.AppRunner(
        create_web(settings, index), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS
    )
    await runner.setup()
    following = asyncio.create_task(Projection(settings, index).run())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await aiohttp_web.TCPSite(runner, host, port).start()
        out.print(f"web ready on http://{host}:{runner.addresses[0][1]}", soft_wrap=True)
        await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
    finally:
        following.cancel()
        stopped.cancel()
        await asyncio.gather(following, stopped, return_exceptions=True)
        await runner.cleanup()
