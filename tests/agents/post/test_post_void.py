"""Voiding: once, for good, and never undone by an older command."""

from decimal import Decimal

import pytest

from models.document import CustomerReference
from models.outcomes import Outcome
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import INVOICE_ID, CrashAt, World, a_post, a_void, fault, refusal


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


def live(world: World) -> list[object]:
    return [document["Id"] for document in world.live()]


async def test_a_posted_invoice_is_voided(world: World) -> None:
    await world.run(a_post())
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.qbo_id, outcome.sync_token, outcome.total) == ("voided", "1", "1", Decimal(0))
    assert outcome.reason == "Metronome voided the invoice"
    [document] = world.invoices()
    assert document["PrivateNote"].startswith(f"Voided - Metronome invoice {INVOICE_ID}")
    assert (len(world.transport.writes()), len(world.transport.reads())) == (2, 0)


async def test_a_void_that_comes_again_is_voided_and_writes_nothing(world: World) -> None:
    await world.run(a_post())
    await world.run(a_void(), offset=7)
    assert (await world.run(a_void(), offset=7)).result == "voided"
    assert len(world.transport.writes()) == 2


async def test_a_second_void_command_finds_it_voided_already(world: World) -> None:
    await world.run(a_post())
    await world.run(a_void())
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.reason) == ("unchanged", "the invoice is voided already")
    assert len(world.transport.writes()) == 2


async def test_an_invoice_that_was_never_posted_has_nothing_to_void(world: World) -> None:
    first = await world.run(a_void(), offset=0)
    again = await world.run(a_void(), offset=0)
    for outcome in (first, again):
        assert (outcome.result, outcome.rule) == ("skipped", "never posted")
    assert world.transport.calls == []


async def test_a_voided_invoice_is_not_posted_again(world: World) -> None:
    await world.run(a_post())
    await world.run(a_void())
    outcome = await world.run(a_post("99.00"))
    assert (outcome.result, outcome.rule) == ("unchanged", "voided")
    assert live(world) == []


async def test_a_parked_invoice_that_metronome_voids_is_not_posted_when_it_resumes(world: World) -> None:
    """The void finds nothing in the books; the parked command comes later under a new offset."""
    stranger = CustomerReference(customer_id="c-9", name="Nobody")
    assert (await world.run(a_post(customer=stranger))).result == "parked"
    assert (await world.run(a_void())).result == "skipped"
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.rule) == ("unchanged", "voided")
    assert world.transport.calls == []


async def test_an_older_post_after_a_later_void_changes_nothing(world: World) -> None:
    await world.run(a_post(), offset=3)
    await world.run(a_void(), offset=4)
    assert (await world.run(a_post(), offset=3)).result == "unchanged"
    assert (live(world), len(world.transport.writes())) == ([], 2)


@pytest.mark.parametrize("crash_at", ["before the write", "after the write", "before the outcome"])
async def test_an_older_post_that_comes_again_after_a_killed_void_leaves_it_to_the_void(
    world: World, crash_at: CrashAt
) -> None:
    """Neither offset was committed, so both come again, the post first."""
    await world.run(a_post(), offset=3)
    await world.dies(a_void(), crash_at, offset=4)
    assert (await world.run(a_post(), offset=3)).result == "unchanged"
    assert (await world.run(a_void(), offset=4)).result == "voided"
    assert (live(world), len(world.invoices())) == ([], 1)


async def test_a_lost_answer_to_a_void_is_settled_by_looking(world: World) -> None:
    await world.run(a_post())
    world.faults.add(fault("drop", after_commit=True))
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.adopted) == ("voided", True)
    assert world.books.objects["Invoice"]["1"]["SyncToken"] == "1"


async def test_a_void_that_did_not_arrive_is_made_again(world: World) -> None:
    await world.run(a_post())
    world.faults.add(fault("drop"))
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.adopted, live(world)) == ("voided", False, [])


async def test_a_document_edited_in_quickbooks_is_voided_with_its_new_sync_token(world: World) -> None:
    await world.run(a_post())
    world.edited_by_a_person("Invoice", "1", CustomerMemo={"value": "thank you"})
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.sync_token, live(world)) == ("voided", "2", [])


async def _uncertain(world: World, *, arrived: bool) -> Outcome:
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=arrived))
    outcome = await world.run(a_post())
    world.retry_seconds = 600.0
    return outcome


async def test_an_unclear_invoice_that_had_arrived_is_found_and_voided(world: World) -> None:
    assert (await _uncertain(world, arrived=True)).result == "uncertain"
    assert (await world.run(a_void())).result == "voided"
    assert (live(world), len(world.invoices())) == ([], 1)


async def test_an_unclear_invoice_that_had_not_arrived_has_nothing_to_void(world: World) -> None:
    assert (await _uncertain(world, arrived=False)).result == "uncertain"
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule) == ("skipped", "never posted")
    assert (world.entry(INVOICE_ID).state, world.entry(INVOICE_ID).attempt) == ("voided", None)


async def test_an_unclear_document_that_a_person_voided_is_not_posted_a_second_time(world: World) -> None:
    assert (await _uncertain(world, arrived=True)).result == "uncertain"
    world.edited_by_a_person("Invoice", "1", PrivateNote=f"Voided - Metronome invoice {INVOICE_ID}", TotalAmt=0)
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.rule, outcome.adopted) == ("voided", "voided", True)
    assert len(world.invoices()) == 1


async def test_a_void_in_a_closed_period_is_parked_and_the_document_stays(world: World) -> None:
    await world.run(a_post())
    world.faults.add(refusal("6200"))
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.waits_for, outcome.qbo_id) == ("parked", "open period", "1")
    assert live(world) == ["1"]
    assert (await world.run(a_void())).result == "voided"


async def test_a_credit_memo_that_quickbooks_will_not_void_is_refused_in_its_words(world: World) -> None:
    await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule, outcome.error and outcome.error.code) == ("refused", "quickbooks", "500")
    assert len(world.live()) == 1
