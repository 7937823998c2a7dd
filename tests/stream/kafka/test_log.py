"""Every way of reading the log, on the embedded broker; what only a real Kafka does, on one (stream/kafka/log.py)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from agents.post.parked import Recalled
from models.commands import SetCustomerMapping, SetItemMapping
from models.outcomes import Outcome
from models.record import Address
from simulators.kafka.embedded import embedded_broker
from stream.kafka.admin import BrokerUnreachable, TopicSpec, declare_topics
from stream.kafka.log import (
    Bounds,
    EventLog,
    Followed,
    RawRecord,
    ReadFailed,
    RecordMissing,
    RecordsDeleted,
    TopicsMissing,
)
from stream.topics import topic_names
from tests import BOUND_SECONDS
from tests.stream.recorded import Recorder, invoice_of, recording, settings_of

TOPIC = "metronome.invoices"
COMMANDS_TOPIC = "quickbooks.commands"
NOBODY = EventLog("127.0.0.1:1", 0.5)
"""Where no broker is."""


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with embedded_broker() as servers:
        yield servers


async def fill(recorder: Recorder, partition: int, count: int) -> list[Address]:
    return [await recorder.send(TOPIC, b"%d" % each, b"key", partition=partition) for each in range(count)]


async def offsets(bootstrap: str, *asked: object) -> list[tuple[int, int]]:
    records: list[RawRecord] = [each async for each in EventLog(bootstrap, BOUND_SECONDS).read_range(TOPIC, *asked)]  # type: ignore[arg-type]
    return sorted((each.address.partition, each.address.offset) for each in records)


async def test_one_record_is_read_whole_at_its_address(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
        at = await recorder.send(TOPIC, b"value", b"key", headers=[("name", b"1")], timestamp_ms=1_700_000_000_000)
        await recorder.send(TOPIC, b"after", partition=at.partition)
    assert await EventLog(bootstrap, BOUND_SECONDS).read_one(at) == RawRecord(
        at, 1_700_000_000_000, b"key", b"value", (("name", b"1"),)
    )


async def test_an_address_without_a_record_says_what_there_is(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
    with pytest.raises(RecordMissing, match="offsets 0 to 2"):
        await EventLog(bootstrap, BOUND_SECONDS).read_one(Address(topic=TOPIC, partition=0, offset=3))
    with pytest.raises(RecordMissing, match="no records"):
        await EventLog(bootstrap, BOUND_SECONDS).read_one(Address(topic=TOPIC, partition=1, offset=0))
    with pytest.raises(RecordMissing, match="no such partition"):
        await EventLog(bootstrap, BOUND_SECONDS).read_one(Address(topic=TOPIC, partition=99, offset=0))


async def test_a_topic_that_does_not_exist_is_not_created_by_asking(bootstrap: str) -> None:
    for _ in range(2):
        with pytest.raises(TopicsMissing, match="nowhere"):
            await EventLog(bootstrap, BOUND_SECONDS).read_one(Address(topic="nowhere", partition=0, offset=0))


async def test_a_range_holds_both_its_ends_in_each_partition(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 5)
        await fill(recorder, 2, 2)
    assert await offsets(bootstrap, 1, 3) == [(0, 1), (0, 2), (0, 3), (2, 1)]
    assert await offsets(bootstrap, 0, None, [2]) == [(2, 0), (2, 1)]
    assert await offsets(bootstrap, 0, 10**9) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (2, 0), (2, 1)]
    assert await offsets(bootstrap, 5, 9) == []
    assert (await EventLog(bootstrap, BOUND_SECONDS).bounds(TOPIC))[0] == Bounds(0, 5)
    with pytest.raises(ReadFailed, match="partitions 0 to 3"):
        await offsets(bootstrap, 0, None, [9])


async def test_what_is_written_while_a_range_is_read_is_not_in_it(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
        seen = []
        async for record in EventLog(bootstrap, BOUND_SECONDS).read_range(TOPIC):
            seen.append(record.address.offset)
            await fill(recorder, 0, 1)
    assert seen == [0, 1, 2]


async def test_a_broker_that_is_not_there_is_an_error_in_time() -> None:
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 did not answer within 0\.5 s"):
        await asyncio.wait_for(NOBODY.read_one(Address(topic=TOPIC, partition=0, offset=0)), BOUND_SECONDS)


async def test_single_records_are_read_in_their_order_without_those_that_are_not_there(
    bootstrap: str, tmp_path: Path
) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        addresses = await fill(recorder, 0, 6)
    gone = addresses[0].model_copy(update={"offset": 99})
    asked = [addresses[each] for each in (0, 2, 3, 5)]
    found = [each.address async for each in EventLog(bootstrap, BOUND_SECONDS).read_each([*asked, gone])]
    assert found == asked


async def test_what_cannot_be_decoded_is_left_out_and_logged_with_its_address(bootstrap: str, tmp_path: Path) -> None:
    settings = settings_of(bootstrap, tmp_path)
    async with recording(settings) as recorder:
        await recorder.story(invoice_of(1))
        garbage = await recorder.send(topic_names(settings).outcomes, b"[[[")
        await recorder.story(invoice_of(2))
    read = EventLog.of(settings).read_records(topic_names(settings).outcomes, Outcome.model_validate_json)
    with capture_logs() as logged:
        found = [(outcome.result, at.topic) async for outcome, at in read]
    assert found == [("posted", topic_names(settings).outcomes)] * 2
    assert [(each["event"], each["at"]) for each in logged] == [("unreadable_record", str(garbage))]


async def test_commands_are_read_back_without_what_is_none(bootstrap: str, tmp_path: Path) -> None:
    commands = [
        SetCustomerMapping(realm="1", customer_id="c", qbo_id="5"),
        SetItemMapping(realm="1", product_id="*", qbo_id="6"),
    ]
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        sent = [await recorder.send(COMMANDS_TOPIC, each, b"1") for each in
                (commands[0].encode(), b"no command", commands[1].encode())]  # fmt: skip
    with capture_logs() as logged:
        assert await EventLog(bootstrap, BOUND_SECONDS).read_commands(sent) == Recalled(commands)
    assert [each["at"] for each in logged] == [str(sent[1])]


async def test_reading_commands_back_never_raises(bootstrap: str) -> None:
    """Without a broker, and of an address that holds nothing: those that wait are tried again later."""
    with capture_logs() as logged:
        for log in (NOBODY, EventLog(bootstrap, 1)):
            address = Address(topic=f"commands-{uuid.uuid4()}", partition=0, offset=0)
            assert await asyncio.wait_for(log.read_commands([address]), BOUND_SECONDS) == Recalled([])
    assert logged[0]["event"] == "commands_not_read"


@pytest.mark.kafka
async def test_commands_that_were_deleted_from_kafka_are_told_from_those_that_cannot_be_read(
    kafka_bootstrap: str,
) -> None:
    topic, log = f"commands-{uuid.uuid4()}", EventLog(kafka_bootstrap, BOUND_SECONDS)
    spec = TopicSpec(topic, 1, "delete", -1)
    await declare_topics(kafka_bootstrap, [spec], replication_factor=1, timeout_seconds=BOUND_SECONDS)
    command = SetItemMapping(realm="1", product_id="*", qbo_id="6")
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for _ in range(3):
            await producer.send_and_wait(topic, command.encode())
    deleted, kept, to_come = (Address(topic=topic, partition=0, offset=offset) for offset in (0, 2, 99))
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for asked in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        await asyncio.to_thread(asked.result, BOUND_SECONDS)
    recalled = await log.read_commands([deleted, kept, to_come])
    assert recalled == Recalled([command], frozenset([deleted]))


async def test_a_follower_gets_what_is_there_and_then_what_comes(bootstrap: str, tmp_path: Path) -> None:
    """It says when it has come to where the topics ended when it began, and only then."""
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
        await fill(recorder, 2, 1)
        seen: list[Address] = []
        async with (
            asyncio.timeout(30),
            aclosing(EventLog(bootstrap, BOUND_SECONDS).follow([TOPIC, COMMANDS_TOPIC])) as batches,
        ):
            async for batch in batches:
                seen += [each.address for each in batch.records]
                assert batch.caught_up == (len(seen) >= 4)
                if len(seen) == 4:
                    await recorder.send(COMMANDS_TOPIC, b"new", partition=1)
                if len(seen) == 5:
                    break
    assert seen[-1] == Address(topic=COMMANDS_TOPIC, partition=1, offset=0)
    assert [each.offset for each in seen[:4] if each.partition == 0] == [0, 1, 2]


async def test_a_follower_that_ends_at_the_end_of_empty_topics_ends(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)):
        followed = EventLog(bootstrap, BOUND_SECONDS).follow([TOPIC], to_the_end=True)
        batches = await asyncio.wait_for(_all(followed), BOUND_SECONDS)
    assert batches[-1].caught_up
    assert not any(batch.records for batch in batches)


async def _all(followed: AsyncIterator[Followed]) -> list[Followed]:
    return [each async for each in followed]


async def test_a_follower_starts_where_it_is_told_to(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 5)

    def last_two(topic: str, partition: int, bounds: Bounds) -> int:
        assert topic == TOPIC
        return max(bounds.first, bounds.end - 2)

    batches = await asyncio.wait_for(
        _all(EventLog(bootstrap, BOUND_SECONDS).follow([TOPIC], last_two, to_the_end=True)), 30
    )
    assert [each.address.offset for batch in batches for each in batch.records] == [3, 4]


async def test_a_follower_of_no_topic_and_of_no_broker_ends_with_an_error(bootstrap: str) -> None:
    with pytest.raises(TopicsMissing, match="nowhere"):
        await asyncio.wait_for(_all(EventLog(bootstrap, BOUND_SECONDS).follow(["nowhere"])), BOUND_SECONDS)
    with pytest.raises(BrokerUnreachable, match="did not answer within"):
        await asyncio.wait_for(_all(NOBODY.follow([TOPIC])), BOUND_SECONDS)


async def _declared(bootstrap: str) -> str:
    """A new topic of one partition on a real Kafka."""
    name = f"log-{uuid.uuid4()}"
    await declare_topics(
        bootstrap, [TopicSpec(name, 1, "delete", -1)], replication_factor=1, timeout_seconds=BOUND_SECONDS
    )
    return name


async def test_a_follower_is_stopped_by_the_deletion_of_what_is_next(kafka_bootstrap: str) -> None:
    topic = await _declared(kafka_bootstrap)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for _ in range(5):
            await producer.send_and_wait(topic, b"value")
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for deleted in admin.delete_records([TopicPartition(topic, 0, 3)]).values():
        deleted.result(20)

    log = EventLog(kafka_bootstrap, BOUND_SECONDS)
    assert (await log.bounds(topic))[0] == Bounds(3, 5)
    with pytest.raises(RecordsDeleted):
        await asyncio.wait_for(_all(log.follow([topic], lambda *_: 0)), BOUND_SECONDS)
    batches = await asyncio.wait_for(_all(log.follow([topic], to_the_end=True)), BOUND_SECONDS)
    assert [each.address.offset for batch in batches for each in batch.records] == [3, 4]


async def test_a_range_ends_although_the_last_offset_is_no_record(kafka_bootstrap: str) -> None:
    """A transaction leaves a marker behind its records, which no reader ever gets."""
    topic = await _declared(kafka_bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=topic)
    async with producer, producer.transaction():
        await producer.send_and_wait(topic, b"value")

    log = EventLog(kafka_bootstrap, BOUND_SECONDS)
    async with asyncio.timeout(BOUND_SECONDS):
        while (await log.bounds(topic))[0] != Bounds(0, 2):  # Kafka answers the commit before it writes the marker
            await asyncio.sleep(0.05)
    records = [each.address.offset async for each in log.read_range(topic)]
    assert records == [0]
