"""Crashes, lost answers and trouble: one document in the end, whether or not QuickBooks remembers a requestid."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from agents.delivery import Delivered, Delivery, Event, StopWorker
from agents.post import post
from models.commands import COMMANDS, Command
from models.document import CustomerReference
from models.ledger import LedgerEntry
from models.quickbooks import RUN_SECONDS_MAX
from models.record import Address, Record
from simulators import http
from simulators.faults import Fault
from simulators.quickbooks.books import add_customer
from simulators.quickbooks.settings import QuickBooksSettings
from tests import BOUND_SECONDS
from tests.agents.in_process import (
    COMMANDS_TOPIC,
    INVOICE_ID,
    REALM,
    START,
    TIMEOUT_SECONDS,
    CrashAt,
    FreeFlow,
    World,
    a_post,
    a_void,
    an_ensure_customer,
    an_ensure_item,
    fault,
    refusal,
)


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


def only(world: World) -> Any:
    """The amount of the one document in the books, which is ours."""
    [document] = world.invoices()
    assert document["PrivateNote"].startswith(f"Metronome invoice {INVOICE_ID}")
    return Decimal(document["TotalAmt"])


# Crashes


async def test_killed_before_the_attempt_is_recorded_nothing_left(world: World) -> None:
    offset = await world.dies(a_post(), "before the attempt is recorded")
    assert world.transport.writes() == []
    assert (await world.run(a_post(), offset=offset)).result == "posted"
    assert only(world) == 10


async def test_killed_between_the_recorded_attempt_and_the_write_it_is_posted_once(world: World) -> None:
    offset = await world.dies(a_post(), "before the write")
    assert world.transport.writes() == []
    outcome = await world.run(a_post(), offset=offset)
    assert (outcome.result, outcome.adopted, only(world)) == ("posted", False, 10)


async def test_killed_between_the_write_and_its_result_the_document_is_adopted(world: World) -> None:
    offset = await world.dies(a_post(), "after the write")
    outcome = await world.run(a_post(), offset=offset)
    assert (outcome.result, outcome.adopted, outcome.qbo_id, only(world)) == ("posted", True, "1", 10)
    assert len(world.transport.writes()) == 1


@pytest.mark.parametrize("flushed", [0, 1], ids=["table lost", "table kept"])
async def test_killed_before_the_outcome_is_published_it_is_told_once_more(world: World, flushed: int) -> None:
    world.flushed = lambda queued: queued * flushed
    offset = await world.dies(a_post(), "before the outcome")
    outcome = await world.run(a_post(), offset=offset)
    assert (outcome.result, outcome.qbo_id, only(world)) == ("posted", "1", 10)
    assert len(world.transport.writes()) == 1


@pytest.mark.parametrize("crash_at", ["before the write", "after the write", "before the outcome"])
async def test_a_killed_update_is_made_in_place(world: World, crash_at: CrashAt) -> None:
    await world.run(a_post("10.00"))
    offset = await world.dies(a_post("11.00"), crash_at)
    outcome = await world.run(a_post("11.00"), offset=offset)
    assert (outcome.result, outcome.qbo_id, outcome.total, only(world)) == ("updated", "1", Decimal("11.00"), 11)


async def test_an_older_command_that_comes_again_after_a_killed_update_leaves_it_to_the_update(world: World) -> None:
    await world.run(a_post("10.00"), offset=3)
    await world.dies(a_post("11.00"), "after the write", offset=4)
    assert (await world.run(a_post("10.00"), offset=3)).result == "unchanged"
    assert only(world) == 11


async def test_a_worker_that_leaves_writes_nothing_that_it_had_not_begun(world: World) -> None:
    """Its group may have given it up: the next owner has posted the invoice, and nobody would look at it again."""
    commands = [an_ensure_customer("Acme GmbH"), a_post(), an_ensure_item("API Calls")]
    answered, told, acked = asyncio.Event(), [], []

    async def events() -> AsyncIterator[Event]:
        for offset, command in enumerate(commands):
            at = Address(topic=COMMANDS_TOPIC, partition=0, offset=offset)
            yield Event(None, command.encode(), {}, at, world.clock.moment(), lambda at=at: acked.append(at.offset))
        await asyncio.Event().wait()

    async def handle(delivered: Delivered[Command]) -> Sequence[Record]:
        if delivered.at.offset == 0:
            await answered.wait()
        return [await world.run(delivered.record, offset=delivered.at.offset)]

    async def publish(records: Sequence[Any]) -> None:
        told.extend(records)

    delivery: Delivery[Command] = Delivery(
        "post",
        decode=COMMANDS.validate_json,
        handle=handle,
        claims=post.claims,
        publish=publish,
        in_flight_max=8,
        unacknowledged_max=100,
        dead_letters_in_a_row_max=3,
        company_of=lambda event: event.key,
        now=world.clock.moment,
    )
    running = asyncio.create_task(delivery.run(events(), FreeFlow()))
    async with asyncio.timeout(BOUND_SECONDS):
        while not told:  # the item's command is done; the invoice waits for its customer
            await asyncio.sleep(0)
    draining = asyncio.create_task(delivery.drain(BOUND_SECONDS))
    await asyncio.sleep(0)
    answered.set()
    assert not await draining
    running.cancel()
    assert (f"{REALM}/{INVOICE_ID}" in world.worker.tables.invoices, world.transport.writes()) == (False, [])
    assert (len(told), acked) == (2, [0])


async def test_a_number_adopted_after_a_crash_is_not_given_to_another_invoice(world: World) -> None:
    """The claim on the number is as durable as the attempt."""
    offset = await world.dies(a_post(), "after the write")
    await world.run(a_post(), offset=offset)
    twin = await world.run(a_post(invoice_id="d23458e0-0000-4000-8000-000000000001"))
    assert twin.doc_number == "MTR-D23458E00"


# Lost answers


@pytest.mark.parametrize(
    "spoiled",
    [
        fault("drop", after_commit=True),
        fault("truncated"),
        fault("status", status=500, after_commit=True),
        fault("status", status=504, after_commit=True),
        fault("html", status=502, after_commit=True),
        fault("status", status=200, body='{"time":"2026"}', after_commit=True),
        fault("status", status=200, body="", after_commit=True),
        fault("hang", after_commit=True),
        fault("delay", delay_seconds=TIMEOUT_SECONDS + 1),
    ],
    ids=["drop", "truncated", "500", "504", "html", "no object", "empty", "hang", "late"],
)
async def test_a_write_that_was_carried_out_is_adopted_when_its_answer_is_lost(world: World, spoiled: Fault) -> None:
    world.faults.add(_fresh(spoiled))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, outcome.attempts, only(world)) == ("posted", True, 1, 10)


@pytest.mark.parametrize(
    "spoiled",
    [fault("drop"), fault("status", status=503), fault("html", status=502), fault("hang"), refusal("10000", 500)],
    ids=["drop", "503", "html", "hang", "10000"],
)
async def test_a_write_that_was_not_carried_out_is_made_again_with_the_same_requestid(
    world: World, spoiled: Fault
) -> None:
    world.faults.add(_fresh(spoiled))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, outcome.attempts, only(world)) == ("posted", False, 2, 10)
    first, second = world.transport.writes()
    assert first.query["requestid"] == second.query["requestid"]


def _fresh(spoiled: Fault) -> Fault:
    return Fault(
        spoiled.kind,
        method=spoiled.method,
        status=spoiled.status,
        body=spoiled.body,
        delay_seconds=spoiled.delay_seconds,
        after_commit=spoiled.after_commit,
    )


async def test_the_document_is_found_by_customer_and_date_where_the_company_numbers_itself(world: World) -> None:
    """The void knows neither customer nor date: the recorded attempt does."""
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post("10.00"))).result == "uncertain"
    world.edited_by_a_person("Invoice", "1", DocNumber="1001")
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.qbo_id) == ("voided", "1")
    assert len(world.invoices()) == 1


async def test_an_adopted_document_with_another_amount_is_updated(world: World) -> None:
    """Somebody edited it before we could look: it must say what Metronome says."""
    offset = await world.dies(a_post("10.00"), "after the write")
    world.edited_by_a_person("Invoice", "1", TotalAmt=Decimal("9.5"))
    outcome = await world.run(a_post("10.00"), offset=offset)
    assert (outcome.result, outcome.total, only(world)) == ("updated", Decimal("10.00"), 10)


async def test_a_changed_invoice_after_a_lost_answer_updates_the_document_found(world: World) -> None:
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post("10.00"))).result == "uncertain"
    outcome = await world.run(a_post("12.00"))
    assert (outcome.result, outcome.qbo_id, outcome.total, only(world)) == ("updated", "1", Decimal("12.00"), 12)


# Trouble that does nothing


async def test_nobody_listening_is_waited_for(world: World) -> None:
    world.transport.refuse_connections = 3
    outcome = await world.run(a_post())
    assert (outcome.result, only(world), len(world.transport.reads())) == ("posted", 10, 0)


async def test_429_holds_the_company_for_a_minute_and_then_goes_on(world: World) -> None:
    world.faults.add(fault(status=429))
    outcome = await world.run(a_post())
    assert (outcome.result, only(world), len(world.transport.reads())) == ("posted", 10, 0)
    assert 60 <= world.clock.now - START < 62


async def test_patience_over_parks_what_was_surely_not_done(world: World) -> None:
    world.transport.refuse_connections = 10_000
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", "quickbooks")
    assert 500 < world.clock.now - START <= 600
    world.transport.refuse_connections = 0
    assert (await world.run(a_post())).result == "posted"
    assert only(world) == 10


@pytest.mark.parametrize("arrived", [True, False], ids=["it had arrived", "it had not arrived"])
async def test_patience_over_leaves_the_doubtful_uncertain_and_a_redelivery_settles_it(
    world: World, arrived: bool
) -> None:
    world.faults.add(fault("drop", after_commit=arrived), fault("status", status=503, method="", count=1000))
    outcome = await world.run(a_post(), offset=5)
    assert (outcome.result, world.entry(INVOICE_ID).state) == ("uncertain", "uncertain")
    assert "redrive" in (outcome.remedy or "")
    world.faults.clear()
    settled = await world.run(a_post(), offset=5)
    assert (settled.result, settled.adopted, only(world)) == ("posted", arrived, 10)


async def test_an_uncertain_invoice_stays_so_while_its_mapping_is_gone_or_quickbooks_is_away(world: World) -> None:
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post())).result == "uncertain"
    missing = await world.run(a_post(customer=CustomerReference(customer_id="c-9", name="Nobody")))
    assert (missing.result, missing.waits_for) == ("uncertain", "customer/c-9")
    world.tokens.connected = False
    assert (await world.run(a_post())).result == "uncertain"
    world.tokens.connected = True
    world.clock.now += 60
    assert (await world.run(a_post())).adopted
    assert only(world) == 10


async def test_an_uncertain_invoice_found_missing_and_then_refused_is_refused(world: World) -> None:
    """The look-up is the proof that ends the doubt."""
    world.retry_seconds = 0.1
    world.faults.add(fault("drop"))
    assert (await world.run(a_post())).result == "uncertain"
    world.faults.add(refusal("6000"))
    assert (await world.run(a_post())).result == "refused"
    assert world.invoices() == []


async def test_a_rejected_token_is_refreshed_and_the_invoice_posted_once(world: World) -> None:
    world.clock.now += 3601
    outcome = await world.run(a_post())
    assert (outcome.result, world.tokens.refreshed, only(world)) == ("posted", 1, 10)


async def test_a_token_rejected_twice_parks_the_invoice_as_not_done(world: World) -> None:
    world.tokens.token = "no-such-token"
    world.tokens.new_token = lambda: "no-such-token"
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", "connection")
    assert "no-such-token" not in outcome.model_dump_json()


async def test_a_repeated_requestid_that_quickbooks_calls_a_duplicate_is_looked_up(world: World) -> None:
    """Code 600, after a write that had been carried out."""
    world.faults.add(Fault("status", method="POST", status=400, body=refusal("600").body, after_commit=True))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, only(world)) == ("posted", True, 10)


async def test_customers_of_two_invoices_do_not_mix_in_the_look_up(world: World) -> None:
    """The look-up by customer and date meets other invoices of that customer and date, and leaves them alone."""
    add_customer(world.books, "59", "Other", START)
    await world.run(a_post("1.00", invoice_id="a0000000-0000-4000-8000-000000000002"))
    world.faults.add(fault("drop"))
    outcome = await world.run(a_post("2.00"))
    assert (outcome.result, outcome.adopted, outcome.total) == ("posted", False, Decimal("2.00"))
    assert len(world.invoices()) == 2


@pytest.mark.parametrize("code", ["10100", "10200"])
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_failure_that_will_not_pass_is_looked_up_once_and_not_tried_again(
    world: World, code: str, carried_out: bool
) -> None:
    broken = refusal(code, 500)
    broken.after_commit = carried_out
    world.faults.add(broken)
    outcome = await world.run(a_post())
    assert (outcome.result, len(world.transport.writes())) == ("posted" if carried_out else "refused", 1)
    assert world.entry(INVOICE_ID).attempt is None
    assert world.transport.reads()
    again = await world.run(a_post())
    assert (again.result, only(world)) == ("unchanged" if carried_out else "posted", 10)
    requestids = [each.query["requestid"] for each in world.transport.writes()]
    assert len(requestids) == len(set(requestids))


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_void_that_fails_for_good_is_looked_up_once(world: World, carried_out: bool) -> None:
    await world.run(a_post())
    broken = refusal("10200", 500)
    broken.after_commit = carried_out
    world.faults.add(broken)
    outcome = await world.run(a_void())
    assert (outcome.result, len(world.transport.writes())) == ("voided" if carried_out else "refused", 2)
    assert len(world.live()) == (0 if carried_out else 1)
    await world.run(a_void())
    assert world.live() == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 421, 429, 451, 499])
async def test_a_page_that_quickbooks_did_not_speak_is_no_no(world: World, status: int) -> None:
    """A proxy's page after the commit: the document is found, and there is no second one."""
    world.faults.add(fault("html", status=status, after_commit=True))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, only(world)) == ("posted", True, 10)
    assert (await world.run(a_post())).result == "unchanged"
    assert only(world) == 10


