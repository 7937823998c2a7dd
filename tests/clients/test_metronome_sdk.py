"""Metronome's own SDK for Python, set to refuse every answer that its published types do not allow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import metronome
import pytest
from metronome import Metronome
from metronome.types import Commit
from metronome.types.v1.customers import Invoice

from simulators.faults import Fault
from simulators.metronome.generator import KINDS, generate
from simulators.server import Sandbox
from tests import BOUND_SECONDS
from tests.clients.servers import Clock, open_sandbox, sandbox_thread

pytestmark = pytest.mark.clients


def throttle_once(sandbox: Sandbox) -> None:
    headers = {"X-Metronome-Rate-Limit-Type": "client"}
    sandbox.metronome_faults.add(Fault("status", status=429, body='{"message": "Too many requests"}', headers=headers))


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    """Anew for each test: there is no way back from a void."""
    with open_sandbox(clock) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Metronome]:
    with strict_client(sandbox) as made:
        yield made


def strict_client(sandbox: Sandbox) -> Metronome:
    """Validates what comes back (the SDK's default is to take it as it is) and repeats nothing by itself."""
    return Metronome(
        bearer_token=sandbox.addresses.metronome_token,
        base_url=sandbox.addresses.metronome_url,
        timeout=BOUND_SECONDS,
        max_retries=0,
        _strict_response_validation=True,
    )


def customer_ids(client: Metronome) -> list[str]:
    return [each.id for each in client.v1.customers.list()]


def invoices(client: Metronome, status: str) -> list[Invoice]:
    """Of all customers: there is no list across them."""
    return [
        invoice
        for customer_id in customer_ids(client)
        for invoice in client.v1.customers.invoices.list(customer_id=customer_id, status=status, limit=2)
    ]


def read(client: Metronome, invoice: Invoice) -> Invoice:
    return client.v1.customers.invoices.retrieve(customer_id=invoice.customer_id, invoice_id=invoice.id).data


def test_customers_come_in_pages(client: Metronome, sandbox: Sandbox) -> None:
    pages = [each.id for each in client.v1.customers.list(limit=2)]
    assert pages == customer_ids(client)
    assert set(pages) == {each["id"] for each in sandbox.scene.customers}
    assert [each.id for each in client.v1.customers.list(customer_ids=pages[:2])] == pages[:2]
    assert client.v1.customers.retrieve(customer_id=pages[0]).data.id == pages[0]


def test_the_finalized_invoices_of_all_customers_are_those_of_the_scene(client: Metronome, sandbox: Sandbox) -> None:
    found = {each.id: each for each in invoices(client, "FINALIZED")}
    held = {each["id"]: each for each in sandbox.scene.invoices if each["status"] == "FINALIZED"}
    assert {key: each.total for key, each in found.items()} == {
        key: pytest.approx(float(each["total"])) for key, each in held.items()
    }
    assert {key: len(each.line_items) for key, each in found.items()} == {
        key: len(each["line_items"]) for key, each in held.items()
    }


def test_an_invoice_is_read_with_its_currency_and_custom_fields(client: Metronome) -> None:
    found = [read(client, each) for each in invoices(client, "FINALIZED")]
    assert {each.credit_type.name for each in found} == {"USD (cents)", "EUR"}
    assert any((each.customer_custom_fields or {}).get("qbo_customer_id") for each in found)
    assert any((line.product_custom_fields or {}).get("qbo_item_id") for each in found for line in each.line_items)
    assert all(each.contract_id and each.issued_at for each in found)


def test_the_dates_of_the_list_are_those_of_the_billing_period(client: Metronome) -> None:
    """docs/vendors/metronome.md §0.3: the day of issue does not matter."""
    usage = next(each for each in invoices(client, "FINALIZED") if each.type == "USAGE")
    assert usage.issued_at
    assert usage.start_timestamp
    assert usage.end_timestamp
    day = usage.issued_at.replace(hour=0, minute=0, second=0, microsecond=0)
    listed = client.v1.customers.invoices.list
    issued = listed(customer_id=usage.customer_id, starting_on=day, ending_before=day + timedelta(days=1))
    assert usage.id not in {each.id for each in issued}
    after = usage.end_timestamp + timedelta(days=1)
    period = listed(customer_id=usage.customer_id, starting_on=usage.start_timestamp, ending_before=after)
    assert usage.id in {each.id for each in period}


def test_the_contract_and_the_products_of_an_invoice_are_read(client: Metronome) -> None:
    invoice = invoices(client, "FINALIZED")[0]
    assert invoice.contract_id
    contract = client.v2.contracts.retrieve(contract_id=invoice.contract_id, customer_id=invoice.customer_id).data
    assert (contract.id, contract.customer_id) == (invoice.contract_id, invoice.customer_id)
    listed = client.v2.contracts.list(customer_id=invoice.customer_id)
    assert contract.id in {each.id for each in listed}
    product_id = next(line.product_id for line in invoice.line_items if line.product_id)
    product = client.v1.contracts.products.retrieve(id=product_id).data
    assert product.current.name
    assert product_id in {each.id for each in client.v1.contracts.products.list()}


def test_the_pricing_units_tell_currencies_from_custom_units(client: Metronome) -> None:
    units = {each.name: each.is_currency for each in client.v1.pricing_units.list()}
    assert units["USD (cents)"] is True
    assert False in units.values()


def test_a_custom_field_is_declared_set_read_and_deleted(client: Metronome) -> None:
    key, invoice = "qbo_test_key", invoices(client, "FINALIZED")[0]
    fields = client.v1.custom_fields
    with pytest.raises(metronome.BadRequestError, match="Invalid custom field keys"):
        fields.set_values(entity="customer", entity_id=invoice.customer_id, custom_fields={key: "1"})
    fields.add_key(entity="customer", key=key, enforce_uniqueness=True)
    with pytest.raises(metronome.ConflictError):
        fields.add_key(entity="customer", key=key, enforce_uniqueness=True)
    assert ("customer", key, True) in {
        (each.entity, each.key, each.enforce_uniqueness) for each in fields.list_keys(entities=["customer"])
    }
    fields.set_values(entity="customer", entity_id=invoice.customer_id, custom_fields={key: "1"})
    assert (read(client, invoice).customer_custom_fields or {})[key] == "1"
    other = next(each for each in customer_ids(client) if each != invoice.customer_id)
    with pytest.raises(metronome.APIStatusError, match="unique"):
        fields.set_values(entity="customer", entity_id=other, custom_fields={key: "1"})
    fields.delete_values(entity="customer", entity_id=invoice.customer_id, keys=[key])
    assert key not in (read(client, invoice).customer_custom_fields or {})
    fields.remove_key(entity="customer", key=key)


def test_an_invoice_is_voided_and_made_anew(client: Metronome) -> None:
    invoice = invoices(client, "FINALIZED")[0]
    with pytest.raises(metronome.BadRequestError):
        client.v1.invoices.regenerate(id=invoice.id)
    assert client.v1.invoices.void(id=invoice.id).data
    voided = read(client, invoice)
    assert (voided.status, len(voided.line_items)) == ("VOID", len(invoice.line_items))
    answer = client.v1.invoices.regenerate(id=invoice.id)
    assert answer.data
    assert answer.data.id != invoice.id
    anew = client.v1.customers.invoices.retrieve(customer_id=invoice.customer_id, invoice_id=answer.data.id).data
    assert (anew.status, anew.regenerated_from_invoice_id) == ("FINALIZED", invoice.id)


def test_the_audit_log_tells_of_a_void(client: Metronome, clock: Clock) -> None:
    invoice = invoices(client, "FINALIZED")[-1]
    with clock.later(60):
        since = datetime.fromtimestamp(clock() - 30, UTC)
        client.v1.invoices.void(id=invoice.id)
    page = client.v1.audit_logs.list(starting_on=since)
    assert [(each.resource_type, each.resource_id) for each in page.data] == [("invoice", invoice.id)]
    assert page.next_page
    assert client.v1.audit_logs.list(next_page=page.next_page).data == []


def test_a_customer_is_created_renamed_and_archived(client: Metronome) -> None:
    created = client.v1.customers.create(name="Newcomer", ingest_aliases=["newcomer"]).data
    with pytest.raises(metronome.ConflictError):
        client.v1.customers.create(name="Another", ingest_aliases=["newcomer"])
    client.v1.customers.set_name(customer_id=created.id, name="Settled")
    assert client.v1.customers.retrieve(customer_id=created.id).data.name == "Settled"
    client.v1.customers.archive(id=created.id)
    assert created.id not in customer_ids(client)
    assert [each.id for each in client.v1.customers.list(only_archived=True)] == [created.id]


def test_an_idempotency_key_gives_the_first_answer_again(client: Metronome) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (client.v1.customers.create(name="Once", extra_headers=key).data.id for _ in range(2))
    assert first == second
    with pytest.raises(metronome.ConflictError):
        client.v1.customers.create(name="Twice", extra_headers=key)


def test_an_invoice_is_printed(client: Metronome) -> None:
    invoice = invoices(client, "FINALIZED")[0]
    printed = client.v1.customers.invoices.retrieve_pdf(customer_id=invoice.customer_id, invoice_id=invoice.id)
    assert printed.read().startswith(b"%PDF-")


def test_refusals_are_of_the_class_that_the_sdk_has_for_them(client: Metronome, sandbox: Sandbox) -> None:
    customer_id = customer_ids(client)[0]
    with pytest.raises(metronome.NotFoundError):
        client.v1.customers.invoices.retrieve(customer_id=customer_id, invoice_id=customer_id)
    with pytest.raises(metronome.AuthenticationError):
        client.with_options(bearer_token="wrong").v1.customers.list()
    throttle_once(sandbox)
    with pytest.raises(metronome.RateLimitError) as refused:
        client.v1.customers.list()
    assert refused.value.response.headers["X-Metronome-Rate-Limit-Type"] == "client"


def test_a_throttled_call_is_repeated_by_the_sdk_itself(client: Metronome, sandbox: Sandbox) -> None:
    throttle_once(sandbox)
    assert len(client.with_options(max_retries=1).v1.customers.list().data) > 0
    assert not sandbox.metronome_faults.pending


def test_invoices_contracts_and_commits_of_every_kind_are_such_as_the_sdk_knows(clock: Clock) -> None:
    now = datetime.fromtimestamp(clock(), UTC)
    scene = generate(7, 0, now=now, kinds=dict.fromkeys(KINDS, 1))
    assert len(scene.invoices) >= len(KINDS)
    with sandbox_thread(scene=scene, clock=clock) as sandbox, strict_client(sandbox) as client:
        for contract in scene.contracts:
            asked = client.v2.contracts.retrieve(contract_id=contract["id"], customer_id=contract["customer_id"])
            assert asked.data.id == contract["id"]
        commits = [each for customer in customer_ids(client) for each in commits_of(client, customer)]
        assert {each.type for each in commits} >= {"PREPAID", "POSTPAID"}
        read_ids = [read(client, each).id for customer in customer_ids(client) for each in all_of(client, customer)]
    assert sorted(read_ids) == sorted(each["id"] for each in scene.invoices)


def all_of(client: Metronome, customer_id: str) -> list[Invoice]:
    return list(client.v1.customers.invoices.list(customer_id=customer_id))


def commits_of(client: Metronome, customer_id: str) -> list[Commit]:
    return list(client.v1.customers.commits.list(customer_id=customer_id, include_contract_commits=True))
