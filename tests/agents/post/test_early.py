"""An invoice that Metronome had not decided about waits, is asked about again for some days, and is never forgotten."""

from datetime import timedelta
from typing import Any

import pytest

from agents.enrich import read_webhook
from agents.pipeline import _addressed
from agents.post.parked import PROBE_PAUSE_MAX_UNASKED
from agents.watch import ASKED_AGAIN_WITHIN, Horizon, KnownInvoices, to_announce
from models.commands import DeclineInvoice, ResumeParked
from models.ledger import LedgerEntry
from models.metronome import InvoiceFinalized, ListedInvoice
from tests.agents.enriching import MetronomeWorld
from tests.agents.in_process import CUSTOMER_ID, FACTS, INVOICE_ID, REALM, World, a_post, a_void

DAY = timedelta(days=1)


def early(world: World, **changes: Any) -> DeclineInvoice:
    fields = {
        "realm": REALM,
        "facts": FACTS,
        "received_at": world.clock.moment(),
        "invoice_id": INVOICE_ID,
        "customer_id": CUSTOMER_ID,
        "decision": "parked",
        "rule": "not finalized",
        "reason": "the invoice's status is DRAFT, only FINALIZED is posted",
    }
    return DeclineInvoice(**{**fields, **changes})


async def probed(world: World) -> None:
    await world.clock.sleep(PROBE_PAUSE_MAX_UNASKED.total_seconds())
    await world.run(ResumeParked(realm=REALM))


def watched(world: World, entry: LedgerEntry | None = None) -> str | None:
    """What watch would announce, were the invoice final."""
    now = world.clock.moment()
    known = KnownInvoices(400 * DAY, lambda realm: False)
    known.enter(entry or world.entry(INVOICE_ID))
    listed = ListedInvoice(id=INVOICE_ID, customer_id=CUSTOMER_ID, status="FINALIZED", issued_at=now - DAY)
    return to_announce(listed, known, Horizon(35 * DAY, 365 * DAY, timedelta(0), DAY), now)


async def test_it_waits_and_says_for_what() -> None:
    world = World()
    outcome = await world.run(early(world))
    assert (outcome.result, outcome.rule, outcome.waits_for) == ("parked", "not finalized", "finalization")
    assert "asked again" in (outcome.remedy or "")
    assert (world.entry(INVOICE_ID).state, watched(world)) == ("parked", "FINALIZED")


async def test_each_probe_asks_metronome_again_until_it_is_decided() -> None:
    world = World()
    received_at = world.clock.moment()
    await world.run(early(world))
    for asked in (1, 2):
        await probed(world)
        assert len(world.announced) == asked
    [announcement, _] = world.announced
    assert announcement.received_at == received_at  # it was first heard of then
    await world.run(a_post())
    await probed(world)
    assert (len(world.announced), len(world.live()), watched(world)) == (2, 1, None)


@pytest.mark.parametrize(
    "decided", [a_void(), early(World(), decision="skipped", rule="unbillable")], ids=["void", "unbillable"]
)
async def test_what_is_decided_is_not_asked_about_any_more(decided: Any) -> None:
    world = World()
    await world.run(early(world))
    assert (await world.run(decided)).result == "skipped"
    await probed(world)
    assert (world.announced, world.resumed, watched(world)) == ([], [], None)


async def test_after_some_days_it_is_skipped_and_only_watch_still_looks_for_it() -> None:
    world = World()
    await world.run(early(world))
    await world.clock.sleep(ASKED_AGAIN_WITHIN.total_seconds())
    await probed(world)
    [last] = world.resumed
    outcome = await world.run(last)
    assert (outcome.result, outcome.rule) == ("skipped", "not finalized")
    assert "asked for again for 7 days" in (outcome.reason or "")
    await probed(world)
    assert (len(world.resumed), world.announced, watched(world)) == (1, [], "FINALIZED")


async def test_what_stands_in_the_books_had_been_final_and_does_not_wait() -> None:
    world = World()
    await world.run(a_post())
    outcome = await world.run(early(world))
    assert (outcome.result, world.entry(INVOICE_ID).state) == ("skipped", "posted")
    await probed(world)
    assert (world.announced, watched(world)) == ([], None)


async def test_a_restart_forgets_nothing() -> None:
    world = World()
    await world.run(early(world))
    await world.dies(a_post(invoice_id="another"), "before the write")
    await probed(world)
    assert len(world.announced) == 1


async def test_asking_again_goes_the_way_of_a_webhook() -> None:
    world, metronome = World(), MetronomeWorld()
    await world.run(early(world))
    await probed(world)
    role, key, value, headers = _addressed(world.announced[0])
    assert (role, key) == ("webhooks", CUSTOMER_ID.encode())
    webhook = read_webhook(value or b"")
    assert isinstance(webhook, InvoiceFinalized)
    facts = await metronome.facts(value, headers)
    assert (facts.received_at, facts.invoice_id) == (world.announced[0].received_at, INVOICE_ID)


def test_old_commands_still_say_what_they_said() -> None:
    """Those of before name no customer, and were not asked about."""
    command = early(World(), customer_id=None, decision="skipped")
    assert DeclineInvoice.model_validate_json(command.encode()).decision == "skipped"
