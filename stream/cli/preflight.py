"""`metronome-qbo preflight`: what would fail, and what to do about it, before the first invoice. Writes nothing."""

import asyncio
from typing import Annotated

import aiohttp
import typer
from rich.text import Text

from agents.clients.failures import Failure
from agents.clients.transport import AiohttpTransport, Transport
from stream import OperatorError
from stream.operations.preflight.catalog import catalog_findings
from stream.operations.preflight.company import company_findings
from stream.operations.preflight.findings import Area, Finding, problem, warning
from stream.operations.preflight.reads import (
    Catalog,
    Company,
    CompanyReader,
    Progress,
    StandingToken,
    customers_used,
    items_used,
    read_catalog,
    recorded_token,
)
from stream.operations.preview import Mappings
from stream.operations.preview_sources import recorded_mappings
from stream.settings import Settings
from stream.wiring import metronome_client, quickbooks_client, retry_policy

from .common import (
    EXIT_TROUBLE,
    Config,
    Json,
    WrongUsage,
    err,
    load_settings,
    out,
    print_json,
    require_realm,
    stdin_line,
)

RETRY_SECONDS = 30.0
"""For one page of Metronome, and for one query of QuickBooks."""

LEVELS = {"problem": ("would fail", "red"), "warning": ("look at", "yellow"), "ok": ("fine", "green")}


def preflight(
    realm: Annotated[str | None, typer.Option(help="The company; routing.default_realm if left out.")] = None,
    access_token: Annotated[
        str | None, typer.Option(help="- reads an access token from standard input, instead of the recorded one.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Read the QuickBooks company and Metronome once, and show what would fail, with the remedy of each.

    The access token is the one that connect or the worker recorded in Kafka; it is used as it is and never refreshed.
    Preferences, items, accounts, terms, tax codes and mapped customers are read from QuickBooks; custom-field keys,
    products, customers and pricing units from Metronome. Nothing is written. The exit code is 1 when there are
    problems; warnings leave it 0.

    Examples:

      metronome-qbo preflight --realm 9341452812345678

      printf %s "$ACCESS_TOKEN" | metronome-qbo preflight --realm 9341452812345678 --access-token - --json
    """
    settings = load_settings(config, *(() if access_token else ("kafka.bootstrap_servers", "encryption_keys")))
    company = require_realm(realm, settings)
    token = _from_stdin(access_token) if access_token is not None else None
    findings = asyncio.run(_findings(settings, company, token))
    problems = any(each.level == "problem" for each in findings)
    if json:
        rows = [{"level": each.level, "area": each.area, "what": each.what, "remedy": each.remedy} for each in findings]
        print_json({"realm": company, "ok": not problems, "findings": rows})
    else:
        _print(company, findings)
    if problems:
        raise typer.Exit(EXIT_TROUBLE)


def _from_stdin(option: str) -> str:
    if option != "-":
        raise WrongUsage("--access-token: give - and pipe the token in; others can see what stands on a command line")
    token = stdin_line()
    if not token.isascii() or not token.isprintable() or not token:
        raise WrongUsage("--access-token: standard input holds no token")
    return token


async def _findings(settings: Settings, realm: str, token: str | None) -> list[Finding]:
    """Both sides, each as far as it can be read: what keeps us from reading is a problem too."""
    findings: list[Finding] = []
    with err.status("Reading …") as status:  # shows nothing where stderr is no terminal
        mappings = await _mappings(settings, findings)
        async with aiohttp.ClientSession() as session:
            transport = AiohttpTransport(session)
            catalog = await _catalog(settings, transport, realm, findings, status.update)
            company = await _company(
                settings, transport, realm, token, mappings, catalog or Catalog(), findings, status.update
            )
    policy = settings.policy_of(realm)
    if company is not None:
        used = catalog or Catalog()
        findings += company_findings(
            company,
            policy,
            items_used(policy, mappings, realm, used),
            customers_used(mappings, realm, used),
            mappings,
            realm,
        )
    if catalog is not None:
        findings += catalog_findings(catalog, policy, mappings, realm, company=company)
    return findings


async def _mappings(settings: Settings, findings: list[Finding]) -> Mappings:
    if settings.kafka.bootstrap_servers is None:
        return Mappings()
    try:
        return await recorded_mappings(settings)
    except OperatorError as error:
        findings.append(warning(f"the tables' mappings cannot be read: {error}", "start the worker once", "Metronome"))
        return Mappings()


async def _catalog(
    settings: Settings, transport: Transport, realm: str, findings: list[Finding], progress: Progress
) -> Catalog | None:
    if settings.metronome.token is None:
        findings.append(warning("Metronome was not read", "set metronome.token", "Metronome"))
        return None
    try:
        metronome, retry = (
            metronome_client(settings, transport),
            retry_policy(RETRY_SECONDS, settings.metronome.backoff_max_seconds),
        )
        return await read_catalog(metronome, retry, realm, settings.routing.customer_field, progress)
    except Failure as failure:
        findings.append(_unread("Metronome", failure, "check metronome.url and metronome.token"))
        return None


async def _company(
    settings: Settings,
    transport: Transport,
    realm: str,
    token: str | None,
    mappings: Mappings,
    catalog: Catalog,
    findings: list[Finding],
    progress: Progress,
) -> Company | None:
    policy = settings.policy_of(realm)
    try:
        tokens = StandingToken(token or await recorded_token(settings, realm))
        reader = CompanyReader(quickbooks_client(settings, transport, tokens), realm, RETRY_SECONDS, progress)
        items, customers = items_used(policy, mappings, realm, catalog), customers_used(mappings, realm, catalog)
        return await reader.read(policy, items, customers)
    except (OperatorError, Failure) as failure:
        remedy = f"connect the company: metronome-qbo connect --realm {realm}; and check --realm and quickbooks.url"
        findings.append(_unread("QuickBooks", failure, remedy))
        return None


def _unread(area: Area, failure: Exception, remedy: str) -> Finding:
    return problem(f"{area} cannot be read: {failure}", remedy, area)


def _print(realm: str, findings: list[Finding]) -> None:
    """Problems first, what is fine last."""
    for level, (words, style) in LEVELS.items():
        these = [each for each in findings if each.level == level]
        if not these:
            continue
        out.print(Text(f"{level} ({words}): {len(these)}", f"bold {style}"))
        for each in these:
            out.print(Text(f"  {each.area}: {each.what}"), soft_wrap=True)
            if each.remedy:
                out.print(Text(f"    remedy: {each.remedy}"), soft_wrap=True)
    good = not any(each.level == "problem" for each in findings)
    out.print(Text(f"Company {realm}: {'no problems' if good else 'not ready'}", "green" if good else "red"))
