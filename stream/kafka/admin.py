"""Kafka topics: declared before anything runs, and checked against what the cluster really has.

Faust declares only the topics that an agent reads, and a producer waits for ever on a topic that does not exist. So
every topic is declared here first, with its partitions, cleanup policy and retention; a topic that exists and does not
fit is an error to be read by a person, never something to be changed silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    for_code,
)

from stream import OperatorError

POLL_INTERVAL_SECONDS = 0.1
CONNECT_INTERVAL_SECONDS = 0.5
FOR_EVER_MS = -1
MESSAGE_BYTES_DEFAULT = 1_048_588
"""Kafka's own."""

Setting = Literal["cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes"]


@dataclass(frozen=True)
class TopicSpec:
    """A topic as this system needs it. `retention_ms` of -1 keeps records for ever; a compact topic ignores it.

    `message_bytes_max` is the least that it must take in one record; more is no misfit.
    """

    name: str
    partitions: int
    cleanup_policy: Literal["delete", "compact"]
    retention_ms: int
    message_bytes_max: int = MESSAGE_BYTES_DEFAULT


@dataclass(frozen=True)
class TopicDifference:
    """One way in which an existing topic differs from its spec; `found` and `wanted` as Kafka's tools print them."""

    topic: str
    setting: Literal["missing", "partitions", "replicas", "min.insync.replicas"] | Setting
    found: str
    wanted: str

    def __str__(self) -> str:
        if self.setting == "missing":
            return f"topic {self.topic} is missing, wanted {self.wanted}. Remedy: it is created when a worker starts"
        return f"topic {self.topic} has {self.setting}={self.found}, wanted {self.wanted}. Remedy: {self._remedy()}"

    def _remedy(self) -> str:
        if self.setting == "partitions":
            # Adding partitions would send an existing key to another partition than its earlier records.
            return f"set the topic's partitions to {self.found}, or choose another topic prefix"
        if self.setting == "replicas":
            return f"kafka-reassign-partitions.sh, or set kafka.replication_factor to {self.found}"
        return (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {self.topic} "
            f"--add-config {self.setting}={self.wanted}, or change the setting"
        )


class BrokerUnreachable(OperatorError):
    """Kafka did not answer in time at the address that the message names."""

    @classmethod
    def at(cls, bootstrap_servers: str, seconds: float) -> BrokerUnreachable:
        return cls(
            f"Kafka at {bootstrap_servers} did not answer within {seconds:g} s. Is it running, and is "
            "kafka.bootstrap_servers right?"
        )


class KafkaRefused(OperatorError):
    """Kafka answered, and refused; its access rules or settings are the likely cause."""


class TopicMismatch(OperatorError):
    """Topics exist that do not fit their specs: the message names each, what was found, what is wanted and a remedy."""

    def __init__(self, differences: Sequence[TopicDifference]) -> None:
        super().__init__("; ".join(map(str, differences)))
        self.differences = tuple(differences)


class TopicUnavailable(OperatorError):
    """The broker refused to create a topic (the message says why), or the topic did not appear in time."""


async def declare_topics(
    bootstrap_servers: str, specs: Sequence[TopicSpec], *, replication_factor: int, timeout_seconds: float
) -> list[str]:
    """Create what is missing, wait until every topic has its leaders, and return the names that this call created.

    Any number of workers may do this at once. A misfit is found before anything is created. Raises `TopicMismatch`,
    `TopicUnavailable`, or `BrokerUnreachable`, all within `timeout_seconds`. Needs a broker that creates topics; for
    the embedded one see `create_by_asking`.
    """
    deadline = _deadline(timeout_seconds)
    async with _connected(bootstrap_servers, deadline, timeout_seconds) as admin:
        differences = await _compare(admin, specs)
        if misfits := [each for each in differences if each.setting != "missing"]:
            raise TopicMismatch(misfits)
        missing = {each.topic for each in differences}
        created = await _create(admin, [spec for spec in specs if spec.name in missing], replication_factor, deadline)
        await _until_led(admin, [spec.name for spec in specs], deadline)
        # Again, because another program may have created the topic in between, with other settings.
        if misfits := [each for each in await _compare(admin, specs) if each.setting != "missing"]:
            raise TopicMismatch(misfits)
        return created


