"""Writing to our topics, confirmed by the broker: single records from a command, and webhooks as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from stream.settings import Settings

from .admin import BrokerUnreachable, TopicUnavailable

log = structlog.get_logger()

CLOSE_SECONDS = 5
RECONNECT_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 3.0
RECORD_OVERHEAD_BYTES = 4096
"""Key, headers and what Kafka adds to a webhook."""

Headers = Sequence[tuple[str, bytes]]


def partition_of(key: str, partitions: int) -> int:
    """Where a record of this key goes, as aiokafka's and Java's producers choose."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % partitions


class Publisher:
    """Made by `publishing`; each `send` returns when the broker has confirmed."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._settings = settings

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Raises BrokerUnreachable when there is no confirmation in time."""
        with_headers = list((headers or {}).items())
        try:
            async with asyncio.timeout(self._settings.kafka.timeout_seconds):
                await self._producer.send_and_wait(topic, value, key=key, headers=with_headers)
        except (KafkaError, TimeoutError) as error:
            raise _unreachable(self._settings) from error


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[Publisher]:
    """A publisher to `kafka.bootstrap_servers`. The topics must exist. Raises BrokerUnreachable."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        enable_idempotence=True,
        acks="all",
        max_request_size=settings.kafka.message_bytes_max,
    )
    try:
        try:
            async with asyncio.timeout(settings.kafka.timeout_seconds):
                await producer.start()
        except (KafkaError, TimeoutError) as error:
            raise _unreachable(settings) from error
        yield Publisher(producer, settings)
    finally:
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await producer.stop()


def _unreachable(settings: Settings) -> BrokerUnreachable:
    return BrokerUnreachable.at(str(settings.kafka.bootstrap_servers), settings.kafka.timeout_seconds)


class BrokerAway(Exception):
    """The broker cannot take the record now."""


class RecordTooLarge(Exception):
    """The broker will never take a record of this size."""


class WebhookPublisher:
    """Writes webhooks to their topic with an idempotent producer that comes, and comes back, when the broker does.

    `prepare` makes sure that the topic exists, or raises: a producer waits for ever on a topic that does not.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        prepare: Callable[[], Awaitable[object]],
        reconnect_seconds: float = RECONNECT_SECONDS,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._prepare = prepare
        self._reconnect_seconds = reconnect_seconds
        self._producer: AIOKafkaProducer | None = None
        self._broken = asyncio.Event()

    async def run(self) -> None:
        """Keep a producer ready until cancelled, waiting for the broker without end.

        Raises what `prepare` raises, unless it is `BrokerUnreachable` or `TopicUnavailable`.
        """
        while True:
            try:
                await self._prepare()
                producer = self._new_producer()
                try:
                    async with asyncio.timeout(self._settings.kafka.timeout_seconds):
                        await producer.start()
                    self._broken.clear()
                    self._producer = producer
                    log.info("broker_ready", topic=self._topic)
                    await self._broken.wait()
                finally:
                    self._producer = None
                    await _stop(producer)
            except (BrokerUnreachable, TopicUnavailable, KafkaError, TimeoutError) as error:
                log.warning("broker_away", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._reconnect_seconds)

    async def publish(self, key: bytes | None, body: bytes, headers: Headers) -> None:
        """Returns once the broker has confirmed. Raises `BrokerAway`, `RecordTooLarge`; the caller bounds the wait."""
        if self._producer is None:
            raise BrokerAway("no connection to the broker yet")
        try:
            await self._producer.send_and_wait(self._topic, body, key=key, headers=list(headers))
        except MessageSizeTooLargeError:
            self._replace()
            raise RecordTooLarge from None
        except KafkaError as error:
            self._replace()
            raise BrokerAway(f"{type(error).__name__}: {error}") from None

    def _replace(self) -> None:
        """An idempotent producer numbers its records, and none may be missing: after a failed one it serves no more."""
        self._producer = None
        self._broken.set()

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            max_request_size=self._settings.receiver.body_bytes_max + RECORD_OVERHEAD_BYTES,
            request_timeout_ms=self._settings.receiver.publish_timeout_seconds * 1000,
        )


async def _stop(producer: AIOKafkaProducer) -> None:
    """Flush what the broker still takes, and go."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError) as error:
        log.warning("producer_not_flushed", error=type(error).__name__)
