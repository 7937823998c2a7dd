"""Crashes, on real Kafka: whatever dies and whenever, every invoice ends in the books once, to the cent."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulators.faults import Fault
from simulators.kafka.jars import KafkaFromJars
from simulators.metronome.generator import generate
from simulators.metronome.webhooks import Schedule
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from stream.demo.processes import Child, ChildFailed
from stream.kafka.admin import TopicSpec, declare_topics
from tests.brokers import Broker, RealKafka, real_kafka

from .rig import READ_SECONDS, Rig, ended, fault_body, killed, running_rig

pytestmark = pytest.mark.kafka

INVOICES = 200
MANY_SECONDS = 90
SLOW_SECONDS = 3.0
AWAY_SECONDS = 30
FROZEN_SECONDS = 12  # twice the session timeout: the group has forgotten the worker, and the worker does not know it
STOP_SECONDS = 10
US, EU = Company("9341450000000001"), Company("9341450000000002", "Sandbox Company EU", currency="EUR")
TWO_COMPANIES = {
    "ROUTING__BY_CURRENCY": f'{{"EUR": "{EU.realm_id}"}}',
    "POLICY__DEFAULT_ITEM_ID": "1",
    "QUICKBOOKS__REQUESTS_PER_SECOND": "40",  # so that there is a middle in which to die
    "WORKER__HOSTS_RECEIVER": "false",
}
ONE_COMPANY = {"POLICY__DEFAULT_ITEM_ID": "1"}


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
        workers = [await rig.start_worker(), await rig.start_worker()]
        await rig.start_receiver()
        await rig.deliver(*all_invoices(rig))
        await rig.until(lambda: len(done(rig)) >= INVOICES // 8, "the first outcomes", MANY_SECONDS)
        victim = max(workers, key=outcomes_logged)
        assert outcomes_logged(victim) > 0
        await killed(victim)
        assert len(done(rig)) < INVOICES, "it was not in the middle of its work"
        if restarted:
            await rig.start_worker()
        await every_invoice_is_posted_once(rig)


@pytest.mark.parametrize("remembers", [True, False], ids=["remembers requestids", "forgets requestids"])
async def test_a_worker_is_killed_with_writes_under_way(kafka_bootstrap: str, tmp_path: Path, remembers: bool) -> None:
    """QuickBooks did the writes and its answers never arrived; the next worker finds them in the books."""
    books = QuickBooksSettings(limits=False, requestid_seconds=86_400 if remembers else 0)
    broker, scene = Broker("kafka", kafka_bootstrap), generate(3, 40, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, ONE_COMPANY, scene=scene, quickbooks=books) as rig:
        worker = await rig.start_worker()
        slow = Fault("delay", "/invoice", "POST", count=10_000, delay_seconds=SLOW_SECONDS)
        rig.sandbox.quickbooks_faults.add(slow)
        await rig.deliver(*all_invoices(rig))
        await rig.until(lambda: rig.sandbox.quickbooks.calls["POST invoice"] >= 10, "writes under way")
        await killed(worker)
        written = [each for each in all_invoices(rig) if rig.documents_of(each)]
        lost = [each for each in written if not rig.outcomes_of(each)]
        assert len(lost) >= 10
        rig.sandbox.quickbooks_faults.clear()
        await rig.start_worker()
        await every_invoice_is_posted_once(rig)
        assert all(rig.outcomes_of(each)[0].adopted for each in lost)


async def test_a_busy_worker_ends_in_time_when_asked_to(kafka_bootstrap: str, tmp_path: Path) -> None:
    """SIGTERM with writes that QuickBooks never answers: exit code 0 within ten seconds, and the rest is done later."""
    broker, scene = Broker("kafka", kafka_bootstrap), generate(4, 30, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, ONE_COMPANY, scene=scene) as rig:
        worker = await rig.start_worker()
        rig.sandbox.quickbooks_faults.add(Fault("hang", "/invoice", "POST", count=10_000, after_commit=True))
        await rig.deliver(*all_invoices(rig))
        await rig.until(lambda: rig.sandbox.quickbooks.calls["POST invoice"] >= 10, "writes under way")
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker, STOP_SECONDS) == 0
        rig.sandbox.quickbooks_faults.clear()
        await rig.start_worker()
        await every_invoice_is_posted_once(rig)


async def test_nothing_is_lost_of_what_came_while_no_worker_ran(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A worker that recovers its tables while a backlog waits: in partitions with committed offsets, and without.

    Faust forgets what its agents have not taken when the recovery ends (stream/engine/faust_patches.py). Many
    partitions make that end last long, and slow answers of Metronome make the agents take little.
    """
    many = {"KAFKA__WEBHOOK_PARTITIONS": "16", "KAFKA__COMPANY_PARTITIONS": "16"}
    broker, scene = Broker("kafka", kafka_bootstrap), generate(8, 60, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, ONE_COMPANY | many, scene=scene) as rig:
        worker = await rig.start_worker()
        early, late = all_invoices(rig)[:5], all_invoices(rig)[5:]
        await rig.publish_webhooks(*early)
        await rig.until(lambda: len(done(rig)) == len(early), "the first outcomes")
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker, STOP_SECONDS) == 0
        await rig.publish_webhooks(*late)
        rig.sandbox.metronome_faults.add(Fault("delay", "/invoices/", count=10_000, delay_seconds=0.1))
        await rig.start_worker(WORKER__IN_FLIGHT_MAX="2")
        await every_invoice_is_posted_once(rig)


