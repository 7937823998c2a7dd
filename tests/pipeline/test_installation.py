"""The ledger, the topics and the settings belong together; a worker that finds that they do not says so and ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from models.commands import VoidInvoice
from models.outcomes import Outcome
from simulators.quickbooks.settings import QuickBooksSettings
from stream.demo.processes import ChildFailed
from stream.kafka.admin import TopicMismatch
from stream.topics import changelog, installation, prepare_topics
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import SOON_GIVEN_UP, Rig, ended, killed, running_rig, until_async

pytestmark = pytest.mark.kafka

FORGETFUL = QuickBooksSettings(limits=False, requestid_seconds=0)
COMMON = {"POLICY__DEFAULT_ITEM_ID": "1", "KAFKA__TOPICS_CHECK_SECONDS": "1", "WORKER__HOSTS_RECEIVER": "true"}


@pytest.fixture
def real(kafka_bootstrap: str) -> Broker:
    return Broker("kafka", kafka_bootstrap)


async def refused(rig: Rig, **also: str) -> str:
    """What a worker says that does not start."""
    variables = {f"METRONOME_QBO_{name}": value for name, value in also.items()}
    with pytest.raises(ChildFailed) as raised:
        await rig.children.start("worker", ready_within_seconds=BOUND_SECONDS, also=variables)
    return str(raised.value) + rig.logs()


async def deleted(rig: Rig, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    for asked in admin.delete_topics(list(topics), operation_timeout=BOUND_SECONDS).values():
        await asyncio.to_thread(asked.result, BOUND_SECONDS)

    async def gone() -> bool | None:
        left = await asyncio.to_thread(admin.list_topics, timeout=BOUND_SECONDS)
        return True if not set(topics) & set(left.topics) else None

    await until_async(gone, f"{topics} deleted")


async def test_a_lost_ledger_is_refused_and_once_it_is_accepted_nothing_is_posted_twice(
    real: Broker, tmp_path: Path
) -> None:
    """QuickBooks does not remember requestids; without the look-up each invoice would stand there twice."""
    async with running_rig(real, tmp_path, COMMON | SOON_GIVEN_UP, invoices=6, quickbooks=FORGETFUL) as rig:
        worker = await rig.start_worker()
        await rig.deliver(*rig.generated())
        await rig.posts_everything_once()
        await killed(worker)
        await deleted(rig, changelog(rig.settings, "invoices"), changelog(rig.settings, "doc_numbers"))
        assert "--accept-empty-ledger" in await refused(rig)
        await rig.children.run("topics", "--create", "--accept-empty-ledger", within_seconds=BOUND_SECONDS)
        noted = await installation(rig.settings)
        assert noted.ledger_since is not None
        assert sum(noted.first_facts.values()) >= len(rig.generated())
        assert sum(noted.first_commands.values()) >= len(rig.generated())
        await reset_offsets(rig)
        await rig.start_worker()
        await rig.until(lambda: all(map(was_adopted, map(rig.outcomes_of, rig.generated()))), "all found in the books")
        rig.assert_books_match(rig.generated())


def was_adopted(outcomes: list[Outcome]) -> bool:
    return any(each.adopted for each in outcomes)


async def reset_offsets(rig: Rig) -> None:
    """The commands are read again from their beginning, as by a group that is new."""
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    group = rig.settings.app_id

    async def forgotten() -> bool | None:
        try:  # refused while the worker that was killed still counts as a member
            await asyncio.to_thread(admin.delete_consumer_groups([group])[group].result, BOUND_SECONDS)
        except KafkaException:
            return None
        return True

    await until_async(forgotten, "the group forgotten")


async def test_lost_owners_are_refused_until_they_are_accepted(real: Broker, tmp_path: Path) -> None:
    async with running_rig(real, tmp_path, COMMON | SOON_GIVEN_UP) as rig:
        worker = await rig.start_worker()
        await rig.posts_a_valid_invoice()
        await killed(worker)
        before = await installation(rig.settings)
        await deleted(rig, changelog(rig.settings, "owners"))
        assert "see that the routing is the one" in await refused(rig)
        await rig.children.run("topics", "--accept-new-log", within_seconds=BOUND_SECONDS)
        await rig.start_worker()
        await rig.posts_a_valid_invoice()
        accepted = await installation(rig.settings)
        assert (accepted.first_commands, accepted.log_since) == (before.first_commands, before.log_since)


async def test_another_prefix_under_the_same_app_id_is_refused(real: Broker, tmp_path: Path) -> None:
    async with running_rig(real, tmp_path, COMMON) as rig:
        said = await refused(rig, KAFKA__TOPIC_PREFIX="another.")
        assert "set kafka.topic_prefix back to" in said


async def test_other_partition_counts_under_another_prefix_too(real: Broker, tmp_path: Path) -> None:
    async with running_rig(real, tmp_path, COMMON) as rig:
        changed = rig.settings.kafka.model_copy(update={"webhook_partitions": 2, "topic_prefix": "third."})
        with pytest.raises(TopicMismatch, match="owners-changelog has partitions=4, wanted 2"):
            await prepare_topics(rig.settings.model_copy(update={"kafka": changed}))


async def test_the_marker_is_written_once(real: Broker, tmp_path: Path) -> None:
    async with running_rig(real, tmp_path, COMMON) as rig:
        first = await installation(rig.settings)
        assert await installation(rig.settings) == first
        assert len(await rig.records(f"{rig.settings.app_id}-installation")) == 1


async def test_partitions_that_are_added_end_the_worker_without_a_dead_letter(real: Broker, tmp_path: Path) -> None:
    async with running_rig(real, tmp_path, COMMON) as rig:
        worker = await rig.start_worker()
        await rig.posts_a_valid_invoice()
        admin = AdminClient({"bootstrap.servers": rig.bootstrap})
        asked = admin.create_partitions([NewPartitions(rig.names.commands, 6)])[rig.names.commands]
        await asyncio.to_thread(asked.result, BOUND_SECONDS)
        assert await ended(worker) == 1
        assert "has 6 partitions" in rig.logs()
        assert await rig.records(rig.names.deadletters) == []


async def test_a_topic_that_is_made_anew_ends_the_worker_and_a_new_log_has_to_be_accepted(
    real: Broker, tmp_path: Path
) -> None:
    """In the new log the void has a smaller offset than the ledger's row; it is carried out all the same."""
    async with running_rig(real, tmp_path, COMMON) as rig:
        worker = await rig.start_worker()
        invoice_id = rig.new_invoice()
        for _ in range(3):
            await rig.deliver(invoice_id)
        await rig.outcome(invoice_id, nth=3)
        await deleted(rig, rig.names.commands)
        assert await ended(worker) == 1
        assert "--accept-new-log" in await refused(rig)
        await rig.children.run("topics", "--accept-new-log", within_seconds=BOUND_SECONDS)
        await rig.start_worker()
        void = VoidInvoice(realm=rig.realm, invoice_id=invoice_id, reason="voided in Metronome")
        await rig.publish_command(void)
        await rig.until(
            lambda: any(each.result == "voided" for each in rig.outcomes_of(invoice_id)), "voided in the new log"
        )
