"""`metronome-qbo demo`: watch invoices travel the whole way, on one machine."""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulators.kafka.embedded import INVOICES_MAX
from stream import OperatorError
from stream.demo.demo import Demo, Pass, QuickBooksState, Row, latencies, running_demo
from stream.kafka.admin import compare_topics
from stream.settings import Settings

from .common import EXIT_TROUBLE, Config, Json, WrongUsage, err, load_settings, out, print_json

SECONDS_PER_INVOICE_MAX = 2
SECONDS_AT_LEAST = 120
EXIT_TERMINATED = 128 + signal.SIGTERM
"""As a shell says it."""


def demo(
    invoices: Annotated[int, typer.Option(min=1, max=10_000, help="How many invoices Metronome finalizes.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed makes the same invoices.")] = 1,
    leave: Annotated[bool, typer.Option("--exit", help="End after the table instead of staying up.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Run everything on this machine: simulated Metronome and QuickBooks, a broker, the receiver, a worker, the pages.

    Invoices are finalized, their signed webhooks travel through Kafka and the agents into the books of the QuickBooks
    simulator, at QuickBooks' own pace of 10 requests a second. Then all webhooks are delivered a second time, which
    must post nothing. Ends with both books side by side; stays up until Ctrl-C or SIGTERM.

    Without kafka.bootstrap_servers an in-memory broker is used; with it, topics of their own on your broker.

    Examples:

      metronome-qbo demo

      metronome-qbo demo --invoices 200 --exit

      METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS=localhost:9092 metronome-qbo demo --invoices 50
    """
    settings = load_settings(config)
    if settings.environment == "production":
        raise WrongUsage("environment: demo works with simulators only, and this is production; unset it")
    if settings.kafka.bootstrap_servers is None and invoices > INVOICES_MAX:
        raise WrongUsage(
            f"--invoices: the in-memory broker holds {INVOICES_MAX} at most; for more run `make kafka` and set "
            "METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS=localhost:9092"
        )
    try:
        good = asyncio.run(_demo(settings, invoices, seed, leave=leave, as_json=json))
    except asyncio.CancelledError:  # by SIGTERM, before it was up
        raise typer.Exit(EXIT_TERMINATED) from None
    if not good:
        raise typer.Exit(EXIT_TROUBLE)


async def _demo(settings: Settings, invoices: int, seed: int, *, leave: bool, as_json: bool) -> bool:
    if (servers := settings.kafka.bootstrap_servers) is not None:
        await compare_topics(servers, [], timeout_seconds=settings.kafka.timeout_seconds)  # a broker must be there
    with tempfile.TemporaryDirectory(prefix="metronome-qbo-demo-") as name:
        async with running_demo(
            settings.kafka,
            invoices=invoices,
            seed=seed,
            directory=Path(name),
            progress=(lambda _: None) if as_json else lambda text: err.print(f"· {text}", style="dim", markup=False),
        ) as running:
            first = await _deliver(running, f"{invoices} invoices", invoices, quiet=as_json)
            second = await _deliver(running, "the same webhooks again", invoices, quiet=as_json)
            rows = await running.compare(first)
            state = await running.quickbooks_state()
            good = all(row.matches for row in rows) and not state.duplicates and second.count("posted") == 0
            if as_json:
                print_json(_facts(rows, first, second, state))
            else:
                _show(rows, first, second, state)
            if not leave:
                await _stay(running)
    return good


async def _deliver(running: Demo, what: str, invoices: int, *, quiet: bool) -> Pass:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet) as progress:
        task = progress.add_task(what, total=invoices)
        within = max(SECONDS_AT_LEAST, invoices * SECONDS_PER_INVOICE_MAX)
        try:
            return await running.deliver(lambda done: progress.update(task, completed=done), within)
        except TimeoutError:
            raise OperatorError(
                f"not every invoice had an outcome within {within} s. Is this machine busy? Fewer --invoices take less"
            ) from None


def _show(rows: list[Row], first: Pass, second: Pass, state: QuickBooksState) -> None:
    table = Table(title="What Metronome billed, and what QuickBooks holds")
    for heading in ("Invoice", "Customer"):
        table.add_column(heading, no_wrap=heading == "Invoice")
    for heading in ("Metronome", "QuickBooks"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("DocNumber", "State"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Seconds", justify="right")
    for row in rows:
        posted = "—" if row.quickbooks_total is None else f"{row.quickbooks_total:,.2f} {row.currency}"
        table.add_row(
            row.invoice_id[:8],
            row.customer,
            f"{row.metronome_total:,.2f} {row.currency}",
            posted,
            row.doc_number,
            row.state,
            "—" if row.seconds is None else f"{row.seconds:.1f}",
            style=None if row.matches else "red",
        )
    out.print(table)
    median, p99 = latencies(first)
    mismatches = sum(not row.matches for row in rows)
    out.print(f"{len(rows)} invoices in, {len(first.outcomes)} outcomes: {first.count('posted')} posted")
    refused = f"requests that QuickBooks refused for their speed (429): {state.throttled}"
    out.print(f"mismatches: {mismatches}, duplicates: {len(state.duplicates)}, {refused}")
    out.print(f"the same webhooks again: {second.count('posted')} posted, {second.count('unchanged')} unchanged")
    out.print(
        f"signed webhook to outcome: median {median:.2f} s, p99 {p99:.2f} s "
        "(with QuickBooks' limit of 10 requests a second)"
    )


def _facts(rows: list[Row], first: Pass, second: Pass, state: QuickBooksState) -> dict[str, object]:
    median, p99 = latencies(first)
    return {
        "invoices": [
            {
                "invoice_id": row.invoice_id,
                "customer": row.customer,
                "currency": row.currency,
                "metronome_total": str(row.metronome_total),
                "quickbooks_total": None if row.quickbooks_total is None else str(row.quickbooks_total),
                "doc_number": row.doc_number,
                "state": row.state,
                "seconds": row.seconds,
            }
            for row in rows
        ],
        "outcomes": len(first.outcomes),
        "posted": first.count("posted"),
        "mismatches": sum(not row.matches for row in rows),
        "duplicates": list(state.duplicates),
        "throttled": state.throttled,
        "second_pass_posted": second.count("posted"),
        "second_pass_unchanged": second.count("unchanged"),
        "median_seconds": median,
        "p99_seconds": p99,
    }


async def _stay(running: Demo) -> None:
    out.print("Still running; look at it, and end it with Ctrl-C:")
    out.print(f"  pages                {running.web_url}", soft_wrap=True)
    out.print(f"  QuickBooks simulator {running.addresses['quickbooks_url']}", soft_wrap=True)
    out.print(f"  Metronome simulator  {running.addresses['metronome_url']}", soft_wrap=True)
    out.print(f"  webhook endpoint     {running.webhook_url}", soft_wrap=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        out.print("stopping")
