"""The connections topic as a command uses it."""

import asyncio
from contextlib import aclosing

from agents.connections import newest
from models.events import ConnectionChanged
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import EventLog
from stream.kafka.producer import publishing
from stream.settings import Settings
from stream.topics import topic_names


class ConnectionLog:
    """What is known of each company's connection. The topic must exist."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = EventLog.of(settings)
        self._topic = topic_names(settings).connections

    async def newest(self, realm: str) -> ConnectionChanged | None:
        """What stands for `realm`. Raises as `every`."""
        return (await self.every()).get(realm)

    async def every(self) -> dict[str, ConnectionChanged]:
        """What stands for each realm. Raises BrokerUnreachable or ReadFailed."""
        found: dict[str, ConnectionChanged] = {}
        try:
            async with asyncio.timeout(self._log.timeout_seconds):
                async with aclosing(self._log.read_range(self._topic)) as records:
                    async for record in records:
                        change = record.decoded(ConnectionChanged.model_validate_json)
                        # Compaction goes by the key: under another one, a record is nobody's connection.
                        if change is not None and record.key == change.realm.encode():
                            found[change.realm] = newest(found.get(change.realm), change)
        except TimeoutError:
            raise BrokerUnreachable.at(self._log.bootstrap_servers, self._log.timeout_seconds) from None
        return found

    async def record(self, change: ConnectionChanged) -> None:
        """Publish `change`; returns once the broker has confirmed. Raises BrokerUnreachable."""
        async with publishing(self._settings) as publisher:
            await publisher.send(self._topic, change.realm.encode(), change.encode())
