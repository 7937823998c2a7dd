"""Bad input and bad answers: each has a clear outcome, and nothing is lost or blocked behind it.

On the embedded broker, which behaves as Kafka does for all of this. Every test ends with a valid invoice that
is posted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from models.commands import SetItemMapping
from simulators.faults import Fault
from simulators.metronome.webhooks import signed_headers
from stream.demo.processes import ChildFailed
from stream.kafka.log import RawRecord
from tests.brokers import Broker
from tests.builders import CREDITS, a_line, json_of

from .rig import AWAY_FOR_LONG, RETRY_SECONDS, SOON_GIVEN_UP, Rig, ended, fault_body, header, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBHOOK_BYTES_TOO_MANY = 2 * 1_048_576
SETTINGS = {
    "POLICY__MISSING_ITEM": "park",
    "METRONOME__BACKOFF_MAX_SECONDS": "1",
    "QUICKBOOKS__RETRY_SECONDS": str(RETRY_SECONDS),
    "QUICKBOOKS__BACKOFF_MAX_SECONDS": "1",
    "QUICKBOOKS__THROTTLED_WAIT_SECONDS": "1",
}
SHORT_TIMEOUTS = {"METRONOME__TIMEOUT_SECONDS": "2", "QUICKBOOKS__TIMEOUT_SECONDS": "2"}
GARBAGE = b"\x00\xff\xfe{\x80garbage"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(embedded_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    broker = Broker("embedded", embedded_bootstrap)
    async with running_rig(broker, tmp_path_factory.mktemp("bad-input"), SETTINGS) as rig:
        await rig.start_worker()
        yield rig


@pytest_asyncio.fixture(loop_scope="module")
async def rig(running: Rig) -> AsyncIterator[Rig]:
    """The module's one worker; afterwards a valid invoice goes the whole way, and no fault is left."""
    yield running
    await nothing_is_blocked(running)


async def nothing_is_blocked(rig: Rig) -> None:
    assert rig.sandbox.quickbooks_faults.pending == []
    assert rig.sandbox.metronome_faults.pending == []
    await rig.posts_a_valid_invoice()


# At the receiver: refused, and not recorded


async def test_a_wrong_signature_is_refused(rig: Rig) -> None:
    body = rig.webhook_of(rig.new_invoice())
    assert await rig.post_webhook(body, Metronome_Webhook_Signature="0" * 64) == 401
    assert body not in await webhooks_of(rig)


async def test_a_stale_date_is_refused(rig: Rig) -> None:
    """The signature is right for its date; the date is an hour old."""
    body = rig.webhook_of(rig.new_invoice())
    stale = datetime.now(UTC) - timedelta(hours=1)
    headers = signed_headers(rig.sandbox.webhook_secret, stale.timestamp(), body)
    assert await rig.post_webhook(body, **headers) == 401
    assert body not in await webhooks_of(rig)


async def test_a_body_of_two_mebibytes_is_refused(rig: Rig) -> None:
    assert await rig.post_webhook(b"[" + b" " * WEBHOOK_BYTES_TOO_MANY + b"]") == 413
    assert max(map(len, await webhooks_of(rig)), default=0) < WEBHOOK_BYTES_TOO_MANY


# Signed, so recorded; a dead letter says what is wrong


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no value"),
        (b'["an", "array"]', "a webhook is a JSON object, this is a list"),
        (b'{"type": "invoice.finalized", "properties": {"customer_id": "c"}}', "properties.invoice_id: Field required"),
        (b'{"type": "invoice.finalized", "properties": {"invoice_id"', "not JSON"),
    ],
    ids=["empty body", "JSON array", "missing invoice_id", "malformed JSON"],
)
async def test_a_signed_body_that_is_no_webhook_becomes_a_dead_letter(rig: Rig, body: bytes, problem: str) -> None:
    assert await rig.post_webhook(body) == 200
    [letter] = await rig.dead_letters_of(body)
    assert problem in header(letter, "exception.message")
    assert header(letter, "topic") == rig.names.webhooks


# Webhooks that Metronome does not confirm


async def test_an_unknown_invoice_becomes_a_dead_letter_that_names_it(rig: Rig) -> None:
    invoice_id = str(uuid4())
    body = webhook(invoice_id, str(uuid4()))
    await rig.publish(rig.names.webhooks, body)
    [letter] = await rig.dead_letters_of(body)
    assert f"Metronome does not know invoice {invoice_id}" in header(letter, "exception.message")