async def test_a_document_that_was_attempted_once_is_looked_up_before_it_is_created_again(world: World) -> None:
    """Another worker, which had the company meanwhile, posted it; what we know of it is a refusal.

    QuickBooks' requestids do not help: after a refusal the next one is another.
    """
    world.faults.add(refusal("6200"))
    assert (await world.run(a_post())).waits_for == "open period"
    known = world.entry(INVOICE_ID)
    assert (await world.run(a_post())).result == "posted"
    world.worker.tables.invoices[known.key] = known
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, only(world)) == ("posted", True, 10)


async def test_a_first_write_costs_no_read(world: World) -> None:
    await world.run(a_post())
    assert world.transport.reads() == []


async def test_an_attempt_that_waits_for_its_turn_is_recorded_anew_before_it_leaves(world: World) -> None:
    """After a 429 the company waits for a minute: who knows whose partition it is by then."""
    world.faults.add(fault(status=429))
    await world.run(a_post())
    assert (world.worker.recorded, len(world.transport.writes()), only(world)) == (3, 2, 10)


async def test_what_keeps_an_attempt_from_being_recorded_keeps_the_write_from_leaving(world: World) -> None:
    async def somebody_else_has_the_partition(key: str, entry: LedgerEntry) -> None:
        if world.clock.now > START + 30:
            raise StopWorker("fenced")
        world.worker.tables.invoices[key] = entry

    world.worker.tables = replace(world.worker.tables, record_attempt=somebody_else_has_the_partition)
    world.faults.add(fault(status=429))
    with pytest.raises(StopWorker):
        await world.run(a_post())
    assert (len(world.transport.writes()), world.invoices()) == (1, [])


