"""What waits resumes when its cause is gone: by a mapping, a connection, another's success, or a probe now and then."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from agents.clients.failures import TokensUnreadable
from agents.post.ledger_age import LedgerAge
from agents.post.parked import ParkedCommands
from agents.post.resume import LOST_RULE
from models.commands import (
    Command,
    DeclineInvoice,
    PostInvoice,
    ResumeParked,
    SetCustomerMapping,
    SetItemMapping,
)
from models.document import CustomerReference, ItemReference
from models.outcomes import Outcome
from models.record import Address
from tests.agents.in_process import (
    CUSTOMER_ID,
    REALM,
    LoggedTable,
    World,
    a_line,
    a_post,
    a_void,
    an_ensure_customer,
    fault,
    refusal,
)

UNMAPPED = CustomerReference(customer_id=CUSTOMER_ID, name="Nobody Inc")
UNKNOWN = ItemReference(name="Storage", product_id="p-storage")
INVOICES = [f"d23458e0-c9a0-5538-9c3b-0a5a3f1e7b1{digit}" for digit in range(6)]


def invoices_of(commands: list[Command]) -> list[str]:
    return [each.invoice_id for each in commands if isinstance(each, PostInvoice)]


async def resume(world: World) -> list[Outcome]:
    """Runs what the sink published again, and what that publishes, until nothing comes any more."""
    outcomes = []
    while world.resumed:
        outcomes.append(await world.run(world.resumed.pop(0)))
    return outcomes


def probe() -> ResumeParked:
    return ResumeParked(realm=REALM)


async def test_a_mapping_lets_go_on_all_that_waited_for_it_in_the_order_in_which_they_came() -> None:
    world = World()
    for invoice_id in INVOICES[:3]:
        assert (await world.run(a_post(invoice_id=invoice_id, lines=(a_line(item=UNKNOWN),)))).result == "parked"
    await world.run(a_post(invoice_id=INVOICES[3], customer=UNMAPPED))
    await world.run(SetItemMapping(realm=REALM, product_id="p-storage", qbo_id="31"))
    assert invoices_of(world.resumed) == INVOICES[:3]
    assert [each.result for each in await resume(world)] == ["posted"] * 3
    assert len(world.live()) == 3


async def test_a_customer_mapping_too_and_what_goes_on_asks_for_its_customer_first() -> None:
    world = World()
    await world.run(a_post(customer=UNMAPPED))
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="58"))
    assert [each.type for each in world.resumed] == ["EnsureCustomer", "PostInvoice"]
    assert [each.result for each in await resume(world)] == ["mapped", "posted"]


async def test_a_customer_that_a_later_invoice_finds_lets_the_earlier_one_go_on() -> None:
    world = World()
    await world.run(a_post(customer=UNMAPPED.replace(name="Acme GmbH")))
    await world.run(an_ensure_customer("Acme GmbH"))
    assert [each.result for each in await resume(world)] == ["mapped", "posted"]


async def test_the_connection_lets_go_on_what_waited_for_it_in_order() -> None:
    world = World()
    world.tokens.connected = False
    for invoice_id in INVOICES[:4]:
        await world.run(a_post(invoice_id=invoice_id))
    world.tokens.connected = True
    assert (await world.run(ResumeParked(realm=REALM, waits_for="connection"))).result == "resumed"
    assert invoices_of(world.resumed) == INVOICES[:4]
    assert {each.result for each in await resume(world)} == {"posted"}


async def test_what_was_done_meanwhile_waits_no_more() -> None:
    world = World()
    world.tokens.connected = False
    await world.run(a_post())
    world.tokens.connected = True
    await world.run(a_post())
    await world.run(ResumeParked(realm=REALM, waits_for="connection"))
    assert world.resumed == []


async def test_an_older_command_that_comes_again_does_not_take_the_newer_one_out_of_the_waiting_room() -> None:
    world = World()
    await world.run(a_post("1.00"))
    world.tokens.connected = False
    await world.run(a_post("2.00"))
    await world.run(a_post("1.00"), offset=0)
    world.tokens.connected = True
    await world.run(ResumeParked(realm=REALM, waits_for="connection"))
    assert [each.result for each in await resume(world)] == ["updated"]


async def test_a_probe_tries_one_of_each_cause_and_its_success_lets_the_others_go_on() -> None:
    """The period is opened in QuickBooks without a word to us."""
    world = World()
    for invoice_id in INVOICES[:3]:
        world.faults.add(refusal("6210"))
        assert (await world.run(a_post(invoice_id=invoice_id))).waits_for == "open period"
    world.clock.now += 300
    await world.run(probe())
    assert invoices_of(world.resumed) == INVOICES[:1]
    assert [each.result for each in await resume(world)] == ["posted"] * 3


async def test_probes_that_fail_take_turns() -> None:
    world = World()
    tried = []
    for invoice_id in INVOICES[:3]:
        world.faults.add(refusal("6210"))
        await world.run(a_post(invoice_id=invoice_id))
        world.clock.now += 1
    for _ in range(4):
        world.clock.now += 300
        await world.run(probe())
        tried += invoices_of(world.resumed)
        world.faults.add(refusal("6210"))
        assert [each.result for each in await resume(world)] == ["parked"]
    assert tried == [*INVOICES[:3], INVOICES[0]]


async def test_one_that_succeeds_does_not_stir_up_those_who_failed_a_moment_ago() -> None:
    """Two periods of one name: opening the one lets the other try once, not again and again."""
    world = World()
    for invoice_id in INVOICES[:4]:
        world.faults.add(refusal("6210"))
        await world.run(a_post(invoice_id=invoice_id))
    world.clock.now += 300
    await world.run(probe())
    results = []
    while world.resumed:
        command = world.resumed.pop(0)
        if isinstance(command, PostInvoice) and command.invoice_id in INVOICES[1:3]:
            world.faults.add(refusal("6210"))
        results.append((await world.run(command)).result)
    assert results == ["posted", "parked", "parked", "posted"]


async def test_a_company_that_does_not_answer_is_not_asked_by_every_command() -> None:
    world = World(retry_seconds=60)
    world.transport.refuse_connections = 1_000_000
    assert (await world.run(a_post(invoice_id=INVOICES[0]))).waits_for == "quickbooks"
    await world.run(a_post(invoice_id=INVOICES[1]))  # this one finds out whether it is over
    left = world.transport.refuse_connections
    outcomes = [await world.run(a_post(invoice_id=each)) for each in INVOICES[2:]]
    assert {each.result for each in outcomes} == {"parked"}
    assert world.transport.refuse_connections == left


async def test_when_it_answers_again_everything_goes_on_in_order() -> None:
    world = World(retry_seconds=60)
    world.transport.refuse_connections = 1_000_000
    for invoice_id in INVOICES[:5]:
        await world.run(a_post(invoice_id=invoice_id))
    world.transport.refuse_connections = 0
    world.clock.now += 300
    assert (await world.run(a_post(invoice_id=INVOICES[5]))).result == "posted"
    assert invoices_of(world.resumed) == INVOICES[:5]
    assert {each.result for each in await resume(world)} == {"posted"}
    assert len(world.live()) == 6


async def test_one_command_that_always_fails_does_not_make_its_company_wait() -> None:
    world = World(retry_seconds=60)
    await world.run(a_post(invoice_id=INVOICES[0]))
    world.faults.add(fault(status=500, count=1000))
    poisoned = world.run(a_post(invoice_id=INVOICES[1]))
    assert (await poisoned).result == "uncertain"
    world.faults.clear()
    assert (await world.run(a_post(invoice_id=INVOICES[2]))).result == "posted"
    assert [each.result for each in await resume(world)] == ["posted"]


async def test_a_429_that_does_not_end_is_a_quota_and_the_company_waits_for_it() -> None:
    world = World(retry_seconds=600)
    world.faults.add(fault(status=429, count=1000))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", "quota")
    world.faults.clear()
    world.clock.now += 300
    await world.run(probe())
    assert [each.result for each in await resume(world)] == ["posted"]


async def test_a_void_waits_like_an_invoice() -> None:
    world = World()
    await world.run(a_post())
    world.tokens.connected = False
    assert (await world.run(a_void())).result == "parked"
    world.tokens.connected = True
    await world.run(ResumeParked(realm=REALM, waits_for="connection"))
    assert [each.result for each in await resume(world)] == ["voided"]
    assert world.live() == []


async def test_an_invoice_that_is_declined_waits_no_more() -> None:
    world = World()
    await world.run(a_post(customer=UNMAPPED))
    facts = {"rule": "unbillable", "reason": "Metronome marks the invoice as unbillable"}
    declined = DeclineInvoice(realm=REALM, invoice_id=a_post().invoice_id, decision="skipped", **facts)
    await world.run(declined)
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="58"))
    assert world.resumed == []


async def test_a_regenerated_invoice_goes_on_when_the_one_that_it_replaces_is_voided() -> None:
    world = World()
    await world.run(a_post(invoice_id=INVOICES[0]))
    waiting = await world.run(a_post(invoice_id=INVOICES[1], replaces=INVOICES[0]))
    assert (waiting.result, waiting.waits_for) == ("parked", f"invoice/{INVOICES[0]}")
    await world.run(a_void(INVOICES[0]))
    assert [each.result for each in await resume(world)] == ["posted"]


async def test_a_company_whose_tokens_no_key_opens_waits_until_the_keys_are_right() -> None:
    world = World()

    async def closed(realm: str) -> str:
        raise TokensUnreadable(realm)

    opened, world.tokens.access_token = world.tokens.access_token, closed  # type: ignore[method-assign]
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", "connection")
    assert "encryption_keys" in (outcome.reason or "")
    world.tokens.access_token = opened  # type: ignore[method-assign]
    await world.clock.sleep(400)
    await world.run(ResumeParked(realm=REALM))
    assert [each.result for each in await resume(world)] == ["posted"]


async def test_a_command_that_was_deleted_from_kafka_waits_no_more_and_says_so_once() -> None:
    """Its retention was shorter than its wait, say. Sent again, the invoice is posted as ever."""
    world = World()
    parked = await world.run(a_post(customer=UNMAPPED))
    del world.log[parked.command]
    world.clock.now += 400
    await world.run(probe())
    said = [each for each in world.outcomes if each.rule == LOST_RULE]
    assert [(each.subject, each.result, each.command) for each in said] == [(parked.subject, "parked", parked.command)]
    assert "webhook" in (said[0].remedy or "")
    assert (world.waiting, world.resumed) == ({}, [])
    world.clock.now += 400
    await world.run(probe())
    assert len([each for each in world.outcomes if each.rule == LOST_RULE]) == 1
    assert (await world.run(a_post())).result == "posted"


async def test_what_waits_in_a_log_that_is_gone_waits_no_more() -> None:
    """At its address in the new log lies another command, which has nothing to do with it."""
    world = World()
    parked = await world.run(a_post(customer=UNMAPPED), offset=5)
    world.clock.now += 400
    world.ledger_age = LedgerAge(log_since=world.clock.moment())
    world.worker = type(world.worker)(world)
    assert (await world.run(a_post(invoice_id=INVOICES[3], customer=UNMAPPED), offset=0)).result == "parked"
    await world.run(probe(), offset=1)
    said = [each for each in world.outcomes if each.rule == LOST_RULE]
    assert [(each.subject, each.command) for each in said] == [(parked.subject, parked.command)]
    assert len(world.waiting) == 1
    assert (await world.run(a_post(customer=UNMAPPED), offset=2)).result == "parked"
    assert len(world.waiting) == 2


async def test_what_waits_in_a_log_that_is_gone_is_not_looked_for_in_the_new_one() -> None:
    """Whatever lies at its address there would be done again, and the row would seem to be of the new log."""
    world = World()
    await world.run(a_post(customer=UNMAPPED), offset=5)
    world.clock.now += 400
    world.ledger_age = LedgerAge(log_since=world.clock.moment())
    world.worker = type(world.worker)(world)
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="58"), offset=0)
    assert world.resumed == []


# How often


def test_two_hundred_customers_that_wait_for_a_person_cost_few_tries_and_then_hardly_any() -> None:
    """Each try is a metered read. A day of probes was 57,600 of them."""
    parked, day = ParkedCommands(LoggedTable({})), timedelta(days=1)
    now = START_OF_WAIT
    for number in range(200):
        parked.park(REALM, f"customer/{number}", f"customer/{number}", address(number), now)
    tries = [0, 0]
    for probe in range(2 * 288):
        now += timedelta(seconds=300)
        for at in parked.due_for_probe(REALM, now):
            tries[probe // 288] += 1
            parked.park(REALM, f"customer/{at.offset}", f"customer/{at.offset}", at, now + timedelta(seconds=20))
    assert tries == [200 * 9, 200 * 4]
    assert parked.realms_to_probe(now) <= {REALM}
    assert parked.realms_to_probe(now + day) == {REALM}


def test_those_that_wait_for_the_very_same_have_one_pause_and_vague_causes_one_for_each() -> None:
    parked = ParkedCommands(LoggedTable({}))
    for number in range(50):
        parked.park(REALM, f"invoice/{number}", "customer/c-1", address(number), START_OF_WAIT)
        parked.park(REALM, f"invoice/{50 + number}", "open period", address(50 + number), START_OF_WAIT)
    now, tried = START_OF_WAIT, []
    for _ in range(50):
        now += timedelta(seconds=300)
        tried += [at.offset for at in parked.due_for_probe(REALM, now)]
    assert len([each for each in tried if each < 50]) == 5
    assert sorted(each for each in tried if each >= 50) == list(range(50, 100))


def test_when_what_it_waits_for_has_come_it_resumes_at_once_however_long_its_pause_is() -> None:
    parked, now = ParkedCommands(LoggedTable({})), START_OF_WAIT
    parked.park(REALM, "invoice/1", "customer/c-1", address(1), now)
    for _ in range(288):
        now += timedelta(seconds=300)
        parked.due_for_probe(REALM, now)
    assert parked.due_for_probe(REALM, now + timedelta(hours=1)) == []
    assert parked.released_by(REALM, "customer/c-1", now) == [address(1)]
    assert parked.due_for_probe(REALM, now + timedelta(seconds=300)) == [address(1)], "its pauses begin anew"


def test_quickbooks_that_answers_nobody_is_asked_every_half_hour_at_least() -> None:
    """Nobody does anything for it to come back, so nobody would resume what waits."""
    parked, now = ParkedCommands(LoggedTable({})), START_OF_WAIT
    parked.park(REALM, "invoice/1", "quickbooks", address(1), now)
    tried = []
    for _ in range(288):
        now += timedelta(seconds=300)
        tried += [now for _ in parked.due_for_probe(REALM, now)]
    assert max(after - before for before, after in pairwise(tried)) == timedelta(minutes=30)


def test_a_redrive_that_comes_to_nothing_begins_the_pauses_anew() -> None:
    """Somebody did something for it; and repeated redrives do not keep the probes away."""
    parked, now = ParkedCommands(LoggedTable({})), START_OF_WAIT
    parked.park(REALM, "invoice/1", "finalization", address(1), now)
    for _ in range(50):
        now += timedelta(seconds=300)
        parked.due_for_probe(REALM, now)
    parked.park(REALM, "invoice/1", "finalization", address(2), now)  # what the last probe published
    assert parked.due_for_probe(REALM, now + timedelta(seconds=300)) == []
    parked.park(REALM, "invoice/1", "finalization", address(3), now)
    assert parked.due_for_probe(REALM, now + timedelta(seconds=300)) == [address(3)]


START_OF_WAIT = datetime(2026, 11, 2, tzinfo=UTC)


def address(offset: int) -> Address:
    return Address(topic="quickbooks.commands", partition=0, offset=offset)
