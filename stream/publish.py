"""Writing single records to our topics from a command, confirmed by the broker and within a bound."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from .settings import Settings
from .topics import BrokerUnreachable

CLOSE_SECONDS = 5


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
    kafka = settings.kafka
    return BrokerUnreachable(
        f"Kafka at {kafka.bootstrap_servers} did not confirm within {kafka.timeout_seconds} s. Is it running?"
    )
