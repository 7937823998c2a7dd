"""`metronome-qbo sandbox`: Metronome and QuickBooks Online on one's own machine."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators.companies import WrongCompany, checked, companies_of_file, company_of_text
from simulators.fault_options import PlannedFaults, fault_of_text, faults_of_file
from simulators.faults import WrongFault
from simulators.metronome.generator import KINDS
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import Sandbox, default_oauth, start_sandbox
from simulators.state import StateUnusable
from stream import OperatorError
from stream.serving import stop_requested

from .common import WrongUsage, err

OF_A_KIND_MAX = 10_000
HOLDS = "What Metronome holds"
COMPANIES = "QuickBooks companies"
BEHAVIOUR = "How QuickBooks behaves"
TROUBLE = "Trouble"
ADDRESSES = "Addresses and state"


class Mix(StrEnum):
    usual = "usual"
    every_kind = "every-kind"


def sandbox(
    metronome_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of the Metronome simulator; 0 takes a free one.", rich_help_panel=ADDRESSES
        ),
    ] = 0,
    quickbooks_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of the QuickBooks simulator; 0 takes a free one.", rich_help_panel=ADDRESSES
        ),
    ] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=ADDRESSES)] = "127.0.0.1",
    state: Annotated[
        Path | None,
        typer.Option(help="A SQLite file that keeps everything over a restart.", rich_help_panel=ADDRESSES),
    ] = None,
    invoices: Annotated[
        int, typer.Option(min=0, max=100_000, help="How many invoices Metronome holds.", rich_help_panel=HOLDS)
    ] = 10,
    seed: Annotated[int, typer.Option(help="The same seed makes the same invoices.", rich_help_panel=HOLDS)] = 1,
    kinds: Annotated[
        Mix, typer.Option(help="The usual invoices, or some of every kind.", rich_help_panel=HOLDS)
    ] = Mix.usual,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"So many more of a kind, as in void=3. Kinds: {', '.join(KINDS)}.", rich_help_panel=HOLDS),
    ] = None,
    company: Annotated[
        list[str] | None,
        typer.Option(
            help="A company: realm id, name, country, currency, as in 9341450000000001,Northwind,GB,GBP.",
            rich_help_panel=COMPANIES,
        ),
    ] = None,
    companies: Annotated[
        Path | None,
        typer.Option(help="A JSON list of companies with all their settings.", rich_help_panel=COMPANIES),
    ] = None,
    limits: Annotated[
        bool, typer.Option(help="Whether QuickBooks enforces its rate limits.", rich_help_panel=BEHAVIOUR)
    ] = True,
    requestid_seconds: Annotated[
        float,
        typer.Option(min=0, help="How long an answer is remembered by its requestid.", rich_help_panel=BEHAVIOUR),
    ] = 86_400,
    access_token_seconds: Annotated[
        float, typer.Option(min=1, help="How long an access token lives.", rich_help_panel=BEHAVIOUR)
    ] = 3600,
    rotate_after_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long a refresh token keeps its value; 0 changes it with every refresh, Intuit after a day.",
            rich_help_panel=BEHAVIOUR,
        ),
    ] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="A fault, as in quickbooks:drop,path=/invoice,probability=0.05,seed=7,after_commit.",
            rich_help_panel=TROUBLE,
        ),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(help='Faults in JSON: {"quickbooks": [...], "metronome": [...]}.', rich_help_panel=TROUBLE),
    ] = None,
) -> None:
    """Simulate Metronome and QuickBooks Online as two HTTP servers with made-up invoices and empty books.

    Prints one JSON line with both addresses, the realm ids, OAuth client and tokens, Metronome's token and the webhook
    secret; then serves until Ctrl-C or SIGTERM. Both have pages at `/` that show what they hold and what was asked of
    them, and controls below `/_sandbox`.

    Examples:

      metronome-qbo sandbox --invoices 50 --seed 7

      metronome-qbo sandbox --metronome-port 8701 --quickbooks-port 8702 --no-limits

      metronome-qbo sandbox --kinds every-kind --kind void=3 --state sandbox.sqlite

      metronome-qbo sandbox --company 1001,Northwind --company 1002,Nordlicht,DE,EUR

      metronome-qbo sandbox --fault quickbooks:drop,path=/invoice,probability=0.05,seed=7,after_commit
    """
    try:
        world = {
            "companies": _companies(company or (), companies),
            "kinds": _kinds(kind or ()),
            "faults": _faults(fault or (), faults),
        }
    except (WrongFault, WrongCompany) as problem:
        raise WrongUsage(str(problem)) from None
    except OSError as problem:
        raise WrongUsage(f"{problem.filename}: {problem.strerror}; --companies and --faults take a JSON file") from None
    oauth = replace(
        default_oauth(seed), access_token_seconds=access_token_seconds, rotate_after_seconds=rotate_after_seconds
    )
    asyncio.run(
        _serve(
            host=host,
            metronome_port=metronome_port,
            quickbooks_port=quickbooks_port,
            invoices=invoices,
            seed=seed,
            mix=kinds.value,
            quickbooks=QuickBooksSettings(limits=limits, requestid_seconds=requestid_seconds),
            oauth=oauth,
            state=state,
            **world,
        )
    )


def _kinds(texts: Iterable[str]) -> Mapping[str, int]:
    kinds: dict[str, int] = {}
    for text in texts:
        name, _, count = text.partition("=")
        if name not in KINDS:
            raise WrongUsage(f"--kind {text}: {name} is unknown; there are {', '.join(KINDS)}")
        if not (count.isascii() and count.isdigit() and len(count) <= len(str(OF_A_KIND_MAX))):
            raise WrongUsage(f"--kind {text}: a number up to {OF_A_KIND_MAX} is expected, as in {name}=3")
        kinds[name] = kinds.get(name, 0) + min(int(count), OF_A_KIND_MAX)
    return kinds


def _companies(texts: Sequence[str], file: Path | None) -> tuple[Company, ...]:
    listed = companies_of_file(file) if file is not None else []
    return checked([*listed, *(company_of_text(each) for each in texts)])


def _faults(texts: Iterable[str], file: Path | None) -> PlannedFaults:
    planned = faults_of_file(file) if file is not None else PlannedFaults()
    for text in texts:
        planned.extend(fault_of_text(text))
    return planned


async def _serve(**settings: Any) -> None:
    stopping = stop_requested()
    running = await _start(**settings)
    try:
        typer.echo(running.addresses.as_json())
        _hint(running)
        await stopping.wait()
    finally:
        await running.stop()


async def _start(**settings: Any) -> Sandbox:
    """Raises OperatorError."""
    try:
        return await start_sandbox(**settings)
    except StateUnusable as problem:
        raise OperatorError(f"{problem}. --state takes a file of an earlier sandbox, or one that is made") from None
    except WrongFault as problem:
        raise OperatorError(f"--fault: {problem}") from None
    except OSError as problem:
        raise OperatorError(
            f"cannot listen on {settings['host']}: {problem.strerror}. Choose others with --host, --metronome-port and "
            "--quickbooks-port"
        ) from None


def _hint(running: Sandbox) -> None:
    """For people, on standard error: where to look."""
    if running.is_resumed:
        err.print(
            "· as it was left in the state file; --invoices, --seed, --kinds, --kind, --company and --companies are "
            "ignored",
            style="yellow",
            markup=False,
        )
    for name, url in (("QuickBooks", running.addresses.quickbooks_url), ("Metronome", running.addresses.metronome_url)):
        err.print(f"· {name}: {url}/ shows what it holds, {url}/requests what was asked of it", markup=False)
