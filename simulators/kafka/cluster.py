"""Three Kafka brokers (KRaft) that hold copies of each other's topics, from Maven's jars: for what one cannot show.

For tests only: loopback, no authentication. A broker that hangs loses its partitions to the others soon.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from .jars import KafkaFromJars, made_cluster_id

NODES = 3

NODE_PROPERTIES = """
node.id={number}
controller.quorum.voters={voters}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
default.replication.factor=3
min.insync.replicas=2
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
controller.quorum.request.timeout.ms=2000
controller.quorum.fetch.timeout.ms=3000
replica.lag.time.max.ms=8000
"""
"""Over the properties of a single broker. Less patience than in production, so that tests need not wait."""


class KafkaNode(KafkaFromJars):
    """One of the brokers, which are controllers too."""

    def __init__(self, number: int, cluster_id: str) -> None:
        super().__init__()
        self.number = number
        self.voters = ""
        self._cluster = cluster_id

    @property
    def voter(self) -> str:
        return f"{self.number}@127.0.0.1:{self._controller_port}"

    def _properties(self) -> str:
        # Of two lines for one property, Java takes the last.
        return super()._properties() + NODE_PROPERTIES.format(number=self.number, voters=self.voters)

    def _cluster_id(self) -> str:
        return self._cluster


class KafkaCluster:
    """`with KafkaCluster() as kafka: kafka.bootstrap_servers`; `kafka.nodes[0].pause()` hangs one of them."""

    def __init__(self) -> None:
        cluster_id = made_cluster_id()
        self.nodes = [KafkaNode(number, cluster_id) for number in range(1, NODES + 1)]
        for node in self.nodes:
            node.voters = ",".join(each.voter for each in self.nodes)

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(node.bootstrap_servers for node in self.nodes)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.__exit__, None, None, None)
                node.launch()
            for node in self.nodes:
                node.wait_until_it_answers()
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
