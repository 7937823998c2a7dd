"""How long a connection lives: recorded from Intuit's answers, listed, warned of; and keys that are rotated."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer
from cryptography.fernet import Fernet
from pydantic import SecretStr

from agents.clients.failures import CannotDecrypt
from agents.clients.oauth import IntuitOAuth, Tokens
from agents.connections import Connections, connected, ends_soon
from models.events import ConnectionChanged
from simulators.kafka.embedded import embedded_broker
from simulators.quickbooks.oauth import OAuthServer, OAuthSettings
from stream.operations.connection_log import ConnectionLog, check_encryption_keys
from stream.settings import Settings, SettingsError
from stream.topics import topic_names
from stream.web.app import create_web
from stream.web.index import Index
from stream.web.masking import masked_json, pretty
from stream.web.projection import Projection
from stream.wiring import TokenCipher
from tests import BOUND_SECONDS, ROOT
from tests.agents.in_process import Clock, InProcess
from tests.stream.recorded import REALM, Recorder, recording, settings_of

DAY = timedelta(days=1)
FIVE_YEARS = timedelta(days=1825)
OTHER = "9341450000000002"


def new_key() -> SecretStr:
    return SecretStr(Fernet.generate_key().decode())


class Intuit:
    """The token server without sockets, and one company's `Connections` on it; nothing else holds the tokens."""

    def __init__(self, *keys: SecretStr, warning_days: float = 30) -> None:
        self.clock = Clock()
        self.server = OAuthServer(OAuthSettings("id", "secret"), {REALM: "One"}, self.clock, "1")
        transport = InProcess(lambda request: self.server.answer(request), self.clock)  # type: ignore[arg-type,return-value]
        url = "https://oauth.example/oauth2/v1/tokens/bearer"
        self.oauth = IntuitOAuth(transport, url, "id", "secret", 5)
        self.table: dict[str, ConnectionChanged] = {}
        self.recorded: list[ConnectionChanged] = []
        self.warning_days = warning_days
        self.restart(*keys or (new_key(),))

    def restart(self, *keys: SecretStr) -> None:
        """A worker with these keys and the table of before."""
        self.cipher = TokenCipher(keys)
        self.connections = Connections(
            self.table, self.oauth, self.cipher, self._record, self.clock, 300, 0, self.warning_days
        )

    async def connect(self) -> ConnectionChanged:
        tokens = await self.oauth.refresh(self.server.connect(REALM).refresh_token)
        self.table[REALM] = connected(REALM, tokens, self.cipher, self.clock.moment(), previous=None)
        return self.table[REALM]

    async def refreshed(self) -> ConnectionChanged:
        self.clock.now += 7200
        await self.connections.access_token(REALM)
        return self.recorded[-1]

    async def _record(self, change: ConnectionChanged) -> None:
        self.recorded.append(change)
        self.table[change.realm] = change


async def test_intuit_is_asked_for_the_hard_expiry_and_its_answer_recorded_with_every_refresh() -> None:
    intuit = Intuit()
    now, first = intuit.clock.moment(), await intuit.connect()
    assert first.hard_expires_at is not None
    assert abs(first.hard_expires_at - now - FIVE_YEARS) < timedelta(seconds=5)
    later = await intuit.refreshed()
    assert later.hard_expires_at is not None
    assert abs(later.hard_expires_at - first.hard_expires_at) < timedelta(seconds=5)


def test_a_token_server_that_does_not_say_it_leaves_it_open() -> None:
    change = connected(REALM, Tokens("a", 1, "r", 1), TokenCipher([new_key()]), datetime.now(UTC), previous=None)
    assert change.hard_expires_at is None
    assert not ends_soon(change, datetime.now(UTC), FIVE_YEARS)


@pytest.mark.parametrize(("days_before", "warned"), [(31, False), (29, True), (1, True)])
async def test_a_refresh_warns_when_the_end_is_near(days_before: int, warned: bool) -> None:
    intuit = Intuit()
    await intuit.connect()
    intuit.clock.now += FIVE_YEARS.total_seconds() - days_before * DAY.total_seconds() - 7200
    # Nobody leaves tokens alone for so long: they were refreshed all the time.
    grant = intuit.server._grants[-1]
    grant.since = intuit.clock.now
    with structlog.testing.capture_logs() as logs:
        await intuit.refreshed()
    warnings = [each for each in logs if each["event"] == "connection_ends_soon"]
    assert bool(warnings) is warned
    for each in warnings:
        assert (each["realm"], each["remedy"]) == (REALM, f"metronome-qbo connect --realm {REALM}")


async def test_after_a_rotation_old_records_are_read_and_new_ones_need_the_new_key_alone() -> None:
    old_key, key = new_key(), new_key()
    intuit = Intuit(old_key)
    before = await intuit.connect()
    intuit.restart(key, old_key)
    after = await intuit.refreshed()
    for stored, opens, fails in ((before, old_key, key), (after, key, old_key)):
        for token in (stored.access_token, stored.refresh_token):
            assert TokenCipher([opens]).decrypt(str(token)).startswith("sandbox-")
            with pytest.raises(CannotDecrypt):
                TokenCipher([fails]).decrypt(str(token))
    intuit.restart(key)
    assert await intuit.connections.access_token(REALM) == TokenCipher([key]).decrypt(str(after.access_token))


