"""The brokers that tests run on: the embedded one, and one real Kafka for the whole test session.

Fixtures, for tests/conftest.py to import: `embedded_bootstrap`, `kafka_bootstrap`, and `broker`, which runs a test once
on each. Where no real Kafka can run they skip, or fail when `REQUIRE_KAFKA=1`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol, Self

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from simulators.kafka.embedded import embedded_broker
from simulators.kafka.jars import (
    KAFKA_VERSION,
    KafkaFromJars,
    KafkaJarsUnavailable,
    find_java,
    free_port,
    resolve_jars,
)
from tests import BOUND_SECONDS
from tests.fetching import fetching


class NoRealKafka(Exception):
    """Neither Docker nor Java can run Kafka here; the message says what to install."""


class RealKafka(Protocol):
    """A real broker that a test can freeze."""

    @property
    def bootstrap_servers(self) -> str: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@contextmanager
def real_kafka() -> Iterator[RealKafka]:
    """A new, empty Kafka for the length of the block: in Docker when an engine answers, else from Maven's jars."""
    with KafkaInDocker() if docker_answers() else _kafka_from_jars() as kafka:
        yield kafka


def _kafka_from_jars() -> KafkaFromJars:
    try:
        find_java()
        with fetching():
            resolve_jars()
    except KafkaJarsUnavailable as reason:
        raise NoRealKafka(f"no Docker engine answers here, and without it: {reason}") from reason
    return KafkaFromJars()


def docker_answers() -> bool:
    """Whether a Docker engine can be talked to; the client program alone is not enough."""
    try:
        asked = subprocess.run(["docker", "version"], capture_output=True, timeout=BOUND_SECONDS, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


class KafkaInDocker:
    """The image that docker-compose.yml runs, with the same settings, on a free loopback port."""

    def __init__(self) -> None:
        self._port = free_port()  # chosen before the start, because the broker has to advertise it
        self._container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(9092, self._port)
        settings = {
            "CLUSTER_ID": "metronome-qbo-tests-0A",
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap_servers}",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        }
        self._container.with_envs(**settings)
        self._container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(BOUND_SECONDS))

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._container.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._container.stop()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()


@dataclass(frozen=True)
class Broker:
    """Where a test's broker is, and which of the two it is."""

    kind: Literal["embedded", "kafka"]
    bootstrap_servers: str


@pytest.fixture(scope="session")
def embedded_bootstrap() -> Iterator[str]:
    """The `host:port` of an embedded broker that the whole session shares: give topics names of their own."""
    with embedded_broker() as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The `host:port` of a real Kafka that the whole session shares: give topics and groups names of their own."""
    with wanted_kafka() as kafka:
        yield kafka.bootstrap_servers


@contextmanager
def wanted_kafka() -> Iterator[RealKafka]:
    """As `real_kafka`; where none can run, the test that wants it is skipped, or fails."""
    with ExitStack() as stack:
        try:
            kafka = stack.enter_context(real_kafka())
        except NoRealKafka as reason:
            give_up(reason, required=os.environ.get("REQUIRE_KAFKA") == "1")
        yield kafka


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn; the real one starts when the first test asks for it."""
    return Broker(request.param, request.getfixturevalue(f"{request.param}_bootstrap"))


def give_up(reason: NoRealKafka, *, required: bool) -> NoReturn:
    """End the test that needs a real Kafka: as failed when one is required, else as skipped."""
    if required:
        pytest.fail(f"REQUIRE_KAFKA=1, but {reason}")
    pytest.skip(f"NOT TESTED ON REAL KAFKA: {reason}")
