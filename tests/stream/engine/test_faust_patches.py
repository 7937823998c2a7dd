"""What we override inside Faust is what runs: seen on an app that works on the embedded broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import faust
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP
from yarl import URL

from simulators.kafka.embedded import PARTITIONS_PER_TOPIC
from stream.engine.faust_patches import FETCH_BYTES_MIN, patch_transport
from stream.engine.tables import ChangelogTable, FaustTable, table_of
from stream.kafka.admin import create_by_asking
from stream.kafka.log import EventLog
from tests import BOUND_SECONDS

WAIT_MILLISECONDS = 37
CONNECTION_SECONDS = 11
RECORDS = 20


class Work:
    """A patched app with one agent, which puts every value into a table; `calls` are those of the consumer's seek."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.id = f"patched-{uuid4()}"
        self.topic = f"{self.id}-values"
        self.values: list[bytes] = []
        self.calls: list[str] = []
        self.app = faust.App(
            self.id,
            broker=URL(f"kafka://{bootstrap}"),
            autodiscover=False,
            # Left to itself, Faust would read only what comes: nothing of a topic that it has not read before.
            consumer_auto_offset_reset="latest",
            key_serializer="raw",
            value_serializer="raw",
            datadir=str(directory),
            logging_config={"version": 1, "disable_existing_loggers": False},
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            Table=ChangelogTable,
        )
        patch_transport(self.app, WAIT_MILLISECONDS, CONNECTION_SECONDS, self._drained)
        self.table: FaustTable[str] = table_of(self.app, "values", str, PARTITIONS_PER_TOPIC)
        self.unconfirmed: set[int] = set()
        self.app.agent(self.app.topic(self.topic, key_type=bytes, value_type=bytes))(self._keep)

    async def _drained(self) -> None:
        self.calls.append("drain")

    async def _keep(self, stream: Any) -> None:
        async for value in stream:
            self.table[value.decode()] = "kept"
            self.unconfirmed.add(len(self.app.tables["values"].unconfirmed))
            await self.table.confirmed()
            self.values.append(value)

    def watch_the_seek(self) -> None:
        """Has `calls` filled; before the app starts."""
        consumer = self.app.consumer
        for name in ("stop_flow", "seek_to_committed", "resume_flow"):
            setattr(consumer, name, self._recorded(name, getattr(consumer, name)))

    def _recorded(self, name: str, method: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            self.calls.append(name)
            return method()

        return call

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while not reached():
                assert self.app.crash_reason is None, self.app.crash_reason
                await asyncio.sleep(0.05)


@asynccontextmanager
async def working(bootstrap: str, directory: Path) -> AsyncIterator[Work]:
    """An app that runs, on topics with records from before it started."""
    work = Work(bootstrap, directory)
    await create_by_asking(bootstrap, [work.topic, f"{work.id}-values-changelog"], timeout_seconds=BOUND_SECONDS)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for each in range(RECORDS):
            await producer.send_and_wait(work.topic, b"%d" % each)
    work.app.finalize()
    work.watch_the_seek()
    await work.app.start()
    try:
        yield work
    finally:
        await work.app.stop()


async def test_what_the_patches_override_is_what_faust_runs(embedded_bootstrap: str, tmp_path: Path) -> None:
    """Each of our overrides leaves a trace that the library alone would not leave."""
    async with working(embedded_bootstrap, tmp_path) as work:
        # Without loss: a partition without a committed offset is read from its beginning.
        await work.until(lambda: len(work.values) >= RECORDS)
        assert sorted(work.values) == sorted(b"%d" % each for each in range(RECORDS))

        # Without loss: the flow stops right before the seek, and starts again after it.
        seek = work.calls.index("seek_to_committed")
        assert work.calls[seek - 1] == "stop_flow"
        assert "resume_flow" in work.calls[seek:]

        # Without standing still: the drain is ours.
        assert work.app.consumer.wait_empty.__func__.__qualname__.startswith("patch_transport")

        # Promptly: what the fetcher asks for.
        fetcher = work.app.consumer._thread._consumer._fetcher
        assert (fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes) == (WAIT_MILLISECONDS, FETCH_BYTES_MIN)

        # Without a false alarm: a partition whose position is being asked for.
        [place, *_] = work.app.consumer.assignment() & {TP(work.topic, each) for each in range(PARTITIONS_PER_TOPIC)}
        state = fetcher._subscriptions.subscription.assignment.state_value(TopicPartition(*place))
        position, state._position = state._position, None
        work.app.consumer.verify_event_path(time.monotonic(), place)
        state._position = position

        # Once: an idempotent producer numbers its records.
        assert work.app.producer._producer._txn_manager is not None

        # A change of a table is known until the broker has confirmed it.
        assert min(work.unconfirmed) >= 1
        assert not work.app.tables["values"].unconfirmed

        # The fence began where the recovery ended, and counts with the changelog.
        log = EventLog(embedded_bootstrap, BOUND_SECONDS)
        ends = {number: bounds.end for number, bounds in (await log.bounds(f"{work.id}-values-changelog")).items()}
        assert sum(ends.values()) == RECORDS
        for number, end in ends.items():
            assert work.app.tables["values"].fence.expect(number) == end


async def test_a_commit_that_ends_with_the_membership_ends_nothing_else(
    embedded_bootstrap: str, tmp_path: Path
) -> None:
    """aiokafka cancels a commit under way when the group lets the consumer in no more; who cancels us is heeded."""
    async with working(embedded_bootstrap, tmp_path) as work:
        consumer: Any = work.app.consumer
        commit = consumer.commit_and_end_transactions
        commits: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        consumer.commit_and_end_transactions = lambda: commits
        commits.cancel()
        await consumer.wait_empty()
        assert "drain" in work.calls
        commits = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(consumer.wait_empty())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        consumer.commit_and_end_transactions = commit