async def test_a_record_shows_no_token_whichever_key_it_is_encrypted_with() -> None:
    intuit = Intuit(new_key())
    before = await intuit.connect()
    intuit.restart(new_key())
    intuit.table.clear()
    after = await intuit.connect()
    for change in (before, after):
        shown = masked_json(change.encode()) + pretty(change.encode(), 10_000)
        for token in (change.access_token, change.refresh_token):
            assert str(token) not in shown
        assert "hard_expires_at" in shown
        assert "2031" in shown or "2030" in shown


# What is shown of it


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Recorder]:
    with embedded_broker() as bootstrap:
        async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
            yield recorder


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + days * DAY


async def record_two_companies(recorder: Recorder, days: int) -> None:
    """One whose hard expiry is far away, and one whose is so many days ahead."""
    tokens = {"access_token": "gAAAAAsecret", "refresh_token": "gAAAAAsecret", "access_token_expires_at": in_days(0)}
    expiries = {REALM: in_days(1000), OTHER: in_days(days)}
    for realm, hard in expiries.items():
        change = ConnectionChanged(
            realm=realm, state="connected", changed_at=in_days(0), company_name=f"Company {realm[-1]}",
            refresh_token_expires_at=in_days(100), hard_expires_at=hard, **tokens,
        )  # fmt: skip
        await recorder.row("connections", realm, change)
        await recorder.send(recorder.names.connections, change.encode(), realm.encode())


async def listed(settings: Settings, *more: str) -> tuple[int | None, str, str]:
    """`metronome-qbo connections` as a process: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "connections", *more),
        env={
            "METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
            "PYTHONPATH": str(ROOT),
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BOUND_SECONDS):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_lists_every_company_and_warns_of_the_one_that_ends_soon(recorder: Recorder) -> None:
    await record_two_companies(recorder, 20)
    code, out, err = await listed(recorder.settings)
    assert code == 1
    assert f"metronome-qbo connect --realm {OTHER}" in err
    assert REALM not in err
    for text in (REALM, OTHER, f"{in_days(20):%Y-%m-%d}", f"{in_days(1000):%Y-%m-%d}", "connected"):
        assert text in out
    code, out, err = await listed(recorder.settings, "--json")
    rows: list[dict[str, Any]] = json.loads(out)
    assert {each["realm"]: each["needs_a_person"] for each in rows} == {REALM: False, OTHER: True}
    assert "gAAAAAsecret" not in out + err


async def test_the_command_is_content_when_all_is_well(recorder: Recorder) -> None:
    await record_two_companies(recorder, 31)
    code, _, err = await listed(recorder.settings)
    assert (code, err) == (0, "")


async def test_the_newest_change_of_a_company_is_what_counts(recorder: Recorder) -> None:
    await record_two_companies(recorder, 31)
    needed = {"state": "reconnect needed", "reason": "Intuit answered invalid_grant twice"}
    await recorder.connection(changed_at=in_days(1), **needed)
    await recorder.connection(changed_at=in_days(-1))
    found = await ConnectionLog(recorder.settings).every()
    assert {realm: each.state for realm, each in found.items()} == {REALM: "reconnect needed", OTHER: "connected"}


async def test_a_record_under_another_key_is_nobodys_connection(recorder: Recorder) -> None:
    """Only the key keeps a company's newest connection from being compacted away."""
    change = ConnectionChanged(realm=REALM, state="connected", changed_at=in_days(0))
    topic = topic_names(recorder.settings).connections
    for key in (b"another", None):
        await recorder.send(topic, change.encode(), key)
    assert await ConnectionLog(recorder.settings).every() == {}


@pytest.mark.parametrize(("days", "warned"), [(20, True), (31, False)])
async def test_the_overview_warns_too_and_the_table_shows_when(recorder: Recorder, days: int, warned: bool) -> None:
    await record_two_companies(recorder, days)
    settings = recorder.settings
    index = Index(settings.web.index)
    await Projection(settings, index).catch_up()
    async with TestClient(TestServer(create_web(settings, index))) as client:
        overview = await (await client.get("/")).text()
        rows = (await (await client.get("/index.json")).json())["connections"]
        table = await (await client.get("/tables/connections")).text()
    assert {each["realm"]: each["ends_soon"] for each in rows} == {REALM: False, OTHER: warned}
    assert ("Connect it again before" in overview) is warned
    hard = in_days(days)
    assert f"{hard.day} {hard:%b %Y}" in overview
    assert f"{hard.day} {hard:%b %Y}" in table
    assert "gAAAAAsecret" not in overview + table


# At a worker's start


async def test_keys_that_open_no_companys_tokens_are_named_at_the_start(tmp_path: Path) -> None:
    key, old = new_key(), new_key()
    with embedded_broker() as bootstrap:
        settings = settings_of(bootstrap, tmp_path / "i.sqlite", encryption_keys=(key,))
        async with recording(settings) as recorder:
            await check_encryption_keys(settings)  # no company is connected yet
            await recorder.connection(refresh_token=TokenCipher([old]).encrypt("token"))
            with pytest.raises(SettingsError, match=f"encryption_keys: the stored tokens of {REALM}"):
                await check_encryption_keys(settings)
            await check_encryption_keys(settings.model_copy(update={"encryption_keys": (key, old)}))
            other = ConnectionChanged(
                realm="77",
                state="connected",
                changed_at=datetime.now(UTC),
                refresh_token=TokenCipher([key]).encrypt("token"),
            )
            await recorder.send(recorder.names.connections, other.encode(), b"77")
            with structlog.testing.capture_logs() as logs:
                await check_encryption_keys(settings)  # the other company goes on
    assert [(each["event"], each["realm"]) for each in logs] == [("tokens_unreadable", REALM)]
