"""An invoice whose routing changes: it stays where it was attempted, and goes for good where it was not."""

from typing import Any

import pytest

from agents.post.ledger_age import LedgerAge
from models.commands import Command, HandOver, PostInvoice
from models.document import CustomerReference, reversal_id
from models.events import InvoiceHandedOver
from models.outcomes import Outcome
from models.subject import ROUTING
from simulators.faults import Fault
from simulators.quickbooks.books import add_customer
from tests.agents.in_process import FACTS, INVOICE_ID, REALM, World, a_post, a_void, an_ensure_customer, refusal

OTHER = "9341450000000002"
THIRD = "9341450000000003"


@pytest.fixture
def world() -> World:
    return World()


def a_hand_over(to: str = OTHER, owner_epoch: int = 0, **changes: Any) -> HandOver:
    here = a_post(**changes).replace(owner_epoch=owner_epoch, routed_to=to)
    there = a_post(**changes).replace(realm=to, owner_epoch=owner_epoch + 1)
    return HandOver(
        realm=REALM,
        invoice_id=INVOICE_ID,
        customer_id="c-1",
        owner_epoch=owner_epoch,
        to=to,
        goes=(there,),
        stays=(here,),
    )


async def run_all(world: World, *commands: Command) -> list[Outcome]:
    """Those, and what they publish for this company."""
    outcomes = []
    for command in commands:
        outcomes.append(await world.run(command))
        published, world.resumed = world.resumed, []
        outcomes += await run_all(world, *(each for each in published if each.realm == REALM))
        world.resumed += [each for each in published if each.realm != REALM]
    return outcomes


async def test_what_was_never_attempted_here_goes_and_is_never_posted_here_any_more(world: World) -> None:
    world.tokens.connected = False
    [waits] = await run_all(world, a_post())
    assert (waits.result, waits.waits_for) == ("parked", "connection")
    [gone] = await run_all(world, a_hand_over())
    assert (gone.result, gone.rule) == ("skipped", "routing")
    assert OTHER in str(gone.reason)
    assert [(type(each), each.realm) for each in world.resumed] == [(PostInvoice, OTHER)]
    assert world.handed_over == [
        InvoiceHandedOver(realm=OTHER, invoice_id=INVOICE_ID, customer_id="c-1", owner_epoch=1)
    ]
    assert world.waiting == {}
    world.tokens.connected = True
    [late] = await run_all(world, a_post())
    assert (late.result, late.reason) == ("unchanged", f"the invoice was handed over to company {OTHER}")
    assert world.invoices() == []


async def test_a_posted_invoice_stays_and_says_so(world: World) -> None:
    await run_all(world, a_post())
    handed, told = await run_all(world, a_hand_over())
    assert (handed.result, handed.qbo_id) == ("unchanged", "1")
    assert (told.result, told.rule, told.waits_for) == ("parked", "routing", ROUTING)
    assert "posted in company 9341450000000001 as MTR-" in str(told.reason)
    assert OTHER in str(told.reason)
    assert "send its webhook again" in str(told.remedy)
    assert (world.entry(INVOICE_ID).state, len(world.invoices())) == ("posted", 1)
    assert (world.resumed, world.handed_over) == ([], [])


async def test_routed_back_it_is_no_exception_any_more(world: World) -> None:
    await run_all(world, a_post(), a_hand_over())
    assert len(world.waiting) == 1
    [outcome] = await run_all(world, a_post())
    assert (outcome.result, world.waiting) == ("unchanged", {})


async def test_a_void_and_an_update_go_where_the_document_is(world: World) -> None:
    await run_all(world, a_post())
    updated = (await run_all(world, a_hand_over(private_note=f"Metronome invoice {INVOICE_ID}\nOther")))[-1]
    assert (updated.result, len(world.invoices())) == ("updated", 1)
    [voided] = await run_all(world, a_void())
    assert (voided.result, world.live()) == ("voided", [])


@pytest.mark.parametrize("fault", ["refused", "lost"])
async def test_a_write_that_may_have_left_keeps_it_here(world: World, fault: str) -> None:
    """Also one that was refused: what QuickBooks says may not be what it does."""
    world.retry_seconds = 0
    world.faults.add(refusal("6000") if fault == "refused" else Fault("drop", path_contains="/invoice"))
    await run_all(world, a_post())
    await run_all(world, a_hand_over())
    assert [each for each in world.resumed if each.realm == OTHER] == []
    assert len(world.invoices()) == 1


async def test_a_hand_over_that_comes_again_after_a_crash_is_told_again(world: World) -> None:
    offset = await world.dies(a_hand_over(), "before the outcome")
    outcome = await world.run(a_hand_over(), offset=offset)
    assert (outcome.result, len(world.handed_over)) == ("skipped", 1)
    assert [each.realm for each in world.resumed] == [OTHER]


async def test_handed_over_to_one_it_does_not_go_to_a_third_from_here(world: World) -> None:
    await run_all(world, a_hand_over())
    [outcome] = await run_all(world, a_hand_over(THIRD))
    assert (outcome.result, {each.realm for each in world.resumed}) == ("unchanged", {OTHER})
    assert [each.invoice_id for each in world.announced] == [INVOICE_ID]


