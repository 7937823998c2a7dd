"""State that is taken away, brought back, reset, moved in time, and that outlives the process in a file."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulators.quickbooks.books import Company
from simulators.server import Sandbox, SandboxAddresses, start_sandbox
from simulators.state import StateFile, StateUnusable
from tests import BOUND_SECONDS
from tests.simulators.companies import invoice, line

OF_BOTH = pytest.mark.parametrize("server", ["quickbooks", "metronome"])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session:
        yield session


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = await start_sandbox(invoices=5, limits=False)
    yield sandbox
    await sandbox.stop()


async def create(http: aiohttp.ClientSession, addresses: SandboxAddresses, **query: str) -> tuple[int, dict[str, Any]]:
    url = f"{addresses.quickbooks_url}/v3/company/{addresses.realm_id}/invoice"
    bearer = {"Authorization": f"Bearer {addresses.access_token}"}
    async with http.post(url, json=invoice(Line=[line("10.10")]), params=query, headers=bearer) as response:
        return response.status, (await response.json()).get("Invoice", {})


async def void(http: aiohttp.ClientSession, addresses: SandboxAddresses, invoice_id: str) -> None:
    bearer = {"Authorization": f"Bearer {addresses.metronome_token}"}
    url = addresses.metronome_url + "/v1/invoices/void"
    async with http.post(url, json={"id": invoice_id}, headers=bearer) as response:
        assert response.status == 200, await response.text()


async def control(http: aiohttp.ClientSession, base: str, name: str, body: bytes | None = None) -> tuple[int, Any]:
    """GET without a body, POST with one."""
    url = f"{base}/_sandbox/{name}"
    async with http.get(url) if body is None else http.post(url, data=body) as response:
        return response.status, json.loads(await response.read(), parse_float=Decimal)


async def snapshot(http: aiohttp.ClientSession, base: str) -> bytes:
    async with http.get(base + "/_sandbox/snapshot") as response:
        return await response.read()


def rows_of(document: bytes) -> dict[str, Any]:
    return dict(json.loads(document, parse_float=Decimal)["rows"])


def url_of(sandbox: Sandbox, server: str) -> str:
    return {"quickbooks": sandbox.addresses.quickbooks_url, "metronome": sandbox.addresses.metronome_url}[server]


async def test_a_restored_quickbooks_goes_on_as_it_was(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The next number, the memory of request ids and the tokens are those of the snapshot."""
    base = sandbox.addresses.quickbooks_url
    _, first = await create(http, sandbox.addresses, requestid="one")
    kept = await snapshot(http, base)
    _, second = await create(http, sandbox.addresses)
    assert await control(http, base, "restore", kept) == (200, {"server": "quickbooks"})
    assert rows_of(await snapshot(http, base)) == rows_of(kept)
    assert (await create(http, sandbox.addresses, requestid="one"))[1] == first
    _, again = await create(http, sandbox.addresses)
    assert again["Id"] == second["Id"]


