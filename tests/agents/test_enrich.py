"""From the webhook to the facts: everything asked once, kept verbatim, and every way in which it can go wrong."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from agents.clients.failures import Wait
from agents.clients.retry import RetryPolicy
from agents.delivery import InvalidRecord, TryLater
from agents.enrich import EARLY_AT_ONCE_MAX, EARLY_PAUSES_SECONDS, Routes, claims, read_webhook
from models.events import InvoiceEnriched
from models.metronome import InvoiceFinalized, Webhook
from models.money import parse_json
from simulators import http
from simulators.faults import Fault
from tests.agents.enriching import CACHE_SECONDS, KAFKA_TIME, MetronomeWorld, a_webhook
from tests.agents.in_process import START, Clock
from tests.builders import CREDITS, CUSTOMER_ID, EUROS, INVOICE_ID, a_line

ROUTES = Routes("qbo_realm_id", {"EUR": "eur-realm"}, "default-realm")


async def test_metronomes_answer_is_kept_digit_by_digit() -> None:
    total = Decimal("1000.12345678901234567890123")
    world = MetronomeWorld(lines=[a_line(total)])
    facts = await world.facts()
    assert '"total":1000.12345678901234567890123' in facts.answer.replace(": ", ":")
    assert parse_json(facts.answer)["data"]["total"] == total


async def test_the_facts_hold_all_that_the_books_will_need() -> None:
    world = MetronomeWorld(contract_custom_fields={"qbo_memo_ref": "MSA-1042"})
    contract = world.core.store.find("contract", "e91a1e81-6f2f-5d84-a5f0-7be08b339c95")
    contract["name"] = "Enterprise"
    facts = await world.facts()
    assert (facts.invoice_id, facts.customer_id, facts.realm) == (INVOICE_ID, CUSTOMER_ID, "default-realm")
    assert (facts.customer_name, facts.contract_name, facts.memo_ref) == ("Acme GmbH", "Enterprise", "MSA-1042")
    assert str(facts.webhook) == "metronome.webhooks[2]@7"
    assert facts.fetched_at.timestamp() > START


async def test_an_invoice_of_a_legacy_plan_has_no_contract_to_ask_for() -> None:
    world = MetronomeWorld(contract_id=None)
    facts = await world.facts()
    assert (facts.contract_name, facts.memo_ref, world.asked("contracts")) == (None, None, 0)


async def test_customer_and_contract_are_asked_for_once_within_the_cache_time() -> None:
    world = MetronomeWorld()
    for _ in range(3):
        await world.enriched()
    assert (world.asked("/invoices/"), world.asked("contracts"), len(world.transport.calls)) == (3, 1, 5)
    world.clock.now += CACHE_SECONDS + 1
    await world.enriched()
    assert (world.asked("/invoices/"), world.asked("contracts"), len(world.transport.calls)) == (4, 2, 8)


# Routing


async def test_the_customers_custom_field_chooses_the_company_first() -> None:
    fields = {"qbo_customer_id": "58", "qbo_realm_id": "9341450000000007"}
    world = MetronomeWorld(routes=ROUTES, customer_custom_fields=fields, credit_type=EUROS)
    assert (await world.facts()).realm == "9341450000000007"


async def test_the_currency_chooses_next_and_the_default_last() -> None:
    assert (await MetronomeWorld(routes=ROUTES, credit_type=EUROS).facts()).realm == "eur-realm"
    assert (await MetronomeWorld(routes=ROUTES).facts()).realm == "default-realm"


async def test_an_unknown_unit_goes_to_the_default_company_where_it_is_refused() -> None:
    assert (await MetronomeWorld(routes=ROUTES, credit_type=CREDITS).facts()).realm == "default-realm"


@pytest.mark.parametrize("realm", [" 9341450000000001 ", "\t9341450000000001\n"])
async def test_blanks_around_a_realm_id_do_not_matter(realm: str) -> None:
    fields = {"qbo_customer_id": "58", "qbo_realm_id": realm}
    assert (await MetronomeWorld(customer_custom_fields=fields).facts()).realm == "9341450000000001"


async def test_a_blank_realm_id_is_none() -> None:
    assert (await MetronomeWorld(customer_custom_fields={"qbo_realm_id": "  "}).facts()).realm == "default-realm"


@pytest.mark.parametrize("realm", ["Acme Inc", "93414500000000O1", "9341 4500", "\uff19", "-1"])
async def test_a_realm_id_with_letters_says_so(realm: str) -> None:
    world = MetronomeWorld(customer_custom_fields={"qbo_realm_id": realm})
    with pytest.raises(InvalidRecord, match=f"qbo_realm_id of customer {CUSTOMER_ID} is .*all digits"):
        await world.enriched()


@pytest.mark.parametrize("said", ["none", " None "])
async def test_a_customer_who_is_not_in_quickbooks_makes_no_facts_and_no_dead_letter(said: str) -> None:
    """Also where no other company could be named: another provider bills it, say."""
    world = MetronomeWorld(routes=Routes("qbo_realm_id", {}, None), customer_custom_fields={"qbo_realm_id": said})
    assert await world.enriched() == []
    assert world.owners.rows == {}


async def test_without_any_company_the_webhook_is_unusable_and_says_what_to_set() -> None:
    world = MetronomeWorld(routes=Routes("qbo_realm_id", {}, None))
    with pytest.raises(InvalidRecord, match=r"routing\.default_realm"):
        await world.enriched()


# What never gets better


async def test_an_unknown_invoice_is_unusable() -> None:
    world = MetronomeWorld()
    with pytest.raises(InvalidRecord, match=f"invoice nowhere of customer {CUSTOMER_ID}.*same environment"):
        await world.enriched(a_webhook(invoice_id="nowhere"))
    assert len(world.transport.calls) == 1 + len(EARLY_PAUSES_SECONDS)


# What is not decided yet


def drafts(world: MetronomeWorld, until: float, *, there: bool = True) -> None:
    """Metronome says DRAFT, or does not even know the invoice, until so many seconds have passed."""
    core = world.transport.core

    def early(request: http.Request) -> http.Answer:
        if "/invoices/" not in request.path or world.clock.now - START >= until:
            return core(request)
        if not there:
            return http.json_answer({"message": "Invoice not found"}, 404)
        shown = world.core.shown_invoice(world.core.invoices[INVOICE_ID])
        return http.json_answer({"data": {**shown, "status": "DRAFT"}})

    world.transport.core = early


def status_in(facts: InvoiceEnriched) -> str:
    return str(parse_json(facts.answer)["data"]["status"])


@pytest.mark.parametrize("there", [True, False])
async def test_a_webhook_that_is_a_moment_early_is_waited_for(there: bool) -> None:
    world = MetronomeWorld()
    drafts(world, 3.0, there=there)
    assert status_in(await world.facts()) == "FINALIZED"
    assert 3 < world.clock.now - START < 10


async def test_what_stays_a_draft_goes_on_as_one_and_holds_nobody_up() -> None:
    world = MetronomeWorld()
    drafts(world, 1e9)
    assert status_in(await world.facts()) == "DRAFT"
    assert world.clock.now - START < 10


async def test_only_so_many_are_waited_for_at_a_time() -> None:
    world = MetronomeWorld()
    drafts(world, 1e9)
    for _ in range(EARLY_AT_ONCE_MAX):
        await world.enricher.early.acquire()
    assert status_in(await world.facts()) == "DRAFT"
    assert world.clock.now - START < 1


async def test_a_draft_that_is_gone_when_it_is_asked_for_again_is_no_dead_letter() -> None:
    world = MetronomeWorld()
    assert await world.enriched(a_webhook(invoice_id="gone"), {"source": b"worker"}) == []


async def test_an_invoice_of_another_customer_is_unusable() -> None:
    world = MetronomeWorld()
    with pytest.raises(InvalidRecord, match="404"):
        await world.enriched(a_webhook(customer_id="c-2"))


@pytest.mark.parametrize(("field", "value"), [("customer_id", "c-2"), ("id", "i-2")])
async def test_an_answer_about_something_else_is_unusable(field: str, value: str) -> None:
    """Metronome would have to be wrong; believing it would bill a stranger."""
    world = MetronomeWorld()
    shown = world.core.shown_invoice(world.core.invoices[INVOICE_ID])
    world.transport.core = lambda request: http.json_answer({"data": {**shown, field: value}})
    with pytest.raises(InvalidRecord, match="the webhook names invoice"):
        await world.enriched()


async def test_an_answer_that_names_no_unit_is_unusable_and_the_field_is_named() -> None:
    """The company cannot be chosen; what is wrong with the lines is for `translate` to refuse, with an outcome."""
    world = MetronomeWorld()
    shown = world.core.shown_invoice(world.core.invoices[INVOICE_ID])
    answer = {name: value for name, value in shown.items() if name != "credit_type"}
    world.transport.core = lambda request: http.json_answer({"data": answer})
    with pytest.raises(InvalidRecord, match="credit_type: Field required"):
        await world.enriched()


async def test_a_refused_request_is_unusable() -> None:
    world = MetronomeWorld()
    world.faults.add(Fault("status", status=400, body='{"message": "malformed"}'))
    with pytest.raises(InvalidRecord, match="400: malformed"):
        await world.enriched()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"x": 1e99999999999999999999}', "not JSON"),
        (b"[]", "a webhook is a JSON object, this is a list"),
        (b"null", "this is a NoneType"),
        (b"{}", "type: Field required"),
        (b'{"type": 7}', "type: Input should be a valid string"),
        (b'{"type": "invoice.finalized"}', "properties: Field required"),
        (b'{"type": "invoice.finalized", "properties": {"customer_id": "c"}}', "properties.invoice_id: Field required"),
        (b'{"type": "invoice.finalized", "properties": {"invoice_id": "", "customer_id": "c"}}', "invoice_id: String"),
        (b'{"type": "invoice.finalized", "properties": {"invoice_id": "\\ud800", "customer_id": "c"}}', "invoice_id"),
    ],
)
def test_a_malformed_webhook_is_unusable_and_the_field_is_named(value: bytes, why: str) -> None:
    with pytest.raises(InvalidRecord, match=why):
        read_webhook(value)


async def test_an_unknown_event_is_ignored_without_asking_anybody() -> None:
    world = MetronomeWorld()
    assert await world.enriched(b'{"id": "e", "type": "alerts.spend_threshold_reached", "properties": {}}') == []
    assert world.transport.calls == []


@pytest.mark.parametrize("date", ["", "Mon, 02 Nov 2026 01:00:00 GMT", "2026-11-02 01:00:00 UTC", None, 7])
async def test_a_field_that_nobody_reads_does_not_matter(date: object) -> None:
    properties = {"invoice_id": INVOICE_ID, "customer_id": CUSTOMER_ID, "invoice_finalized_date": date}
    assert (await MetronomeWorld().facts(a_webhook(properties=properties, id=7))).invoice_id == INVOICE_ID


async def test_custom_fields_without_a_value_are_absent() -> None:
    world = MetronomeWorld(customer_custom_fields={"qbo_customer_id": "58"})
    shown = world.core.shown_invoice(world.core.invoices[INVOICE_ID])
    core = world.transport.core
    fields = {"customer_custom_fields": {"other": None, "qbo_realm_id": "1"}, "contract_custom_fields": {"x": None}}
    world.transport.core = lambda request: (
        http.json_answer({"data": {**shown, **fields}}) if "/invoices/" in request.path else core(request)
    )
    assert (await world.facts()).realm == "1"


@pytest.mark.parametrize(
    ("status", "body"), [(404, '{"message":"Contract not found"}'), (400, "{}"), (200, '{"data":7}')]
)
async def test_a_contract_that_cannot_be_had_costs_its_name_and_not_the_invoice(status: int, body: str) -> None:
    world = MetronomeWorld(contract_custom_fields={"qbo_memo_ref": "MSA-1042"})
    world.faults.add(Fault("status", path_contains="/contracts/get", status=status, body=body))
    facts = await world.facts()
    assert (facts.contract_name, facts.hierarchy, facts.memo_ref) == (None, None, "MSA-1042")
    world.core.store.find("contract", "e91a1e81-6f2f-5d84-a5f0-7be08b339c95")["name"] = "Enterprise"
    assert (await world.facts()).contract_name == "Enterprise"  # it is asked for again


async def test_a_customer_that_cannot_be_read_is_unusable_and_says_which_field() -> None:
    world = MetronomeWorld()
    core = world.transport.core
    world.transport.core = lambda request: (
        http.json_answer({"data": {"id": CUSTOMER_ID}}) if request.path.endswith(CUSTOMER_ID) else core(request)
    )
    with pytest.raises(InvalidRecord, match="customer cannot be read: name: Field required"):
        await world.enriched()


# Trouble that passes


@pytest.mark.parametrize(
    "trouble",
    [
        Fault("status", status=401, body='{"message": "Unauthorized"}', count=3),
        Fault("status", status=403, count=3),
        Fault("status", status=429, headers={"X-Metronome-Rate-Limit-Type": "client"}, count=3),
        Fault("status", status=500, count=3),
        Fault("status", status=408, count=3),
        Fault("html", status=502, count=3),
        Fault("hang", count=3),
        Fault("drop", count=3),
        Fault("truncated", count=3),
        Fault("status", status=200, body="{}", count=3),
        Fault("status", status=200, body='{"data":null}', count=3),
        Fault("status", status=200, body='{"data":[]}', count=3),
        Fault("status", status=200, body="not JSON", count=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.body}",
)
async def test_trouble_at_metronome_is_waited_for(trouble: Fault) -> None:
    world = MetronomeWorld()
    world.faults.add(Fault(trouble.kind, status=trouble.status, body=trouble.body, headers=trouble.headers, count=3))
    facts = await world.facts()
    assert facts.customer_name == "Acme GmbH"
    assert len(world.transport.calls) == 6
    assert world.clock.now - START > 0.7


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_while_metronome_answers_nobody_a_webhook_waits_as_long_as_it_takes(status: int) -> None:
    """However long an outage is, nothing becomes a dead letter that somebody would have to redrive."""
    world = MetronomeWorld()
    world.faults.add(Fault("status", status=status, count=1000))
    assert (await world.facts()).customer_name == "Acme GmbH"
    assert world.clock.now - START > 21_600


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_one_that_is_not_answered_while_others_are_is_tried_later(status: int) -> None:
    """It does not hold back the acknowledgement of others; the copy at the end knows when it was received."""
    world = MetronomeWorld()
    world.faults.add(Fault("status", status=status, count=1000))
    sleep = world.clock.sleep

    async def others_are_answered(seconds: float) -> None:
        await sleep(seconds)
        world.enricher.answered.at = world.clock.now

    world.enricher = replace(world.enricher, retry=replace(world.enricher.retry, sleep=others_are_answered))
    with pytest.raises(TryLater, match=f"Metronome answered {status}") as later:
        await world.enriched()
    assert later.value.headers == {"received-at": KAFKA_TIME.isoformat().encode()}
    assert 60 <= world.clock.now - START < 121


async def test_very_long_patience_does_not_overflow() -> None:
    clock = Clock()
    retries = RetryPolicy(1e9, 1, clock, clock.sleep).start()
    for _ in range(2000):
        await retries.wait(Wait("away"))


# When it was received


@pytest.mark.parametrize(
    ("headers", "received_at"),
    [
        ({"received-at": b"2026-11-02T00:00:01+00:00"}, datetime(2026, 11, 2, 0, 0, 1, tzinfo=UTC)),
        ({}, KAFKA_TIME),
        ({"received-at": b"2026-11-02T00:00:01"}, KAFKA_TIME),
        ({"received-at": b"\xff"}, KAFKA_TIME),
    ],
    ids=["our receiver", "any other producer", "no time zone", "garbage"],
)
async def test_a_record_without_our_header_uses_kafkas_time(headers: dict[str, bytes], received_at: datetime) -> None:
    assert (await MetronomeWorld().facts(headers=headers)).received_at == received_at


def test_webhooks_of_one_invoice_follow_each_other_and_others_wait_for_nobody() -> None:
    finalized = read_webhook(a_webhook())
    assert isinstance(finalized, InvoiceFinalized)
    assert claims(finalized).establishes == {INVOICE_ID}
    assert not claims(Webhook(type="alerts.x")).establishes
