"""One broker of three hangs: its partitions move to the others, and so does the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.kafka.cluster import KafkaCluster
from simulators.kafka.jars import KafkaJarsUnavailable, find_java, resolve_jars
from tests.brokers import Broker, NoRealKafka, give_up
from tests.fetching import fetching

from .rig import a_scene, closing, running_rig

pytestmark = pytest.mark.kafka

COMMON = {"POLICY__DEFAULT_ITEM_ID": "1", "QUICKBOOKS__BACKOFF_MAX_SECONDS": "1"}


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[KafkaCluster]:
    try:
        find_java()
        with fetching():
            resolve_jars()
    except KafkaJarsUnavailable as reason:
        give_up(NoRealKafka(str(reason)), required=False)
    with KafkaCluster() as kafka:
        yield kafka


@pytest.mark.parametrize("hung", [0, 1])
async def test_a_broker_that_hangs_stops_nothing(three_brokers: KafkaCluster, tmp_path: Path, hung: int) -> None:
    """Everything is posted while it hangs, though records and requests were on their way to it."""
    settings = COMMON | {"KAFKA__REPLICATION_FACTOR": "3"}
    broker = Broker("kafka", three_brokers.bootstrap_servers)
    async with running_rig(broker, tmp_path, settings, scene=a_scene(24)) as rig:
        await rig.start_worker()
        invoices = rig.generated()
        rig.sandbox.quickbooks_faults.add(closing(open_for=4))
        await rig.deliver(*invoices)
        await rig.until(lambda: len(rig.done()) >= 2, "the first outcomes")
        three_brokers.nodes[hung].pause()
        try:
            rig.sandbox.quickbooks_faults.clear()
            await rig.until(lambda: all(map(rig.documents_of, invoices)), "all in the books while a broker hangs")
        finally:
            three_brokers.nodes[hung].resume()
        await rig.posts_everything_once()
