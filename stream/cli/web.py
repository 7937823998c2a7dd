"""`metronome-qbo web`: the pages, and the projection that feeds them."""

import asyncio
from typing import Annotated

import typer

from stream.serving import serve
from stream.web.app import create_web
from stream.web.index import Index
from stream.web.projection import Projection

from .common import Config, load_settings, out


def web(
    host: Annotated[str | None, typer.Option(help="Listen here instead of web.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen here instead of web.port; 0 takes a free one.")
    ] = None,
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
    index = Index(settings.web.index)
    asyncio.run(
        serve(
            create_web(settings, index),
            settings.web.host if host is None else host,
            settings.web.port if port is None else port,
            Projection(settings, index).run(),
            lambda address: out.print(f"web ready on {address}", soft_wrap=True),
        )
    )