@pytest.fixture(scope="module")
def own_kafka(kafka_bootstrap: str) -> Iterator[RealKafka]:
    """A broker that may go away, since only these tests have it. `kafka_bootstrap` skips where none can run."""
    with real_kafka() as kafka:
        yield kafka


async def test_a_frozen_broker_loses_nothing(own_kafka: RealKafka, tmp_path: Path) -> None:
    """Connections stay open, and nothing is answered."""
    await the_broker_is_away(
        own_kafka.bootstrap_servers, tmp_path, FROZEN_SECONDS, leave=own_kafka.pause, come_back=own_kafka.resume
    )


async def test_a_stopped_broker_loses_nothing(own_kafka: RealKafka, tmp_path: Path) -> None:
    """The broker ends, its address refuses connections, and half a minute later it is started again."""
    if not isinstance(own_kafka, KafkaFromJars):
        pytest.skip("only a broker from Maven's jars keeps its address when it stops")
    await the_broker_is_away(
        own_kafka.bootstrap_servers, tmp_path, AWAY_SECONDS, leave=own_kafka.stop, come_back=own_kafka.start
    )


async def test_no_write_leaves_before_the_broker_has_recorded_the_attempt(own_kafka: RealKafka, tmp_path: Path) -> None:
    """The broker freezes between two attempts, QuickBooks takes writes again, the worker dies: no invoice is twice."""
    books = QuickBooksSettings(limits=False, requestid_seconds=0)
    broker, scene = Broker("kafka", own_kafka.bootstrap_servers), generate(6, 12, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, ONE_COMPANY, scene=scene, quickbooks=books) as rig:
        worker = await rig.start_worker()
        locked = Fault("status", "/invoice", "POST", count=10_000, status=400, body=fault_body("140"))
        rig.sandbox.quickbooks_faults.add(locked)
        await rig.deliver(*all_invoices(rig))
        await rig.until(lambda: locked.count <= 10_000 - 4 * len(scene.invoices), "several attempts of each")
        own_kafka.pause()
        try:
            rig.sandbox.quickbooks_faults.clear()
            # Whoever does not wait for the broker writes now: each has its next attempt within this time.
            await asyncio.sleep(FROZEN_SECONDS / 2)
            await killed(worker)
        finally:
            own_kafka.resume()
        await rig.start_worker()
        await every_invoice_is_posted_once(rig)


