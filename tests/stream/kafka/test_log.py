from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.record import Address
from simulators.kafka.embedded import embedded_broker
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import (
    Bounds,
    EventLog,
    RawRecord,
    ReadFailed,
    RecordMissing,
    TopicsMissing,
)
from tests.stream.recorded import Recorder, recording, settings_of

TOPIC = "metronome.invoices"


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with embedded_broker() as servers:
        yield servers


async def fill(recorder: Recorder, partition: int, count: int) -> list[Address]:
    return [await recorder.send(TOPIC, b"%d" % each, b"key", partition=partition) for each in range(count)]


async def offsets(bootstrap: str, *asked: object) -> list[tuple[int, int]]:
    records: list[RawRecord] = [each async for each in EventLog(bootstrap, 10).read_range(TOPIC, *asked)]  # type: ignore[arg-type]
    return sorted((each.address.partition, each.address.offset) for each in records)


async def test_one_record_is_read_whole_at_its_address(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
        at = await recorder.send(TOPIC, b"value", b"key", headers=[("name", b"1")], timestamp_ms=1_700_000_000_000)
        await recorder.send(TOPIC, b"after", partition=at.partition)
    assert await EventLog(bootstrap, 10).read_one(at) == RawRecord(
        at, 1_700_000_000_000, b"key", b"value", (("name", b"1"),)
    )


async def test_an_address_without_a_record_says_what_there_is(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
    with pytest.raises(RecordMissing, match="offsets 0 to 2"):
        await EventLog(bootstrap, 10).read_one(Address(topic=TOPIC, partition=0, offset=3))
    with pytest.raises(RecordMissing, match="no records"):
        await EventLog(bootstrap, 10).read_one(Address(topic=TOPIC, partition=1, offset=0))
    with pytest.raises(RecordMissing, match="no such partition"):
        await EventLog(bootstrap, 10).read_one(Address(topic=TOPIC, partition=99, offset=0))


async def test_a_topic_that_does_not_exist_is_not_created_by_asking(bootstrap: str) -> None:
    for _ in range(2):
        with pytest.raises(TopicsMissing, match="nowhere"):
            await EventLog(bootstrap, 10).read_one(Address(topic="nowhere", partition=0, offset=0))


async def test_a_range_holds_both_its_ends_in_each_partition(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 5)
        await fill(recorder, 2, 2)
    assert await offsets(bootstrap, 1, 3) == [(0, 1), (0, 2), (0, 3), (2, 1)]
    assert await offsets(bootstrap, 0, None, [2]) == [(2, 0), (2, 1)]
    assert await offsets(bootstrap, 0, 10**9) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (2, 0), (2, 1)]
    assert await offsets(bootstrap, 5, 9) == []
    assert (await EventLog(bootstrap, 10).bounds(TOPIC))[0] == Bounds(0, 5)
    with pytest.raises(ReadFailed, match="partitions 0 to 3"):
        await offsets(bootstrap, 0, None, [9])


async def test_what_is_written_while_a_range_is_read_is_not_in_it(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path)) as recorder:
        await fill(recorder, 0, 3)
        seen = []
        async for record in EventLog(bootstrap, 10).read_range(TOPIC):
            seen.append(record.address.offset)
            await fill(recorder, 0, 1)
    assert seen == [0, 1, 2]


async def test_a_broker_that_is_not_there_is_an_error_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 did not answer within 0\.5 s"):
        await asyncio.wait_for(EventLog("127.0.0.1:1", 0.5).read_one(Address(topic=TOPIC, partition=0, offset=0)), 10)
    assert time.monotonic() - started < 5