async def compare_topics(
    bootstrap_servers: str,
    specs: Sequence[TopicSpec],
    *,
    timeout_seconds: float,
    replication_factor: int | None = None,
) -> list[TopicDifference]:
    """What differs between the specs and the cluster, in the order of the specs. Changes and creates nothing.

    With a `replication_factor`, after that, which topics have fewer copies, or confirm a record with too few of them.
    Raises `BrokerUnreachable` within `timeout_seconds`. Needs a broker that describes settings: not the embedded one.
    """
    async with _connected(bootstrap_servers, _deadline(timeout_seconds), timeout_seconds) as admin:
        differences = await _compare(admin, specs)
        if replication_factor is not None:
            differences += await _compare_copies(admin, specs, replication_factor)
        return differences


async def create_by_asking(bootstrap_servers: str, names: Iterable[str], *, timeout_seconds: float) -> None:
    """Make each topic exist by asking for its metadata: the embedded broker creates a topic that is asked for.

    On a broker that does not create topics on first use this raises `TopicUnavailable`, and `BrokerUnreachable` when
    none answers; both within `timeout_seconds`.
    """
    deadline = _deadline(timeout_seconds)
    async with _connected(bootstrap_servers, deadline, timeout_seconds) as admin:
        await _until_led(admin, list(names), deadline, ask_by_name=True)


async def existing_partitions(bootstrap_servers: str, *, timeout_seconds: float) -> dict[str, list[int]]:
    """The partitions of every topic that exists; creates none by asking.

    Raises `BrokerUnreachable` or `KafkaRefused` within `timeout_seconds`.
    """
    async with _connected(bootstrap_servers, _deadline(timeout_seconds), timeout_seconds) as admin:
        return {
            topic["topic"]: sorted(each["partition"] for each in topic["partitions"])
            for topic in await admin.describe_topics()
        }


async def committed_offsets(
    bootstrap_servers: str, group: str, places: Iterable[tuple[str, int]], *, timeout_seconds: float
) -> dict[tuple[str, int], int]:
    """Of these partitions, the offset of the first record that a consumer group has not done; none, if it never did.

    Raises `BrokerUnreachable` or `KafkaRefused` within `timeout_seconds`.
    """
    async with _connected(bootstrap_servers, _deadline(timeout_seconds), timeout_seconds) as admin:
        partitions = [TopicPartition(*place) for place in places]
        found = await admin.list_consumer_group_offsets(group, partitions=partitions)
        return {(each.topic, each.partition): known.offset for each, known in found.items() if known.offset >= 0}