async def test_an_attempt_whose_confirmation_came_late_is_recorded_anew_before_it_leaves(world: World) -> None:
    """The worker stood still after the broker had the record: its successor has looked the attempt up since."""
    record, seconds = world.worker.tables.record_attempt, [200.0]

    async def stands_still(key: str, entry: LedgerEntry) -> None:
        if not seconds:
            raise StopWorker("fenced")
        await record(key, entry)
        await world.clock.sleep(seconds.pop())

    world.worker.tables = replace(world.worker.tables, record_attempt=stands_still)
    with pytest.raises(StopWorker):
        await world.run(a_post())
    assert (world.transport.writes(), world.invoices()) == ([], [])


async def test_an_attempt_that_is_recorded_anew_in_time_leaves(world: World) -> None:
    record, seconds = world.worker.tables.record_attempt, [0.0, 200.0, 200.0]

    async def stands_still(key: str, entry: LedgerEntry) -> None:
        await record(key, entry)
        await world.clock.sleep(seconds.pop())

    world.worker.tables = replace(world.worker.tables, record_attempt=stands_still)
    assert (await world.run(a_post())).result == "posted"
    assert (seconds, only(world)) == ([], 10)


async def test_a_write_that_waited_for_its_turn_is_believed_over_that_much_later() -> None:
    """A company rests for a minute after a 429; the write that left then is carried out when that was forgotten."""
    world = World(settings=QuickBooksSettings(limits=False, requestid_seconds=0), trust_requestids=False)
    world.faults.add(fault(status=429))
    core, waiting = world.transport.core, [True]
    left_at = START + 60

    def late(request: http.Request) -> http.Answer:
        if request.method == "POST" and world.clock.now >= left_at and waiting:
            waiting.clear()
            world.transport.before = carried_out(request)
            return http.Answer(200, ending="drop")
        return core(request)

    def carried_out(write: http.Request) -> Any:
        def before(request: http.Request) -> None:
            if world.clock.now >= left_at + RUN_SECONDS_MAX - 2:
                world.transport.before = lambda request: None
                core(write)

        return before

    world.transport.core = late
    assert (await world.run(a_post())).adopted
    assert only(world) == 10
