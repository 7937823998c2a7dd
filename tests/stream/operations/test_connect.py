"""Connecting a company against the simulator: what is recorded, and what each refusal says."""

import asyncio
import json
import logging
import os
import sys
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
from cryptography.fernet import Fernet

from agents.clients.oauth import ClientRefused, TokenServerTrouble
from agents.clients.transport import AiohttpTransport
from simulators.faults import Fault
from simulators.server import start_sandbox
from stream.kafka.admin import BrokerUnreachable, create_by_asking
from stream.kafka.log import EventLog
from stream.operations.connect import SCOPE, ConnectFailed, Connector, Listen, authorize_url, listen_at
from stream.operations.connection_log import ConnectionLog
from stream.settings import Settings
from stream.topics import topic_names
from stream.wiring import TokenCipher
from tests import BOUND_SECONDS


@pytest.fixture
async def sandbox():
    running = await start_sandbox(invoices=1, limits=False)
    yield running
    await running.stop()


@pytest.fixture
def settings(sandbox, embedded_bootstrap, unused_tcp_port):
    addresses = sandbox.addresses
    return Settings(
        kafka={
            "bootstrap_servers": embedded_bootstrap,
            "topic_prefix": f"connect{time.time_ns()}.",
            "timeout_seconds": BOUND_SECONDS,
        },
        encryption_keys=[Fernet.generate_key().decode()],
        quickbooks={
            "url": addresses.quickbooks_url,
            "authorize_url": addresses.quickbooks_authorize_url,
            "token_url": addresses.quickbooks_token_url,
            "client_id": addresses.client_id,
            "client_secret": addresses.client_secret,
            "redirect_uri": f"http://127.0.0.1:{unused_tcp_port}/callback",
        },
    )


@pytest.fixture
async def log(settings):
    await create_by_asking(
        settings.kafka.bootstrap_servers, [topic_names(settings).connections], timeout_seconds=BOUND_SECONDS
    )
    return ConnectionLog(settings)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def connector(settings, log, session):
    return Connector(settings, log, AiohttpTransport(session))


async def with_browser(connector, settings, session, answer, *, realm=None, wait_seconds=BOUND_SECONDS):
    """Runs the flow with a browser that does `answer(url)`: a coroutine that gives the callback's status and text."""
    shown = asyncio.get_running_loop().create_future()
    where = listen_at(settings.quickbooks.redirect_uri, None)
    flow = asyncio.create_task(
        connector.with_browser(realm=realm, listen=where, wait_seconds=wait_seconds, show=shown.set_result)
    )
    page = await answer(await shown)
    return await flow, page


def approves(session):
    async def answer(url):
        async with session.get(url + "&approve=1") as page:
            return page.status, await page.text()

    return answer


def calls_back(session, settings, **changes):
    async def answer(url):
        state = parse_qs(urlsplit(url).query)["state"][0]
        parameters = {"code": "c", "state": state, "realmId": "9341450000000001"} | changes
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        async with session.get(f"{settings.quickbooks.redirect_uri}?{given}") as page:
            return page.status, await page.text()

    return answer


async def test_the_browser_flow_records_an_encrypted_connection(connector, settings, session, log, sandbox):
    realm = sandbox.addresses.realm_id
    connected, (status, page) = await with_browser(connector, settings, session, approves(session), realm=realm)
    assert (connected.realm, connected.warning) == (realm, None)
    assert connected.company_name
    assert (status, "terminal" in page) == (200, True)
    change = await log.newest(realm)
    assert (change.state, change.company_name) == ("connected", connected.company_name)
    cipher = TokenCipher(settings.encryption_keys)
    assert sandbox.oauth.check(cipher.decrypt(change.access_token)) == ("good", realm)
    assert cipher.decrypt(change.refresh_token).startswith("sandbox-refresh-")


async def test_the_topic_holds_no_readable_token_and_is_keyed_by_realm(connector, settings, sandbox):
    realm = sandbox.addresses.realm_id
    await connector.with_refresh_token(realm, sandbox.addresses.refresh_token)
    topic = topic_names(settings).connections
    records = [each async for each in EventLog(settings.kafka.bootstrap_servers, BOUND_SECONDS).read_range(topic)]
    assert {record.key for record in records} == {realm.encode()}
    assert b"sandbox-" not in b"".join(record.value for record in records)


async def test_a_refresh_token_is_proved_by_using_it_and_the_new_one_stored(connector, settings, log, sandbox):
    addresses = sandbox.addresses
    connected = await connector.with_refresh_token(addresses.realm_id, addresses.refresh_token)
    assert connected.company_name
    stored = TokenCipher(settings.encryption_keys).decrypt((await log.newest(addresses.realm_id)).refresh_token)
    assert stored == sandbox.grants[addresses.realm_id].refresh_token != addresses.refresh_token