async def test_a_restored_metronome_has_its_invoices_back(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    base, invoice_id = sandbox.addresses.metronome_url, sandbox.scene.invoices[0]["id"]
    kept = await snapshot(http, base)
    await void(http, sandbox.addresses, invoice_id)
    assert sandbox.metronome.invoices[invoice_id]["status"] == "VOID"
    await control(http, base, "restore", kept)
    assert sandbox.metronome.invoices[invoice_id]["status"] == "FINALIZED"
    assert rows_of(await snapshot(http, base)) == rows_of(kept)


async def test_a_snapshot_moves_to_another_sandbox(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await create(http, sandbox.addresses)
    other = await start_sandbox(invoices=0, seed=2, companies=[Company("77")])
    try:
        document = await snapshot(http, sandbox.addresses.quickbooks_url)
        assert (await control(http, other.addresses.quickbooks_url, "restore", document))[0] == 200
        moved = await create(http, SandboxAddresses(**{
            **{name: getattr(sandbox.addresses, name) for name in SandboxAddresses.__slots__},
            "quickbooks_url": other.addresses.quickbooks_url,
        }))  # fmt: skip
        assert moved[0] == 200
    finally:
        await other.stop()


@OF_BOTH
async def test_reset_brings_the_first_state_and_tokens_back(
    sandbox: Sandbox, http: aiohttp.ClientSession, server: str
) -> None:
    base = url_of(sandbox, server)
    first = rows_of(await snapshot(http, base))
    await create(http, sandbox.addresses)
    await void(http, sandbox.addresses, sandbox.scene.invoices[0]["id"])
    changed = rows_of(await snapshot(http, base))
    assert undated(changed) != undated(first)
    assert await control(http, base, "reset", b"") == (200, {"server": server})
    assert undated(rows_of(await snapshot(http, base))) == undated(first)
    assert (await create(http, sandbox.addresses))[0] == 200


def undated(value: Any) -> Any:
    """Without the moments at which the books and the grants were made, which differ by what passed in between."""
    if isinstance(value, dict):
        return {key: undated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [undated(each) for each in value]
    if isinstance(value, Decimal | float) and value > 1_000_000_000:
        return "a moment"
    return "a moment" if isinstance(value, str) and value[:4].isdigit() and value[10:11] == "T" else value


@OF_BOTH
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda document: b"{", "not JSON"),
        (lambda document: b"[]", "format"),
        (lambda document: json.dumps({**document, "format": 99}).encode(), "format"),
        (lambda document: json.dumps({**document, "server": "stripe"}).encode(), "server"),
        (lambda document: json.dumps({**document, "rows": [["a", 1]]}).encode(), "rows"),
        (lambda document: json.dumps({**document, "rows": [["nonsense/1/2", {}]]}).encode(), "rows"),
    ],
)
async def test_what_is_no_snapshot_is_refused_and_changes_nothing(
    sandbox: Sandbox, http: aiohttp.ClientSession, server: str, change: Any, named: str
) -> None:
    base = url_of(sandbox, server)
    before = await snapshot(http, base)
    status, answer = await control(http, base, "restore", change(json.loads(before)))
    assert status == 400
    assert named in answer["message"]
    assert rows_of(await snapshot(http, base)) == rows_of(before)


async def test_the_clock_of_both_servers_moves_on_and_tokens_expire(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    assert (await create(http, sandbox.addresses))[0] == 200
    before = (await control(http, sandbox.addresses.quickbooks_url, "clock"))[1]
    status, moved = await control(http, sandbox.addresses.metronome_url, "clock", b'{"advance_seconds": 3601}')
    assert (status, moved["ahead_seconds"]) == (200, 3601)
    assert moved["now"] >= before["now"] + 3601
    assert (await create(http, sandbox.addresses))[0] == 401


@OF_BOTH
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"advance_seconds": "1"}', b'{"advance_seconds": -1}',
                                  b'{"advance_seconds": true}', b'{"advance_seconds": 1e12}'])  # fmt: skip
async def test_a_step_that_makes_no_sense_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, server: str, body: bytes
) -> None:
    status, answer = await control(http, url_of(sandbox, server), "clock", body)
    assert status == 400
    assert "advance_seconds" in answer["message"]
    assert sandbox.clock.ahead_seconds == 0


