"""Whose ledger it is: a marker beside the changelogs, compared when a worker starts and while it runs.

The ledger is found by `app_id`, the log of commands by `kafka.topic_prefix`. Whoever changes one of the two, or loses
one, would work with a ledger that does not know what stands in the books. So the two are remembered together: names,
partition counts, and the ids that Kafka gives to topics, which a topic that is deleted and made anew does not keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient
from pydantic import Field

from models.record import Moment, Record
from stream import OperatorError
from stream.settings import Settings

from .admin import BrokerUnreachable
from .log import EventLog
from .producer import publishing

log = structlog.get_logger()

MARKER_KEY = b"installation"
NO_ID = ""
"""Of a topic on a broker that gives none."""


class InstallationMismatch(OperatorError):
    """Topics, ledger and settings do not belong together; the message says what to do."""


class Installation(Record):
    """The marker. `topic_ids` by name; what follows it as in `agents.post.ledger_age.LedgerAge`."""

    type: Literal["Installation"] = "Installation"
    topic_prefix: str
    company_partitions: int
    webhook_partitions: int
    topic_ids: dict[str, str]
    first_commands: dict[int, int] = Field(default_factory=dict)
    first_facts: dict[int, int] = Field(default_factory=dict)
    ledger_since: Moment | None = None
    log_since: Moment | None = None
    facts_since: Moment | None = None
    at: Moment


@dataclass(frozen=True)
class Names:
    """Topics by what they mean here: the marker's own, the changelogs of the ledger and of whose each invoice is, and
    those whose addresses the ledger holds."""

    marker: str
    ledger: str
    owners: str
    commands: str
    invoices: str


@dataclass(frozen=True)
class Accepted:
    """What an operator said is right, once."""

    empty_ledger: bool = False
    new_log: bool = False


NOTHING_ACCEPTED = Accepted()


async def topic_ids(bootstrap_servers: str, names: Collection[str], timeout_seconds: float) -> dict[str, str]:
    """The id of each topic that exists. Raises BrokerUnreachable."""

    def ask() -> dict[str, str]:
        client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        asked = client.describe_topics(TopicCollection(list(names)), request_timeout=timeout_seconds)
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = _id_of(answer.result(timeout_seconds + 1).topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return found

    try:
        return await asyncio.to_thread(ask)
    except (KafkaException, TimeoutError) as error:
        raise BrokerUnreachable.at(bootstrap_servers, timeout_seconds) from error


def _id_of(found: Uuid | None) -> str:
    none = found is None or not (found.get_most_significant_bits() or found.get_least_significant_bits())
    return NO_ID if none else str(found)


async def settle_installation(
    settings: Settings, names: Names, topics: Collection[str], accepted: Accepted
) -> Installation:
    """The marker of this installation, written when there is none. Raises InstallationMismatch, BrokerUnreachable."""
    events, kafka = EventLog.of(settings), settings.kafka
    assert kafka.bootstrap_servers is not None
    ours = Installation(
        topic_prefix=kafka.topic_prefix,
        company_partitions=kafka.company_partitions,
        webhook_partitions=kafka.webhook_partitions,
        topic_ids=await topic_ids(kafka.bootstrap_servers, topics, kafka.timeout_seconds),
        at=datetime.now(UTC),
    )
    known = await _read(events, names.marker)
    wanted = await _wanted(known, ours, events, names, accepted, settings.app_id)
    if wanted == known:
        return wanted
    if await _read(events, names.marker) != known:  # another worker was first; what it found holds for us too
        return await settle_installation(settings, names, topics, accepted)
    async with publishing(settings) as publisher:
        await publisher.send(names.marker, MARKER_KEY, wanted.encode())
    log.info("installation_noted", app_id=settings.app_id, first_commands=wanted.first_commands)
    return wanted


async def _read(events: EventLog, marker: str) -> Installation | None:
    last = None
    async for record in events.read_range(marker):
        last = record.decoded(Installation.model_validate_json) or last
    return last


async def _wanted(
    known: Installation | None, ours: Installation, events: EventLog, names: Names, accepted: Accepted, app_id: str
) -> Installation:
    """The marker as it should be; `known` itself when that is right."""
    if known is not None:
        _require_the_same(known, ours, app_id)
    ledger_bounds = (await events.bounds(names.ledger)).values()
    ledger_is_empty = all(each.first >= each.end for each in ledger_bounds)
    ledger_was_emptied = ledger_is_empty and any(each.end for each in ledger_bounds)
    ledger_was_emptied &= known is None or not known.first_commands  # else that was accepted
    if known is None or ledger_was_emptied or _differs(known, ours, names.ledger):
        ends = await _ends(events, names.commands)
        if not ledger_is_empty:  # it is older than markers are, or its own is lost
            return ours
        if ends and not accepted.empty_ledger and await _read(events, names.marker) == known:
            raise InstallationMismatch(_EMPTY_LEDGER.format(ledger=names.ledger, commands=names.commands))
        if not ends:
            return ours
        facts = await _ends(events, names.invoices)
        begun: Installation = ours.replace(first_commands=ends, first_facts=facts, ledger_since=ours.at)
        return begun
    return _with_new_log(known, ours, names, ledger_is_empty, accepted)


async def _ends(events: EventLog, topic: str) -> dict[int, int]:
    return {number: each.end for number, each in (await events.bounds(topic)).items() if each.end}


def _with_new_log(
    known: Installation, ours: Installation, names: Names, ledger_is_empty: bool, accepted: Accepted
) -> Installation:
    renewed = [name for name in (names.commands, names.invoices) if _differs(known, ours, name)]
    without_owners = _differs(known, ours, names.owners)
    if not renewed and not without_owners:
        return known
    if not ledger_is_empty and not accepted.new_log:
        text = _NEW_LOG if renewed else _NEW_OWNERS
        raise InstallationMismatch(text.format(topics=" and ".join(renewed), ledger=names.ledger, owners=names.owners))
    since = ours.at if renewed else known.log_since
    facts_since = ours.at if names.invoices in renewed else known.facts_since
    new: Installation = ours.replace(
        log_since=None if ledger_is_empty else since,
        facts_since=None if ledger_is_empty else facts_since,
        first_commands=known.first_commands if not renewed else {},
        first_facts=known.first_facts if names.invoices not in renewed else {},
        ledger_since=known.ledger_since,
    )
    return new


def _require_the_same(known: Installation, ours: Installation, app_id: str) -> None:
    for setting in ("topic_prefix", "company_partitions", "webhook_partitions"):
        was, now = getattr(known, setting), getattr(ours, setting)
        if was != now:
            raise InstallationMismatch(
                f"the ledger of app_id {app_id} belongs to kafka.{setting}={was!r}, and the settings say {now!r}. "
                f"Remedy: set kafka.{setting} back to {was!r}; or, for another installation, choose another app_id too"
            )


def _differs(known: Installation, ours: Installation, name: str) -> bool:
    was, now = known.topic_ids.get(name, NO_ID), ours.topic_ids.get(name, NO_ID)
    return bool(was and now) and was != now


_EMPTY_LEDGER = (
    "the ledger (topic {ledger}) is empty, and {commands} is not: what was posted from it is not known any more. "
    "Remedy: set app_id back, or restore the changelogs. If they are gone for good: metronome-qbo topics "
    "--accept-empty-ledger; then everything in that topic is looked up in QuickBooks before it is created"
)
_NEW_LOG = (
    "{topics} was deleted and made anew, and the ledger (topic {ledger}) speaks of the former one. Remedy: restore the "
    "former topic. If it is gone for good: metronome-qbo topics --accept-new-log; then what waits (parked) has to be "
    "sent again by its webhook"
)
_NEW_OWNERS = (
    "{owners} was deleted and made anew, beside a ledger (topic {ledger}) that is not empty: which company has which "
    "invoice is not known any more. Remedy: restore it. If it is gone for good: see that the routing is the one under "
    "which the invoices were posted, since an invoice that it now has in another company would be billed there too; "
    "then metronome-qbo topics --accept-new-log"
)


class TopicGuard:
    """Notices when topics change under a running worker: partitions added, a topic deleted, or made anew."""

    def __init__(self, settings: Settings, partitions: Mapping[str, int], installation: Installation) -> None:
        assert settings.kafka.bootstrap_servers is not None
        self._events = EventLog.of(settings)
        self._partitions = partitions
        self._ids = installation.topic_ids

    async def check(self) -> None:
        """Raises InstallationMismatch. A broker that does not answer is no misfit."""
        try:
            found = await topic_ids(self._events.bootstrap_servers, self._partitions, self._events.timeout_seconds)
            counts = await self._events.partitions(list(found))
        except OperatorError as error:
            log.warning("topics_not_checked", reason=str(error))
            return
        for name, wanted in self._partitions.items():
            if name not in found:
                raise InstallationMismatch(f"topic {name} was deleted under the running worker. Remedy: restore it")
            if self._ids.get(name, NO_ID) not in (NO_ID, found[name]):
                raise InstallationMismatch(
                    f"topic {name} was deleted and made anew under the running worker. Remedy: start the worker again; "
                    "it says what more there is to do"
                )
            if len(counts[name]) != wanted:
                raise InstallationMismatch(
                    f"topic {name} has {len(counts[name])} partitions, and had {wanted} when the worker started: "
                    "records of one company would lie in two of them. Remedy: see metronome-qbo topics"
                )
