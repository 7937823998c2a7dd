"""What waits resumes by itself: nobody redrives anything here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date
from uuid import uuid4

import pytest
import pytest_asyncio

from models.commands import SetItemMapping
from simulators.faults import Fault
from stream.demo.processes import Child
from tests.brokers import Broker
from tests.builders import a_line

from .rig import AWAY_FOR_LONG, RETRY_SECONDS, SOON_GIVEN_UP, Rig, fault_body, killed, running_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = SOON_GIVEN_UP | {
    "QUICKBOOKS__RETRY_SECONDS": str(RETRY_SECONDS),
    "QUICKBOOKS__BACKOFF_MAX_SECONDS": "1",
    "QUICKBOOKS__TRUST_REQUESTIDS": "true",  # what was uncertain is repeated at once
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with running_rig(broker, tmp_path_factory.mktemp("parked"), SETTINGS, invoices=0) as rig:
        yield rig


@dataclass
class Worker:
    """The module's one worker, which may be replaced by another."""

    child: Child
    probes: bool

    async def restarted(self, rig: Rig, *, probes: bool) -> None:
        await killed(self.child)
        self.child, self.probes = await started(rig, probes=probes), probes


async def started(rig: Rig, *, probes: bool) -> Child:
    return await rig.start_worker(**({"QUICKBOOKS__PARKED_PROBE_SECONDS": "1"} if probes else {}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(rig: Rig) -> Worker:
    return Worker(await started(rig, probes=True), probes=True)


async def parked(rig: Rig, *invoice_ids: str, waits_for: str) -> None:
    await rig.deliver(*invoice_ids)
    for invoice_id in invoice_ids:
        outcome = await rig.outcome(invoice_id)
        assert (outcome.result, outcome.waits_for) == ("parked", waits_for), outcome


async def posted(rig: Rig, *invoice_ids: str) -> None:
    for invoice_id in invoice_ids:
        await rig.until(
            lambda wanted=invoice_id: any(each.result == "posted" for each in rig.outcomes_of(wanted)),
            f"invoice {invoice_id} posted",
        )
        assert len(rig.documents_of(invoice_id)) == 1


async def test_a_period_that_is_opened_without_a_word_is_noticed_by_a_probe(rig: Rig, worker: Worker) -> None:
    if not worker.probes:
        await worker.restarted(rig, probes=True)
    books = rig.sandbox.quickbooks.books[rig.realm]
    open_company = books.company
    books.company = replace(open_company, book_close_date=date(2099, 1, 1))
    invoice_ids = [rig.new_invoice() for _ in range(3)]
    await parked(rig, *invoice_ids, waits_for="open period")
    books.company = open_company
    await posted(rig, *invoice_ids)


async def test_a_mapping_lets_invoices_go_on_even_after_a_restart(rig: Rig, worker: Worker) -> None:
    product_id = str(uuid4())
    invoice_ids = [
        rig.new_invoice(lines=[a_line(1000, product_id=product_id, product_custom_fields=None)]) for _ in range(5)
    ]
    await parked(rig, *invoice_ids, waits_for=f"item/{product_id}")
    await worker.restarted(rig, probes=False)
    await rig.publish_command(SetItemMapping(realm=rig.realm, product_id=product_id, qbo_id="1"))
    await posted(rig, *invoice_ids)


async def test_a_company_that_is_away_is_waited_for_and_goes_on_when_it_answers(rig: Rig, worker: Worker) -> None:
    """All are under way when it is given up; so the next one that comes may find out that it is back."""
    if worker.probes:
        await worker.restarted(rig, probes=False)
    invoice_ids = [rig.new_invoice() for _ in range(8)]
    first_writes = Fault("status", "/invoice", "POST", status=503, count=len(invoice_ids))
    rig.sandbox.quickbooks_faults.add(first_writes, Fault("status", "/v3/company", status=503, count=100_000))
    await rig.deliver(*invoice_ids)
    await rig.until(lambda: first_writes.is_spent, "a write of each under way")
    rig.sandbox.quickbooks_faults.clear()
    away = Fault("status", "/v3/company", count=100_000, body=fault_body("140"), headers=AWAY_FOR_LONG)
    rig.sandbox.quickbooks_faults.add(away)
    for invoice_id in invoice_ids:
        outcome = await rig.outcome(invoice_id)
        assert (outcome.result, outcome.waits_for) == ("uncertain", "quickbooks")
    rig.sandbox.quickbooks_faults.clear()
    await rig.posts_a_valid_invoice()
    await posted(rig, *invoice_ids)
