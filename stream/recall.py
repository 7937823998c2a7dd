"""Commands read again from where they lie, for those that waited and now go on."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from pydantic import ValidationError

from models.commands import COMMANDS, Command
from models.record import Address

from .reader import ReadFailed, read_each
from .settings import Settings
from .topics import BrokerUnreachable

log = structlog.get_logger()


async def recall(settings: Settings, addresses: Sequence[Address]) -> list[Command]:
    """The commands at `addresses` of one partition, in order; never raises.

    Those that cannot be read stay in the waiting room, and are asked for again by the next probe.
    """
    assert settings.kafka.bootstrap_servers is not None
    commands: list[Command] = []
    try:
        async for record in read_each(settings.kafka.bootstrap_servers, addresses, settings.kafka.timeout_seconds):
            try:
                commands.append(COMMANDS.validate_json(record.value or b""))
            except ValidationError:
                log.error("unreadable_command", at=str(record.address))  # a dead letter by now
    except (ReadFailed, BrokerUnreachable) as failure:
        log.warning("commands_not_recalled", wanted=len(addresses), read=len(commands), reason=str(failure))
    return commands
