"""The connections topic as a command uses it, and the check of the keys that are to open it."""

import asyncio
from contextlib import aclosing

import structlog

from agents.clients.failures import CannotDecrypt, TokensUnreadable
from agents.connections import newest
from models.events import ConnectionChanged
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import EventLog
from stream.kafka.producer import publishing
from stream.settings import Settings, SettingsError
from stream.topics import topic_names
from stream.wiring import TokenCipher

log = structlog.get_logger()


async def check_encryption_keys(settings: Settings) -> None:
    """Raises SettingsError when `encryption_keys` open the tokens of no company, and logs the companies of which they
    do not: those wait. Raises as `ConnectionLog.every`."""
    connections = await ConnectionLog(settings).every()
    cipher = TokenCipher(settings.encryption_keys)
    stored = {realm: each.refresh_token for realm, each in connections.items() if each.state == "connected"}
    closed = [realm for realm, token in sorted(stored.items()) if token is not None and not _opens(cipher, token)]
    if closed and len(closed) == len(stored):
        raise SettingsError(
            f"encryption_keys: the stored tokens of {', '.join(closed)} were encrypted with another key; add that key "
            "to the end of encryption_keys, or connect each company again: metronome-qbo connect --realm …"
        )
    for realm in closed:
        log.error("tokens_unreadable", realm=realm, remedy=str(TokensUnreadable(realm)))


def _opens(cipher: TokenCipher, token: str) -> bool:
    try:
        cipher.decrypt(token)
    except CannotDecrypt:
        return False
    return True


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
