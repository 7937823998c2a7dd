"""How long Faust's consumer waits at the broker for more records.

A consumer has one fetch under way per broker, and a topic that was just read to its end is not asked for again before
that fetch returns. Faust lets it wait 1.5 s (a constant in its driver), so that each of our stages would add up to
1.5 s and stand idle meanwhile. Measured with `make bench`: ten times the throughput at 20 ms.
"""

from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport


def fetch_promptly(app: faust.App, wait_milliseconds: int) -> None:
    """Have `app` wait at most `wait_milliseconds` for records, before its transport is first used."""

    class PromptThread(AIOKafkaConsumerThread):  # type: ignore[misc]
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._fetch_max_wait_ms = wait_milliseconds
            return consumer

    class PromptConsumer(Consumer):  # type: ignore[misc]
        def _new_consumer_thread(self) -> PromptThread:
            return PromptThread(self, loop=self.loop, beacon=self.beacon)

    class PromptTransport(Transport):  # type: ignore[misc]
        Consumer = PromptConsumer

    app.transport = PromptTransport(app.conf.broker_consumer, app)
