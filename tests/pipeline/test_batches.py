"""Batches through the whole pipeline: a backlog travels together, and each invoice has its own outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio

from simulators.faults import Fault
from tests.brokers import Broker

from .rig import Rig, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "QUICKBOOKS__BATCH_SIZE": "30",
    "QUICKBOOKS__BATCH_WAIT_MILLISECONDS": "5000",
    "POLICY__DEFAULT_ITEM_ID": "1",
}
INVOICES = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with running_rig(broker, tmp_path_factory.mktemp("batches"), SETTINGS, invoices=0) as rig:
        yield rig


async def test_a_backlog_travels_in_batches_and_each_invoice_is_posted_once(rig: Rig) -> None:
    """The first batch is refused as a whole, so its invoices go one by one; the rest travels together."""
    too_many = '{"Fault":{"Error":[{"Message":"Too many","Detail":"","code":"1040"}],"type":"ValidationFault"}}'
    rig.sandbox.quickbooks_faults.add(Fault("status", path_contains="/batch", status=400, body=too_many))
    wanted = {rig.new_invoice(total=100 * (number + 1)): Decimal(number + 1) for number in range(INVOICES)}
    await rig.publish_webhooks(*wanted)
    await rig.start_worker()
    for invoice_id, total in wanted.items():
        outcome = await rig.outcome(invoice_id)
        assert (outcome.result, outcome.total) == ("posted", total)
        assert len(rig.documents_of(invoice_id)) == 1
    calls = rig.sandbox.quickbooks.calls
    assert calls["POST batch"] >= 1
    assert calls["POST invoice"] + 2 <= INVOICES
    assert await rig.table("batches") == {}
