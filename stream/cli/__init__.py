"""The command line: one module per command, registered here."""

import typer

from . import (
    config,
    connect,
    connections,
    demo,
    health,
    key,
    mapping,
    preflight,
    preview,
    receive,
    redrive,
    replay,
    sandbox,
    setup,
    topics,
    watch,
    web,
    worker,
)

cli = typer.Typer(
    name="metronome-qbo",
    help="Carries finalized Metronome invoices into QuickBooks Online: exactly once, to the cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a plain traceback, without locals, which could hold tokens
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    demo.demo,
    sandbox.sandbox,
    receive.receive,
    worker.worker,
    watch.watch,
    connect.connect,
    connections.connections,
    web.web,
    preflight.preflight,
    preview.preview,
    replay.replay,
    redrive.redrive,
    health.health,
    setup.setup,
    topics.topics,
    config.config,
    key.key,
):
    cli.command()(command)
cli.command("map")(mapping.map_)


def main() -> None:
    cli()
