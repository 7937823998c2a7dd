"""How long one request to a broker may take before its connection is given up, and another broker asked.

A frozen broker keeps its connections open and answers nothing, while the others have its partitions long since.
aiokafka has one time-out for everything: its producer's is that of delivery, 20 minutes with Faust; its consumer's has
to be longer than a rebalance may take. So a connection has its own here, and only the requests that wait for the other
members of a group may take as long as those.

A request that is given up is sent again. That puts no record twice into Kafka: the producer is idempotent, and never
gives up a record itself.
"""

from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

WAIT_FOR_MEMBERS = (JoinGroupRequest, SyncGroupRequest)
ANSWERED_BEFORE_SECONDS = 2.0
"""A broker that waits for its replicas says so this long before we would give up the connection."""


def bound_producer(producer: AIOKafkaProducer, seconds: float) -> None:
    """Before it starts."""
    producer.client._request_timeout_ms = int(seconds * 1000)
    producer._sender._request_timeout_ms = int(max(1.0, seconds - ANSWERED_BEFORE_SECONDS) * 1000)


def bound_consumer(consumer: AIOKafkaConsumer, seconds: float, members_seconds: float) -> None:
    """Before it starts. `members_seconds` bounds the requests that wait for other members, and those behind them: a
    broker answers one connection's requests in order."""
    client = consumer._client
    client._request_timeout_ms = int(seconds * 1000)
    send, joining = client.send, 0

    async def bounded(node_id: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        nonlocal joining
        waits = isinstance(request, WAIT_FOR_MEMBERS)
        joining += waits
        try:
            if group is ConnectionGroup.COORDINATION and await client.ready(node_id, group=group):
                client._conns[node_id, group]._request_timeout = members_seconds if joining else seconds
            return await send(node_id, request, group=group)
        finally:
            joining -= waits

    client.send = bounded
