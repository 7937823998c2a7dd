"""The command line: one module per command, registered here."""

import typer

from . import config, connect, key, receive, sandbox, setup, topics, worker

cli = typer.Typer(
    name="metronome-qbo",
    help="Carries finalized Metronome invoices into QuickBooks Online: exactly once, to the cent.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals could hold tokens
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    sandbox.sandbox,
    receive.receive,
    worker.worker,
    connect.connect,
    setup.setup,
    topics.topics,
    config.config,
    key.key,
):
    cli.command()(command)


def main() -> None:
    cli()
