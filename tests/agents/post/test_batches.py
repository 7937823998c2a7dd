"""Batches: whatever happens to one, every invoice stands in the books exactly once, and faults concern single items."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from agents.clients.rate_limit import RateLimits
from agents.delivery import StopWorker
from agents.post.batches import BODY_BYTES_MAX, SENT_MAX, WAITS_SECONDS_MAX
from models.commands import Command, PostInvoice
from models.ledger import LedgerEntry
from models.outcomes import Outcome
from models.quickbooks import SEEN_SECONDS_MAX
from simulators import http
from simulators.faults import Fault
from simulators.quickbooks.books import Company
from tests.agents.in_process import REALM, CrashAt, Worker, World, a_line, a_post, a_void, fault, refusal
from tests.agents.post.batching import (
    a_world,
    batches,
    carried_out_late,
    die_together,
    invoice_id,
    is_batch,
    items_of,
    killed_after,
    lived,
    posts,
    run_together,
    seconds_of,
    singles,
)

MEMORIES = pytest.mark.parametrize("remembered_seconds", [86_400, 60, 0], ids=["remembers", "forgets soon", "forgets"])


def each_once(world: World, commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
    """Every invoice is posted, stands in the books once with its total, and no batch is left open."""
    assert [each.result for each in outcomes] == ["posted"] * len(commands)
    found = sorted((each["PrivateNote"].split()[2], Decimal(each["TotalAmt"])) for each in world.invoices())
    wanted = sorted((each.invoice_id, each.document.total) for each in commands if isinstance(each, PostInvoice))
    assert found == wanted
    for invoice, _ in wanted:
        entry = world.entry(invoice)
        assert (entry.attempt, entry.result) == (None, "posted")
        assert world.books.objects["Invoice"][entry.qbo_id or ""]["PrivateNote"].split()[2] == invoice


# The way there and back


def test_invoices_that_are_ready_together_travel_together_and_each_gets_its_own_answer() -> None:
    async def story() -> None:
        world = a_world()
        commands = posts(30)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world)), world.transport.reads()) == (1, 0, [])
        assert world.worker.batches._rows == {}
        assert len(world.batches) == 0

    lived(story)


def test_a_batch_has_short_ids_and_carries_each_document_to_the_byte_as_alone() -> None:
    async def story() -> None:
        together, alone = a_world(), a_world(batch_size=0)
        commands = posts(3)
        await run_together(together, commands)
        await run_together(alone, commands)
        [batch] = batches(together)
        assert len(batch.query["requestid"]) <= 36
        assert [each["bId"] for each in items_of(batch)] == ["1", "2", "3"]
        assert {each["operation"] for each in items_of(batch)} == {"create"}
        assert sorted(json.dumps(each["Invoice"]) for each in items_of(batch)) == sorted(
            json.dumps(json.loads(each.body)) for each in singles(alone)
        )
        assert all(each.body in batch.body for each in singles(alone))

    lived(story)


def test_invoices_and_credit_memos_share_a_batch() -> None:
    async def story() -> None:
        world = a_world()
        memo = a_post("5.00", invoice_id=invoice_id(9), kind="creditmemo")
        outcomes = await run_together(world, [*posts(2), memo])
        assert [each.result for each in outcomes] == ["posted"] * 3
        assert (len(batches(world)), len(world.invoices()), len(world.invoices("CreditMemo"))) == (1, 2, 1)

    lived(story)


def test_an_invoice_without_company_is_sent_by_itself() -> None:
    """Batches are metered (§5.4)."""

    async def story() -> None:
        world = a_world()
        each_once(world, posts(1), await run_together(world, posts(1)))
        assert (len(batches(world)), len(singles(world))) == (0, 1)

    lived(story)


def test_more_than_fit_travel_in_several_batches_none_larger_than_allowed() -> None:
    async def story() -> None:
        world = a_world(batch_size=10)
        commands = posts(34)
        each_once(world, commands, await run_together(world, commands))
        sizes = [len(items_of(each)) for each in batches(world)]
        assert (sorted(sizes), len(singles(world))) == ([4, 10, 10, 10], 0)

    lived(story)


def test_a_batch_holds_no_more_bytes_than_allowed() -> None:
    async def story() -> None:
        world = a_world()
        long = "long " * 700
        lines = tuple(a_line("0.10").replace(description=long) for _ in range(50))
        commands: list[Command] = [a_post(invoice_id=invoice_id(number), lines=lines) for number in range(1, 16)]
        each_once(world, commands, await run_together(world, commands))
        assert sum(len(each.body) for each in batches(world)) > BODY_BYTES_MAX
        assert all(len(each.body) < BODY_BYTES_MAX + 10_000 for each in batches(world))

    lived(story)


def test_updates_voids_and_second_tries_go_alone() -> None:
    async def story() -> None:
        world = a_world()
        await run_together(world, posts(2))
        changed = [a_post("50.00", invoice_id=invoice_id(1)), a_void(invoice_id(2))]
        outcomes = await run_together(world, changed)
        assert [each.result for each in outcomes] == ["updated", "voided"]
        assert (len(batches(world)), len(singles(world))) == (1, 2)

    lived(story)


def test_a_rejected_token_is_refreshed_and_the_same_batch_sent() -> None:
    async def story() -> None:
        world = a_world()
        await asyncio.sleep(3601)
        commands = posts(4)
        each_once(world, commands, await run_together(world, commands))
        first, second = batches(world)
        assert (first.query, first.body) == (second.query, second.body)
        assert world.tokens.refreshed == 1

    lived(story)


def test_an_unconnected_company_parks_all_of_them_and_nothing_leaves() -> None:
    async def story() -> None:
        world = a_world(batch_size=3)
        world.tokens.connected = False
        outcomes = await run_together(world, posts(7))
        assert {(each.result, each.waits_for) for each in outcomes} == {("parked", "connection")}
        assert world.transport.calls == []
        assert seconds_of(world) < 1

    lived(story)


# Faults of single items


def spoiled_item(code: str, number: int) -> Callable[[http.Core], http.Core]:
    """QuickBooks refuses the item with this bId, and does not write it."""

    def around(core: http.Core) -> http.Core:
        def answer(request: http.Request) -> http.Answer:
            if not is_batch(request):
                return core(request)
            items = items_of(request)
            kept = [each for each in items if each["bId"] != str(number)]
            answered = core(http.Request(**{**_fields(request), "body": http.dump({"BatchItemRequest": kept})}))
            envelope = json.loads(answered.body)
            error = {"Message": f"No {code}", "Detail": "why", "code": code}
            refused = {"Fault": {"Error": [error], "type": "ValidationFault"}, "bId": str(number)}
            envelope["BatchItemResponse"] = [refused, *reversed(envelope["BatchItemResponse"])]
            return http.Answer(200, http.dump(envelope), answered.headers)

        return answer

    return around


def _fields(request: http.Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}


@pytest.mark.parametrize(
    ("code", "result", "waits_for"),
    [
        ("6070", "refused", None),
        ("2500", "parked", "mapping"),
        ("6200", "parked", "open period"),
        ("6240", "refused", None),
        ("10000", "posted", None),
        ("10100", "refused", None),
        ("5010", "posted", None),
        ("600", "posted", None),
        ("130", "posted", None),
    ],
)
def test_a_fault_of_one_item_concerns_that_one_only_in_whatever_order_the_answers_come(
    code: str, result: str, waits_for: str | None
) -> None:
    async def story() -> None:
        world = a_world()
        world.transport.core = spoiled_item(code, 2)(world.transport.core)
        outcomes = await run_together(world, posts(5))
        assert (outcomes[1].result, outcomes[1].waits_for) == (result, waits_for)
        others = [each for each in outcomes if each is not outcomes[1]]
        assert {each.result for each in others} == {"posted"}
        assert [each.total for each in others] == [Decimal(total) for total in ("1.00", "3.00", "4.00", "5.00")]
        assert len(world.invoices()) == 4 + (result == "posted")
        assert len(batches(world)) == 1

    lived(story)


def test_an_unknown_item_a_wrong_amount_and_a_taken_number_in_one_batch() -> None:
    """As the simulator itself refuses them: 2500 is parked, 6140 takes a longer number."""

    async def story() -> None:
        world = a_world(company=Company(REALM, warn_duplicate_doc_numbers=True))
        await world.run(a_post("7.00", invoice_id="00000001-0000-4000-8000-00000000ffff"))
        world.worker.tables.doc_numbers.clear()
        world.worker.tables.invoices.clear()
        broken = a_post("9.00", invoice_id=invoice_id(9))
        [line] = broken.document.lines
        broken = broken.replace(
            document=broken.document.replace(lines=(line.replace(item=line.item.replace(qbo_id="404")),))
        )
        outcomes = await run_together(world, [*posts(3), broken])
        assert [each.result for each in outcomes] == ["posted", "posted", "posted", "parked"]
        assert outcomes[0].doc_number == "MTR-00000001C"
        assert outcomes[3].waits_for == "mapping"
        assert len(batches(world)) == 1

    lived(story)


def test_an_item_that_the_answer_leaves_out_is_looked_up() -> None:
    async def story() -> None:
        world = a_world()
        core = world.transport.core

        def without_the_second(request: http.Request) -> http.Answer:
            answered = core(request)
            if is_batch(request):
                envelope = json.loads(answered.body)
                del envelope["BatchItemResponse"][1]
                return http.Answer(200, http.dump(envelope), answered.headers)
            return answered

        world.transport.core = without_the_second
        outcomes = await run_together(world, posts(3))
        each_once(world, posts(3), outcomes)
        assert [each.adopted for each in outcomes] == [False, True, False]

    lived(story)


# Faults of the whole batch


@pytest.mark.parametrize("code", ["1040", "2010", "2130"])
def test_a_batch_that_is_refused_as_such_goes_item_by_item(code: str) -> None:
    async def story() -> None:
        world = a_world()
        world.faults.add(refusal(code))
        commands = posts(6)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world)), world.transport.reads()) == (1, 6, [])

    lived(story)


def test_after_a_429_each_goes_alone_when_the_minute_is_over() -> None:
    async def story() -> None:
        world = a_world()
        world.faults.add(fault(status=429))
        commands = posts(6)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world)), world.transport.reads()) == (1, 6, [])
        assert 60 <= seconds_of(world) < 63

    lived(story)


@pytest.mark.parametrize(("pause_seconds", "batches_sent"), [(60.0, 0), (20.0, 1)], ids=["a minute", "shorter"])
def test_a_batch_that_waits_for_its_record_does_not_leave_within_a_pause(
    pause_seconds: float, batches_sent: int
) -> None:
    """Another request's 429 came after its turn: it takes its turn again, recorded again; too late for a batch, each
    goes alone."""

    async def story() -> None:
        world = a_world()
        world.limits = RateLimits(1000, 100_000, 10, pause_seconds)
        world.worker = Worker(world)
        record, recorded, core, left = world.worker.batches._record, [], world.transport.core, []

        def noted(request: http.Request) -> http.Answer:
            left.append(seconds_of(world))
            return core(request)

        world.transport.core = noted

        async def slow(*row: Any) -> None:
            if not recorded:
                world.worker._client._limiter.pause(REALM)
            recorded.append(row)
            await record(*row)

        world.worker.batches._record = slow
        commands = posts(3)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world))) == (batches_sent, 3 - 3 * batches_sent)
        assert min(left) >= pause_seconds
        assert len({row[0] for row in recorded}) == 1

    lived(story)


def test_nobody_listening_is_waited_for() -> None:
    async def story() -> None:
        world = a_world()
        world.transport.refuse_connections = 3
        commands = posts(6)
        each_once(world, commands, await run_together(world, commands))

    lived(story)


LOST: list[Callable[[], Fault]] = [
    lambda: fault("drop", after_commit=True),
    lambda: fault("truncated"),
    lambda: fault(status=500, after_commit=True),
    lambda: fault("html", status=502, after_commit=True),
    lambda: fault(status=200, body="", after_commit=True),
    lambda: fault(status=200, body='{"time":"2026"}', after_commit=True),
    lambda: fault("hang", after_commit=True),
    lambda: refusal("600"),
]


@pytest.mark.parametrize("spoiled", LOST, ids=["drop", "cut", "500", "html", "empty", "no items", "hang", "600"])
@MEMORIES
def test_a_batch_whose_answer_is_lost_is_settled_by_looking_it_up(
    spoiled: Callable[[], Fault], remembered_seconds: float
) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        broken = spoiled()
        broken.after_commit = True
        world.faults.add(broken)
        commands = posts(8)
        outcomes = await run_together(world, commands)
        each_once(world, commands, outcomes)
        assert all(each.adopted for each in outcomes)
        assert (len(batches(world)), len(singles(world))) == (1, 0)
        await asyncio.sleep(60)
        assert len(world.worker.batches._rows) == 0

    lived(story)


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda: fault("drop"),
        lambda: fault(status=503),
        lambda: fault("html", status=502),
        lambda: refusal("10000", 500),
    ],
    ids=["drop", "503", "html", "10000"],
)
@MEMORIES
def test_a_batch_that_was_not_carried_out_goes_again_with_the_same_requestid_and_bytes(
    spoiled: Callable[[], Fault], remembered_seconds: float
) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        world.faults.add(spoiled())
        commands = posts(30)
        outcomes = await run_together(world, commands)
        each_once(world, commands, outcomes)
        first, second = batches(world)
        assert (first.query, first.body) == (second.query, second.body)
        assert singles(world) == []
        assert seconds_of(world) >= SEEN_SECONDS_MAX

    lived(story)


@MEMORIES
def test_the_same_batch_goes_again_once_and_then_each_alone(remembered_seconds: float) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        world.faults.add(fault("drop", path_contains="/batch", count=5))
        commands = posts(6)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world))) == (SENT_MAX, 6)

    lived(story)


@MEMORIES
@pytest.mark.parametrize("late_seconds", [0.5, 5.0, 60.0, 119.0])
def test_a_batch_that_is_carried_out_when_we_had_given_it_up_is_adopted(
    late_seconds: float, remembered_seconds: float
) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        world.transport.core = carried_out_late(world.transport.core, late_seconds)
        commands = posts(6)
        outcomes = await run_together(world, commands)
        await asyncio.sleep(300)
        each_once(world, commands, outcomes)
        assert (len(batches(world)), len(singles(world))) == (1, 0)

    lived(story)


@MEMORIES
def test_of_a_batch_carried_out_in_part_only_the_missing_go_alone(remembered_seconds: float) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        core, cut = world.transport.core, [True]

        def in_part(request: http.Request) -> http.Answer:
            if cut and is_batch(request):
                cut.clear()
                half = items_of(request)[:2]
                core(http.Request(**{**_fields(request), "query": {}, "body": http.dump({"BatchItemRequest": half})}))
                return http.Answer(504)
            return core(request)

        world.transport.core = in_part
        commands = posts(5)
        outcomes = await run_together(world, commands)
        each_once(world, commands, outcomes)
        assert sum(each.adopted for each in outcomes) == 2
        assert (len(batches(world)), len(singles(world))) == (1, 3)

    lived(story)


def test_a_voided_invoice_does_not_come_back_with_a_late_batch() -> None:
    """The void has to know that the batch is over, or it would find nothing to void."""

    async def story() -> None:
        world = a_world(requestid_seconds=0)
        world.retry_seconds = 0.1
        world.transport.core = carried_out_late(world.transport.core, 100.0)
        assert {each.result for each in await run_together(world, posts(2))} == {"uncertain"}
        outcome = await world.run(a_void(invoice_id(1)))
        assert outcome.result == "voided"
        assert [each["PrivateNote"].split()[2] for each in world.live()] == [invoice_id(2)]

    lived(story)


def test_a_changed_invoice_updates_what_a_late_batch_brings() -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=0)
        world.retry_seconds = 0.1
        world.transport.core = carried_out_late(world.transport.core, 100.0)
        await run_together(world, posts(2))
        outcome = await world.run(a_post("77.00", invoice_id=invoice_id(1)))
        assert (outcome.result, outcome.total) == ("updated", Decimal("77.00"))
        assert len(world.invoices()) == 2

    lived(story)


# Crashes and other owners


@MEMORIES
@pytest.mark.parametrize(
    "crash_at", ["before the attempt is recorded", "before the write", "after the write", "before the outcome"]
)
def test_killed_at_any_point_each_is_posted_once(crash_at: CrashAt, remembered_seconds: float) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        commands = posts(5)
        await die_together(world, commands, crash_at)
        outcomes = await run_together(world, commands, 0)
        each_once(world, commands, outcomes)
        assert (len(batches(world)), len(singles(world))) == (1, 0)

    lived(story)


@MEMORIES
@pytest.mark.parametrize("killed_after_seconds", [0.01, 0.06, 1.0, 30.0, 100.0, 131.0])
@pytest.mark.parametrize("late_seconds", [0.1, 20.0, 119.0])
def test_killed_while_quickbooks_is_still_at_it_each_is_posted_once(
    killed_after_seconds: float, late_seconds: float, remembered_seconds: float
) -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        world.transport.core = carried_out_late(world.transport.core, late_seconds)
        commands = posts(5)
        await killed_after(world, killed_after_seconds, commands)
        outcomes = await run_together(world, commands, 0)
        await asyncio.sleep(300)
        each_once(world, commands, outcomes)

    lived(story)


def test_after_a_kill_the_next_worker_sends_the_very_same_batch() -> None:
    async def story() -> None:
        world = a_world()
        commands = posts(7)
        await die_together(world, commands, "before the write")
        [recorded] = world.batches.values()
        again = [world.run(each, offset=offset) for offset, each in reversed(list(enumerate(commands)))]
        each_once(world, commands, await asyncio.gather(*again))
        [batch] = batches(world)
        assert batch.query["requestid"] == recorded.requestid
        assert [each["Invoice"]["Line"][0]["Amount"] for each in items_of(batch)] == [1, 2, 3, 4, 5, 6, 7]

    lived(story)


def test_turned_off_meanwhile_what_was_sent_is_still_seen_to_its_end() -> None:
    async def story() -> None:
        world = a_world(requestid_seconds=0)
        world.transport.core = carried_out_late(world.transport.core, 110.0)
        commands = posts(4)
        world_size, world.batch_size = world.batch_size, 0
        assert world_size
        await killed_after(world, 1.0, commands)
        each_once(world, commands, await run_together(world, commands, 0))

    lived(story)


@MEMORIES
def test_a_batch_that_leaves_after_another_worker_took_over_is_waited_for(remembered_seconds: float) -> None:
    """The former owner does not know yet, and its batch was not recorded when the next one read the tables."""

    async def story() -> None:
        world = a_world(requestid_seconds=remembered_seconds)
        former, commands = world.worker, posts(4)
        record = former.batches._record

        async def slowly(*row: object) -> None:
            await asyncio.sleep(8)
            await record(*row)  # type: ignore[arg-type]

        former.batches._record = slowly
        leaving = [asyncio.create_task(former.run(each, offset, None)) for offset, each in enumerate(commands)]
        await asyncio.sleep(5)
        world.worker = Worker(world)
        each_once(world, commands, await run_together(world, commands, 0))
        await asyncio.gather(*leaving)
        assert (len(batches(world)), len(singles(world))) == (1, 0)

    lived(story)


def test_who_may_have_lost_its_companies_sends_no_batch_any_more() -> None:
    """What waits for company goes alone; a batch in doubt is not repeated."""

    async def story() -> None:
        world = a_world()
        running = asyncio.gather(*(world.run(each) for each in posts(3)))
        await asyncio.sleep(0.01)
        world.worker.batches.on_revoked()
        assert {each.result for each in await running} == {"posted"}
        assert (len(batches(world)), len(singles(world))) == (0, 3)
        world.faults.add(fault("drop", path_contains="/batch"))
        late = [a_post(invoice_id=invoice_id(number)) for number in (11, 12)]
        running = asyncio.gather(*(world.run(each) for each in late))
        await asyncio.sleep(5)
        world.worker.batches.on_revoked()
        assert {each.result for each in await running} == {"posted"}
        assert (len(batches(world)), len(singles(world))) == (1, 5)
        assert len(world.invoices()) == 5

    lived(story)


def test_a_worker_that_was_frozen_on_the_way_to_a_batch_sends_none() -> None:
    """Meanwhile another may have taken over without knowing of it: the record was not there yet."""

    async def story() -> None:
        world = a_world()
        record = world.worker.batches._record

        async def frozen(*row: object) -> None:
            await asyncio.sleep(70)
            await record(*row)  # type: ignore[arg-type]

        world.worker.batches._record = frozen
        commands = posts(3)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world)), len(world.worker.batches._rows)) == (0, 3, 0)

    lived(story)


def test_a_batch_of_which_an_attempt_is_another_workers_by_now_does_not_leave() -> None:
    """The worker stood still while the batch was recorded; its successor has looked the attempts up since."""

    async def story() -> None:
        world = a_world()
        record_batch, record_attempt = world.worker.batches._record, world.worker.tables.record_attempt

        async def stands_still(*row: object) -> None:
            await record_batch(*row)  # type: ignore[arg-type]
            await asyncio.sleep(30)

        async def somebody_else_has_the_partition(key: str, entry: LedgerEntry) -> None:
            if seconds_of(world) >= 30:
                raise StopWorker("fenced")
            await record_attempt(key, entry)

        world.worker.batches._record = stands_still
        world.worker.tables = replace(world.worker.tables, record_attempt=somebody_else_has_the_partition)
        with pytest.raises(StopWorker):
            await run_together(world, posts(3))
        assert (world.transport.writes(), world.invoices()) == ([], [])

    lived(story)


def test_an_invoice_does_not_wait_for_its_batch_for_ever() -> None:
    """The company is paused; what waited long enough stands in line by itself."""

    async def story() -> None:
        world = a_world()
        world.worker._client._limiter.pause(REALM)
        commands = posts(3)
        each_once(world, commands, await run_together(world, commands))
        assert (len(batches(world)), len(singles(world))) == (0, 3)
        assert WAITS_SECONDS_MAX < seconds_of(world) < 62

    lived(story)