@pytest.mark.parametrize("newer", [True, False])
async def test_newer_facts_that_came_too_late_for_the_hand_over_are_asked_for_again(world: World, newer: bool) -> None:
    """A void that was decided before `enrich` knew of the hand-over: the other company must hear of it."""
    facts = FACTS.replace(offset=FACTS.offset - 1 if newer else FACTS.offset)
    await run_all(world, a_hand_over().replace(facts=facts))
    [outcome] = await run_all(world, a_void().replace(customer_id="c-1"))
    assert outcome.result == "unchanged"
    asked = [(each.invoice_id, each.customer_id) for each in world.announced]
    assert asked == ([(INVOICE_ID, "c-1")] if newer else [])


async def test_an_attempt_under_an_overwritten_row_keeps_it_here(world: World) -> None:
    """A worker that had been given up knew nothing of the attempt; the number that was claimed for it tells."""
    world.tokens.connected = False
    await run_all(world, a_post())
    parked = world.entry(INVOICE_ID)
    world.tokens.connected = True
    await run_all(world, a_post())
    world.worker.tables.invoices[parked.key] = parked
    handed, told = await run_all(world, a_hand_over())
    assert (handed.result, told.result, told.adopted) == ("unchanged", "posted", True)
    assert (len(world.live()), world.handed_over) == (1, [])


async def test_what_a_lost_ledger_may_have_attempted_stays(world: World) -> None:
    await run_all(world, a_post())
    world.lose_the_ledger()
    world.ledger_age = LedgerAge(first_commands={0: 2})
    handed, told = await run_all(world, a_hand_over())
    assert (handed.result, told.result, told.adopted) == ("unchanged", "posted", True)
    assert (len(world.live()), world.handed_over) == (1, [])


async def test_what_comes_back_and_waits_is_not_elsewhere_for_an_older_command(world: World) -> None:
    unknown = {"customer": CustomerReference(customer_id="c-9", name="Nobody")}
    await run_all(world, a_hand_over(**unknown))
    [waits] = await run_all(world, a_post(**unknown).replace(owner_epoch=2))
    assert (waits.result, waits.waits_for) == ("parked", "customer/c-9")
    [late] = await run_all(world, a_post(**unknown))
    assert (late.result, late.waits_for) == ("parked", "customer/c-9")
    assert world.waiting != {}


async def test_a_hand_over_from_before_the_ledger_gives_nothing_away(world: World) -> None:
    """It may have come back since."""
    world.ledger_age = LedgerAge(first_facts={0: FACTS.offset + 1})
    [outcome] = await run_all(world, a_hand_over().replace(facts=FACTS))
    assert (outcome.result, world.handed_over, len(world.announced)) == ("unchanged", [], 1)


async def test_for_what_takes_an_invoice_back_metronome_is_asked_about_that_invoice(world: World) -> None:
    world.ledger_age = LedgerAge(first_facts={0: FACTS.offset + 1})
    reversal = a_post(invoice_id=reversal_id(INVOICE_ID), kind="creditmemo", due_date=None, reverses=INVOICE_ID)
    await run_all(world, reversal.replace(facts=FACTS, customer_id="c-1"))
    assert [each.invoice_id for each in world.announced] == [INVOICE_ID]


async def test_what_comes_back_is_posted_here(world: World) -> None:
    await run_all(world, a_hand_over())
    [outcome] = await run_all(world, a_post().replace(owner_epoch=2))
    assert (outcome.result, world.entry(INVOICE_ID).handed_to) == ("posted", None)
    again, _ = await run_all(world, a_hand_over(owner_epoch=2))
    assert again.result == "unchanged"


@pytest.mark.parametrize(("named", "result"), [("58", "mapped"), ("77", "found"), ("59", "parked")])
async def test_a_customer_id_made_for_another_company_is_checked(world: World, named: str, result: str) -> None:
    """58 is its name here too, 77 is nobody, 59 is another customer."""
    add_customer(world.books, "59", "Other GmbH", world.clock())
    ensure = an_ensure_customer("Acme  GMBH")
    ensure = ensure.replace(customer=ensure.customer.replace(qbo_id=named, away=True))
    [outcome] = await run_all(world, ensure)
    assert (outcome.result, outcome.away) == (result, result != "parked")
    if result == "parked":
        assert "Other GmbH" in str(outcome.reason)
        assert "map customer" in str(outcome.remedy)
    else:
        assert outcome.qbo_id == "58"


async def test_a_customer_id_made_for_another_company_is_nobody_elses_here(world: World) -> None:
    """Of two customers of one name, the first was matched by it."""
    ensure = an_ensure_customer("Acme GmbH")
    await run_all(world, ensure.replace(customer=ensure.customer.replace(customer_id="c-2")))
    [outcome] = await run_all(world, ensure.replace(customer=ensure.customer.replace(qbo_id="58", away=True)))
    assert outcome.result == "parked"
    assert "already Metronome customer c-2" in str(outcome.reason)
