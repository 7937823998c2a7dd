"""Connecting a company: Intuit's authorization-code flow, or a refresh token that someone has; then the recorded fact.

What Intuit gives is recorded before anything uses it, because the value that it replaces is dead
(docs/vendors/quickbooks.md §7); and Kafka is asked first, so that a missing broker costs no token.
"""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from agents.clients.failures import Failure
from agents.clients.oauth import InvalidGrant, Tokens
from agents.clients.quickbooks_errors import read
from agents.clients.transport import AnswerLost, NotSent, Transport
from agents.connections import Cipher, connected
from models.events import ConnectionChanged
from models.quickbooks import MINOR_VERSION
from stream import OperatorError
from stream.settings import Settings
from stream.wiring import TokenCipher, oauth_client

from .connection_log import ConnectionLog

SCOPE = "com.intuit.quickbooks.accounting"
REALM = re.compile(r"[0-9]{1,40}")
NAME_TIMEOUT_SECONDS = 20
CALLBACK_SHUTDOWN_SECONDS = 2.0

CALLBACK_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><body style='font:1.1rem/1.5 system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem'>"
    "<h1>{title}</h1><p>{text}</p></body></html>"
)


class ConnectFailed(OperatorError):
    """The company is not connected; the message says why and what to do."""


@dataclass(frozen=True)
class Connected:
    """What was recorded. `warning` says why the company's name could not be read, if so."""

    realm: str
    company_name: str | None
    refresh_token_expires_at: datetime
    warning: str | None = None


@dataclass(frozen=True)
class Listen:
    """Where the local callback is served."""

    host: str
    port: int
    path: str


class Connector:
    """Connects companies, with what both ways of doing it share."""

    def __init__(self, settings: Settings, connections: ConnectionLog, transport: Transport) -> None:
        self._settings = settings
        self._connections = connections
        self._transport = transport
        self._cipher: Cipher = TokenCipher(settings.encryption_keys)
        self._oauth = oauth_client(settings, transport)

    async def with_refresh_token(self, realm: str, refresh_token: str) -> Connected:
        """Refresh once, to prove the token, and record the result.

        Raises ConnectFailed, TokenServerTrouble, BrokerUnreachable, ReadFailed.
        """
        previous = await self._connections.newest(realm)
        try:
            tokens = await self._oauth.refresh(refresh_token)
        except InvalidGrant:
            raise ConnectFailed(
                "Intuit does not accept this refresh token (invalid_grant): it was used by another program, replaced "
                "or revoked, or belongs to another app. Get a new one, or connect with the browser: "
                "metronome-qbo connect"
            ) from None
        return await self._recorded(realm, tokens, previous)

    async def with_browser(
        self, *, realm: str | None, listen: Listen, wait_seconds: float, show: Callable[[str], None]
    ) -> Connected:
        """The authorization-code flow: `show` gets the URL to open, once the callback is served.

        `realm` refuses any other company. Raises as `with_refresh_token`.
        """
        state = secrets.token_urlsafe(32)
        url = authorize_url(self._settings, state)
        code, given = await _callback(listen, state, wait_seconds, lambda: show(url))
        if realm is not None and given != realm:
            raise ConnectFailed(f"the person chose company {given}, not {realm}: choose that one, or leave out --realm")
        previous = await self._connections.newest(given)
        try:
            tokens = await self._oauth.exchange(code, self._settings.quickbooks.redirect_uri)
        except InvalidGrant:
            raise ConnectFailed(
                "Intuit does not accept the authorization code (invalid_grant): it is good once and for a few minutes, "
                "and only with the redirect_uri that it was made for. Run metronome-qbo connect again"
            ) from None
        return await self._recorded(given, tokens, previous)

    async def _recorded(self, realm: str, tokens: Tokens, previous: ConnectionChanged | None) -> Connected:
        now = datetime.fromtimestamp(time.time(), UTC)
        change = connected(realm, tokens, self._cipher, now, previous=previous)
        await self._connections.record(change)
        name, warning = await self._company_name(realm, tokens.access_token)
        if name is not None and name != change.company_name:
            named = connected(realm, tokens, self._cipher, now, previous=change).replace(company_name=name)
            await self._connections.record(named)
        assert change.refresh_token_expires_at is not None
        return Connected(realm, name or change.company_name, change.refresh_token_expires_at, warning)

    async def _company_name(self, realm: str, access_token: str) -> tuple[str | None, str | None]:
        """The name, or why there is none."""
        base = self._settings.quickbooks.url.rstrip("/")
        try:
            answer = await self._transport(
                "GET",
                f"{base}/v3/company/{realm}/companyinfo/{realm}?minorversion={MINOR_VERSION}",
                headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
                timeout_seconds=NAME_TIMEOUT_SECONDS,
            )
            name = (read(answer).get("CompanyInfo") or {}).get("CompanyName")
        except (Failure, NotSent, AnswerLost, AttributeError) as error:
            return None, (
                f"the company's name could not be read ({error}). Do {realm} and quickbooks.url fit these tokens?"
            )
        return (name, None) if isinstance(name, str) else (None, "QuickBooks gave no company name")


