"""`metronome-qbo receive`: the webhook endpoint alone."""

import asyncio
import signal
from functools import partial
from typing import Annotated

import typer
from aiohttp import web

from stream.names import topic_names
from stream.prepare import prepare_topics
from stream.receiver import PATH, WebhookPublisher, create_receiver
from stream.settings import Settings
from stream.topics import TopicMisfit

from .common import Config, clear_errors, load_settings, out

SHUTDOWN_TIMEOUT_SECONDS = 4.0


def receive(
    host: Annotated[str | None, typer.Option(help="Listen here instead of receiver.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen here instead of receiver.port; 0 takes a free one.")] = None,
    config: Config = None,
) -> None:
    """Receive Metronome's webhooks and write them to the webhook topic.

    It answers 200 only after the broker has confirmed, and starts without a broker too (503 until one comes).

    Examples:

      metronome-qbo receive

      metronome-qbo receive --host 0.0.0.0 --port 8080
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    with clear_errors(TopicMisfit, OSError):
        asyncio.run(
            _serve(
                settings,
                settings.receiver.host if host is None else host,
                settings.receiver.port if port is None else port,
            )
        )


async def _serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises TopicMisfit, or OSError when the port is taken."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    publisher = _publisher(settings)
    runner = web.AppRunner(
        create_receiver(settings, publisher.publish), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS
    )
    await runner.setup()
    publishing = asyncio.create_task(publisher.run())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await web.TCPSite(runner, host, port).start()
        out.print(f"receiver ready on http://{host}:{runner.addresses[0][1]}{PATH}", soft_wrap=True)
        await asyncio.wait({publishing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if publishing.done():
            publishing.result()
    finally:
        await runner.cleanup()  # first the requests under way, which still need the publisher
        publishing.cancel()
        stopped.cancel()
        await asyncio.gather(publishing, stopped, return_exceptions=True)


def _publisher(settings: Settings) -> WebhookPublisher:
    topic = topic_names(settings).webhooks
    prepare = partial(prepare_topics, settings, only={topic})
    return WebhookPublisher(settings, topic, prepare)
