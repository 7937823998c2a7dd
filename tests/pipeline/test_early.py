"""A webhook that is earlier than the invoice: it is posted when Metronome has finalized it, whoever asks again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import Rig, killed, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"WATCH__GRACE_MINUTES": "0", "WORKER__SESSION_TIMEOUT_SECONDS": "6"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(embedded_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    broker = Broker("embedded", embedded_bootstrap)
    async with running_rig(broker, tmp_path_factory.mktemp("early"), SETTINGS, invoices=0) as rig:
        yield rig


async def early_invoice(rig: Rig, nth: int = 1) -> str:
    """Its webhook came, and Metronome says that it is a draft."""
    issued_at = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    invoice_id = rig.new_invoice(status="DRAFT", issued_at=issued_at)
    await rig.publish_webhooks(invoice_id)
    outcome = await rig.outcome(invoice_id, nth)
    assert (outcome.result, outcome.waits_for) == ("parked", "finalization")
    return invoice_id


async def posted(rig: Rig, invoice_id: str) -> None:
    await rig.until(lambda: rig.documents_of(invoice_id), "the document")
    await rig.until(lambda: rig.outcomes_of(invoice_id)[-1].result == "posted", "that it is posted")
    [document] = rig.documents_of(invoice_id)
    assert Decimal(str(document["TotalAmt"])) == 10


def finalize(rig: Rig, invoice_id: str) -> None:
    store = rig.sandbox.metronome.store
    store.change("invoice", store.find("invoice", invoice_id), status="FINALIZED")


async def test_watch_redrive_and_the_worker_itself_ask_again_also_after_a_restart(rig: Rig) -> None:
    worker = await rig.start_worker()
    found, redriven, probed = [await early_invoice(rig) for _ in range(3)]

    finalize(rig, found)
    answer = await rig.children.run("watch", "--once", "--json", within_seconds=BOUND_SECONDS)
    assert json.loads(answer)["announced_finalized"] == 1
    await posted(rig, found)

    finalize(rig, redriven)
    options = ("--invoice", redriven, "--apply", "--json")
    answer = await rig.children.run("redrive", *options, within_seconds=BOUND_SECONDS)
    assert json.loads(answer)["published"] == 1
    await posted(rig, redriven)

    await killed(worker)
    finalize(rig, probed)
    await rig.start_worker(QUICKBOOKS__PARKED_PROBE_SECONDS="1")
    await posted(rig, probed)
    asked = [each for each in await rig.records(rig.names.webhooks) if probed.encode() in (each.value or b"")]
    assert {dict(each.headers).get("source") for each in asked} == {None, b"worker"}  # that of our producer has none