async def test_connecting_again_wins_over_what_stands(connector, log, sandbox, settings):
    """Also when the clock that wrote the former fact was ahead of ours."""
    addresses = sandbox.addresses
    await connector.with_refresh_token(addresses.realm_id, addresses.refresh_token)
    former = await log.newest(addresses.realm_id)
    await log.record(former.replace(changed_at=former.changed_at + timedelta(hours=5), state="reconnect needed"))
    await connector.with_refresh_token(addresses.realm_id, sandbox.grants[addresses.realm_id].refresh_token)
    assert (await log.newest(addresses.realm_id)).state == "connected"


async def test_a_used_refresh_token_is_refused_and_nothing_recorded(connector, log, sandbox):
    with pytest.raises(ConnectFailed, match="invalid_grant") as caught:
        await connector.with_refresh_token(sandbox.addresses.realm_id, "sandbox-refresh-old")
    assert "sandbox-refresh-old" not in str(caught.value)
    assert await log.newest(sandbox.addresses.realm_id) is None


async def test_a_company_name_that_cannot_be_read_is_a_warning(connector, log, sandbox):
    sandbox.quickbooks_faults.add(Fault("html", path_contains="companyinfo", status=502))
    connected = await connector.with_refresh_token(sandbox.addresses.realm_id, sandbox.addresses.refresh_token)
    assert connected.company_name is None
    assert "name could not be read" in connected.warning
    assert (await log.newest(sandbox.addresses.realm_id)).state == "connected"


async def test_tokens_of_another_company_are_warned_about(connector, sandbox):
    connected = await connector.with_refresh_token("1234567890", sandbox.addresses.refresh_token)
    assert "1234567890" in connected.warning
    assert "sandbox-" not in connected.warning


async def test_trouble_at_the_token_server_is_told(connector, sandbox):
    sandbox.quickbooks_faults.add(Fault("status", path_contains="tokens/bearer", status=503))
    with pytest.raises(TokenServerTrouble, match="503"):
        await connector.with_refresh_token(sandbox.addresses.realm_id, sandbox.addresses.refresh_token)


async def test_a_wrong_client_secret_names_the_settings(settings, log, session, sandbox):
    wrong = settings.quickbooks.model_copy(update={"client_id": "another"})
    connector = Connector(settings.model_copy(update={"quickbooks": wrong}), log, AiohttpTransport(session))
    with pytest.raises(ClientRefused, match=r"quickbooks\.client_secret"):
        await connector.with_refresh_token(sandbox.addresses.realm_id, sandbox.addresses.refresh_token)


async def test_without_a_broker_no_token_is_used_up(settings, session, sandbox, unused_tcp_port_factory):
    kafka = {"bootstrap_servers": f"127.0.0.1:{unused_tcp_port_factory()}", "timeout_seconds": 1}
    away = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=kafka)})
    connector = Connector(away, ConnectionLog(away), AiohttpTransport(session))
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1"):
        await connector.with_refresh_token(sandbox.addresses.realm_id, sandbox.addresses.refresh_token)
    assert sandbox.oauth.refreshes == 0


async def test_recording_without_a_broker_names_it(settings, log, sandbox, connector, unused_tcp_port_factory):
    await connector.with_refresh_token(sandbox.addresses.realm_id, sandbox.addresses.refresh_token)
    change = await log.newest(sandbox.addresses.realm_id)
    kafka = {"bootstrap_servers": f"127.0.0.1:{unused_tcp_port_factory()}", "timeout_seconds": 1}
    away = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=kafka)})
    with pytest.raises(BrokerUnreachable, match="did not answer"):
        await ConnectionLog(away).record(change)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"state": "forged"}, "state is not ours"),
        ({"state": None}, "state is not ours"),
        ({"code": None, "error": "access_denied"}, "the person said no"),
        ({"code": None, "error": "server_error"}, "server_error"),
        ({"code": None}, "no code"),
        ({"realmId": None}, "no realmId"),
        ({"realmId": "../../1"}, "realmId"),
        ({"realmId": "1"}, "company 1, not 9341450000000001"),
        ({"code": "never-given"}, "does not accept the authorization code"),
    ],
)
async def test_a_callback_that_is_not_right_connects_nothing(connector, settings, session, log, changes, problem):
    with pytest.raises(ConnectFailed, match=problem):
        await with_browser(
            connector, settings, session, calls_back(session, settings, **changes), realm="9341450000000001"
        )
    assert await log.newest("9341450000000001") is None


async def test_the_wait_for_the_browser_ends(connector, settings, session):
    async def goes_away(_):
        return None

    with pytest.raises(ConnectFailed, match=r"within 0\.1 s"):
        await with_browser(connector, settings, session, goes_away, wait_seconds=0.1)


