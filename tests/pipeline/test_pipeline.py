"""The whole way, on both brokers: what Metronome finalizes stands in QuickBooks once, to the cent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from models.events import ConnectionChanged, InvoiceEnriched
from models.ledger import CustomerMapping, ItemMapping, LedgerEntry
from models.money import parse_json
from simulators.http import Request
from simulators.quickbooks.books import add_customer, add_item
from stream.kafka.admin import compare_topics
from stream.topics import topic_specs
from tests import BOUND_SECONDS, FIXTURES
from tests.brokers import Broker
from tests.builders import a_line, json_of

from .rig import Rig, read_samples, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVOICES = 30
SAMPLES = FIXTURES / "metronome_invoices.json"
SETTINGS = {
    "POLICY__MISSING_ITEM": "create",
    "POLICY__INCOME_ACCOUNT_ID": "1",
    "POLICY__DEFAULT_ITEM_ID": "1",
}
# What QuickBooks holds already, because custom fields of the fixture invoices name it.
CUSTOMERS = {"91": "EUR", "120": "USD", "77": "USD", "12": "USD"}
ITEMS = ("30", "31", "32", "33", "34", "35", "40")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """A worker that has posted thirty generated invoices, each delivered once as a signed webhook."""
    async with running_rig(broker, tmp_path_factory.mktemp("pipeline"), SETTINGS, invoices=INVOICES) as rig:
        books = rig.sandbox.quickbooks.books[rig.realm]
        for number, currency in CUSTOMERS.items():
            add_customer(books, number, f"Fixture customer {number}", 0, currency)
        for number in ITEMS:
            if number not in books.objects["Item"]:
                add_item(books, number, f"Fixture item {number}", 0)
        await rig.start_worker()
        await rig.deliver(*rig.generated())
        for invoice_id in rig.generated():
            await rig.outcome(invoice_id)
        yield rig


async def test_thirty_invoices_have_one_document_and_one_outcome_each(rig: Rig) -> None:
    """Totals are Metronome's own, to the cent, and the outcome tells the same as the books."""
    for invoice_id in rig.generated():
        [document] = rig.documents_of(invoice_id)
        outcome = rig.outcomes_of(invoice_id)[0]
        assert Decimal(str(document["TotalAmt"])) == rig.billed(invoice_id)
        assert (outcome.result, outcome.total) == ("posted", rig.billed(invoice_id))
        assert (outcome.qbo_id, outcome.doc_number) == (document["Id"], document["DocNumber"])


async def test_a_second_delivery_posts_nothing(rig: Rig) -> None:
    again = rig.generated()[:10]
    before = {each: len(rig.outcomes_of(each)) for each in again}
    writes = rig.sandbox.quickbooks.calls["POST invoice"]
    await rig.deliver(*again)
    for invoice_id in again:
        assert (await rig.outcome(invoice_id, before[invoice_id] + 1)).result == "unchanged"
        assert len(rig.documents_of(invoice_id)) == 1
    assert rig.sandbox.quickbooks.calls["POST invoice"] == writes


@pytest.mark.parametrize(
    ("name", "kind", "total", "currency"),
    [
        ("usd_usage_commit_drawdown_credit_groups_tiers", "invoice", "167.21", "USD"),
        ("usd_scheduled_commit_purchase_and_charge", "invoice", "125000.00", "USD"),
        ("eur_custom_unit_conversion_and_prorated_subscription", "invoice", "61.98", "EUR"),
        ("usd_usage_consolidated_parent", "invoice", "100.00", "USD"),
        ("usd_regenerated_negative_total_postpaid_not_counted", "creditmemo", "20.00", "USD"),
        ("usd_legacy_plan_sub_line_items_null_issued_at", "invoice", "75.00", "USD"),
    ],
)
async def test_the_fixture_invoices_end_as_their_stated_totals(
    rig: Rig, name: str, kind: str, total: str, currency: str
) -> None:
    invoice_id = rig.sandbox.metronome.add_invoice(json_of(read_samples(SAMPLES)[name]))
    await rig.deliver(invoice_id)
    outcome = await rig.outcome(invoice_id)
    assert (outcome.result, outcome.kind, outcome.total, outcome.currency) == (
        "posted", kind, Decimal(total), currency,
    ), outcome  # fmt: skip
    [document] = rig.documents_of(invoice_id)
    assert (Decimal(str(document["TotalAmt"])), document["CurrencyRef"]["value"]) == (Decimal(total), currency)


async def test_a_changed_invoice_is_updated_in_place(rig: Rig) -> None:
    invoice_id = rig.new_invoice(1000)
    await rig.deliver(invoice_id)
    first = await rig.outcome(invoice_id)
    changed = rig.sandbox.metronome.invoices[invoice_id]
    changed["line_items"] = [a_line(2550)]
    changed["total"] = 2550
    await rig.deliver(invoice_id)
    second = await rig.outcome(invoice_id, 2)
    assert (first.result, second.result) == ("posted", "updated")
    [document] = rig.documents_of(invoice_id)
    assert (document["Id"], Decimal(str(document["TotalAmt"]))) == (first.qbo_id, Decimal("25.50"))


