"""`metronome-qbo preview`: what would be posted for an invoice, and why. Writes nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiohttp
import typer

from agents.clients.transport import AiohttpTransport
from models.events import InvoiceEnriched
from models.record import Address
from stream import OperatorError
from stream.operations.preview import NOWHERE, Mappings, Preview, preview_of
from stream.operations.preview_sources import (
    MetronomeSource,
    NoSuchInvoice,
    Progress,
    Unreadable,
    address_in,
    facts_at,
    facts_in_file,
    invoices_in_file,
    newest_facts,
    recorded_facts,
    recorded_mappings,
)
from stream.settings import Settings, required
from stream.wiring import metronome_client, retry_policy, routes_of

from .common import EXIT_TROUBLE, Config, Json, WrongUsage, err, load_settings
from .preview_page import Summary, show_page

METRONOME_RETRY_SECONDS = 30.0
"""For one page or invoice of Metronome: a person waits for it."""

Found = tuple[InvoiceEnriched | Unreadable, Address]


class Source(StrEnum):
    kafka = "kafka"
    metronome = "metronome"


@dataclass(frozen=True)
class Period:
    """Days of issue, both included."""

    since: date
    until: date


def preview(
    invoice: Annotated[
        str | None, typer.Argument(help="An invoice id of Metronome, a JSON file, or the address of a record.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="The invoice's customer in Metronome: saves a search.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every invoice issued in a period, as a table.")] = False,
    from_date: Annotated[str | None, typer.Option(help="First day of issue for --all, such as 2026-11-01.")] = None,
    to_date: Annotated[str | None, typer.Option(help="Last day of issue for --all, included.")] = None,
    source: Annotated[
        Source | None, typer.Option(help="Where invoices are read: kafka if it is configured, else metronome.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show what would be posted for an invoice: the document, the policy behind each choice, and what is missing.

    INVOICE is an id, looked for in the facts topic if Kafka is configured, else asked of Metronome; or a JSON file
    with one invoice (bare or under `data`) or a list of them, which needs no network; or the address of a record of
    the facts or webhooks topic, as topic[partition]@offset or topic:partition:offset. Mappings come from the tables if
    Kafka is configured, else only from custom fields and policy. With --json each invoice is a JSON object on a line
    of its own. Nothing is written anywhere, and QuickBooks is not asked. With --all the exit code is 1 when an invoice
    would be refused.

    Examples:

      metronome-qbo preview 56e22c64-e225-57d0-be12-ef64d1f05078

      metronome-qbo preview invoices.json --json

      metronome-qbo preview 'metronome.invoices[3]@120'

      metronome-qbo preview --all --from-date 2026-11-01 --to-date 2026-11-30 --source metronome
    """
    settings = load_settings(config)
    period = _period(from_date, to_date) if all_ else None
    if (invoice is None) is not all_ or ((from_date or to_date) and not all_):
        raise WrongUsage("say which INVOICE; or --all with --from-date and --to-date")
    if invoice is not None and (path := _file(invoice)) is not None:
        _show_each(_in_file(path, settings), settings, json=json)
    elif invoice is not None:
        found = asyncio.run(_one(settings, invoice, customer, source))
        _show_each(iter([found]), settings, json=json)
    elif period is not None:
        chosen = source or (Source.kafka if settings.kafka.bootstrap_servers else Source.metronome)
        summary = asyncio.run(_all(settings, chosen, period, json=json))
        if summary.refused:
            raise typer.Exit(EXIT_TROUBLE)


def _period(from_date: str | None, to_date: str | None) -> Period:
    try:
        period = Period(date.fromisoformat(from_date or ""), date.fromisoformat(to_date or ""))
    except ValueError:
        raise WrongUsage(
            "--all needs --from-date and --to-date, such as --from-date 2026-11-01 --to-date 2026-11-30"
        ) from None
    if period.until < period.since:
        raise WrongUsage(f"--to-date {period.until} lies before --from-date {period.since}")
    return period


# One invoice, or those of a file


