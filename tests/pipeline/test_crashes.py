"""Crashes, on real Kafka: whatever dies and whenever, every invoice ends in the books once, to the cent."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulators.faults import Fault
from simulators.metronome.generator import generate
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from stream.demo.processes import Child, ChildFailed
from stream.kafka.admin import TopicSpec, declare_topics
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import SEEN_SOON, SOON_GIVEN_UP, Rig, closing, ended, killed, running_rig

pytestmark = pytest.mark.kafka

INVOICES = 200
NEVER_SECONDS = 3600
"""QuickBooks' answers take so long, and are waited for so long, that what ends within `BOUND_SECONDS` had none."""
US, EU = Company("9341450000000001"), Company("9341450000000002", "Sandbox Company EU", currency="EUR")
COMMON = SOON_GIVEN_UP | {"POLICY__DEFAULT_ITEM_ID": "1", "QUICKBOOKS__BACKOFF_MAX_SECONDS": "1"}
TWO_COMPANIES = COMMON | {
    "ROUTING__BY_CURRENCY": f'{{"EUR": "{EU.realm_id}"}}',
    "QUICKBOOKS__REQUESTS_PER_SECOND": "40",  # so that there is a middle in which to die
    "WORKER__HOSTS_RECEIVER": "false",
}


@asynccontextmanager
async def two_companies(bootstrap: str, directory: Path) -> AsyncIterator[Rig]:
    """Half of the invoices belong to each company, so that two workers share the work."""
    scene = generate(7, INVOICES, now=datetime.now(UTC), eur_share=0.5)
    broker = Broker("kafka", bootstrap)
    async with running_rig(broker, directory, TWO_COMPANIES, scene=scene, companies=(US, EU)) as rig:
        yield rig