async def test_an_invoice_voided_in_metronome_is_voided_in_the_books(rig: Rig) -> None:
    invoice_id = rig.new_invoice(4200)
    await rig.deliver(invoice_id)
    assert (await rig.outcome(invoice_id)).result == "posted"
    void_in_metronome(rig, invoice_id)
    await rig.deliver(invoice_id)
    assert (await rig.outcome(invoice_id, 2)).result == "voided"
    [document] = rig.documents_of(invoice_id)
    assert Decimal(str(document["TotalAmt"])) == 0
    assert document["PrivateNote"].startswith("Voided")


async def test_three_lines_of_aiokafka_may_write_a_bare_webhook(rig: Rig) -> None:
    """No key, no header: the body alone is enough."""
    invoice_id = rig.new_invoice()
    async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
        await producer.send_and_wait(rig.names.webhooks, rig.webhook_of(invoice_id))
    assert (await rig.outcome(invoice_id)).result == "posted"


async def test_a_producer_of_librdkafka_may_write_a_bare_webhook(rig: Rig) -> None:
    invoice_id = rig.new_invoice()
    with Producer({"bootstrap.servers": rig.bootstrap}) as producer:
        producer.produce(rig.names.webhooks, rig.webhook_of(invoice_id))
        assert await asyncio.to_thread(producer.flush, BOUND_SECONDS) == 0
    assert (await rig.outcome(invoice_id)).result == "posted"


async def test_a_created_customer_is_stored_back_in_metronome(rig: Rig) -> None:
    """The customer had no qbo_customer_id; afterwards it has that of the document, and it was created only once."""
    customers = rig.sandbox.scene.customers
    unmapped = {each["id"]: each["name"] for each in customers if "qbo_customer_id" not in each["custom_fields"]}
    billed = [each for each in rig.sandbox.scene.invoices if each["customer_id"] in unmapped]
    assert billed, "the scene has no invoice of an unmapped customer"
    fields = rig.sandbox.metronome.store.fields_of
    for invoice in billed:
        customer_id = invoice["customer_id"]
        await rig.until(lambda: fields("customer", customer_id), f"qbo_customer_id of {customer_id}")  # noqa: B023
        [document] = rig.documents_of(invoice["id"])
        assert fields("customer", customer_id)["qbo_customer_id"] == document["CustomerRef"]["value"]
        named = rig.sandbox.quickbooks.books[rig.realm].objects["Customer"].values()
        assert sum(each["DisplayName"] == unmapped[customer_id] for each in named) == 1


async def test_the_topics_hold_what_the_design_says(rig: Rig, broker: Broker) -> None:
    if broker.kind == "kafka":
        assert await compare_topics(rig.bootstrap, topic_specs(rig.settings), timeout_seconds=BOUND_SECONDS) == []
    invoice_id = rig.generated()[0]
    customer_id = rig.sandbox.metronome.invoices[invoice_id]["customer_id"]
    of_customer = [each for each in await rig.records(rig.names.webhooks) if each.key == customer_id.encode()]
    webhooks = [each for each in of_customer if invoice_id.encode() in (each.value or b"")]
    body = parse_json(webhooks[0].value or b"")
    assert body["properties"]["invoice_id"] == invoice_id
    assert {"received-at", "source", "metronome-date"} <= {name for name, _ in webhooks[0].headers}

    facts = [InvoiceEnriched.model_validate_json(each.value or b"") for each in await rig.records(rig.names.invoices)]
    first = next(each for each in facts if each.invoice_id == invoice_id)
    assert parse_json(first.answer)["data"]["id"] == invoice_id
    assert first.webhook == webhooks[0].address
    for topic in (rig.names.invoices, rig.names.commands, rig.names.outcomes, rig.names.connections):
        records = await rig.records(topic)
        assert {(each.key, each.address.partition) for each in records} == {
            (rig.realm.encode(), records[0].address.partition)
        }
    changes = [ConnectionChanged.model_validate_json(e.value or b"") for e in await rig.records(rig.names.connections)]
    assert {each.state for each in changes} == {"connected"}


async def test_the_tables_hold_what_the_design_says(rig: Rig) -> None:
    ledger = {key: LedgerEntry.model_validate_json(row) for key, row in (await rig.table("invoices")).items()}
    customers = {key: CustomerMapping.model_validate_json(row) for key, row in (await rig.table("customers")).items()}
    items = {key: ItemMapping.model_validate_json(row) for key, row in (await rig.table("items")).items()}
    numbers = await rig.table("doc_numbers")
    for invoice_id in rig.generated():
        [document] = rig.documents_of(invoice_id)
        entry = ledger[f"{rig.realm}/{invoice_id}"]
        assert (entry.state, entry.attempt, entry.waits_for) == ("posted", None, None)
        assert (entry.qbo_id, entry.sync_token) == (document["Id"], document["SyncToken"])
        assert entry.total == rig.billed(invoice_id)
        assert numbers[f"{rig.realm}/{document['DocNumber']}"].decode() == invoice_id
    sources = {each.source for each in customers.values()}
    assert {"custom field", "created"} <= sources
    held = rig.sandbox.quickbooks.books[rig.realm].objects
    assert {each.qbo_id for each in customers.values()} <= set(held["Customer"])
    assert {each.qbo_id for each in items.values()} <= set(held["Item"])
    assert list(await rig.table("connections")) == [rig.realm]


def void_in_metronome(rig: Rig, invoice_id: str) -> None:
    headers = {"authorization": f"Bearer {rig.sandbox.metronome_token}"}
    request = Request("POST", "/v1/invoices/void", headers=headers, body=json_of({"id": invoice_id}).encode())
    assert rig.sandbox.metronome.answer(request).status == 200
