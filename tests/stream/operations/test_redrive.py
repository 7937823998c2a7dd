"""`metronome-qbo redrive`, `map` and `health`: what waits is found and published again as it was, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.enrich import read_webhook
from models.commands import COMMANDS, SetCustomerMapping
from models.events import Announcement
from simulators.kafka.embedded import embedded_broker
from stream.cli import cli
from stream.kafka.log import EventLog, RawRecord
from stream.operations.redrive import dead_letters, redrive_commands, redrive_dead_letters, unfinished
from stream.settings import Settings
from stream.topics import topic_names
from tests import BOUND_SECONDS
from tests.stream.recorded import invoice_id, invoice_of, recording, settings_of


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with embedded_broker() as bootstrap:
        yield settings_of(bootstrap, tmp_path / "i.sqlite")


async def read_all(settings: Settings, topic: str) -> list[RawRecord]:
    records = EventLog(str(settings.kafka.bootstrap_servers), BOUND_SECONDS).read_range(topic)
    return [record async for record in records]


async def test_what_is_parked_or_uncertain_is_published_again_byte_for_byte(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1), "posted")
        await recorder.story(invoice_of(2), "parked", changes={"waits_for": "connection"})
        await recorder.story(invoice_of(3), "uncertain", changes={"waits_for": "quickbooks"})
    found = await unfinished(settings, subject=None, waits_for=None)
    assert [each.subject for each in found] == [f"invoice/{invoice_id(2)}", f"invoice/{invoice_id(3)}"]
    commands = topic_names(settings).commands
    before = await read_all(settings, commands)
    assert await redrive_commands(settings, found) == 2
    after = await read_all(settings, commands)
    originals = {record.address: (record.key, record.value) for record in before}
    added = [(record.key, record.value) for record in after if record.address not in originals]
    assert added == [originals[each.outcome.command] for each in found]


async def test_it_can_be_one_invoice_or_one_cause(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1), "parked", changes={"waits_for": "connection"})
        await recorder.story(invoice_of(2), "parked", changes={"waits_for": "open period"})
    one = await unfinished(settings, subject=f"invoice/{invoice_id(1)}", waits_for=None)
    cause = await unfinished(settings, subject=None, waits_for="open")
    assert [each.subject for each in one] == [f"invoice/{invoice_id(1)}"]
    assert [each.subject for each in cause] == [f"invoice/{invoice_id(2)}"]


async def test_what_was_posted_after_it_was_parked_waits_no_more(settings: Settings) -> None:
    async with recording(settings) as recorder:
        _, _, command, _ = await recorder.story(invoice_of(1), "parked", changes={"waits_for": "connection"})
        (place,) = await recorder.commands([command])
        await recorder.outcome(command, place, "posted")
    assert await unfinished(settings, subject=None, waits_for=None) == []


async def test_metronome_is_asked_again_where_it_had_not_decided(settings: Settings) -> None:
    draft = invoice_of(1) | {"status": "DRAFT"}
    now = datetime.now(UTC)
    async with recording(settings) as recorder:
        await recorder.story(draft, received_at=now)
    found = await unfinished(settings, subject=None, waits_for=None)
    commands, webhooks = topic_names(settings).commands, topic_names(settings).webhooks
    before = await read_all(settings, commands)
    assert await redrive_commands(settings, found) == 1
    assert await read_all(settings, commands) == before
    [_, asked] = await read_all(settings, webhooks)
    assert (asked.key, dict(asked.headers)["source"]) == (draft["customer_id"].encode(), b"worker")
    assert read_webhook(asked.value or b"") == read_webhook(
        Announcement(invoice_id=draft["id"], customer_id=draft["customer_id"], status="FINALIZED").encode()
    )


async def test_a_dead_letter_goes_back_to_where_it_came_from_without_our_headers(settings: Settings) -> None:
    async with recording(settings) as recorder:
        original = await recorder.send(topic_names(settings).webhooks, b"{broken", b"k")
        await recorder.dead_letter(original, b"{broken", "not JSON")
    (letter,) = await dead_letters(settings)
    assert (letter.topic, letter.reason) == (original.topic, "not JSON")
    assert await redrive_dead_letters(settings, [letter]) == 1
    again = await read_all(settings, original.topic)
    assert [record.value for record in again] == [b"{broken", b"{broken"]
    assert not any(name.startswith("__connect") for record in again for name, _ in record.headers)


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", str(settings.kafka.bootstrap_servers))
    monkeypatch.setenv("METRONOME_QBO_KAFKA__EMBEDDED", "true")
    return CliRunner().invoke(cli, arguments)


def test_map_puts_a_command_on_the_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(settings, monkeypatch, "map", "customer", "c-1", "58", "--realm", "42")
    assert result.exit_code == 0, result.output
    (record,) = asyncio.run(read_all(settings, topic_names(Settings()).commands))
    assert COMMANDS.validate_json(record.value or b"") == SetCustomerMapping(realm="42", customer_id="c-1", qbo_id="58")
    assert record.key == b"42"


def test_map_refuses_what_is_no_quickbooks_id(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(settings, monkeypatch, "map", "item", "*", "Usage", "--realm", "42").exit_code == 2
    assert run(settings, monkeypatch, "map", "item", "*", "31").exit_code == 2


def test_redrive_lists_and_publishes_only_when_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def park() -> None:
        async with recording(settings) as recorder:
            await recorder.story(invoice_of(1), "parked", changes={"waits_for": "connection"})

    asyncio.run(park())
    listed = json.loads(run(settings, monkeypatch, "redrive", "--json").stdout)
    assert (len(listed["unfinished"]), listed["published"]) == (1, 0)
    applied = json.loads(run(settings, monkeypatch, "redrive", "--json", "--apply").stdout)
    assert applied["published"] == 1


def test_what_cannot_be_read_is_logged_and_leaves_the_json_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def park_beside_garbage() -> None:
        async with recording(settings) as recorder:
            await recorder.send(topic_names(settings).outcomes, b"[[[")
            await recorder.story(invoice_of(1), "parked", changes={"waits_for": "connection"})

    asyncio.run(park_beside_garbage())
    result = run(settings, monkeypatch, "redrive", "--json")
    assert len(json.loads(result.stdout)["unfinished"]) == 1
    assert "unreadable_record" in result.stderr


def test_health_says_when_no_worker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRONOME_QBO_WORKER__HEALTH_PORT", "1")
    assert CliRunner().invoke(cli, ["health"]).exit_code == 1
