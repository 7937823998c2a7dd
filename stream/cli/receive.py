"""`metronome-qbo receive`: the webhook endpoint alone."""

import asyncio
from functools import partial
from typing import Annotated

import typer

from stream.intake.receiver import PATH, create_receiver
from stream.kafka.producer import WebhookPublisher
from stream.serving import serve
from stream.settings import Settings
from stream.topics import prepare_topics, topic_names

from .common import Config, load_settings, out


def receive(
    host: Annotated[str | None, typer.Option(help="Listen here instead of receiver.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen here instead of receiver.port; 0 takes a free one.")
    ] = None,
    config: Config = None,
) -> None:
    """Receive Metronome's webhooks and write them to the webhook topic.

    It answers 200 only after the broker has confirmed, and starts without a broker too (503 until one comes).

    Examples:

      metronome-qbo receive

      metronome-qbo receive --host 0.0.0.0 --port 8080
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    publisher = _publisher(settings)
    asyncio.run(
        serve(
            create_receiver(settings, publisher.publish),
            settings.receiver.host if host is None else host,
            settings.receiver.port if port is None else port,
            publisher.run(),
            lambda address: out.print(f"receiver ready on {address}{PATH}", soft_wrap=True),
        )
    )


def _publisher(settings: Settings) -> WebhookPublisher:
    topic = topic_names(settings).webhooks
    prepare = partial(prepare_topics, settings, only={topic})
    return WebhookPublisher(settings, topic, prepare)