async def test_an_invoice_of_another_customer_becomes_a_dead_letter(rig: Rig) -> None:
    invoice_id, stranger = rig.new_invoice(), rig.sandbox.scene.customers[0]["id"]
    body = webhook(invoice_id, stranger)
    await rig.publish(rig.names.webhooks, body)
    [letter] = await rig.dead_letters_of(body)
    assert f"invoice {invoice_id} of customer {stranger}" in header(letter, "exception.message")
    assert rig.documents_of(invoice_id) == []


# Invoices that a rule stops


async def test_a_draft_waits(rig: Rig) -> None:
    invoice_id = rig.new_invoice(status="DRAFT")
    await rig.publish_webhooks(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.rule) == ("parked", "not finalized")
    assert rig.documents_of(invoice_id) == []


async def test_an_unknown_unit_is_refused(rig: Rig) -> None:
    invoice_id = rig.new_invoice(lines=[a_line(credit_type=CREDITS)], credit_type=CREDITS)
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.rule) == ("refused", "unknown unit")
    assert "Agent Credits" in (outcome.reason or "")


async def test_an_unknown_product_parks_the_invoice_until_an_operator_maps_it(rig: Rig) -> None:
    product_id = str(uuid4())
    invoice_id = rig.new_invoice(lines=[a_line(product_id=product_id, product_custom_fields=None)])
    await rig.deliver(invoice_id)
    parked = await rig.outcome(invoice_id)
    assert (parked.result, parked.waits_for) == ("parked", f"item/{product_id}")
    assert parked.remedy
    command = await rig.post_command_of(invoice_id)
    await rig.publish_command(SetItemMapping(realm=rig.realm, product_id=product_id, qbo_id="3", name="Concrete"))
    await rig.publish_command(command)
    assert (await rig.outcome(invoice_id, 2)).result == "posted"
    [document] = rig.documents_of(invoice_id)
    assert document["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"] == "3"


# Metronome in trouble: the event waits, and resumes by itself


@pytest.mark.parametrize(
    "trouble",
    [
        Fault("status", status=401, body='{"message": "Unauthorized"}'),
        Fault("status", status=429, headers={"x-metronome-rate-limit-type": "client"}, body='{"message": "slow down"}'),
        Fault("status", status=500, body='{"message": "Internal Server Error"}'),
    ],
    ids=["401", "429", "500"],
)
async def test_an_invoice_waits_for_metronome_and_is_posted(rig: Rig, trouble: Fault) -> None:
    await waits_for_metronome_and_is_posted(rig, trouble)


async def waits_for_metronome_and_is_posted(rig: Rig, trouble: Fault) -> None:
    invoice_id = rig.new_invoice()
    trouble.path_contains, trouble.count = invoice_id, 2
    rig.sandbox.metronome_faults.add(trouble)
    await rig.deliver(invoice_id)
    assert (await rig.outcome(invoice_id)).result == "posted"
    assert trouble.count == 0
    assert len(rig.documents_of(invoice_id)) == 1


# QuickBooks refuses: docs/vendors/quickbooks.md §6.2, as far as a code can answer the write of an invoice

PARKED_COMPANY = [(400, "100"), (400, "110"), (403, "120"), (403, "3100"), (403, "6190"), (400, "6190")]
PARKED_MAPPING = [
    *("610", "620", "2500", "5000", "5020", "5030", "6100", "6250", "6270", "6420", "6430", "6440", "6450", "6520"),
]
PARKED_PERIOD = ["6200", "6210"]
REFUSED = [
    *("2010", "2020", "2030", "2050", "2130", "2140", "2160", "2170", "2210", "2220", "2250", "2290"),
    *("6000", "6070", "6540", "99999"),
]
PASSING = [
    *((400, code) for code in ("130", "140", "150", "5010", "6140", "3200", "3202")),
    *((429, "3001"), (403, "3001"), (401, "3200")),
]
DOUBTFUL = {
    **{(500, code): "refused" for code in ("10100", "10200")},  # QuickBooks says itself that it will fail again
    **dict.fromkeys(((400, "600"), (500, "10000"), (503, "0")), "posted"),
}
"""After these the write may still be carried out; and what comes of it once it cannot."""


@pytest.mark.parametrize(
    ("status", "code", "waits_for"),
    [
        *((status, code, "connection") for status, code in PARKED_COMPANY),
        *((400, code, "mapping") for code in PARKED_MAPPING),
        *((400, code, "open period") for code in PARKED_PERIOD),
    ],
)
async def test_an_error_that_a_person_can_mend_parks_the_invoice(
    rig: Rig, status: int, code: str, waits_for: str
) -> None:
    """The outcome carries QuickBooks' code and a remedy."""
    invoice_id = rig.new_invoice()
    spoil_next_write(rig, status, code)
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.waits_for) == ("parked", waits_for), outcome
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.status) == (code, status)
    assert outcome.remedy
    assert rig.documents_of(invoice_id) == []


