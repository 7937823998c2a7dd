"""What Kafka does not take is no record's fault: the worker ends, and the next one goes on with the same record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from stream.demo.processes import ChildFailed
from stream.topics import changelog
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import SEEN_SOON, Rig, ended, running_rig

pytestmark = pytest.mark.kafka

COMMON = {"POLICY__DEFAULT_ITEM_ID": "1", "WORKER__HOSTS_RECEIVER": "true"}


async def takes(rig: Rig, topic: str, bytes_max: int) -> None:
    """From now on the broker refuses larger records of this topic."""
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    asked = admin.incremental_alter_configs([resource])
    await asyncio.to_thread(asked[resource].result, BOUND_SECONDS)


GROUP_REFUSES = """
import runpy, sys
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError

async def refused(*_):
    raise KafkaError("the group refuses")

GroupCoordinator.ensure_active_group = refused
sys.argv = sys.argv[2:]
runpy.run_module("stream", run_name="__main__", alter_sys=True)
"""


async def test_a_worker_that_the_group_does_not_let_in_ends_before_it_is_ready(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with running_rig(Broker("kafka", kafka_bootstrap), tmp_path, COMMON) as rig:
        with pytest.raises(ChildFailed, match="ended before it was ready"):
            await rig.children.start("worker", ready_within_seconds=BOUND_SECONDS, under=("-c", GROUP_REFUSES))
        assert "the group refuses" in rig.logs()


@pytest.mark.parametrize("refusing", ["the ledger", "outcomes", "connections", "commands"])
async def test_a_refused_record_ends_the_worker_and_makes_no_dead_letter(
    kafka_bootstrap: str, tmp_path: Path, refusing: str
) -> None:
    """Connections: an access token is refreshed, and recorded, within the handler of a command."""
    async with running_rig(Broker("kafka", kafka_bootstrap), tmp_path, COMMON) as rig:
        also = {"QUICKBOOKS__REFRESH_BEFORE_SECONDS": "3600"} if refusing == "connections" else {}
        worker = await rig.start_worker(**also)
        topic = changelog(rig.settings, "invoices") if refusing == "the ledger" else getattr(rig.names, refusing)
        await takes(rig, topic, 100)
        invoice_id = rig.new_invoice()
        await rig.deliver(invoice_id)
        assert await ended(worker) == 1, rig.logs()
        await takes(rig, topic, rig.settings.kafka.message_bytes_max)
        assert await rig.records(rig.names.deadletters) == []
        await rig.start_worker(under=SEEN_SOON)
        assert (await rig.outcome(invoice_id)).result == "posted"
        assert len(rig.documents_of(invoice_id)) == 1