async def the_broker_is_away(
    bootstrap: str, directory: Path, seconds: float, *, leave: Callable[[], None], come_back: Callable[[], None]
) -> None:
    """The receiver says 503 meanwhile, Metronome tries again, and everything is posted afterwards, once."""
    broker, scene = Broker("kafka", bootstrap), generate(5, 60, now=datetime.now(UTC))
    settings = {
        **ONE_COMPANY,
        "WORKER__HOSTS_RECEIVER": "false",
        "RECEIVER__PUBLISH_TIMEOUT_SECONDS": "3",
        "QUICKBOOKS__REQUESTS_PER_SECOND": "20",
    }
    schedule = Schedule(delay_seconds=1.0, delay_max_seconds=3.0, attempts_max=60)
    async with running_rig(broker, directory, settings, scene=scene, schedule=schedule) as rig:
        worker = await rig.start_worker()
        await rig.start_receiver()
        before, meanwhile = all_invoices(rig)[:40], all_invoices(rig)[40:]
        await rig.deliver(*before)
        await rig.until(lambda: len(done(rig)) >= 5, "the first outcomes")
        await asyncio.to_thread(leave)
        away_since = time.monotonic()
        assert len(done(rig)) < len(before), "it was not in the middle of its work"
        assert await rig.post_webhook(rig.webhook_of(meanwhile[0])) == 503
        delivering = asyncio.create_task(rig.deliver(*meanwhile))
        await asyncio.sleep(seconds - (time.monotonic() - away_since))
        assert not delivering.done()
        await asyncio.to_thread(come_back)
        await delivering
        assert worker.process.returncode is None, worker.log.read_text()[-4000:]
        await every_invoice_is_posted_once(rig)


async def test_a_topic_that_does_not_fit_stops_the_worker_with_an_explanation(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """The message names the topic, what was found and what is wanted; nothing else is created."""
    async with running_rig(Broker("kafka", kafka_bootstrap), tmp_path) as rig:
        prefix = rig.names.outcomes.replace("demo-", "misfit-")
        wrong = TopicSpec(prefix, 3, "delete", 1000)
        await declare_topics(kafka_bootstrap, [wrong], replication_factor=1, timeout_seconds=READ_SECONDS)
        topic_prefix = prefix.removesuffix("quickbooks.outcomes")
        with pytest.raises(ChildFailed):
            await rig.start_worker(KAFKA__TOPIC_PREFIX=topic_prefix)
        worker = rig.children.running[-1]
        assert await ended(worker, STOP_SECONDS) == 1
        said = " ".join(worker.log.read_text().split())
        assert f"topic {prefix} has partitions=3, wanted 4" in said
        assert f"topic {prefix} has retention.ms=1000, wanted -1" in said
        assert "Traceback" not in said


def all_invoices(rig: Rig) -> list[str]:
    return [each["id"] for each in rig.sandbox.scene.invoices]


def done(rig: Rig) -> set[str]:
    """Invoices that have an outcome."""
    return {each.subject for each in rig.outcomes if each.subject.startswith("invoice/")}


async def every_invoice_is_posted_once(rig: Rig) -> None:
    wanted = all_invoices(rig)
    await rig.until(lambda: len(done(rig)) == len(wanted), "an outcome for each invoice", MANY_SECONDS)
    # A repeated command may tell its outcome again; it may not tell another one, or write again.
    results = {each.result for each in rig.outcomes if each.subject.startswith("invoice/")}
    assert results <= {"posted", "unchanged"}, results
    first = {each: rig.outcomes_of(each)[0] for each in wanted}
    assert {each.result for each in first.values()} == {"posted"}
    rig.assert_books_match(wanted)
    assert {each: outcome.total for each, outcome in first.items()} == {each: rig.billed(each) for each in wanted}


def outcomes_logged(worker: Child) -> int:
    return sum("outcome" in line and "subject=invoice/" in line for line in worker.log.read_text().splitlines())