async def test_what_a_person_has_mended_is_posted_by_the_same_command(rig: Rig) -> None:
    """All at a time, since each is looked for first, which takes as long as a query may be behind."""
    invoices = []
    for status, code in (PARKED_COMPANY[0], (400, PARKED_MAPPING[0]), (400, PARKED_PERIOD[0])):
        spoil_next_write(rig, status, code)
        invoices.append(rig.new_invoice())
        await rig.deliver(invoices[-1])
        assert (await rig.outcome(invoices[-1])).result == "parked"
    for invoice_id in invoices:
        await rig.publish_command(await rig.post_command_of(invoice_id))
    for invoice_id in invoices:
        assert (await rig.outcome(invoice_id, 2)).result == "posted"
        assert len(rig.documents_of(invoice_id)) == 1


@pytest.mark.parametrize("code", REFUSED)
async def test_an_error_of_the_payload_refuses_the_invoice(rig: Rig, code: str) -> None:
    invoice_id = rig.new_invoice()
    spoil_next_write(rig, 400, code)
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.rule) == ("refused", "quickbooks"), outcome
    assert outcome.error is not None
    assert outcome.error.code == code
    assert rig.documents_of(invoice_id) == []


@pytest.mark.parametrize(("status", "code"), PASSING)
async def test_an_error_that_passes_is_overcome_without_a_person(rig: Rig, status: int, code: str) -> None:
    """Temporary trouble, an expired token, a taken number: one document in the end."""
    invoice_id = rig.new_invoice()
    spoil_next_write(rig, status, code)
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert outcome.result == "posted", outcome
    assert len(rig.documents_of(invoice_id)) == 1


async def test_what_may_still_be_carried_out_is_waited_for(rig: Rig) -> None:
    """All at a time, since each takes as long as QuickBooks may run a write."""
    invoices = {}
    for status, code in DOUBTFUL:
        invoice_id = invoices[status, code] = rig.new_invoice()
        spoil_next_write(rig, status, code)
        await rig.deliver(invoice_id)
        await rig.until(lambda: not rig.sandbox.quickbooks_faults.pending, f"the answer {status} {code}")
    for answer, result in DOUBTFUL.items():
        outcome = await rig.outcome(invoices[answer])
        assert outcome.result == result, outcome
        assert len(rig.documents_of(invoices[answer])) == (1 if result == "posted" else 0)


@pytest.mark.parametrize(
    "trouble",
    [
        Fault("drop", after_commit=True),
        Fault("truncated", after_commit=True),
        Fault("html", status=502, after_commit=True),
        Fault("status", status=500, after_commit=True),
    ],
    ids=["connection dropped", "half a body", "a gateway's page", "500"],
)
async def test_a_write_whose_answer_is_lost_is_found_again(rig: Rig, trouble: Fault) -> None:
    await is_found_again(rig, trouble)


async def is_found_again(rig: Rig, trouble: Fault) -> None:
    """QuickBooks did the work, and we could not know: the document is adopted, not written twice."""
    invoice_id = rig.new_invoice()
    trouble.path_contains, trouble.method = "/invoice", "POST"
    rig.sandbox.quickbooks_faults.add(trouble)
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.adopted) == ("posted", True), outcome
    [document] = rig.documents_of(invoice_id)
    assert outcome.qbo_id == document["Id"]


async def test_quickbooks_away_for_longer_than_our_patience_leaves_the_invoice_uncertain(
    embedded_bootstrap: str, tmp_path: Path
) -> None:
    """A write is answered 500, which may or may not have been done; the command settles it when it comes again."""
    settings = SETTINGS | {"QUICKBOOKS__TRUST_REQUESTIDS": "true"}
    async with running_rig(Broker("embedded", embedded_bootstrap), tmp_path, settings) as rig:
        await rig.start_worker()
        invoice_id = rig.new_invoice()
        rig.sandbox.quickbooks_faults.add(
            Fault("status", "/invoice", "POST", status=500),
            Fault("status", "/v3/company", count=1000, body=fault_body("140"), headers=AWAY_FOR_LONG),
        )
        await rig.deliver(invoice_id)
        outcome = await rig.outcome(invoice_id)
        rig.sandbox.quickbooks_faults.clear()
        assert (outcome.result, outcome.waits_for) == ("uncertain", "quickbooks"), outcome
        assert outcome.remedy
        await rig.publish_command(await rig.post_command_of(invoice_id))
        assert (await rig.outcome(invoice_id, 2)).result == "posted"
        assert len(rig.documents_of(invoice_id)) == 1
        await nothing_is_blocked(rig)