async def test_unknown_controls_are_not_found(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    assert (await control(http, sandbox.addresses.quickbooks_url, "melt"))[0] == 404
    assert (await control(http, sandbox.addresses.quickbooks_url, "finalize", b"{}"))[0] == 404


async def test_a_state_file_holds_every_row_over_a_restart(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    file = tmp_path / "state.sqlite"
    first = await start_sandbox(invoices=4, seed=3, limits=False, state=file)
    invoice_id = first.scene.invoices[0]["id"]
    await create(http, first.addresses, requestid="one")
    await void(http, first.addresses, invoice_id)
    await control(http, first.addresses.quickbooks_url, "clock", b'{"advance_seconds": 60}')
    held = {each: dict(getattr(first, each).rows()) for each in ("quickbooks", "metronome")}
    await first.stop()
    second = await start_sandbox(invoices=9, seed=8, limits=False, state=file)
    try:
        assert second.is_resumed
        assert (second.addresses.seed, second.addresses.invoices) == (3, 4)
        assert second.addresses.client_id == first.addresses.client_id
        assert second.addresses.metronome_token == first.addresses.metronome_token
        assert second.clock.ahead_seconds == 60
        assert dict(second.metronome.rows()) == held["metronome"]
        kept = dict(second.quickbooks.rows())
        of_tokens = {key for key in held["quickbooks"] if key.startswith("oauth/")}
        assert {key: kept[key] for key in held["quickbooks"] if key not in of_tokens} == {
            key: value for key, value in held["quickbooks"].items() if key not in of_tokens
        }
        for addresses in (first.addresses, second.addresses):  # the former tokens are as good as before
            used = {**{name: getattr(second.addresses, name) for name in SandboxAddresses.__slots__}}
            used["access_token"] = addresses.access_token
            status, replayed = await create(http, SandboxAddresses(**used), requestid="one")
            assert (status, replayed["Id"]) == (200, "1")
    finally:
        await second.stop()


async def test_a_reset_after_a_restart_brings_back_what_the_file_began_with(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    file = tmp_path / "state.sqlite"
    companies = [Company("1001", name="One"), Company("1002", name="Two", currency="EUR", country="DE")]
    first = await start_sandbox(invoices=4, seed=3, companies=companies, mix="every-kind", state=file)
    ids = set(first.metronome.invoices)
    await void(http, first.addresses, next(key for key, each in first.metronome.invoices.items()
                                           if each["status"] == "FINALIZED"))  # fmt: skip
    await first.stop()
    for _ in range(2):  # and the reset itself is kept
        again = await start_sandbox(state=file)
        assert (await control(http, again.addresses.metronome_url, "reset", b""))[0] == 200
        assert (await control(http, again.addresses.quickbooks_url, "reset", b""))[0] == 200
        assert set(again.metronome.invoices) == ids
        assert [each.company for each in again.quickbooks.books.values()] == companies
        await again.stop()


class Command:
    """`metronome-qbo sandbox` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, addresses: SandboxAddresses) -> None:
        self.process = process
        self.addresses = addresses

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", "sandbox", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(BOUND_SECONDS):
            values = json.loads(await process.stdout.readline())
        yield Command(process, SandboxAddresses(**values))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_what_was_answered_outlives_kill_9(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    arguments = ("--invoices", "3", "--state", str(tmp_path / "state.sqlite"), "--no-limits")
    async with running(*arguments) as command:
        made = [await create(http, command.addresses, requestid=f"r{number}") for number in range(20)]
        async with http.get(command.addresses.metronome_url + "/_sandbox/invoices") as response:
            invoice_id = (await response.json())[0]["id"]
        await void(http, command.addresses, invoice_id)
        await command.kill()
    async with running(*arguments) as command:
        async with http.get(command.addresses.quickbooks_url + "/_sandbox/invoices") as response:
            held = [{name: each[name] for name in each if name != "realm_id"} for each in await response.json()]
        assert held == [each for _, each in made]
        assert (await create(http, command.addresses, requestid="r7"))[1] == made[7][1]
        _, after = await create(http, command.addresses)
        assert after["Id"] == "21"
        async with http.get(command.addresses.metronome_url + "/_sandbox/invoices") as response:
            statuses = {each["id"]: each["status"] for each in await response.json()}
        assert statuses[invoice_id] == "VOID"


async def test_a_state_file_belongs_to_one_process(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    sandbox = await start_sandbox(invoices=0, state=file)
    try:
        with pytest.raises(StateUnusable, match="locked"):
            await start_sandbox(invoices=0, state=file)
    finally:
        await sandbox.stop()


def test_what_is_no_state_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and longer than the header of one would be" * 10)
    with pytest.raises(StateUnusable, match="not a database"):
        StateFile(text)
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE theirs (id INTEGER)")
    database.close()
    with pytest.raises(StateUnusable, match="another program"):
        StateFile(other)
    with pytest.raises(StateUnusable, match="unable to open"):
        StateFile(tmp_path / "nowhere" / "state.sqlite")


class Rows:
    """The smallest thing that has state."""

    def __init__(self) -> None:
        self.touched: set[str] = set()
        self.held: dict[str, dict[str, Any]] = {}

    def put(self, key: str, value: dict[str, Any] | None) -> None:
        self.touched.add(key)
        if value is None:
            del self.held[key]
        else:
            self.held[key] = value

    def row(self, key: str) -> dict[str, Any] | None:
        return self.held.get(key)

    def rows(self) -> Any:
        return iter(self.held.items())

    def restore(self, rows: Any) -> None:
        self.held = dict(rows)


def test_rows_come_back_in_the_order_of_their_first_write_and_exact(tmp_path: Path) -> None:
    file, core = StateFile(tmp_path / "state.sqlite"), Rows()
    for number in (9, 10, 8):
        core.put(f"sale/{number}", {"amount": Decimal("0.10"), "number": number})
    file.keep("server", core)
    core.put("sale/9", {"amount": Decimal("12345678901234567.89"), "number": 9})
    core.put("sale/10", None)
    file.keep("server", core)
    assert core.touched == set()
    file.close()
    again = StateFile(tmp_path / "state.sqlite")
    assert again.read("server") == [
        ("sale/8", {"amount": Decimal("0.10"), "number": 8}),
        ("sale/9", {"amount": Decimal("12345678901234567.89"), "number": 9}),
    ]
    again.close()
