"""Attempts that nobody works on: found after a recovery, and looked up when their command is executed again."""

import pytest

from agents.delivery import StopWorker
from models.commands import PostInvoice, ResumeParked
from models.ledger import LedgerEntry
from tests.agents.in_process import INVOICE_ID, REALM, World, a_post, fault


async def left_by_a_worker_that_was_given_up(world: World) -> LedgerEntry:
    """The document was posted; then somebody recorded an attempt over that, and died."""
    await world.dies(a_post("10.00"), "before the write", offset=world.offsets)
    world.offsets += 1
    attempting = world.entry(INVOICE_ID)
    await world.run(a_post("10.00"), offset=0)
    assert world.entry(INVOICE_ID).state == "posted"
    world.worker.tables.invoices[attempting.key] = attempting
    return attempting


@pytest.mark.parametrize("taken_back", [False, True])
async def test_an_attempt_over_a_result_is_looked_up_after_the_next_recovery(taken_back: bool) -> None:
    """One document, and the ledger says so again; also when the attempt was taken back, since it never left."""
    world = World()
    attempting = await left_by_a_worker_that_was_given_up(world)
    if taken_back:
        world.worker.tables.invoices[attempting.key] = attempting.replace(attempt=None)
    await world.worker.unsettled.find()
    assert world.worker.unsettled.realms == {REALM}
    await world.run(ResumeParked(realm=REALM))
    [again] = world.resumed
    assert isinstance(again, PostInvoice)
    outcome = await world.run(again)
    assert (outcome.result, outcome.adopted, len(world.live())) == ("posted", True, 1)
    assert (world.entry(INVOICE_ID).attempt, world.entry(INVOICE_ID).state) == (None, "posted")
    assert world.worker.unsettled.realms == set()


async def test_one_that_was_settled_meanwhile_is_left_alone() -> None:
    world = World()
    await left_by_a_worker_that_was_given_up(world)
    await world.worker.unsettled.find()
    await world.run(a_post("10.00"))
    await world.run(ResumeParked(realm=REALM))
    assert world.resumed == []


async def test_an_attempt_over_a_row_that_waits_has_what_waits_tried_at_once() -> None:
    """That its routing names another company by now, say; the next try of it may be hours away."""
    world = World()
    attempting = await left_by_a_worker_that_was_given_up(world)
    elsewhere = a_post("10.00").replace(routed_to="9341450000000002")
    await world.run(elsewhere)
    assert (await world.run(elsewhere)).waits_for == "routing"
    world.worker.tables.invoices[attempting.key] = attempting
    await world.worker.unsettled.find()
    await world.run(ResumeParked(realm=REALM))
    assert world.resumed == [elsewhere]
    outcome = await world.run(elsewhere)
    assert (outcome.adopted, world.entry(INVOICE_ID).state, len(world.live())) == (True, "posted", 1)


async def test_one_that_is_parked_is_left_to_its_probe() -> None:
    """An uncertain invoice waits among the parked commands already: it is published again once, not twice."""
    world = World(retry_seconds=0.1)
    world.faults.add(fault("drop", count=1))
    outcome = await world.run(a_post("10.00"))
    assert outcome.result == "uncertain"
    await world.worker.unsettled.find()
    await world.clock.sleep(300)
    await world.run(ResumeParked(realm=REALM))
    assert len(world.resumed) == 1


async def test_an_attempt_that_did_not_leave_is_not_taken_back_over_a_successors() -> None:
    """The worker stood still while it asked for a token: by now another one may have posted, under that number."""

    async def another_has_it(realm: str) -> None:
        raise StopWorker("fenced")

    world = World(make_sure=another_has_it)
    world.tokens.connected = False
    with pytest.raises(StopWorker):
        await world.run(a_post())
    row = world.worker.tables.invoices[f"{REALM}/{INVOICE_ID}"]
    assert isinstance(row, LedgerEntry)
    assert row.attempt is not None
    assert list(world.worker.tables.doc_numbers.values()) == [INVOICE_ID]