@asynccontextmanager
async def _connected(
    bootstrap_servers: str, deadline: float, timeout_seconds: float
) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, waiting for a broker that is still starting; all that is done with it ends by `deadline`."""
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout_at(deadline):
                admin = await _start(bootstrap_servers, deadline)
                stack.push_async_callback(admin.close)
                yield admin
        except (TimeoutError, KafkaConnectionError, NodeNotReadyError, RequestTimedOutError) as error:
            raise BrokerUnreachable.at(bootstrap_servers, timeout_seconds) from error
        except KafkaError as error:
            raise KafkaRefused(
                f"Kafka at {bootstrap_servers} refused: {type(error).__name__}: {error}. Remedy: look at the "
                "broker's log; it may not allow this client to see or create topics"
            ) from error


async def _start(bootstrap_servers: str, deadline: float) -> AIOKafkaAdminClient:
    # An attempt ends by itself before the deadline: cancelled while it connects, it would leave its connection open.
    while (seconds := deadline - POLL_INTERVAL_SECONDS - _now()) > 0:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=max(1, int(seconds * 1000)))
        try:
            await admin.start()
        except KafkaConnectionError:
            await asyncio.sleep(min(CONNECT_INTERVAL_SECONDS, seconds))
        else:
            return admin
    raise TimeoutError


async def _compare(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> list[TopicDifference]:
    # All topics, not these by name: asking by name creates the topic where the broker creates on first use.
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    settings = await _topic_settings(admin, [spec.name for spec in specs if spec.name in partitions])
    return [
        difference
        for spec in specs
        for difference in _differences(spec, partitions.get(spec.name), settings.get(spec.name))
    ]


def _differences(
    spec: TopicSpec, partitions: int | None, settings: Mapping[str, str] | None
) -> Iterable[TopicDifference]:
    if partitions is None or settings is None:
        yield TopicDifference(spec.name, "missing", "nothing", f"{spec.partitions} partitions, {spec.cleanup_policy}")
        return
    if partitions != spec.partitions:
        yield TopicDifference(spec.name, "partitions", str(partitions), str(spec.partitions))
    for setting, wanted in _settings_of(spec).items():
        if not _fits(setting, settings[setting], wanted):
            yield TopicDifference(spec.name, setting, settings[setting], wanted)


def in_sync_min(replication_factor: int) -> int:
    """How many copies confirm a record: of three or more, one broker may be lost and another away."""
    return 2 if replication_factor >= 3 else 1


async def _compare_copies(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication_factor: int
) -> list[TopicDifference]:
    copies = {
        topic["topic"]: min(len(each["replicas"]) for each in topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["partitions"]
    }
    settings = await _topic_settings(admin, [spec.name for spec in specs if spec.name in copies])
    differences, wanted = [], in_sync_min(replication_factor)
    for name in settings:
        if copies[name] < replication_factor:
            differences.append(TopicDifference(name, "replicas", str(copies[name]), str(replication_factor)))
        found = int(settings[name]["min.insync.replicas"])
        if found < wanted or found > copies[name]:
            differences.append(TopicDifference(name, "min.insync.replicas", str(found), str(wanted)))
    return differences


def _fits(setting: Setting, found: str, wanted: str) -> bool:
    return int(found) >= int(wanted) if setting == "max.message.bytes" else found == wanted


def _settings_of(spec: TopicSpec) -> dict[Setting, str]:
    size: dict[Setting, str] = {"max.message.bytes": str(spec.message_bytes_max)}
    if spec.cleanup_policy == "compact":
        return {"cleanup.policy": "compact", **size}
    # Without retention.bytes a cluster's own size limit would end "for ever" early.
    kept: dict[Setting, str] = {"retention.ms": str(spec.retention_ms), "retention.bytes": str(FOR_EVER_MS)}
    return {"cleanup.policy": "delete", **kept, **size}


async def _topic_settings(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Every setting of each topic that the broker knows, by topic name."""
    if not names:
        return {}
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for error_code, _, _, name, entries in response.resources
        if error_code == 0
    }


async def _create(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication_factor: int, deadline: float
) -> list[str]:
    """The names created. A topic that someone else created first is no error."""
    if not specs:
        return []
    in_sync: dict[str, str] = {"min.insync.replicas": str(in_sync_min(replication_factor))}
    response = await admin.create_topics(
        [
            NewTopic(spec.name, spec.partitions, replication_factor, topic_configs=in_sync | {**_settings_of(spec)})
            for spec in specs
        ],
        timeout_ms=max(1, int((deadline - _now()) * 1000)),
    )
    outcomes = {topic: (for_code(code), message) for topic, code, message in response.topic_errors}
    refused = [
        f"{topic}: {error.__name__}: {message}"
        for topic, (error, message) in outcomes.items()
        if error.errno not in (0, TopicAlreadyExistsError.errno)
    ]
    if refused:
        raise TopicUnavailable(
            f"the broker refused to create {'; '.join(refused)}. Remedy: let this client create topics, or create "
            "them as metronome-qbo topics lists them"
        )
    return [topic for topic, (error, _) in outcomes.items() if error.errno == 0]


async def _until_led(
    admin: AIOKafkaAdminClient, names: Sequence[str], deadline: float, *, ask_by_name: bool = False
) -> None:
    """Wait until every partition of each topic has a leader; `TopicUnavailable` just before the deadline."""
    while True:
        topics = await admin.describe_topics(list(names) if ask_by_name else None)
        led = {topic["topic"] for topic in topics if _is_led(topic)}
        if not (unled := [name for name in names if name not in led]):
            return
        if _now() + POLL_INTERVAL_SECONDS >= deadline:
            raise TopicUnavailable(f"no leader in time for {', '.join(unled)}: look at the broker's log and settings")
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


def _is_led(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return bool(partitions) and all(partition["leader"] >= 0 for partition in partitions)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _deadline(timeout_seconds: float) -> float:
    return _now() + timeout_seconds
