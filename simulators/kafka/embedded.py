"""A Kafka broker inside this process, for the demo and fast tests: librdkafka's mock broker.

Its limits: everything is in memory and gone when it ends; every topic has 4 partitions and appears when its metadata
is first asked for; there is no CreateTopics (use `stream.kafka.admin.create_by_asking`) and no description of settings;
a search for offsets by timestamp finds nothing. **Each partition keeps only its newest 5 MiB**, read or not, so that a
longer backlog is lost (measured: of 3,000 records of 5,000 bytes, 1,041 were left). Groups, rebalances, headers and the
idempotent producer work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

START_TIMEOUT_SECONDS = 10
PARTITIONS_PER_TOPIC = 4
INVOICES_MAX = 500
"""How many invoices of one company surely fit: about 5 KB each in the topic that holds the most, delivered twice."""


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run one broker on a free loopback port for the length of the block; gives its `host:port`."""
    # The mock cluster belongs to this client and ends with it; the address given here is replaced by its own.
    with Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "embedded", "log_level": 3}) as owner:
        brokers = owner.list_topics(timeout=START_TIMEOUT_SECONDS).brokers.values()
        yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
