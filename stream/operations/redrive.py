"""Doing again what stopped: parked and uncertain commands, and dead letters, from where they lie in Kafka.

A command that is published again is a new command with an outcome of its own; the ledger sees to it that nothing is
posted twice.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.delivery import ERROR_HEADER
from agents.watch import asked_again, headers_of
from models.commands import COMMANDS, DeclineInvoice
from models.events import Announcement
from models.outcomes import Outcome
from models.record import Address
from stream.kafka.log import EventLog, RawRecord
from stream.kafka.producer import publishing
from stream.settings import Settings
from stream.topics import topic_names

UNFINISHED = ("parked", "uncertain")


@dataclass(frozen=True)
class Unfinished:
    """A command whose last outcome says that it waits."""

    outcome: Outcome

    @property
    def subject(self) -> str:
        return self.outcome.subject


async def unfinished(settings: Settings, *, subject: str | None, waits_for: str | None) -> list[Unfinished]:
    """What waits, in the order of the commands; of one `subject` or all, for one cause or any."""
    newest: dict[tuple[str, str], Outcome] = {}
    outcomes = EventLog.of(settings).read_records(topic_names(settings).outcomes, Outcome.model_validate_json)
    async with aclosing(outcomes):
        async for outcome, _ in outcomes:
            standing = newest.get((outcome.realm, outcome.subject))
            if standing is None or outcome.command.offset >= standing.command.offset:
                newest[outcome.realm, outcome.subject] = outcome
    found = [
        Unfinished(outcome)
        for outcome in newest.values()
        if outcome.result in UNFINISHED
        and subject in (None, outcome.subject)
        and (waits_for is None or (outcome.waits_for or "").startswith(waits_for))
    ]
    return sorted(found, key=lambda each: (each.outcome.command.partition, each.outcome.command.offset))


async def redrive_commands(settings: Settings, chosen: list[Unfinished]) -> int:
    """Publish the commands again, in their order, and ask Metronome again where it had not decided; how many were
    confirmed. Raises BrokerUnreachable, ReadFailed.
    """
    names = topic_names(settings)
    async with publishing(settings) as publisher:
        for each in chosen:
            record = await EventLog.of(settings).read_one(each.outcome.command)
            command = record.decoded(COMMANDS.validate_json)
            again = asked_again(command, datetime.now(UTC)) if isinstance(command, DeclineInvoice) else None
            if isinstance(again, Announcement):
                await publisher.send(names.webhooks, again.customer_id.encode(), again.encode(), headers_of(again))
            else:
                await publisher.send(names.commands, record.key, again.encode() if again else record.value)
    return len(chosen)


@dataclass(frozen=True)
class DeadRecord:
    """A dead letter, and where it came from."""

    record: RawRecord
    topic: str
    reason: str

    @property
    def at(self) -> Address:
        return self.record.address


async def dead_letters(settings: Settings, *, from_offset: int = 0, to_offset: int | None = None) -> list[DeadRecord]:
    found = []
    records = EventLog.of(settings).read_range(topic_names(settings).deadletters, from_offset, to_offset)
    async with aclosing(records):
        async for record in records:
            headers = dict(record.headers)
            topic = _text(headers, "topic")
            if topic:
                found.append(DeadRecord(record, topic, _text(headers, "exception.message")))
    return found


async def redrive_dead_letters(settings: Settings, chosen: list[DeadRecord]) -> int:
    """Publish the original bytes, key and headers to the topics they came from; how many were confirmed."""
    async with publishing(settings) as publisher:
        for each in chosen:
            headers = {
                name: value for name, value in dict(each.record.headers).items() if not name.startswith(ERROR_HEADER)
            }
            await publisher.send(each.topic, each.record.key, each.record.value, headers)
    return len(chosen)


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(ERROR_HEADER + name, b"").decode(errors="replace")
