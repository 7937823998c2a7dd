"""Replay against an embedded broker whose topics were written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents.translate.translate import translate
from models.commands import COMMANDS, PostInvoice, VoidInvoice
from models.policy import Policy
from simulators.kafka.embedded import embedded_broker
from stream.kafka.log import EventLog
from stream.operations.replay import OutOfRange, Replay, Selection, Verdict, differences, publish
from stream.settings import Settings
from stream.topics import topic_names
from tests import BOUND_SECONDS
from tests.builders import a_line, an_invoice, facts_of
from tests.stream.recorded import REALM, invoice_id, invoice_of, recording, settings_of

EVERYTHING = Selection(0, 10**6)
SINGLE_ITEM = Policy(item_strategy="single-item", default_item_id="7")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with embedded_broker() as bootstrap:
        yield settings_of(bootstrap, tmp_path / "i.sqlite")


async def replayed(
    settings: Settings, selection: Selection = EVERYTHING, policy: Policy | None = None
) -> list[Verdict]:
    if policy is not None:
        settings = settings.model_copy(update={"policy": policy})
    return await Replay(settings, selection, translate).run()


async def published(settings: Settings) -> list[Any]:
    topic = topic_names(settings).commands
    return [
        (COMMANDS.validate_json(each.value or b""), each.key)
        async for each in EventLog(str(settings.kafka.bootstrap_servers), BOUND_SECONDS).read_range(topic)
    ]


async def test_under_the_same_policy_everything_is_the_same(settings: Settings) -> None:
    async with recording(settings) as recorder:
        for number in (1, 2, 3):
            await recorder.story(invoice_of(number))
    assert [each.kind for each in await replayed(settings)] == ["same"] * 3


async def test_another_policy_shows_each_field_that_differs(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1, lines=2, net_payment_terms_days=None))
    (verdict,) = await replayed(settings, policy=Policy(payment_terms_days=10, time_zone="America/Los_Angeles"))
    assert verdict.kind == "differs"
    changes = {each.field: (each.before, each.after) for each in verdict.changes}
    assert changes["txn_date"] == ("2026-11-02", "2026-11-01")
    assert changes["due_date"] == (None, "2026-11-11")
    assert not any(name.startswith("total") for name in changes)


async def test_a_policy_that_declines_says_why_and_that_it_stands_in_the_books(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1, cents=0))
    (verdict,) = await replayed(settings, policy=Policy(zero_total="skip"))
    assert verdict.kind == "declined"
    assert "zero total" in str(verdict.reason)
    assert "stands in QuickBooks" in str(verdict.reason)


@pytest.mark.parametrize("result", ["parked", "refused", "uncertain"])
async def test_a_command_that_did_not_reach_the_books_was_never_posted(settings: Settings, result: Any) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1), result)
    assert [each.kind for each in await replayed(settings)] == ["never posted"]


async def test_the_latest_posted_command_is_what_is_compared(settings: Settings) -> None:
    async with recording(settings) as recorder:
        facts, at, _, _ = await recorder.story(invoice_of(1))
        (newer,) = translate(facts, at, policy=SINGLE_ITEM)
        (place,) = await recorder.commands([newer])
        await recorder.outcome(newer, place, "updated")
        await recorder.commands(translate(facts, at, policy=Policy(time_zone="America/Los_Angeles")))  # no outcome yet
    assert [each.kind for each in await replayed(settings, policy=SINGLE_ITEM)] == ["same"]
    assert [each.kind for each in await replayed(settings)] == ["differs"]


async def test_old_facts_do_not_undo_what_newer_facts_did(settings: Settings) -> None:
    async with recording(settings) as recorder:
        _, old, _, _ = await recorder.story(invoice_of(1, cents=100))
        await recorder.story(invoice_of(1, cents=200), "updated")
    only_old = Selection(old.offset, old.offset, old.partition)
    assert [each.kind for each in await replayed(settings, only_old)] == ["superseded"]
    assert [each.kind for each in await replayed(settings)] == ["same"]


async def test_a_voided_invoice_is_not_brought_back(settings: Settings) -> None:
    async with recording(settings) as recorder:
        invoice = invoice_of(1)
        await recorder.story(invoice)
        void = VoidInvoice(realm=REALM, invoice_id=invoice["id"], reason="voided")
        (at,) = await recorder.commands([void])
        await recorder.outcome(void, at, "voided")
    assert [each.kind for each in await replayed(settings)] == ["voided"]


async def test_facts_that_cannot_be_read_are_named_and_do_not_stop_the_rest(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.send(topic_names(settings).invoices, b"\xffgarbage")
        await recorder.story(invoice_of(1))
    assert sorted(each.kind for each in await replayed(settings)) == ["same", "unreadable"]


async def test_one_invoice_and_one_partition_can_be_chosen(settings: Settings) -> None:
    async with recording(settings) as recorder:
        places = [(await recorder.story(invoice_of(number)))[1] for number in (1, 2)]
    chosen = await replayed(settings, Selection(0, 99, invoice_id=invoice_id(2)))
    assert [(each.invoice_id, each.at) for each in chosen] == [(invoice_id(2), places[1])]
    assert len(await replayed(settings, Selection(0, 99, partition=places[0].partition))) == 2


async def test_offsets_beyond_the_end_say_which_exist(settings: Settings) -> None:
    async with recording(settings) as recorder:
        _, at, _, _ = await recorder.story(invoice_of(1))
    with pytest.raises(OutOfRange, match=rf"partition {at.partition}: offsets 0 to 0"):
        await replayed(settings, Selection(5, 9))


async def test_a_replay_writes_nothing_and_touches_no_group(settings: Settings) -> None:
    names = topic_names(settings)
    async with recording(settings) as recorder:
        _, at, _, _ = await recorder.story(invoice_of(1))
        group = {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": settings.app_id}
        live = Consumer(group)
        try:
            live.commit(offsets=[TopicPartition(names.invoices, at.partition, 1)], asynchronous=False)
            before = await published(settings)
            await replayed(settings, policy=SINGLE_ITEM)
            assert await published(settings) == before
            (held,) = live.committed([TopicPartition(names.invoices, at.partition)], timeout=BOUND_SECONDS)
            assert held.offset == 1
        finally:
            live.close()


async def test_applying_publishes_the_new_commands_keyed_by_company(settings: Settings) -> None:
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1))
        await recorder.story(invoice_of(2), "parked")
    verdicts = await replayed(settings, policy=SINGLE_ITEM)
    assert await publish(settings, verdicts) == 2
    new = (await published(settings))[2:]
    assert [(each.invoice_id, key) for each, key in new] == [(invoice_id(n), REALM.encode()) for n in (1, 2)]
    assert all(isinstance(each, PostInvoice) and each.document.lines[0].item.qbo_id == "7" for each, _ in new)


def _document(**changes: Any) -> Any:
    (command,) = translate(facts_of(an_invoice([a_line(1000)])), facts_of(an_invoice()).webhook, policy=Policy())
    assert isinstance(command, PostInvoice)
    return command.document.replace(**changes)


def test_amounts_are_compared_as_numbers() -> None:
    assert differences(_document(total=Decimal("10.0")), _document(total=Decimal("10.00"))) == []


def test_lines_more_or_fewer_are_differences_with_one_side() -> None:
    before = _document()
    after = before.replace(lines=before.lines * 2, total=before.total * 2)
    assert {(each.field, each.before, each.after) for each in differences(before, after)} >= {
        ("lines[1].amount", None, "10.00"),
        ("lines[1].item.name", None, "API Calls"),
    }
    assert ("lines[1].amount", "10.00", None) in {(e.field, e.before, e.after) for e in differences(after, before)}


def test_a_later_date_is_a_difference() -> None:
    before = _document()
    (change,) = differences(before, before.replace(txn_date=before.txn_date + timedelta(days=1)))
    assert (change.field, change.before, change.after) == ("txn_date", "2026-11-02", "2026-11-03")
