"""`metronome-qbo watch`: find in Metronome what no webhook announced."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from stream.formatting import count_text
from stream.intake.watch import Round, run_watch

from .common import EXIT_TROUBLE, Config, Json, load_settings, out, print_json


def watch(
    once: Annotated[bool, typer.Option("--once", help="End after one round, as for cron.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Announce nothing; log what would be announced.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Find invoices in Metronome that no webhook announced, and voids, of which Metronome says nothing by itself.

    Asks for every customer's invoices at the pace of watch.requests_per_second, and compares them with the ledger.
    What is missing goes on the webhook topic, where the workers take it as they take webhooks; nothing is posted twice
    by it. The exit code of --once is 1 when invoices of some customers could not be read.

    Examples:

      metronome-qbo watch

      metronome-qbo watch --once --dry-run

      metronome-qbo watch --once --json
    """
    settings = load_settings(config, "kafka.bootstrap_servers", "metronome.token")
    rounds: list[Round] = []

    def report(done: Round) -> None:
        rounds[:] = [done]
        if json:
            print_json(asdict(done) | {"dry_run": dry_run})
        else:
            out.print(_sentence(done, dry_run=dry_run), soft_wrap=True, markup=False)

    def ready(line: str) -> None:
        if not json:
            out.print(line, soft_wrap=True, markup=False)

    asyncio.run(run_watch(settings, once=once, dry_run=dry_run, ready=ready, report=report))
    if once and rounds and rounds[0].failed_customers:
        raise typer.Exit(EXIT_TROUBLE)


def _sentence(done: Round, *, dry_run: bool) -> str:
    parts = [
        f"{count_text(done.customers, 'customer', 'customers')}, "
        f"{count_text(done.invoices, 'invoice', 'invoices')} seen",
        f"{'would be announced' if dry_run else 'announced'}: {done.announced_finalized:,} finalized, "
        f"{done.announced_voids:,} voided",
    ]
    if done.undated:
        parts.append(f"{count_text(done.undated, 'invoice', 'invoices')} without a date left out")
    if done.failed_customers:
        parts.append(f"{count_text(done.failed_customers, 'customer', 'customers')} could not be read")
    if done.stopped:
        parts.append("stopped before the end")
    return "; ".join(parts)
