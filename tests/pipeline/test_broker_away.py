"""The broker goes away and comes back, on a real Kafka of these tests' own: nothing is lost, no invoice is twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulators.faults import Fault
from simulators.kafka.jars import KafkaFromJars
from simulators.metronome.generator import generate
from simulators.metronome.webhooks import Schedule
from simulators.quickbooks.settings import QuickBooksSettings
from tests.brokers import Broker, RealKafka, wanted_kafka

from .rig import SEEN_SOON, SOON_GIVEN_UP, closing, fault_body, killed, running_rig

pytestmark = pytest.mark.kafka

AWAY_SECONDS = 15
FROZEN_SECONDS = 12  # twice the session timeout: the group has forgotten the worker, and the worker does not know it
COMMON = SOON_GIVEN_UP | {"POLICY__DEFAULT_ITEM_ID": "1", "QUICKBOOKS__BACKOFF_MAX_SECONDS": "1"}


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[RealKafka]:
    """A broker that may go away, since only these tests have it."""
    with wanted_kafka() as kafka:
        yield kafka


async def test_a_frozen_broker_loses_nothing(own_kafka: RealKafka, tmp_path: Path) -> None:
    """Connections stay open, and nothing is answered."""
    await the_broker_is_away(
        own_kafka.bootstrap_servers, tmp_path, FROZEN_SECONDS, leave=own_kafka.pause, come_back=own_kafka.resume
    )


async def test_a_stopped_broker_loses_nothing(own_kafka: RealKafka, tmp_path: Path) -> None:
    """The broker ends, its address refuses connections, and a quarter of a minute later it is started again."""
    if not isinstance(own_kafka, KafkaFromJars):
        pytest.skip("only a broker from Maven's jars keeps its address when it stops")
    await the_broker_is_away(
        own_kafka.bootstrap_servers, tmp_path, AWAY_SECONDS, leave=own_kafka.stop, come_back=own_kafka.start
    )


async def test_no_write_leaves_before_the_broker_has_recorded_the_attempt(own_kafka: RealKafka, tmp_path: Path) -> None:
    """The broker freezes between two attempts, QuickBooks takes writes again, the worker dies: no invoice is twice."""
    books = QuickBooksSettings(limits=False, requestid_seconds=0)
    broker, scene = Broker("kafka", own_kafka.bootstrap_servers), generate(6, 12, now=datetime.now(UTC))
    async with running_rig(broker, tmp_path, COMMON, scene=scene, quickbooks=books) as rig:
        worker = await rig.start_worker()
        locked = Fault("status", "/invoice", "POST", count=10_000, status=400, body=fault_body("140"))
        rig.sandbox.quickbooks_faults.add(locked)
        await rig.deliver(*rig.generated())
        await rig.until(lambda: locked.count <= 10_000 - 4 * len(scene.invoices), "several attempts of each")
        own_kafka.pause()
        try:
            rig.sandbox.quickbooks_faults.clear()
            # Whoever does not wait for the broker writes now: each has its next attempt within this time.
            await asyncio.sleep(FROZEN_SECONDS / 2)
            await killed(worker)
        finally:
            own_kafka.resume()
        await rig.start_worker(under=SEEN_SOON)
        await rig.posts_everything_once()


async def the_broker_is_away(
    bootstrap: str, directory: Path, seconds: float, *, leave: Callable[[], None], come_back: Callable[[], None]
) -> None:
    """The receiver says 503 meanwhile, Metronome tries again, and everything is posted afterwards, once."""
    broker, scene = Broker("kafka", bootstrap), generate(5, 60, now=datetime.now(UTC))
    settings = {
        **COMMON,
        "WORKER__HOSTS_RECEIVER": "false",
        "RECEIVER__PUBLISH_TIMEOUT_SECONDS": "3",
        "QUICKBOOKS__REQUESTS_PER_SECOND": "20",
    }
    schedule = Schedule(delay_seconds=1.0, delay_max_seconds=3.0, attempts_max=60)
    async with running_rig(broker, directory, settings, scene=scene, schedule=schedule) as rig:
        worker = await rig.start_worker()
        await rig.start_receiver()
        before, meanwhile = rig.generated()[:40], rig.generated()[40:]
        rig.sandbox.quickbooks_faults.add(closing(open_for=len(before) * 3 // 4))
        await rig.deliver(*before)
        await rig.until(lambda: len(rig.done()) >= 5, "the first outcomes")
        await asyncio.to_thread(leave)
        away_since = time.monotonic()
        assert len(rig.done()) < len(before), "it was not in the middle of its work"
        rig.sandbox.quickbooks_faults.clear()
        assert await rig.post_webhook(rig.webhook_of(meanwhile[0])) == 503
        delivering = asyncio.create_task(rig.deliver(*meanwhile))
        await asyncio.sleep(seconds - (time.monotonic() - away_since))
        assert not delivering.done()
        await asyncio.to_thread(come_back)
        await delivering
        assert worker.process.returncode is None, worker.log.read_text()[-4000:]
        await rig.posts_everything_once()