async def test_who_does_not_answer_in_time_is_asked_again(embedded_bootstrap: str, tmp_path: Path) -> None:
    """With timeouts so short that a slow machine may have more of them: the end is the same."""
    async with running_rig(Broker("embedded", embedded_bootstrap), tmp_path, SETTINGS | SHORT_TIMEOUTS) as rig:
        await rig.start_worker()
        await waits_for_metronome_and_is_posted(rig, Fault("hang"))
        await is_found_again(rig, Fault("hang", after_commit=True))
        await nothing_is_blocked(rig)


# Garbage in Kafka


@pytest.mark.parametrize("topic", ["webhooks", "invoices", "commands", "outcomes", "connections"])
async def test_garbage_becomes_a_dead_letter_with_its_bytes_and_its_address(rig: Rig, topic: str) -> None:
    name: str = getattr(rig.names, topic)
    value, key = GARBAGE + topic.encode(), b"\xff\x00key"
    [address] = await rig.publish(name, value, key=key, trace=b"\x01\x02")
    [letter] = await rig.dead_letters_of(value)
    assert (letter.key, dict(letter.headers)["trace"]) == (key, b"\x01\x02")
    lay = (header(letter, "topic"), int(header(letter, "partition")), int(header(letter, "offset")))
    assert lay == (address.topic, address.partition, address.offset)
    assert header(letter, "exception.message")
    assert header(letter, "exception.class.name")
    assert header(letter, "stage") == "VALUE_CONVERTER"


async def test_garbage_on_the_dead_letter_topic_disturbs_nobody(rig: Rig) -> None:
    """No agent reads it; it stays where it lies."""
    await rig.publish(rig.names.deadletters, GARBAGE)
    assert len(await rig.dead_letters_of(GARBAGE)) == 1


async def test_a_run_of_dead_letters_stops_the_worker_and_loses_nothing(
    embedded_bootstrap: str, tmp_path: Path
) -> None:
    """It says why and ends with code 1; with a higher limit, the next worker finishes the rest."""
    broker = Broker("embedded", embedded_bootstrap)
    settings = SETTINGS | SOON_GIVEN_UP | {"WORKER__DEAD_LETTERS_IN_A_ROW_MAX": "3"}
    async with running_rig(broker, tmp_path, settings) as rig:
        invoice_id = rig.new_invoice()
        garbage = [b"%d" % number + GARBAGE for number in range(8)]
        addresses = await rig.publish(rig.names.webhooks, *garbage, rig.webhook_of(invoice_id), partition=0)
        await ends_with_too_many(rig)
        assert rig.documents_of(invoice_id) == []
        made = {offset_of(each) for each in await rig.records(rig.names.deadletters)}

        await ends_with_too_many(rig)  # as a supervisor starts it, again and again
        more = {offset_of(each) for each in await rig.records(rig.names.deadletters)}
        assert len(more - made) <= 1

        await rig.start_worker(WORKER__DEAD_LETTERS_IN_A_ROW_MAX="100")
        assert (await rig.outcome(invoice_id)).result == "posted"
        for value, address in zip(garbage, addresses, strict=False):
            letters = await rig.dead_letters_of(value)
            assert {int(header(each, "offset")) for each in letters} == {address.offset}


async def ends_with_too_many(rig: Rig) -> None:
    try:
        worker = await rig.start_worker(WORKER__IN_FLIGHT_MAX="1")
    except ChildFailed:  # it may be over before it is ready
        worker = rig.children.running[-1]
    assert await ended(worker) == 1
    assert "agent enrich: 3 dead letters in a row" in worker.log.read_text()


def offset_of(letter: RawRecord) -> int:
    return int(header(letter, "offset"))


async def webhooks_of(rig: Rig) -> list[bytes]:
    return [each.value or b"" for each in await rig.records(rig.names.webhooks)]


def webhook(invoice_id: str, customer_id: str) -> bytes:
    properties = {"invoice_id": invoice_id, "customer_id": customer_id}
    return json_of({"id": str(uuid4()), "type": "invoice.finalized", "properties": properties}).encode()


def spoil_next_write(rig: Rig, status: int, code: str) -> None:
    """The next write of an invoice is answered with this error, and not done."""
    body = fault_body(code)
    rig.sandbox.quickbooks_faults.add(Fault("status", "/invoice", "POST", status=status, body=body))