def _file(invoice: str) -> Path | None:
    """The file that INVOICE names, if it names one."""
    path = Path(invoice)
    if address_in(invoice) is None and not path.is_file() and (path.suffix == ".json" or len(path.parts) > 1):
        raise WrongUsage(f"{invoice}: no such file")
    return path if path.is_file() else None


def _in_file(path: Path, settings: Settings) -> Iterator[Found]:
    try:
        invoices = invoices_in_file(path)
    except (ValueError, OSError) as error:
        raise WrongUsage(f"{path}: cannot be read: {error}") from None
    routes, now = routes_of(settings), datetime.now(UTC)
    return ((facts_in_file(each, routes, now), NOWHERE) for each in invoices)


async def _one(settings: Settings, invoice: str, customer: str | None, source: Source | None) -> Found:
    address = address_in(invoice)
    with err.status("Looking for the invoice …") as status:  # shows nothing where stderr is no terminal
        if address is not None:
            required(settings, "kafka.bootstrap_servers")
            async with _metronome(settings) as metronome:
                return await facts_at(settings, address, metronome)
        if source is not Source.metronome and settings.kafka.bootstrap_servers is not None:
            found = await newest_facts(settings, invoice, status.update)
            if found is not None:
                return found
            if source is Source.kafka or settings.metronome.token is None:
                raise NoSuchInvoice(f"no facts of invoice {invoice} lie in Kafka")
        required(settings, "metronome.token")
        async with _metronome(settings) as metronome:
            assert metronome is not None
            facts = await metronome.search(invoice, customer, status.update)
            return facts, NOWHERE


def _show_each(found: Iterator[Found], settings: Settings, *, json: bool) -> None:
    mappings = asyncio.run(_mappings(settings))
    for facts, at in found:
        previewed = _previewed(facts, at, settings, mappings)
        if json:
            typer.echo(previewed.as_json())
        else:
            show_page(previewed, facts, settings, mappings)


# All invoices of a period


async def _all(settings: Settings, source: Source, period: Period, *, json: bool) -> Summary:
    """Prints a line for each invoice, and at the end how many come to what."""
    required(settings, "kafka.bootstrap_servers" if source is Source.kafka else "metronome.token")
    mappings = await _mappings(settings)
    summary = Summary()
    with err.status("Reading invoices …") as status:
        async with _metronome(settings) as metronome:
            async for facts, at in _issued(settings, source, metronome, period, status.update):
                previewed = _previewed(facts, at, settings, mappings)
                summary.add(previewed, facts)
                if json:
                    typer.echo(previewed.as_json())
    summary.show(table=not json)
    return summary


async def _issued(
    settings: Settings, source: Source, metronome: MetronomeSource | None, period: Period, progress: Progress
) -> AsyncIterator[Found]:
    if source is Source.kafka:
        async for facts, at in recorded_facts(settings, period.since, period.until, progress):
            yield facts, at
    else:
        assert metronome is not None
        async for each in metronome.issued(period.since, period.until, progress):
            yield each, NOWHERE


# Shared


def _previewed(facts: InvoiceEnriched | Unreadable, at: Address, settings: Settings, mappings: Mappings) -> Preview:
    if isinstance(facts, Unreadable):
        return Preview(facts.invoice_id, "refuse", rule="unreadable answer", reason=facts.reason)
    return preview_of(facts, settings.policy_of(facts.realm), mappings, at)


async def _mappings(settings: Settings) -> Mappings:
    """What the tables know; nothing, and a warning, where Kafka cannot tell."""
    if settings.kafka.bootstrap_servers is None:
        return Mappings()
    try:
        return await recorded_mappings(settings)
    except OperatorError as error:
        err.print(f"without the tables' mappings, only custom fields and policy: {error}", style="yellow", markup=False)
        return Mappings()


@asynccontextmanager
async def _metronome(settings: Settings) -> AsyncIterator[MetronomeSource | None]:
    """None without metronome.token."""
    if settings.metronome.token is None:
        yield None
        return
    async with aiohttp.ClientSession() as session:
        retry = retry_policy(METRONOME_RETRY_SECONDS, settings.metronome.backoff_max_seconds)
        yield MetronomeSource(settings, metronome_client(settings, AiohttpTransport(session)), retry)
