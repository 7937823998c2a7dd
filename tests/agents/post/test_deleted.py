"""What a person deleted in QuickBooks: nothing is left to void, and nothing is posted a second time by itself."""

from __future__ import annotations

from decimal import Decimal

import pytest

from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import INVOICE_ID, World, a_post, a_void, fault, refusal

OTHER = "86824bf6-56e7-5185-8ce7-f972748ac9e9"
A_WHILE_SECONDS = 60.0


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


async def posted_and_deleted(world: World, invoice_id: str = INVOICE_ID) -> None:
    outcome = await world.run(a_post(invoice_id=invoice_id))
    world.clock.now += A_WHILE_SECONDS
    sale = world.books.objects["Invoice"][str(outcome.qbo_id)]
    world.books.delete_sale("Invoice", sale, world.clock.now)


async def test_there_is_nothing_left_to_void(world: World) -> None:
    await posted_and_deleted(world)
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule, outcome.waits_for) == ("voided", "deleted in QuickBooks", None)
    assert "MTR-D23458E0 was deleted in QuickBooks" in str(outcome.reason)
    assert (world.entry(INVOICE_ID).state, world.waiting, len(world.transport.writes())) == ("voided", {}, 2)
    assert (await world.run(a_void())).result == "unchanged"


async def test_a_lost_answer_to_such_a_void_is_settled_by_looking(world: World) -> None:
    await posted_and_deleted(world)
    world.faults.add(fault("drop"))
    assert (await world.run(a_void())).rule == "deleted in QuickBooks"


async def test_a_void_that_is_left_to_a_person_is_done(world: World) -> None:
    await posted_and_deleted(world)
    outcome = await world.run(a_void().replace(by_hand="void it in QuickBooks"))
    assert (outcome.result, outcome.rule, outcome.remedy) == ("voided", "deleted in QuickBooks", None)


async def test_an_update_parks_by_its_name_and_asks_and_writes_nothing_again(world: World) -> None:
    await posted_and_deleted(world)
    outcome = await world.run(a_post("20.00"))
    assert (outcome.result, outcome.waits_for) == ("parked", "document/1")
    assert "MTR-D23458E0 was deleted in QuickBooks" in str(outcome.reason)
    assert (world.live(), world.entry(INVOICE_ID).in_books) == ([], False)
    calls = len(world.transport.calls)
    assert (await world.run(a_post("20.00"))).result == "parked"
    assert (await world.run(a_post("10.00"))).result == "parked"
    assert len(world.transport.calls) == calls


async def test_the_void_of_what_is_parked_so_ends_it(world: World) -> None:
    await posted_and_deleted(world)
    await world.run(a_post("20.00"))
    calls = len(world.transport.calls)
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule, len(world.transport.calls)) == ("voided", "deleted in QuickBooks", calls)
    assert (await world.run(a_post("20.00"))).rule == "voided"


async def test_the_regenerated_invoice_is_posted(world: World) -> None:
    await posted_and_deleted(world, OTHER)
    regenerated = a_post(replaces=OTHER)
    assert (await world.run(regenerated)).waits_for == f"invoice/{OTHER}"
    await world.run(a_void(OTHER))
    assert regenerated in world.resumed
    assert (await world.run(regenerated)).result == "posted"


async def test_610_of_a_wrong_reference_is_a_mapping_while_the_document_stands(world: World) -> None:
    await world.run(a_post("10.00"))
    world.clock.now += A_WHILE_SECONDS
    world.faults.add(refusal("610"))
    outcome = await world.run(a_post("20.00"))
    assert (outcome.result, outcome.waits_for, len(world.live())) == ("parked", "mapping", 1)
    assert (await world.run(a_post("20.00"))).result == "updated"


async def test_not_found_right_after_it_was_written_proves_nothing(world: World) -> None:
    """Another server of QuickBooks' may be behind."""
    await world.run(a_post("10.00"))
    world.faults.add(fault("drop"), refusal_of_a_read())
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule, world.live()) == ("voided", None, [])


def refusal_of_a_read() -> object:
    not_found = refusal("610")
    not_found.method = "GET"
    return not_found


async def test_a_redelivery_claims_what_the_ledger_says_and_since_when(world: World) -> None:
    await posted_and_deleted(world)
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.total) == ("unchanged", Decimal("10.00"))
    assert str(outcome.reason).startswith(
        "by the ledger the books hold exactly this document; QuickBooks last said so at"
    )