async def test_a_taken_port_is_told(connector, settings):
    where = listen_at(settings.quickbooks.redirect_uri, None)
    server = await asyncio.start_server(lambda *_: None, where.host, where.port)
    async with server:
        with pytest.raises(ConnectFailed, match=r"cannot listen on 127\.0\.0\.1"):
            await connector.with_browser(realm=None, listen=where, wait_seconds=BOUND_SECONDS, show=print)


def test_the_authorize_url_is_intuits(settings):
    query = parse_qs(urlsplit(authorize_url(settings, "the state")).query)
    assert query == {
        "client_id": [settings.quickbooks.client_id],
        "scope": [SCOPE],
        "redirect_uri": [settings.quickbooks.redirect_uri],
        "response_type": ["code"],
        "state": ["the state"],
    }


def test_the_callback_listens_where_the_redirect_uri_points_or_where_it_is_told():
    assert listen_at("http://localhost:8585/callback", None) == Listen("localhost", 8585, "/callback")
    assert listen_at("https://books.example.com/qbo", "127.0.0.1:9000") == Listen("127.0.0.1", 9000, "/qbo")
    with pytest.raises(ConnectFailed, match="--listen"):
        listen_at("https://books.example.com/qbo", None)
    with pytest.raises(ConnectFailed, match="host and port"):
        listen_at("https://books.example.com/qbo", "9000")


async def run_connect(settings, *arguments, stdin=b"", **environment):
    """The command in a process of its own: code, stdout, stderr."""
    quickbooks = settings.quickbooks
    variables = {
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "KAFKA__TIMEOUT_SECONDS": str(settings.kafka.timeout_seconds),
        "ENCRYPTION_KEYS": json.dumps([key.get_secret_value() for key in settings.encryption_keys]),
        "QUICKBOOKS__URL": quickbooks.url,
        "QUICKBOOKS__AUTHORIZE_URL": quickbooks.authorize_url,
        "QUICKBOOKS__TOKEN_URL": quickbooks.token_url,
        "QUICKBOOKS__CLIENT_ID": quickbooks.client_id,
        "QUICKBOOKS__CLIENT_SECRET": quickbooks.client_secret.get_secret_value(),
    } | environment
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stream",
        "connect",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **{f"METRONOME_QBO_{name}": value for name, value in variables.items()}},
    )
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.kafka
@pytest.mark.parametrize("way", ["argument", "stdin", "environment"])
async def test_the_command_connects_with_a_refresh_token(settings, sandbox, kafka_bootstrap, way):
    """The topic is declared by the command itself, and no token is printed."""
    real = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(
                update={"bootstrap_servers": kafka_bootstrap, "timeout_seconds": BOUND_SECONDS}
            )
        }
    )
    realm, token = sandbox.addresses.realm_id, sandbox.addresses.refresh_token
    given = {"argument": ["--refresh-token", token], "stdin": ["--refresh-token", "-"], "environment": []}[way]
    environment = {"REFRESH_TOKEN": token} if way == "environment" else {}
    code, out, err = await run_connect(
        real, "--realm", realm, "--json", *given, stdin=token.encode() + b"\n", **environment
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["realm"] == realm
    assert "sandbox-" not in out
    assert (await ConnectionLog(real).newest(realm)).state == "connected"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--refresh-token", "x"], "add --realm"),
        (["--realm", "abc", "--refresh-token", "x"], "a realm id is digits"),
        (["--realm", "1", "--refresh-token", "-"], "refresh token is empty"),
    ],
)
async def test_a_misused_command_says_so_with_code_2(settings, arguments, problem):
    code, out, err = await run_connect(settings, *arguments)
    assert (code, out) == (2, "")
    assert problem in err


async def test_the_command_without_a_broker_is_one_clear_line(settings, unused_tcp_port_factory):
    address = f"127.0.0.1:{unused_tcp_port_factory()}"
    code, _, err = await run_connect(
        settings, "--realm", "1", "--refresh-token", "x", KAFKA__BOOTSTRAP_SERVERS=address, KAFKA__TIMEOUT_SECONDS="1"
    )
    assert code == 1
    assert address in err
    assert "Traceback" not in err


async def test_nothing_secret_is_logged(connector, settings, session, sandbox, caplog, capfd):
    caplog.set_level(logging.INFO)
    await with_browser(connector, settings, session, approves(session))
    await connector.with_refresh_token(
        sandbox.addresses.realm_id, sandbox.grants[sandbox.addresses.realm_id].refresh_token
    )
    told = caplog.text + "".join(capfd.readouterr())
    assert "sandbox-refresh" not in told
    assert "sandbox-access" not in told