def authorize_url(settings: Settings, state: str) -> str:
    """Where the person allows us in (docs/vendors/quickbooks.md §7)."""
    parameters = {
        "client_id": str(settings.quickbooks.client_id),
        "scope": SCOPE,
        "redirect_uri": settings.quickbooks.redirect_uri,
        "response_type": "code",
        "state": state,
    }
    base = settings.quickbooks.authorize_url
    return f"{base}{'&' if urlsplit(base).query else '?'}{urlencode(parameters)}"


def listen_at(redirect_uri: str, address: str | None) -> Listen:
    """Where to serve the callback: `address` (host:port) if given, else where `redirect_uri` points.

    Raises ConnectFailed: we speak no TLS, so an https redirect_uri must be forwarded to an `address`.
    """
    uri = urlsplit(redirect_uri)
    if address is None and uri.scheme != "http":
        raise ConnectFailed(
            f"quickbooks.redirect_uri is {redirect_uri}: forward it to this machine, with a tunnel or a proxy, and say "
            "where, such as --listen 127.0.0.1:8585; or use --realm and --refresh-token"
        )
    try:
        where = urlsplit(f"//{address}") if address is not None else uri
        host, port = where.hostname, where.port
    except ValueError:  # a port that is no number up to 65535, or half an IPv6 address
        host, port = None, None
    if not host or (address is not None and port is None):
        raise ConnectFailed(f"{address or redirect_uri} names no host and port; for example 127.0.0.1:8585")
    return Listen(host, port or 80, uri.path or "/")


async def _callback(
    listen: Listen, state: str, wait_seconds: float, on_listening: Callable[[], None]
) -> tuple[str, str]:
    """Serve the callback until it was called: the authorization code and the realm id. Raises ConnectFailed."""
    outcome: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    async def handle(request: web.Request) -> web.Response:
        try:
            result = _read_callback(request.query.get, state)
        except ConnectFailed as error:
            if not outcome.done():
                outcome.set_exception(error)
            return _page("Not connected", "Something was not right. The terminal says what.", 400)
        if not outcome.done():
            outcome.set_result(result)
        return _page("Almost done", "QuickBooks said yes. The terminal says whether all went well.", 200)

    app = web.Application()
    app.router.add_get(listen.path, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CALLBACK_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
        on_listening()
        async with asyncio.timeout(wait_seconds):
            return await outcome
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise ConnectFailed(f"nobody came back from QuickBooks within {wait_seconds:g} s; run it again") from None
        raise ConnectFailed(
            f"cannot listen on {listen.host}:{listen.port} ({error.strerror}): stop what uses it, or say --listen"
        ) from None
    finally:
        await runner.cleanup()


def _read_callback(parameter: Callable[[str], str | None], state: str) -> tuple[str, str]:
    if not hmac.compare_digest((parameter("state") or "").encode("utf-8", "surrogateescape"), state.encode()):
        raise ConnectFailed(
            "the callback's state is not ours: an old tab, or someone else's link. Run metronome-qbo connect again, "
            "and open the address that it prints"
        )
    if error := parameter("error"):
        denied = "the person said no" if error == "access_denied" else f"QuickBooks answered {error[:100]!r}"
        raise ConnectFailed(f"not connected: {denied}. Run metronome-qbo connect again")
    code, realm = parameter("code"), parameter("realmId")
    if not code or not realm or not REALM.fullmatch(realm):
        raise ConnectFailed("the callback holds no code, or no realmId of digits: is authorize_url Intuit's?")
    return code, realm


def _page(title: str, text: str, status: int) -> web.Response:
    return web.Response(
        text=CALLBACK_PAGE.format(title=title, text=text),
        content_type="text/html",
        status=status,
        headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )
