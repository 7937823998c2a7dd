"""`metronome-qbo replay` and `metronome-qbo web`, as processes against an embedded broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from simulators.kafka.embedded import embedded_broker
from stream.settings import Settings
from tests import BOUND_SECONDS
from tests.stream.recorded import invoice_id, invoice_of, recording, settings_of


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with embedded_broker() as bootstrap:
        yield settings_of(bootstrap, tmp_path / "i.sqlite")


def _environment(settings: Settings, **more: str) -> dict[str, str]:
    ours = {
        "METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
        "METRONOME_QBO_KAFKA__TIMEOUT_SECONDS": str(BOUND_SECONDS),
        "METRONOME_QBO_WEB__INDEX": str(settings.web.index),
    }
    return {**os.environ, **ours, **more}


async def run(settings: Settings, *arguments: str, **more: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", *arguments, env=_environment(settings, **more),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BOUND_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_replay_prints_verdicts_and_applies_only_when_asked(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1))
        await recorder.story(invoice_of(2), "parked")
        code, out, err = await run(settings, "replay", "--from-offset", "0", "--to-offset", "99", "--json")
        assert (code, err) == (0, "")
        answer = json.loads(out)
        assert answer["summary"] == {"same": 1, "never posted": 1}
        assert (answer["applied"], answer["commands_published"]) == (False, 0)
        code, out, _ = await run(settings, "replay", "--from-offset", "0", "--to-offset", "99", "--apply")
    assert code == 0
    assert "Published 1 commands for 1 invoices" in out


async def test_replay_with_another_policy_says_what_differs(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1))
        zone = {"METRONOME_QBO_POLICY__TIME_ZONE": "America/Los_Angeles", "COLUMNS": "200"}
        code, out, _ = await run(settings, "replay", "--from-offset", "0", "--to-offset", "0", **zone)
    assert code == 0
    assert "txn_date: 2026-11-02 → 2026-11-01" in out
    assert "Nothing was written" in out


async def test_replay_out_of_range_says_what_there_is_in_one_line(settings: Settings) -> None:
    async with recording(settings) as recorder:
        _, at, _, _ = await recorder.story(invoice_of(1))
        code, out, err = await run(settings, "replay", "--from-offset", "7", "--to-offset", "9")
    assert (code, out) == (1, "")
    assert f"partition {at.partition}: offsets 0 to 0" in " ".join(err.split())
    assert "Traceback" not in err


async def test_replay_help_shows_examples(settings: Settings) -> None:
    code, out, _ = await run(settings, "replay", "--help", COLUMNS="200")
    assert code == 0
    assert "metronome-qbo replay --from-offset 0 --to-offset 999" in out


async def test_web_says_when_it_is_ready_serves_and_ends_on_sigterm(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stream", "web", "--port", "0", env=_environment(settings), stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(BOUND_SECONDS):
                line = (await process.stdout.readline()).decode().strip()
                assert line.startswith("web ready on http://127.0.0.1:")
                await _until_posted(line.rpartition(" ")[2])
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(BOUND_SECONDS):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _until_posted(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"{url}/invoices/{invoice_id(1)}.json") as answer:
                if answer.status == 200 and (await answer.json())["invoice"]["state"] == "posted":
                    return
            await asyncio.sleep(0.05)


async def test_web_without_topics_ends_with_a_clear_message(settings: Settings) -> None:
    code, _, err = await run(settings, "web", "--port", "0", METRONOME_QBO_KAFKA__TIMEOUT_SECONDS="5")
    assert code == 1
    assert "no such topic" in " ".join(err.split())
    assert "Traceback" not in err
