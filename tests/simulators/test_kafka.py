"""The brokers that the product ships for development, and the one that docker-compose.yml declares."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from simulators.kafka import jars
from simulators.kafka.embedded import embedded_broker
from simulators.kafka.jars import (
    KAFKA_VERSION,
    KafkaDidNotStart,
    KafkaFromJars,
    KafkaJarsUnavailable,
    find_java,
    free_port,
    resolve_jars,
)
from stream.kafka.admin import TopicSpec, create_by_asking, declare_topics
from tests import BOUND_SECONDS, ROOT
from tests.brokers import Broker, NoRealKafka, give_up
from tests.fetching import fetching


async def write(bootstrap_servers: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True) as producer:
        headers = [("name", b"header")]
        await asyncio.wait_for(producer.send_and_wait(topic, value, key=b"key", headers=headers), BOUND_SECONDS)


async def read_one(bootstrap_servers: str, topic: str) -> ConsumerRecord[bytes, bytes]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, group_id=str(uuid.uuid4()), auto_offset_reset="earliest"
    ) as consumer:
        return await asyncio.wait_for(consumer.getone(), BOUND_SECONDS)


async def declare(bootstrap_servers: str, topic: str) -> None:
    plans = [TopicSpec(topic, 1, "delete", -1)]
    await declare_topics(bootstrap_servers, plans, replication_factor=1, timeout_seconds=BOUND_SECONDS)


def answers(bootstrap_servers: str, timeout_seconds: float) -> bool:
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=timeout_seconds).brokers)
    except KafkaException:
        return False


def listens(bootstrap_servers: str) -> bool:
    host, port = bootstrap_servers.split(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture
def with_jars() -> None:
    """Skips where Kafka runs in Docker only."""
    try:
        find_java()
        with fetching():
            resolve_jars()
    except KafkaJarsUnavailable as reason:
        pytest.skip(str(reason))


async def test_a_record_comes_back_through_a_group_with_key_and_headers(broker: Broker) -> None:
    topic = f"topic-{uuid.uuid4()}"
    if broker.kind == "kafka":
        await declare(broker.bootstrap_servers, topic)
    else:
        await create_by_asking(broker.bootstrap_servers, [topic], timeout_seconds=BOUND_SECONDS)
    await write(broker.bootstrap_servers, topic, b"value")
    record = await read_one(broker.bootstrap_servers, topic)
    assert (record.key, record.value, record.headers) == (b"key", b"value", (("name", b"header"),))


def test_an_embedded_broker_ends_with_its_block_even_when_the_block_fails() -> None:
    addresses = []

    def run_and_fail() -> None:
        with embedded_broker() as bootstrap_servers:
            addresses.append(bootstrap_servers)
            assert listens(bootstrap_servers)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_and_fail()
    assert not listens(addresses[0])


async def test_embedded_brokers_are_independent() -> None:
    with embedded_broker() as first, embedded_broker() as second:
        await create_by_asking(first, ["only-here"], timeout_seconds=BOUND_SECONDS)
        assert "only-here" in AdminClient({"bootstrap.servers": first}).list_topics(timeout=BOUND_SECONDS).topics
        assert "only-here" not in AdminClient({"bootstrap.servers": second}).list_topics(timeout=BOUND_SECONDS).topics


@pytest.mark.kafka
@pytest.mark.usefixtures("with_jars")
async def test_kafka_from_jars_freezes_restarts_and_keeps_a_given_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "STOP_TIMEOUT_SECONDS", BOUND_SECONDS)
    with KafkaFromJars(data_dir=tmp_path) as kafka:
        address = kafka.bootstrap_servers
        await declare(address, "kept")
        await write(address, "kept", b"before")

        kafka.pause()
        assert listens(address)
        assert not answers(address, 1)
        kafka.resume()
        assert answers(address, BOUND_SECONDS)

        kafka.stop()
        assert not listens(address)
        kafka.start()
        assert kafka.bootstrap_servers == address
        assert (await read_one(address, "kept")).value == b"before"

        kafka.pause()
        process = kafka._process
        assert process is not None
        kafka.stop()
        assert process.returncode != -signal.SIGKILL  # in order: it did not have to be killed
        assert not listens(address)

    with KafkaFromJars(data_dir=tmp_path) as another:
        assert (await read_one(another.bootstrap_servers, "kept")).value == b"before"


@pytest.mark.kafka
@pytest.mark.usefixtures("with_jars")
def test_a_kafka_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\n")  # of no cluster
    kafka = KafkaFromJars(data_dir=tmp_path)
    with pytest.raises(
        KafkaDidNotStart, match=r"(?s)ended with code 1.*/kafka\.log:.*ERROR.*meta\.properties"
    ) as raised:
        kafka.start()
    assert len(str(raised.value)) < 5000
    assert not kafka.is_running


@pytest.mark.usefixtures("with_jars")
def test_another_broker_on_the_port_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with embedded_broker() as address:
        port = int(address.split(":")[1])
        with pytest.raises(KafkaDidNotStart, match=f"port {port} is in use"):
            KafkaFromJars(port=port, data_dir=tmp_path).start()


@pytest.fixture
def kafka_program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m simulators.kafka.jars` as `make kafka` runs it, and the address that it was given."""
    port = free_port()
    command = [sys.executable, "-m", "simulators.kafka.jars", "--port", str(port), "--data", str(tmp_path / "new")]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        try:
            yield program, f"127.0.0.1:{port}"
        finally:
            program.terminate()


