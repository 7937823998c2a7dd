"""`metronome-qbo connect`: let this program into a QuickBooks company."""

import asyncio
import webbrowser
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import typer

from agents.clients.transport import AiohttpTransport
from stream.operations.connect import Connected, Connector, listen_at
from stream.operations.connection_log import ConnectionLog
from stream.settings import Settings
from stream.topics import prepare_topics, topic_names

from .common import Config, Json, WrongUsage, err, load_settings, out, print_json, require_realm, stdin_line

REQUIRED = ("kafka.bootstrap_servers", "quickbooks.client_id", "quickbooks.client_secret", "encryption_keys")
REFRESH_TOKEN_VARIABLE = "METRONOME_QBO_REFRESH_TOKEN"  # noqa: S105 - the name of it
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def connect(
    realm: Annotated[str | None, typer.Option(help="The company's realm id; any other company is refused.")] = None,
    refresh_token: Annotated[
        str | None,
        typer.Option(
            envvar=REFRESH_TOKEN_VARIABLE,
            show_envvar=False,
            help=f"Connect --realm with this token, without a browser; - reads it from stdin, {REFRESH_TOKEN_VARIABLE} "
            "from the environment.",
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
    listen: Annotated[
        str | None, typer.Option(help="host:port of the callback, when redirect_uri is forwarded here.")
    ] = None,
    wait_seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long to wait for the browser.")] = 600,
    json: Json = False,
    config: Config = None,
) -> None:
    """Connect a QuickBooks company: its tokens are stored encrypted in the connections topic, and kept fresh.

    Without a refresh token it opens Intuit's page, and waits for the answer at quickbooks.redirect_uri.

    Examples:

      metronome-qbo connect

      metronome-qbo connect --no-browser --wait-seconds 120

      metronome-qbo connect --realm 9341452812345678 --refresh-token - < token.txt
    """
    settings = load_settings(config, *REQUIRED)
    if realm is not None:
        require_realm(realm, settings)
    if refresh_token is not None and realm is None:
        raise WrongUsage("a refresh token does not say whose it is: add --realm, such as --realm 9341452812345678")
    if refresh_token is not None and realm is not None:
        token = _read_token(refresh_token)
        connected = asyncio.run(_with(settings, lambda connector: connector.with_refresh_token(realm, token)))
    else:
        where = listen_at(settings.quickbooks.redirect_uri, listen)
        _warn_of_plain_http(settings)
        connected = asyncio.run(
            _with(
                settings,
                lambda connector: connector.with_browser(
                    realm=realm, listen=where, wait_seconds=wait_seconds, show=lambda url: _show(url, no_browser)
                ),
            )
        )
    _report(connected, json)


async def _with(settings: Settings, work: Callable[[Connector], Awaitable[Connected]]) -> Connected:
    await prepare_topics(settings, only={topic_names(settings).connections})
    async with aiohttp.ClientSession() as session:
        return await work(Connector(settings, ConnectionLog(settings), AiohttpTransport(session)))


def _read_token(refresh_token: str) -> str:
    token = stdin_line() if refresh_token == "-" else refresh_token.strip()  # noqa: S105
    if not token:
        raise WrongUsage("the refresh token is empty: --refresh-token - reads it from standard input")
    return token


def _show(url: str, no_browser: bool) -> None:
    if no_browser or not webbrowser.open(url):
        err.print("Open this address in a browser, sign in, and choose the company:", markup=False)
        err.print(url, soft_wrap=True, markup=False)
    else:
        err.print("A browser was opened: sign in there, and choose the company.", markup=False)


def _warn_of_plain_http(settings: Settings) -> None:
    uri = urlsplit(settings.quickbooks.redirect_uri)
    if settings.environment == "production" and uri.scheme != "https" and uri.hostname not in LOCAL_HOSTS:
        err.print(
            f"warning: quickbooks.redirect_uri {settings.quickbooks.redirect_uri} is not https, and Intuit wants https "
            "for production apps",
            style="yellow",
            markup=False,
        )


def _report(connected: Connected, json: bool) -> None:
    if connected.warning:
        err.print(f"warning: {connected.warning}", style="yellow", markup=False)
    expires_on = connected.refresh_token_expires_at.date().isoformat()
    if json:
        print_json({"realm": connected.realm, "company_name": connected.company_name, "expires_on": expires_on})
    else:
        name = connected.company_name or "company"
        out.print(
            f"Connected {name} (realm {connected.realm}). Its tokens are stored encrypted, and refresh themselves; "
            f"unused, they end on {expires_on}.",
            markup=False,
            soft_wrap=True,
        )
