"""How Faust's consumer fetches, and its producer writes: promptly, without loss, once.

**Promptly.** A consumer has one fetch under way per broker, and a topic that was just read to its end is not asked for
again before that fetch returns. Faust lets it wait 1.5 s (a constant in its driver), so that each of our stages would
add up to 1.5 s. A short wait alone makes many small fetches, which cost processor time; so a fetch also waits, no
longer than that, until it holds enough (docs/benchmarks.md).

**Without loss.** When the tables are recovered, Faust opens the stream partitions, seeks them to their committed
offsets, and then empties the agents' queues. Two kinds of records are lost that way, for ever, since later
acknowledgements commit past them: those fetched between a partition's seek and the emptying, and those fetched before
the seek from a partition without a committed offset, which is not sought at all. So here the flow stops before the
seek (Faust starts it again right after the emptying), and a partition without a committed offset is read from its
beginning.

**Without a false alarm.** Now and then Faust looks whether each partition moves, only to log when one does not. Of a
partition whose position is being asked for, as after a rebalance, aiokafka fails an assertion then (aiokafka #349), and
the worker would end.

**Without standing still.** Before partitions go, Faust waits until every record that was taken is acknowledged, without
a bound: one command that waits for two minutes would stall the whole group, until the broker expels this worker. Here
`drain` ends what has begun, within its bound, and what it acknowledged is committed; the rest is the next owner's.

**Once.** The producer is idempotent: a request that it repeats puts no record twice into a changelog, so that a gap
between two of ours means another writer (`agents.pipeline.ChangelogFence`).

What is overridden here is listed, and checked at start, in `contract.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import faust
import structlog
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer, Transport

from .broker_requests import bound_consumer, bound_producer

log = structlog.get_logger()

FETCH_BYTES_MIN = 32_768
"""A fetch that holds this much returns at once."""


def patch_transport(
    app: faust.App, wait_milliseconds: int, connection_seconds: float, drain: Callable[[], Awaitable[None]]
) -> None:
    """Have `app` wait at most `wait_milliseconds` for records, lose none and write none twice, and call `drain` before
    partitions go; before its transport is first used. A connection gives up after `connection_seconds`
    (`broker_requests.py`)."""

    class PatchedConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._fetch_max_wait_ms = wait_milliseconds
            consumer._fetch_min_bytes = FETCH_BYTES_MIN
            bound_consumer(consumer, connection_seconds, app.conf.broker_request_timeout)
            return consumer

        async def seek_to_committed(self) -> Any:
            committed = await super().seek_to_committed()
            changelogs = app.tables.changelog_topics
            unread = [tp for tp, offset in committed.items() if not offset and tp.topic not in changelogs]
            if unread:
                await self.call_thread(self._ensure_consumer().seek_to_beginning, *unread)
            return committed

        def verify_event_path(self, now: float, tp: Any) -> None:
            with suppress(AssertionError):  # aiokafka's: there is no position yet
                super().verify_event_path(now, tp)

    class PatchedConsumer(Consumer):  # type: ignore[misc]
        async def perform_seek(self) -> None:
            self.stop_flow()
            await super().perform_seek()

        async def wait_empty(self) -> None:
            await drain()
            self._buffered_partitions.clear()
            try:
                await self.commit_and_end_transactions()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # The membership in the group ended under the commit: the next owner does again what was acknowledged.
                log.warning("not_committed_before_partitions_go")

        def _new_consumer_thread(self) -> PatchedConsumerThread:
            return PatchedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    class IdempotentProducer(Producer):  # type: ignore[misc]
        def _settings_extra(self) -> dict[str, Any]:
            return {**super()._settings_extra(), "acks": "all", "enable_idempotence": True}

        def _new_producer(self, *args: Any, **kwargs: Any) -> Any:
            producer = super()._new_producer(*args, **kwargs)
            bound_producer(producer, connection_seconds)
            return producer

    class PatchedTransport(Transport):  # type: ignore[misc]
        Consumer = PatchedConsumer
        Producer = IdempotentProducer

    app.transport = PatchedTransport(app.conf.broker_consumer, app)
