"""One that waits stops nobody: neither the other invoices, nor a worker that joins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from simulators.faults import COUNT_MAX, Fault
from tests.brokers import Broker

from .rig import Rig, running_rig

OTHERS = 199
IN_FLIGHT_MAX = 16
"""A record that kept its place until its acknowledgement would stop the others long before they are done."""

STALLS = "because it is rebalancing"
"""As aiokafka says it, with each heartbeat, while a member keeps its group waiting."""
HEARTBEATS_MAX = 3
"""With one every 12 s; after 60 s, the fifth, the broker expels who keeps its group waiting."""


SETTINGS = {
    "POLICY__DEFAULT_ITEM_ID": "1",
    "WORKER__IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
    "METRONOME__POSTPONE_SECONDS": "2",
    "QUICKBOOKS__TRUST_REQUESTIDS": "false",
}


@pytest_asyncio.fixture
async def rig(embedded_bootstrap: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_rig(Broker("embedded", embedded_bootstrap), tmp_path, SETTINGS) as rig:
        yield rig


async def test_an_invoice_that_metronome_does_not_answer_stops_no_other(rig: Rig) -> None:
    """200 invoices, one of which is answered with 500 all along: the others are posted, and that one when it heals."""
    await rig.start_worker()
    poison, *others = [rig.new_invoice() for _ in range(1 + OTHERS)]
    rig.sandbox.metronome_faults.add(Fault("status", f"/invoices/{poison}", status=500, count=COUNT_MAX))
    await rig.publish_webhooks(poison, *others)
    await rig.until(lambda: rig.done() >= {f"invoice/{each}" for each in others}, "the other invoices")
    rig.sandbox.metronome_faults.clear()
    assert (await rig.outcome(poison)).result == "posted"
    rig.assert_books_match([poison, *others])


@pytest.mark.kafka
async def test_a_command_that_waits_does_not_stall_a_worker_that_joins(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Nor is the old worker expelled, which would go on writing beside the new one; the write in doubt is made once.

    The embedded broker makes a joining worker wait for a session's time in any case.
    """
    async with running_rig(Broker("kafka", kafka_bootstrap), tmp_path, SETTINGS) as rig:
        old = await rig.start_worker()
        rig.sandbox.quickbooks_faults.add(Fault("drop", "/invoice", "POST", after_commit=True))
        rig.sandbox.quickbooks_faults.add(Fault("status", "/query", "GET", status=503, count=COUNT_MAX))
        doubtful = rig.new_invoice()
        await rig.publish_webhooks(doubtful)
        await rig.until(lambda: rig.documents_of(doubtful), "a write whose answer is lost")
        await rig.start_worker()
        assert rig.outcomes_of(doubtful) == [], "it was not in doubt any more"
        rig.sandbox.quickbooks_faults.clear()
        others = [rig.new_invoice() for _ in range(20)]
        await rig.publish_webhooks(*others)
        await rig.until(lambda: rig.done() >= {f"invoice/{each}" for each in (doubtful, *others)}, "all invoices")
        rig.assert_books_match([doubtful, *others])
        assert old.log.read_text().count(STALLS) <= HEARTBEATS_MAX
