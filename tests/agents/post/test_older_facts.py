"""Commands that come after newer facts of their invoice: resumed, redriven or replayed, they change nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.post.facts import CLOCKS_DIFFER_MAX, is_older, newest_facts
from models.commands import DeclineInvoice, PostInvoice
from models.document import CustomerReference
from models.ledger import LedgerEntry
from models.record import Address
from tests.agents.in_process import FACTS, INVOICE_ID, REALM, World, a_post, a_void, refusal

FETCHED = datetime.fromisoformat("2026-11-02T01:02:03Z")
STRANGER = CustomerReference(customer_id="c-9", name="Nobody")


def facts(offset: int, topic: str = "metronome.invoices", partition: int = 0) -> Address:
    return Address(topic=topic, partition=partition, offset=offset)


def of_facts(offset: int, *amounts: str, **changes: Any) -> PostInvoice:
    posted: PostInvoice = a_post(*amounts, **changes).replace(facts=facts(offset))
    return posted


def a_decline(offset: int) -> DeclineInvoice:
    return DeclineInvoice(
        realm=REALM,
        facts=facts(offset),
        invoice_id=INVOICE_ID,
        decision="skipped",
        rule="zero total",
        reason="the invoice's total is zero",
    )


def totals(world: World) -> list[Decimal]:
    return [Decimal(each["TotalAmt"]) for each in world.live()]


async def test_a_command_of_older_facts_does_not_overwrite_the_newer_document() -> None:
    world = World()
    await world.run(of_facts(9, "20.00"))
    outcome = await world.run(of_facts(5, "10.00"))
    assert (outcome.result, outcome.rule, totals(world)) == ("unchanged", "older facts", [Decimal(20)])
    assert "metronome.invoices[0]@9" in str(outcome.reason)
    assert len(world.transport.writes()) == 1


async def test_a_command_of_older_facts_does_not_post_what_newer_ones_decline() -> None:
    world = World()
    assert (await world.run(of_facts(5, customer=STRANGER))).result == "parked"
    assert (await world.run(a_decline(9))).result == "skipped"
    assert (await world.run(of_facts(5, "10.00"))).result == "unchanged"
    assert (totals(world), world.waiting) == ([], {})


async def test_a_document_that_newer_facts_left_standing_is_not_changed_by_older_ones() -> None:
    world = World()
    await world.run(of_facts(5, "10.00"))
    await world.run(a_decline(9))
    assert (await world.run(of_facts(7, "20.00"))).result == "unchanged"
    assert totals(world) == [Decimal(10)]


async def test_the_same_facts_under_another_policy_are_posted() -> None:
    world = World()
    await world.run(of_facts(9, "20.00"))
    assert (await world.run(of_facts(9, "10.00"))).result == "updated"


async def test_what_waits_of_newer_facts_goes_on_waiting_and_is_tried_for_an_older_command() -> None:
    """The older one must not take its place among those that resume, nor end its waiting."""
    world = World()
    newer = of_facts(9, "20.00", customer=STRANGER)
    assert (await world.run(newer)).result == "parked"
    outcome = await world.run(of_facts(5, "10.00"))
    assert (outcome.result, outcome.rule, outcome.waits_for) == ("parked", "older facts", "customer/c-9")
    assert [row.command.offset for row in world.worker.tables_of("waiting").values()] == [0]
    assert newer in world.resumed
    assert totals(world) == []


async def test_what_was_refused_of_newer_facts_is_told_for_an_older_command_too() -> None:
    """The newest outcome of an invoice is what people see of it."""
    world = World()
    world.faults.add(refusal("6000"))
    assert (await world.run(of_facts(9, "20.00"))).result == "refused"
    outcome = await world.run(of_facts(5, "10.00"))
    assert (outcome.result, outcome.rule, outcome.error and outcome.error.code) == ("refused", "older facts", "6000")
    assert totals(world) == []


async def test_a_void_is_final_and_never_too_old() -> None:
    world = World()
    await world.run(of_facts(9))
    assert (await world.run(a_void().replace(facts=facts(5)))).result == "voided"


async def test_an_older_void_does_not_make_the_facts_older() -> None:
    world = World()
    await world.run(of_facts(9, "20.00"))
    world.faults.add(refusal("6000"))
    assert (await world.run(a_void().replace(facts=facts(5)))).result == "refused"
    assert world.entry(INVOICE_ID).facts == facts(9)


def an_entry(at: Address | None, fetched_at: datetime | None = None) -> LedgerEntry:
    return LedgerEntry(
        realm=REALM, invoice_id=INVOICE_ID, state="posted", facts=at, facts_fetched_at=fetched_at, changed_at=FETCHED
    )


LONGER, SHORTER = CLOCKS_DIFFER_MAX + timedelta(seconds=1), CLOCKS_DIFFER_MAX


@pytest.mark.parametrize(
    ("ours", "later", "older"),
    [
        (facts(41), None, True),
        (facts(42), None, False),
        (facts(43), None, False),
        (facts(41), SHORTER, True),
        (facts(1), LONGER, False),
        (facts(43), -LONGER, False),
        (facts(1, partition=1), None, False),
        (facts(1, partition=1), timedelta(seconds=1), False),
        (facts(99, partition=1), -timedelta(seconds=1), True),
        (facts(99, topic="other.invoices"), -timedelta(seconds=1), True),
    ],
    ids=[
        "before it in its partition",
        "the same",
        "after it",
        "before it, by a clock that is ahead",
        "of a topic that was made anew",
        "after it, by a clock that is behind",
        "elsewhere, and nobody knows when",
        "elsewhere, fetched later",
        "elsewhere, fetched before",
        "of another topic, fetched before",
    ],
)
def test_which_facts_are_older(ours: Address, later: timedelta | None, older: bool) -> None:
    fetched_at = None if later is None else FETCHED + later
    command = a_post().replace(facts=ours, facts_fetched_at=fetched_at)
    entry = an_entry(FACTS, None if later is None else FETCHED)
    assert is_older(command, entry, None) is older
    assert bool(newest_facts(command, entry, None)) is not older


@pytest.mark.parametrize(("fetched", "known", "older"), [(1, -1, False), (-1, 1, True), (1, 2, True), (-2, -1, True)])
def test_facts_of_a_topic_that_was_made_anew_are_newer_whatever_their_offsets(
    fetched: int, known: int, older: bool
) -> None:
    """Minutes after: it is not to be told by how much later they were fetched."""
    command = a_post().replace(facts=facts(41), facts_fetched_at=FETCHED + timedelta(seconds=fetched))
    assert is_older(command, an_entry(FACTS, FETCHED + timedelta(seconds=known)), FETCHED) is older


def test_an_operators_command_has_no_facts_and_is_never_older() -> None:
    assert not is_older(a_post().replace(facts=None), an_entry(FACTS), None)
    assert not is_older(a_post(), an_entry(None), None)


async def test_what_waits_of_newer_facts_is_tried_although_the_row_that_waits_is_of_the_older_ones() -> None:
    """A worker that had lost the company wrote it over its successor's: tried by that row, each try would bring the
    next one."""
    world = World()
    older = of_facts(5, customer=STRANGER)
    await world.run(older)
    [waiting] = world.waiting.items()
    await world.run(of_facts(9, customer=STRANGER))
    world.worker.tables_of("waiting")[waiting[0]] = waiting[1]
    world.resumed.clear()
    assert (await world.run(older)).rule == "older facts"
    assert [each.facts for each in world.resumed if isinstance(each, PostInvoice)] == [facts(9)]
