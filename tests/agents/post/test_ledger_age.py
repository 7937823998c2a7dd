"""A ledger that is younger than the books: what it does not know of is looked up before it is written, or voided."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.post.ledger_age import LedgerAge
from models.commands import PostInvoice, SetCustomerMapping
from simulators.quickbooks.books import Company, add_customer
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import CUSTOMER_ID, FACTS, INVOICE_ID, REALM, START, World, a_document, a_post, a_void

from .test_late_writes import Late

OTHER_ID = INVOICE_ID[:8] + "-ffff-4fff-8fff-ffffffffffff"
"""An invoice whose short DocNumber is that of the other."""


def forgetful(**changes: Any) -> World:
    """QuickBooks does not remember requestids."""
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=0), **changes)


def reads(world: World) -> int:
    return len(world.transport.reads())


async def test_a_command_from_before_the_ledger_finds_its_document() -> None:
    world = forgetful()
    await world.run(a_post("10.00"))
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(first_commands={0: 1})
    outcome = await world.run(a_post("10.00"), offset=0)
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)


async def test_one_that_was_never_posted_is_created_after_one_look() -> None:
    world = forgetful(ledger_age=LedgerAge(first_commands={0: 1}))
    outcome = await world.run(a_post("10.00"))
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", False, 1)
    assert reads(world) == 2  # by its number, and by customer and date


async def test_a_command_since_the_ledger_began_is_not_looked_up() -> None:
    world = forgetful(ledger_age=LedgerAge(first_commands={0: 1}))
    world.offsets = 1
    await world.run(a_post("10.00"))
    assert reads(world) == 0


async def test_one_that_was_parked_first_is_looked_up_when_it_resumes_with_a_younger_command() -> None:
    world = forgetful()
    await world.run(a_post("10.00"))
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(first_commands={0: 1})
    command = a_post("10.00")
    customer = command.document.customer
    unmapped = command.replace(document=command.document.replace(customer=customer.replace(qbo_id=None)))
    assert (await world.run(unmapped, offset=0)).result == "parked"
    outcome = await world.run(command, offset=7)
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)


@pytest.mark.parametrize(("kind", "result"), [("invoice", "voided"), ("creditmemo", "refused")])
async def test_the_void_of_a_document_that_the_ledger_does_not_know(kind: Any, result: str) -> None:
    """It is found, whichever it is; QuickBooks voids no credit memos."""
    world = forgetful()
    post = a_post("10.00")
    await world.run(post.replace(document=post.document.replace(kind=kind)))
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(look_up_dated_to=post.document.txn_date)
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.kind) == (result, kind)


@pytest.mark.parametrize(("days", "documents"), [(0, 1), (-1, 2)])
async def test_a_person_says_up_to_which_date_the_books_are_ahead_of_the_ledger(days: int, documents: int) -> None:
    """As after a copy of Kafka from before was restored: the same webhook comes as a new command."""
    world = forgetful()
    await world.run(a_post("10.00"))
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(look_up_dated_to=a_document("10.00").txn_date + timedelta(days=days))
    await world.run(a_post("10.00"))
    assert len(world.live()) == documents


async def test_in_a_log_that_was_made_anew_smaller_offsets_are_not_older() -> None:
    """A void would be `unchanged` for ever."""
    world = forgetful()
    await world.run(a_post("10.00"), offset=500)
    world.clock.now += 60
    assert (await world.run(a_void(), offset=3)).result == "unchanged"
    world.ledger_age = LedgerAge(log_since=world.clock.moment())
    assert (await world.run(a_void(), offset=3)).result == "voided"
    assert world.live() == []


async def test_the_order_of_arrival_does_not_change_the_requestid() -> None:
    """Two invoices with one short number: whoever comes first has it. The ledger is gone, and they come in the other
    order: QuickBooks, which remembers, knows both writes again."""
    world = World()
    first, second = a_post("10.00"), a_post("20.00", invoice_id=OTHER_ID)
    for command in (first, second):
        assert (await world.run(command)).result == "posted"
    numbers = {each["Id"]: each["DocNumber"] for each in world.live()}
    assert len(set(numbers.values())) == 2
    world.lose_the_ledger()
    for command in (second, first):
        assert (await world.run(command)).result == "posted"
    assert {each["Id"]: each["DocNumber"] for each in world.live()} == numbers


NEW_FACTS = FACTS.replace(offset=FACTS.offset + 1)


def begun(world: World) -> LedgerAge:
    """A ledger that begins now, after the facts of `a_post` and ten commands."""
    return LedgerAge({0: 10}, {0: NEW_FACTS.offset}, ledger_since=world.clock.moment())


def a_new_post(**changes: Any) -> PostInvoice:
    """The same invoice, of which Metronome was asked since."""
    post: PostInvoice = a_post("10.00", **changes).replace(facts=NEW_FACTS, customer_id=CUSTOMER_ID)
    return post


async def test_a_webhook_that_comes_again_finds_the_document_of_the_lost_ledger() -> None:
    """Its command and its facts are younger than the ledger."""
    world = forgetful()
    await world.run(a_post("10.00"))
    world.lose_the_ledger()
    world.ledger_age = begun(world)
    world.clock.now += 7200
    outcome = await world.run(a_new_post(), offset=10)
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)


@pytest.mark.parametrize(("days", "looks"), [(31, True), (32, False)])
async def test_what_is_dated_long_after_the_ledger_began_is_not_looked_up(days: int, looks: bool) -> None:
    world = forgetful()
    world.ledger_age = begun(world)
    dated = world.clock.moment().date() + timedelta(days=days)
    world.clock.now += 7200
    await world.run(a_new_post(txn_date=dated), offset=10)
    assert (reads(world) > 0) == looks


async def test_facts_of_before_are_not_acted_on_and_metronome_is_asked_again() -> None:
    """The lost ledger may have acted on newer ones: a void, say, when nothing was in the books."""
    world = forgetful()
    world.ledger_age = begun(world)
    old = a_post("10.00").replace(customer_id=CUSTOMER_ID)
    outcome = await world.run(old, offset=10)
    assert (outcome.result, world.live(), reads(world)) == ("unchanged", [], 0)
    assert [each.invoice_id for each in world.announced] == [INVOICE_ID]
    assert (await world.run(a_new_post(), offset=11)).result == "posted"
    assert (await world.run(old, offset=12)).rule == "older facts"
    assert len(world.announced) == 1


async def test_a_void_of_before_is_carried_out_since_it_is_final() -> None:
    world = forgetful()
    await world.run(a_post("10.00"))
    world.lose_the_ledger()
    world.ledger_age = begun(world)
    outcome = await world.run(a_void().replace(customer_id=CUSTOMER_ID), offset=10)
    assert (outcome.result, world.live(), world.announced) == ("voided", [], [])


@pytest.mark.parametrize("later_seconds", [0.0, 99.0])
async def test_a_write_of_the_lost_ledger_may_still_come(later_seconds: float) -> None:
    world = forgetful(retry_seconds=0.1)
    late = Late(world)
    assert (await world.run(a_post("10.00"))).result == "uncertain"
    world.lose_the_ledger()
    world.ledger_age, world.retry_seconds = begun(world), 600.0
    world.clock.now += later_seconds
    outcome = await world.run(a_new_post(), offset=10)
    late.arrive()
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)


async def test_what_has_a_longer_number_is_found_and_voided() -> None:
    """The short one was somebody else's."""
    world = forgetful()
    for command in (a_post("20.00", invoice_id=OTHER_ID), a_post("10.00")):
        await world.run(command)
    world.lose_the_ledger()
    world.ledger_age = begun(world)
    assert (await world.run(a_void(), offset=10)).result == "voided"
    assert [OTHER_ID in each["PrivateNote"] for each in world.live()] == [True]


async def test_what_was_made_out_to_another_customer_is_found_where_the_company_has_its_own_numbers() -> None:
    """A person named another one since, and the ledger that knew the first is lost."""
    world = forgetful(company=Company(REALM, custom_txn_numbers=False, default_doc_number_kept=False))
    add_customer(world.books, "77", "The Right One", START)
    await world.run(a_post())
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(first_commands={0: 9})
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="77"))
    outcome = await world.run(a_post())
    assert (outcome.adopted, len(world.live())) == (True, 1)
