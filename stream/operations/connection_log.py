"""The connections topic as a command uses it."""

import asyncio

from pydantic import ValidationError

from agents.connections import newest
from models.events import ConnectionChanged
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import read_range
from stream.kafka.producer import publishing
from stream.settings import Settings
from stream.topics import topic_names


class ConnectionLog:
    """The connections topic as a command uses it. The topic must exist."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bootstrap_servers = str(settings.kafka.bootstrap_servers)
        self._topic = topic_names(settings).connections
        self._timeout_seconds = settings.kafka.timeout_seconds

    async def newest(self, realm: str) -> ConnectionChanged | None:
        """What stands for `realm`. Raises as `every`."""
        return (await self.every()).get(realm)

    async def every(self) -> dict[str, ConnectionChanged]:
        """What stands for each realm. Raises BrokerUnreachable, or ReadFailed of `stream.kafka.log`."""
        found: dict[str, ConnectionChanged] = {}
        records = read_range(self._bootstrap_servers, self._topic, 0, None, timeout_seconds=self._timeout_seconds)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async for record in records:
                    if (change := _decoded(record.value)) is not None and record.key == change.realm.encode():
                        found[change.realm] = newest(found.get(change.realm), change)
        except TimeoutError:
            raise self._unreachable("did not give the connections") from None
        return found

    async def record(self, change: ConnectionChanged) -> None:
        """Publish `change`; returns once the broker has confirmed. Raises BrokerUnreachable."""
        async with publishing(self._settings) as publisher:
            await publisher.send(self._topic, change.realm.encode(), change.encode())

    def _unreachable(self, problem: str) -> BrokerUnreachable:
        return BrokerUnreachable(
            f"Kafka at {self._bootstrap_servers} {problem} within {self._timeout_seconds} s. Is it running?"
        )


def _decoded(value: bytes | None) -> ConnectionChanged | None:
    """None for what is no connection; the worker reports it."""
    try:
        return ConnectionChanged.model_validate_json(value or b"")
    except ValidationError:
        return None
