"""The official client reads what the simulator answers, and its own models accept it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from simulators.metronome.core import Metronome
from simulators.metronome.generator import KINDS, generate
from simulators.metronome.settings import MetronomeSettings, RateLimit
from tests import BOUND_SECONDS
from tests.simulators.companies import Clock
from tests.simulators.metronome_api import NOW, TOKEN, served

metronome = pytest.importorskip("metronome", reason="the official client is not installed")

BROKEN_TOKEN = "wrong"


@pytest.fixture(scope="module")
def core() -> Metronome:
    limits = {"GET /v1/credit-types/list": RateLimit(1)}
    scene = generate(1, 30, now=NOW, kinds=dict.fromkeys(KINDS, 1), extra_currencies=("JPY",))
    return Metronome(scene, TOKEN, Clock(), MetronomeSettings(limits=limits))


@pytest.fixture
async def url(core: Metronome) -> AsyncIterator[str]:
    async with served(core) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Any]:
    """Validates every answer strictly: a missing or mistyped field raises."""
    options = {"base_url": url, "max_retries": 0, "timeout": BOUND_SECONDS, "_strict_response_validation": True}
    async with metronome.AsyncMetronome(bearer_token=TOKEN, **options) as client:
        yield client


async def test_every_invoice_of_every_kind_is_listed_page_by_page_and_read(core: Metronome, client: Any) -> None:
    seen = {}
    async for customer in client.v1.customers.list(limit=7):
        async for invoice in client.v1.customers.invoices.list(customer_id=customer.id, limit=5, sort="date_desc"):
            seen[invoice.id] = invoice
    assert set(seen) == set(core.invoices)
    for invoice_id in list(seen)[::9]:
        found = await client.v1.customers.invoices.retrieve(
            customer_id=seen[invoice_id].customer_id, invoice_id=invoice_id, skip_zero_qty_line_items=True
        )
        assert found.data.total == float(core.invoices[invoice_id]["total"])


async def test_contracts_of_both_versions_commits_and_products_are_read(core: Metronome, client: Any) -> None:
    commits = contracts = 0
    for customer_id in list(core.store.objects["customer"]):
        async for flat in client.v2.contracts.list(customer_id=customer_id, limit=1):
            nested = await client.v1.contracts.retrieve(customer_id=customer_id, contract_id=flat.id)
            whole = await client.v2.contracts.retrieve(customer_id=customer_id, contract_id=flat.id)
            assert nested.data.current.name == whole.data.name == flat.name
            contracts += 1
        listed = client.v1.customers.commits.list(customer_id=customer_id, include_contract_commits=True, limit=2)
        commits += len([each.product.name async for each in listed])
        async for credit in client.v1.customers.credits.list(customer_id=customer_id, include_contract_credits=True):
            assert credit.type == "CREDIT"
    assert contracts == len(core.store.objects["contract"])
    assert commits == len(core.store.objects["commit"])
    products = [each.current.name async for each in client.v1.contracts.products.list(archive_filter="ALL", limit=3)]
    assert len(products) == len(core.store.objects["contract_product"])


async def test_a_customers_whole_life(client: Any) -> None:
    made = await client.v1.customers.create(name="Acme", ingest_aliases=["acme"])
    await client.v1.customers.set_name(customer_id=made.data.id, name="Acme Ltd")
    await client.v1.customers.set_ingest_aliases(customer_id=made.data.id, ingest_aliases=["acme", "acme-2"])
    await client.v1.custom_fields.add_key(entity="customer", key="crm", enforce_uniqueness=True)
    await client.v1.custom_fields.set_values(entity="customer", entity_id=made.data.id, custom_fields={"crm": "7"})
    assert [each.key async for each in client.v1.custom_fields.list_keys(entities=["customer"])][-1] == "crm"
    found = await client.v1.customers.retrieve(customer_id=made.data.id)
    assert (found.data.name, found.data.custom_fields) == ("Acme Ltd", {"crm": "7"})
    with pytest.raises(metronome.ConflictError) as conflict:
        await client.v1.customers.create(name="Other", ingest_aliases=["acme-2"])
    assert list(conflict.value.body) == ["message"]
    await client.v1.custom_fields.delete_values(entity="customer", entity_id=made.data.id, keys=["crm"])
    await client.v1.custom_fields.remove_key(entity="customer", key="crm")
    assert (await client.v1.customers.archive(id=made.data.id)).data.id == made.data.id
    archived = [each.id async for each in client.v1.customers.list(only_archived=True)]
    assert archived == [made.data.id]


async def test_an_invoice_is_printed_voided_and_regenerated_and_the_audit_log_says_so(
    core: Metronome, client: Any
) -> None:
    invoice = next(each for each in core.invoices.values() if each["status"] == "FINALIZED")
    printed = await client.v1.customers.invoices.retrieve_pdf(
        customer_id=invoice["customer_id"], invoice_id=invoice["id"]
    )
    assert (await printed.read()).startswith(b"%PDF")
    await client.v1.invoices.void(id=invoice["id"])
    new_id = (await client.v1.invoices.regenerate(id=invoice["id"])).data.id
    about = await client.v1.audit_logs.list(resource_type="invoice", resource_id=new_id)
    assert [(each.action, each.status) for each in about.data] == [("regenerate", "success")]


async def test_breakdowns_are_read(core: Metronome, client: Any) -> None:
    invoice = next(each for each in core.invoices.values() if each["type"] == "USAGE" and each["status"] != "VOID")
    dates = {"starting_on": "2026-01-01T00:00:00Z", "ending_before": "2027-01-01T00:00:00Z"}
    found = await client.v1.customers.invoices.list_breakdowns(customer_id=invoice["customer_id"], limit=3, **dates)
    assert len(found.data) == 3
    assert isinstance(found.data[0].breakdown_start_timestamp, datetime)


async def test_refusals_have_the_clients_names(client: Any, url: str) -> None:
    with pytest.raises(metronome.NotFoundError):
        await client.v1.customers.retrieve(customer_id="unknown")
    with pytest.raises(metronome.BadRequestError):
        await client.v1.customers.list(limit=1000)
    assert (await client.v1.pricing_units.list()).data
    with pytest.raises(metronome.RateLimitError) as limited:
        await client.v1.pricing_units.list()
    assert limited.value.response.headers["x-metronome-rate-limit-type"] == "client"
    async with metronome.AsyncMetronome(bearer_token=BROKEN_TOKEN, base_url=url, max_retries=0) as stranger:
        with pytest.raises(metronome.AuthenticationError):
            await stranger.v1.customers.list()