@pytest.mark.kafka
@pytest.mark.usefixtures("with_jars")
def test_the_kafka_program_says_when_it_is_ready_and_ends_cleanly_on_sigterm(
    kafka_program: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    program, address = kafka_program
    assert program.stdout is not None
    assert program.stdout.readline() == f"Kafka {KAFKA_VERSION} is ready at {address}, data in {tmp_path / 'new'}\n"
    assert answers(address, BOUND_SECONDS)

    program.send_signal(signal.SIGTERM)
    output, errors = program.communicate(timeout=BOUND_SECONDS)

    assert (program.returncode, output, errors) == (0, "", "")
    assert not listens(address)


@pytest.mark.kafka
@pytest.mark.usefixtures("with_jars")
def test_the_kafka_program_asked_to_end_while_it_starts_leaves_no_broker(
    kafka_program: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    program, address = kafka_program
    deadline = time.monotonic() + BOUND_SECONDS
    while not (tmp_path / "new" / "java.out").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=BOUND_SECONDS)
    assert (program.returncode, output, errors) == (0, "", "")
    assert not listens(address)


def test_without_java_the_error_names_what_to_install() -> None:
    with pytest.raises(KafkaJarsUnavailable, match=r"needs Java.*apt-get install openjdk-17-jre-headless"):
        find_java({"PATH": ""})


def test_a_java_that_is_too_old_is_named(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    with pytest.raises(KafkaJarsUnavailable, match=r"cannot run on .*11\.0\.2.*Install Java 17"):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_without_maven_and_jars_the_error_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(KafkaJarsUnavailable, match=r"no Maven.*apt-get install maven"):
        resolve_jars({"PATH": "", "XDG_CACHE_HOME": str(tmp_path)})


def test_a_failed_download_leaves_no_half_filled_cache(tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'no route to the repository'\nexit 3\n")
    maven.chmod(0o755)
    cache = tmp_path / "cache"
    with pytest.raises(KafkaJarsUnavailable, match=r"(?s)failed with code 3.*no route to the repository"):
        resolve_jars({"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(cache)})
    assert list((cache / "metronome-qbo").iterdir()) == []


def test_a_missing_kafka_skips_loudly_and_fails_where_it_is_required() -> None:
    with pytest.raises(pytest.skip.Exception, match="NOT TESTED ON REAL KAFKA: no Java"):
        give_up(NoRealKafka("no Java"), required=False)
    with pytest.raises(pytest.fail.Exception, match="REQUIRE_KAFKA=1, but no Java"):
        give_up(NoRealKafka("no Java"), required=True)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_holds_no_secret_only_names(compose: dict[str, Any]) -> None:
    secret = re.compile(r"TOKEN|SECRET|ENCRYPTION|PASSWORD|CLIENT_ID")
    found = {
        (service, name): value
        for service, settings in compose["services"].items()
        for name, value in settings.get("environment", {}).items()
        if secret.search(name)
    }
    assert ("receiver", "METRONOME_QBO_METRONOME__WEBHOOK_SECRETS") in found
    assert ("worker", "METRONOME_QBO_QUICKBOOKS__CLIENT_SECRET") in found
    assert set(found.values()) == {None}  # the value comes from the shell or .env


def test_compose_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert "container_name" not in worker
    assert "ports" not in worker


def test_compose_runs_the_kafka_that_the_tests_run_and_keeps_its_records(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    directory = kafka["environment"]["KAFKA_LOG_DIRS"]
    assert f"kafka-data:{directory}" in kafka["volumes"]
    assert "kafka-data" in compose["volumes"]


def test_every_compose_service_has_a_health_check_restarts_and_a_bound_on_its_end(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert {"restart", "stop_grace_period"} <= service.keys()
        # `watch` listens on nothing that could be asked: it ends when it cannot go on, and is started again.
        assert "healthcheck" in service or name == "watch"
    for name in ("receiver", "worker", "web"):
        assert compose["services"][name]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


def test_the_image_gets_hashed_requirements_and_no_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert any("--require-hashes" in line and "requirements.txt" in line for line in lines)
    assert [line for line in lines if line.startswith("USER ")][-1] != "USER root"
    assert lines[-1] == 'ENTRYPOINT ["metronome-qbo"]'
