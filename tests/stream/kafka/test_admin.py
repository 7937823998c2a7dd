"""Topics are declared whole or not at all, and what does not fit is named (stream/kafka/admin.py)."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from simulators.kafka.embedded import PARTITIONS_PER_TOPIC
from simulators.kafka.jars import free_port
from stream.kafka.admin import (
    BrokerUnreachable,
    TopicDifference,
    TopicMismatch,
    TopicSpec,
    TopicUnavailable,
    compare_topics,
    create_by_asking,
    declare_topics,
)
from tests import BOUND_SECONDS

ANSWERED_SECONDS = 30
"""A wait that must end in vain, long enough for an answer of a broker that runs on a busy machine."""
DAY_MS = 86_400_000


def spec(**changes: object) -> TopicSpec:
    """A spec with a name that no other test uses."""
    return replace(TopicSpec(f"topic-{uuid.uuid4()}", 3, "delete", -1), **changes)  # type: ignore[arg-type]


async def declare(bootstrap_servers: str, *specs: TopicSpec) -> list[str]:
    return await declare_topics(bootstrap_servers, specs, replication_factor=1, timeout_seconds=BOUND_SECONDS)


async def compare(bootstrap_servers: str, *specs: TopicSpec) -> list[TopicDifference]:
    return await compare_topics(bootstrap_servers, specs, timeout_seconds=BOUND_SECONDS)


def create_by_another_program(bootstrap_servers: str, name: str, partitions: int, config: dict[str, str]) -> None:
    client = AdminClient({"bootstrap.servers": bootstrap_servers})
    client.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(BOUND_SECONDS)
    deadline = time.monotonic() + BOUND_SECONDS
    while (
        name not in client.list_topics(timeout=BOUND_SECONDS).topics
    ):  # the controller answers before the broker knows
        assert time.monotonic() < deadline


def seen_by_another_program(bootstrap_servers: str, name: str) -> tuple[int, dict[str, str]]:
    """Partition count and settings of a topic, as librdkafka sees them."""
    client = AdminClient({"bootstrap.servers": bootstrap_servers})
    partitions = len(client.list_topics(timeout=BOUND_SECONDS).topics[name].partitions)
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = client.describe_configs([resource])[resource].result(BOUND_SECONDS)
    return partitions, {setting: entry.value for setting, entry in entries.items()}


async def test_missing_topics_are_created_as_planned(kafka_bootstrap: str) -> None:
    kept, expiring, compacted = spec(), spec(retention_ms=7 * DAY_MS, partitions=2), spec(cleanup_policy="compact")

    created = await declare(kafka_bootstrap, kept, expiring, compacted)

    assert created == [kept.name, expiring.name, compacted.name]
    partitions, settings = seen_by_another_program(kafka_bootstrap, kept.name)
    assert partitions == 3
    assert settings["cleanup.policy"] == "delete"
    assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
    partitions, settings = seen_by_another_program(kafka_bootstrap, expiring.name)
    assert (partitions, settings["retention.ms"]) == (2, str(7 * DAY_MS))
    assert seen_by_another_program(kafka_bootstrap, compacted.name)[1]["cleanup.policy"] == "compact"
    assert await compare(kafka_bootstrap, kept, expiring, compacted) == []


async def test_a_topic_is_made_for_large_records_and_may_take_even_larger_ones(kafka_bootstrap: str) -> None:
    large = spec(message_bytes_max=16_777_216)
    await declare(kafka_bootstrap, large)
    assert seen_by_another_program(kafka_bootstrap, large.name)[1]["max.message.bytes"] == "16777216"
    assert await compare(kafka_bootstrap, replace(large, message_bytes_max=2_097_152)) == []


async def test_declared_topics_take_records_at_once(kafka_bootstrap: str) -> None:
    topic = spec(partitions=1)
    await declare(kafka_bootstrap, topic)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        record = await asyncio.wait_for(producer.send_and_wait(topic.name, b"value"), BOUND_SECONDS)
    assert record.offset == 0


async def test_declaring_again_creates_nothing(kafka_bootstrap: str) -> None:
    first, second = spec(), spec()
    await declare(kafka_bootstrap, first)
    assert await declare(kafka_bootstrap, first, second) == [second.name]
    assert await declare(kafka_bootstrap, first, second) == []


async def test_workers_that_start_at_once_all_succeed_and_each_topic_is_created_once(kafka_bootstrap: str) -> None:
    specs = [spec() for _ in range(4)]
    created = await asyncio.gather(*(declare(kafka_bootstrap, *specs) for _ in range(5)))
    assert sorted(name for names in created for name in names) == sorted(each.name for each in specs)


@pytest.mark.parametrize(
    ("partitions", "config", "setting", "found", "wanted", "remedy"),
    [
        (5, {"retention.ms": "-1"}, "partitions", "5", "3", "set the topic's partitions to 5"),
        (
            3,
            {"retention.ms": "-1", "cleanup.policy": "compact"},
            "cleanup.policy",
            "compact",
            "delete",
            "kafka-configs",
        ),
        (3, {"retention.ms": "1000"}, "retention.ms", "1000", "-1", "--add-config retention.ms=-1"),
        (3, {"retention.ms": "-1", "retention.bytes": "9999"}, "retention.bytes", "9999", "-1", "retention.bytes=-1"),
        (
            3,
            {"retention.ms": "-1", "max.message.bytes": "100000"},
            "max.message.bytes",
            "100000",
            "1048588",
            "--add-config max.message.bytes=1048588",
        ),
    ],
)
async def test_a_topic_that_does_not_fit_is_an_error_that_says_what_to_do_and_changes_nothing(
    kafka_bootstrap: str, partitions: int, config: dict[str, str], setting: str, found: str, wanted: str, remedy: str
) -> None:
    misfit, missing = spec(), spec()
    create_by_another_program(kafka_bootstrap, misfit.name, partitions, config)

    with pytest.raises(TopicMismatch) as raised:
        await declare(kafka_bootstrap, missing, misfit)

    assert f"topic {misfit.name} has {setting}={found}, wanted {wanted}" in str(raised.value)
    assert remedy in str(raised.value)
    differences = await compare(kafka_bootstrap, missing, misfit)
    assert [(each.topic, each.setting) for each in differences] == [(missing.name, "missing"), (misfit.name, setting)]


async def test_a_compact_topic_may_have_any_retention(kafka_bootstrap: str) -> None:
    topic = spec(cleanup_policy="compact")
    create_by_another_program(kafka_bootstrap, topic.name, 3, {"cleanup.policy": "compact", "retention.ms": "1000"})
    assert await declare(kafka_bootstrap, topic) == []


async def test_a_creation_that_the_broker_refuses_says_why(kafka_bootstrap: str) -> None:
    topic = spec()
    with pytest.raises(TopicUnavailable, match=f"{topic.name}: InvalidReplicationFactorError"):
        await declare_topics(kafka_bootstrap, [topic], replication_factor=3, timeout_seconds=BOUND_SECONDS)


async def test_no_broker_is_an_error_that_names_the_address_in_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=f"Kafka at {address} did not answer within 1.5 s"):
        await compare_topics(address, [spec()], timeout_seconds=1.5)
    assert time.monotonic() - started > 1


async def test_a_broker_that_takes_connections_and_never_answers_is_unreachable_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises(BrokerUnreachable, match=address):
            await declare_topics(address, [spec()], replication_factor=1, timeout_seconds=1)


async def test_a_touched_topic_exists_on_the_embedded_broker(embedded_bootstrap: str) -> None:
    names = [spec().name, spec().name]
    await create_by_asking(embedded_bootstrap, names, timeout_seconds=BOUND_SECONDS)
    topics = AdminClient({"bootstrap.servers": embedded_bootstrap}).list_topics(timeout=BOUND_SECONDS).topics
    assert [len(topics[name].partitions) for name in names] == [PARTITIONS_PER_TOPIC] * 2


async def test_a_touch_where_topics_are_only_declared_ends_with_an_error(kafka_bootstrap: str) -> None:
    name = spec().name
    with pytest.raises(TopicUnavailable, match=name):
        await create_by_asking(kafka_bootstrap, [name], timeout_seconds=ANSWERED_SECONDS)


async def test_comparing_creates_no_topic_even_where_asking_for_one_would(embedded_bootstrap: str) -> None:
    topic = spec()
    assert await compare(embedded_bootstrap, topic) == [
        TopicDifference(topic.name, "missing", "nothing", "3 partitions, delete")
    ]
    assert (
        topic.name
        not in AdminClient({"bootstrap.servers": embedded_bootstrap}).list_topics(timeout=BOUND_SECONDS).topics
    )


async def test_too_few_copies_are_said_and_stop_nobody(kafka_bootstrap: str) -> None:
    """A worker starts with them; `metronome-qbo topics` tells."""
    topic = spec()
    await declare(kafka_bootstrap, topic)
    found = await compare_topics(kafka_bootstrap, [topic], timeout_seconds=BOUND_SECONDS, replication_factor=3)
    assert [(each.setting, each.found, each.wanted) for each in found] == [
        ("replicas", "1", "3"),
        ("min.insync.replicas", "1", "2"),
    ]
    assert "kafka.replication_factor" in str(found[0])
    assert await declare(kafka_bootstrap, topic) == []


async def test_a_record_that_more_copies_must_confirm_than_there_are(kafka_bootstrap: str) -> None:
    topic = spec()
    create_by_another_program(kafka_bootstrap, topic.name, 3, {"retention.ms": "-1", "min.insync.replicas": "2"})
    found = await compare_topics(kafka_bootstrap, [topic], timeout_seconds=BOUND_SECONDS, replication_factor=1)
    assert [(each.setting, each.found, each.wanted) for each in found] == [("min.insync.replicas", "2", "1")]
