"""A worker that had been given up wrote what it knew over the row of its successor: the claimed number still tells."""

from datetime import timedelta

import pytest

from models.ledger import LedgerEntry
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import INVOICE_ID, World, a_document, a_post, a_void


def forgetful(query_lag_seconds: float = 0) -> World:
    """QuickBooks does not remember requestids."""
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=0, query_lag_seconds=query_lag_seconds))


async def parked_over(world: World) -> LedgerEntry:
    """The document stands, and the row says that the invoice waits and was never attempted."""
    command = a_post("10.00")
    customer = command.document.customer.replace(qbo_id=None)
    await world.run(command.replace(document=command.document.replace(customer=customer)))
    parked = world.entry(INVOICE_ID)
    assert (parked.state, parked.ever_attempted) == ("parked", False)
    assert (await world.run(command)).result == "posted"
    world.worker.tables.invoices[parked.key] = parked.replace(changed_at=world.clock.moment())
    return parked


async def test_what_was_posted_under_an_overwritten_row_is_found() -> None:
    world = forgetful()
    await parked_over(world)
    outcome = await world.run(a_post("10.00"))
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)
    assert not world.entry(INVOICE_ID).look_up_first


async def test_a_write_that_is_still_under_way_is_waited_for() -> None:
    """The successor may have sent it just now: that nothing is found at first proves nothing."""
    world = forgetful(query_lag_seconds=100)
    await parked_over(world)
    outcome = await world.run(a_post("10.00"))
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)


async def test_a_void_finds_it_too() -> None:
    world = forgetful()
    await parked_over(world)
    assert (await world.run(a_void())).result == "voided"
    assert world.live() == []


async def test_a_voided_one_is_not_posted_again() -> None:
    world = forgetful()
    parked = await parked_over(world)
    await world.run(a_void())
    world.worker.tables.invoices[parked.key] = parked
    world.clock.now += timedelta(hours=1).total_seconds()
    outcome = await world.run(a_post("10.00"))
    assert (outcome.result, len(world.invoices()), world.live()) == ("voided", 1, [])


async def test_a_consolidated_invoice_does_not_bill_it_again() -> None:
    world = forgetful()
    await parked_over(world)
    parent = "11111111-0000-4000-8000-000000000001"
    document = a_document("10.00", invoice_id=parent, constituents=(INVOICE_ID,))
    outcome = await world.run(a_post(invoice_id=parent).replace(document=document))
    assert (outcome.result, len(world.live())) == ("parked", 1)
    assert "would bill twice" in str(outcome.reason)


async def test_one_that_is_void_holds_up_no_other() -> None:
    """Its number was claimed, nothing of it was found, and it is void: the consolidated invoice is posted."""
    world = forgetful()
    await parked_over(world)
    [document] = world.live()
    world.edited_by_a_person("Invoice", document["Id"], DocNumber="another", PrivateNote="of somebody else")
    assert (await world.run(a_void())).result == "skipped"
    parent = "11111111-0000-4000-8000-000000000001"
    wanted = a_document("10.00", invoice_id=parent, constituents=(INVOICE_ID,))
    outcome = await world.run(a_post(invoice_id=parent).replace(document=wanted))
    assert outcome.result == "posted", outcome


@pytest.mark.parametrize("claimed_by", [INVOICE_ID[:8] + "-ffff-4fff-8fff-ffffffffffff", None])
async def test_a_number_that_nobody_or_another_invoice_claimed_tells_nothing(claimed_by: str | None) -> None:
    world = forgetful()
    if claimed_by is not None:
        await world.run(a_post("20.00", invoice_id=claimed_by))
    reads = len(world.transport.reads())
    assert (await world.run(a_post("10.00"))).result == "posted"
    assert len(world.transport.reads()) == reads


async def test_a_void_finds_what_a_worker_that_was_given_up_took_back() -> None:
    """Its own attempt never left, and it said so over the result of its successor."""
    world = forgetful()
    await world.run(a_post("10.00"))
    posted = world.entry(INVOICE_ID)
    taken_back = LedgerEntry(
        realm=posted.realm,
        invoice_id=INVOICE_ID,
        state="attempting",
        kind="invoice",
        attempts=1,
        changed_at=world.clock.moment(),
    )
    world.worker.tables.invoices[posted.key] = taken_back
    assert (await world.run(a_void())).result == "voided"
    assert world.live() == []