@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "not restarted"])
async def test_one_of_two_workers_is_killed_while_it_works(
    kafka_bootstrap: str, tmp_path: Path, restarted: bool
) -> None:
    """200 webhooks in, 200 outcomes, no invoice twice, none missing, no cent off."""
    async with two_companies(kafka_bootstrap, tmp_path) as rig:
        workers = [await rig.start_worker(under=SEEN_SOON), await rig.start_worker(under=SEEN_SOON)]
        await rig.start_receiver()
        rig.sandbox.quickbooks_faults.add(closing(open_for=INVOICES * 3 // 4))
        await rig.deliver(*rig.generated())
        await rig.until(lambda: len(rig.done()) >= INVOICES // 8, "the first outcomes")
        victim = max(workers, key=outcomes_logged)
        assert outcomes_logged(victim) > 0
        await killed(victim)
        assert len(rig.done()) < INVOICES, "it was not in the middle of its work"
        rig.sandbox.quickbooks_faults.clear()
        if restarted:
            await rig.start_worker(under=SEEN_SOON)
        await rig.posts_everything_once()


@pytest.mark.parametrize("remembers", [True, False], ids=["remembers requestids", "forgets requestids"])
async def test_a_worker_is_killed_with_writes_under_way(kafka_bootstrap: str, tmp_path: Path, remembers: bool) -> None:
    """QuickBooks did the writes and its answers never arrived; the next worker finds them in the books."""
    books = QuickBooksSettings(limits=False, requestid_seconds=86_400 if remembers else 0)
    broker, scene = Broker("kafka", kafka_bootstrap), generate(3, 40, now=datetime.now(UTC))
    patient = COMMON | {"QUICKBOOKS__TIMEOUT_SECONDS": str(NEVER_SECONDS)}
    async with running_rig(broker, tmp_path, patient, scene=scene, quickbooks=books) as rig:
        worker = await rig.start_worker(under=SEEN_SOON)
        slow = Fault("delay", "/invoice", "POST", count=10_000, delay_seconds=NEVER_SECONDS)
        rig.sandbox.quickbooks_faults.add(slow)
        await rig.deliver(*rig.generated())
        await rig.until(lambda: rig.sandbox.quickbooks.calls["POST invoice"] >= 10, "writes under way")
        await killed(worker)
        written = [each for each in rig.generated() if rig.documents_of(each)]
        lost = [each for each in written if not rig.outcomes_of(each)]
        assert len(lost) >= 10
        rig.sandbox.quickbooks_faults.clear()
        await rig.start_worker(under=SEEN_SOON)
        await rig.posts_everything_once()
        assert all(rig.outcomes_of(each)[0].adopted for each in lost)


async def test_a_busy_worker_ends_in_time_when_asked_to(kafka_bootstrap: str, tmp_path: Path) -> None:
    """SIGTERM with writes that QuickBooks never answers: exit code 0 without an answer, and the rest is done later."""
    broker, scene = Broker("kafka", kafka_bootstrap), generate(4, 30, now=datetime.now(UTC))
    patient = COMMON | {"QUICKBOOKS__TIMEOUT_SECONDS": str(NEVER_SECONDS)}
    async with running_rig(broker, tmp_path, patient, scene=scene) as rig:
        worker = await rig.start_worker(under=SEEN_SOON)
        silent = Fault("hang", "/invoice", "POST", count=10_000, after_commit=True, delay_seconds=NEVER_SECONDS)
        rig.sandbox.quickbooks_faults.add(silent)
        await rig.deliver(*rig.generated())
        await rig.until(lambda: rig.sandbox.quickbooks.calls["POST invoice"] >= 10, "writes under way")
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker) == 0
        rig.sandbox.quickbooks_faults.clear()
        await rig.start_worker(under=SEEN_SOON)
        await rig.posts_everything_once()


async def test_nothing_is_lost_of_what_came_while_no_worker_ran(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A worker that recovers its tables while a backlog waits: in partitions with committed offsets, and without.

    Faust forgets what its agents have not taken when the recovery ends (stream/engine/faust_patches.py). Many
    partitions make that end last long, and slow answers of Metronome make the agents take little.
    """
    many = {"KAFKA__WEBHOOK_PARTITIONS": "16", "KAFKA__COMPANY_PARTITIONS": "16"}
    broker, scene = Broker("kafka", kafka_bootstrap), generate(8, 60, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, COMMON | many, scene=scene) as rig:
        worker = await rig.start_worker()
        early, late = rig.generated()[:5], rig.generated()[5:]
        await rig.publish_webhooks(*early)
        await rig.until(lambda: len(rig.done()) == len(early), "the first outcomes")
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker) == 0
        await rig.publish_webhooks(*late)
        rig.sandbox.metronome_faults.add(Fault("delay", "/invoices/", count=10_000, delay_seconds=0.1))
        await rig.start_worker(WORKER__IN_FLIGHT_MAX="2")
        await rig.posts_everything_once()


async def test_a_topic_that_does_not_fit_stops_the_worker_with_an_explanation(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """The message names the topic, what was found and what is wanted; nothing else is created."""
    async with running_rig(Broker("kafka", kafka_bootstrap), tmp_path) as rig:
        prefix = rig.names.outcomes.replace("demo-", "misfit-")
        wrong = TopicSpec(prefix, 3, "delete", 1000)
        await declare_topics(kafka_bootstrap, [wrong], replication_factor=1, timeout_seconds=BOUND_SECONDS)
        topic_prefix = prefix.removesuffix("quickbooks.outcomes")
        with pytest.raises(ChildFailed):
            await rig.start_worker(KAFKA__TOPIC_PREFIX=topic_prefix)
        worker = rig.children.running[-1]
        assert await ended(worker) == 1
        said = " ".join(worker.log.read_text().split())
        assert f"topic {prefix} has partitions=3, wanted 4" in said
        assert f"topic {prefix} has retention.ms=1000, wanted -1" in said
        assert "Traceback" not in said


def outcomes_logged(worker: Child) -> int:
    return sum("outcome" in line and "subject=invoice/" in line for line in worker.log.read_text().splitlines())
