"""Our commands as a user types them: the demo, and how each long-running command starts and ends."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from stream.demo.processes import ChildFailed, Children
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import Rig, ended, running_rig


@pytest_asyncio.fixture
async def children(tmp_path: Path) -> AsyncIterator[Children]:
    children = Children(tmp_path)
    yield children
    await children.stop()


@pytest_asyncio.fixture
async def rig(embedded_bootstrap: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_rig(Broker("embedded", embedded_bootstrap), tmp_path) as rig:
        yield rig


async def test_the_demo_carries_every_invoice_to_the_cent_and_posts_none_twice(children: Children) -> None:
    output = await children.run("demo", "--invoices", "12", "--exit", "--json", within_seconds=BOUND_SECONDS)
    facts = json.loads(output)
    assert len(facts["invoices"]) == facts["outcomes"] == facts["posted"] == 12
    assert (facts["mismatches"], facts["duplicates"]) == (0, [])
    assert (facts["second_pass_posted"], facts["second_pass_unchanged"]) == (0, 12)
    assert all(Decimal(row["metronome_total"]) == Decimal(row["quickbooks_total"]) for row in facts["invoices"])
    assert 0 < facts["median_seconds"] <= facts["p99_seconds"] < BOUND_SECONDS


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes by their directories in /proc")
async def test_the_demo_leaves_no_process_behind_when_it_is_terminated(children: Children, tmp_path: Path) -> None:
    """Whenever that comes: here as soon as its first child runs."""
    running = asyncio.create_task(
        children.start("demo", ready_within_seconds=BOUND_SECONDS, also={"TMPDIR": str(tmp_path)})
    )
    async with asyncio.timeout(BOUND_SECONDS):
        while not (started := processes_below(tmp_path / "metronome-qbo-demo-")):
            await asyncio.sleep(0.02)
        [demo] = children.running
        for _ in range(2):
            demo.process.send_signal(signal.SIGTERM)
        assert await ended(demo) == 128 + signal.SIGTERM
    with pytest.raises(ChildFailed, match="ended before it was ready"):
        await running
    assert started
    assert processes_below(tmp_path / "metronome-qbo-demo-") == []


def processes_below(path: Path) -> list[int]:
    """Those whose working directory's name begins so, also when it is gone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(str(path)):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("command", ["worker", "receive"])
async def test_production_without_a_broker_is_refused(children: Children, command: str) -> None:
    children.environment = {"METRONOME_QBO_ENVIRONMENT": "production"}
    with pytest.raises(ChildFailed, match="production needs a real broker"):
        await children.run(command, within_seconds=BOUND_SECONDS)


async def test_production_with_the_embedded_broker_is_refused(children: Children) -> None:
    children.environment = {
        "METRONOME_QBO_ENVIRONMENT": "production",
        "METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9092",
        "METRONOME_QBO_KAFKA__EMBEDDED": "true",
    }
    with pytest.raises(ChildFailed, match="production needs a real broker"):
        await children.run("worker", within_seconds=BOUND_SECONDS)


async def test_the_sandbox_says_where_it_is_on_one_line_and_ends_when_asked_to(children: Children) -> None:
    sandbox = await children.start("sandbox", "--invoices", "3", ready_within_seconds=BOUND_SECONDS)
    said = json.loads(sandbox.ready_line)
    assert said["invoices"] == 3
    assert {
        *("metronome_url", "quickbooks_url", "realm_id", "client_id", "client_secret"),
        *("access_token", "refresh_token", "metronome_token", "webhook_secret"),
    } <= said.keys()
    sandbox.process.send_signal(signal.SIGTERM)
    assert await ended(sandbox) == 0
    assert sandbox.process.stdout is not None
    assert await sandbox.process.stdout.read() == b""


@pytest.mark.parametrize("command", ["worker", "receive", "web"])
async def test_a_command_says_on_one_line_that_it_is_ready_and_ends_when_asked_to(rig: Rig, command: str) -> None:
    child = await rig.children.start(command, ready_within_seconds=BOUND_SECONDS)
    assert "ready" in child.ready_line
    assert "http://127.0.0.1:" in child.ready_line
    child.process.send_signal(signal.SIGTERM)
    assert await ended(child) == 0
    assert child.process.stdout is not None
    assert await child.process.stdout.read() == b""
