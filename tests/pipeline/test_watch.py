"""What no webhook told is found by watch, and ends in the books: by cron and as a process that stays.

On the embedded broker, with our commands as processes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from models.document import reversal_id
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import CUSTOMER_OF_RIG, Rig, ended, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["void", "credit-memo", "flag"])
async def rig(
    request: pytest.FixtureRequest, embedded_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    broker = Broker("embedded", embedded_bootstrap)
    settings = {"POLICY__VOIDS": request.param, "WATCH__INTERVAL_SECONDS": "1", "WATCH__REQUESTS_PER_SECOND": "200"}
    async with running_rig(broker, tmp_path_factory.mktemp("watch"), settings, invoices=0) as rig:
        await rig.start_worker()
        yield rig


async def watched(rig: Rig, *more: str) -> Json:
    """One round, as cron runs it."""
    answer: Json = json.loads(await rig.children.run("watch", "--once", "--json", *more, within_seconds=BOUND_SECONDS))
    return {name: answer[name] for name in ("announced_finalized", "announced_voids", "failed_customers")}


def found(finalized: int, voids: int) -> Json:
    return {"announced_finalized": finalized, "announced_voids": voids, "failed_customers": 0}


def missed_invoice(rig: Rig) -> str:
    """Final for two hours; its webhook was never sent."""
    return rig.new_invoice(issued_at=(datetime.now(UTC) - timedelta(hours=2)).isoformat())


def void_in_metronome(rig: Rig, invoice_id: str) -> None:
    store = rig.sandbox.metronome.store
    store.change("invoice", store.find("invoice", invoice_id), status="VOID")


async def voided_as_the_policy_says(rig: Rig, invoice_id: str) -> None:
    """The books after the void: nothing is owed, or by policy flag a person has been told."""
    policy = rig.settings.policy.voids
    if policy == "credit-memo":
        memo = await rig.outcome(reversal_id(invoice_id))
        assert (memo.result, memo.kind, memo.total) == ("posted", "creditmemo", Decimal(10))
        assert len(rig.documents_of(reversal_id(invoice_id))) == len(rig.documents_of(invoice_id)) == 1
        return
    outcome = await rig.outcome(invoice_id, 2)
    assert outcome.result == ("voided" if policy == "void" else "skipped")
    [document] = rig.documents_of(invoice_id)
    assert Decimal(str(document["TotalAmt"])) == (0 if policy == "void" else 10)


async def test_a_missed_invoice_and_then_its_void_are_found_and_end_in_the_books(rig: Rig) -> None:
    invoice_id = missed_invoice(rig)
    assert await watched(rig, "--dry-run") == found(1, 0)
    assert await rig.records(rig.names.webhooks) == []
    assert await watched(rig) == found(1, 0)
    assert (await rig.outcome(invoice_id)).result == "posted"
    assert await watched(rig) == found(0, 0)

    void_in_metronome(rig, invoice_id)
    assert await watched(rig) == found(0, 1)
    await voided_as_the_policy_says(rig, invoice_id)
    assert await watched(rig) == found(0, 0)
    for record in await rig.records(rig.names.webhooks):
        assert (record.key, dict(record.headers)["source"]) == (CUSTOMER_OF_RIG.encode(), b"watch")


async def test_a_process_that_stays_finds_what_happens_meanwhile_and_ends_when_asked(rig: Rig) -> None:
    child = await rig.children.start("watch", ready_within_seconds=BOUND_SECONDS)
    assert child.ready_line.startswith("watch ready")
    invoice_id = missed_invoice(rig)
    assert (await rig.outcome(invoice_id)).result == "posted"
    void_in_metronome(rig, invoice_id)
    await voided_as_the_policy_says(rig, invoice_id)
    child.process.terminate()
    assert await ended(child) == 0
    told = [each for each in await rig.records(rig.names.webhooks) if invoice_id.encode() in (each.value or b"")]
    assert len(told) == 2
