"""A real Apache Kafka broker (KRaft, one node) from Maven's jars, for machines without Docker.

    python -m simulators.kafka.jars --port 9092 --data DIR

The jars are fetched once into `~/.cache/metronome-qbo/kafka-4.1.1` (or below `XDG_CACHE_HOME`). For development and
tests only: one node, no replication, no authentication, loopback.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

KAFKA_VERSION = "4.1.1"
JAVA_VERSION_MIN = 17
HEAP_MIB_MAX = 512
DOWNLOAD_TIMEOUT_SECONDS = 600
FORMAT_TIMEOUT_SECONDS = 60
START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 8
POLL_INTERVAL_SECONDS = 0.2
COMPLAINT_LINES_MAX = 10
OUTPUT_CHARACTERS_MAX = 2000

POM = Path(__file__).with_name("pom.xml")

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
# One node: Kafka's own topics cannot have the three replicas that are their default.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Topics are declared, as in production: a mistyped name is an error.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# The default of 128 MiB is a quarter of this broker's heap.
log.cleaner.dedupe.buffer.size=16777216
"""

LOG4J_PROPERTIES = """\
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log_file}
appender.file.filePattern={log_file}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c{{1}} %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
"""


class KafkaJarsUnavailable(Exception):
    """Java or Kafka's jars are not to be had on this machine; the message names the remedy."""


class KafkaDidNotStart(Exception):
    """The broker ended, or did not answer in time; the message carries what its log says."""


class KafkaFromJars:
    """One Kafka broker as a child process: `with KafkaFromJars() as kafka: kafka.bootstrap_servers`.

    Ports are free ones unless given. The data directory is a temporary one, deleted at the end, unless given; a given
    one is used again with the records in it. `stop()` then `start()` keeps port and data, `pause()` and `resume()`
    freeze the process with its connections open.
    """

    def __init__(self, *, port: int | None = None, data_dir: Path | None = None) -> None:
        self._port = port or free_port()
        self._controller_port = free_port(other_than=self._port)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True)
            data_dir = Path(self._temporary.name)
        self.data_dir = data_dir.absolute()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "kafka.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._discard_data()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._discard_data()

    def start(self) -> None:
        """Start and wait until the broker answers. Raises `KafkaJarsUnavailable`, `KafkaDidNotStart`."""
        if self.is_running:
            return
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start without waiting for an answer: a node among several has none before the others run."""
        java, classpath = find_java(), f"{resolve_jars()}/*"
        if not is_free(self._port):  # else whatever listens there would be taken for this broker
            raise KafkaDidNotStart(f"port {self._port} is in use: stop what listens there, or choose another port")
        self._write_configuration()
        self._format(java, classpath)
        with (self.data_dir / "java.out").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(java, f"-Xms{HEAP_MIB_MAX // 2}m", f"-Xmx{HEAP_MIB_MAX}m", *self._log4j_option),
                    *("-cp", classpath, "kafka.Kafka", str(self.data_dir / "server.properties")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is ours to answer, with stop()
            )

    def wait_until_it_answers(self) -> None:
        """Raises `KafkaDidNotStart`."""
        try:
            self._wait_until_it_answers(self._running_process())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the broker: SIGTERM, and SIGKILL after `STOP_TIMEOUT_SECONDS`. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)  # a paused process would not see the next signal
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Freeze the broker: connections stay open, nothing is answered."""
        self._running_process().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running_process().send_signal(signal.SIGCONT)

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the broker is not running: start() it first")
        return self._process

    @property
    def _log4j_option(self) -> list[str]:
        return [f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.properties'}"]

    def _write_configuration(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "server.properties").write_text(self._properties())
        (self.data_dir / "log4j2.properties").write_text(LOG4J_PROPERTIES.format(log_file=self.log_file))

    def _properties(self) -> str:
        return SERVER_PROPERTIES.format(
            port=self._port, controller_port=self._controller_port, log_dir=self.data_dir / "log"
        )

    def _cluster_id(self) -> str:
        return made_cluster_id()

    def _format(self, java: str, classpath: str) -> None:
        """Give the data directory its cluster id, once: formatted storage keeps the one it has."""
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        tool = [java, "-Xmx128m", *self._log4j_option, "-cp", classpath, "kafka.tools.StorageTool"]
        properties = self.data_dir / "server.properties"
        _run([*tool, "format", f"--cluster-id={self._cluster_id()}", f"--config={properties}"], FORMAT_TIMEOUT_SECONDS)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        client = AdminClient(
            {"bootstrap.servers": self.bootstrap_servers, "reconnect.backoff.max.ms": 200, "log_level": 0}
        )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise KafkaDidNotStart(f"Kafka ended with code {process.returncode}. {self._complaint()}")
            try:
                # The listener opens before the broker has registered: until then it lists none.
                if client.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass
            time.sleep(POLL_INTERVAL_SECONDS)
        raise KafkaDidNotStart(f"Kafka did not answer within {START_TIMEOUT_SECONDS} s. {self._complaint()}")

    def _complaint(self) -> str:
        """What Kafka says went wrong: the last errors of its log, else the log's end."""
        files = [file for file in (self.data_dir / "java.out", self.log_file) if file.exists()]
        lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
        errors = [
            line for line in lines if re.search(r" (ERROR|FATAL) |^(Caused by: )?[\w.]+(Exception|Error)\b", line)
        ]
        return f"See {self.log_file}:\n" + "\n".join((errors or lines)[-COMPLAINT_LINES_MAX:])

    def _discard_data(self) -> None:
        if self._temporary:
            self._temporary.cleanup()


def made_cluster_id() -> str:
    """A new one, in Kafka's own form of a UUID."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def free_port(other_than: int | None = None) -> int:
    """A loopback TCP port that nothing listens on at this moment.

    `other_than` is one that was chosen before and is not listened on yet: the system may well offer it a second time.
    """
    with socket.socket() as listener, socket.socket() as another:
        listener.bind(("127.0.0.1", 0))
        another.bind(("127.0.0.1", 0))
        ports: list[int] = [each.getsockname()[1] for each in (listener, another)]
        return next(port for port in ports if port != other_than)


def is_free(port: int) -> bool:
    """Whether nothing listens on this loopback port; connections of an earlier listener may still be closing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_java(environment: Mapping[str, str] = os.environ) -> str:
    """The path of a Java that can run Kafka: that of `JAVA_HOME`, else the one on the PATH."""
    remedy = f"Install Java {JAVA_VERSION_MIN} or newer (Debian: apt-get install openjdk-17-jre-headless)"
    home = environment.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java", path=environment.get("PATH", ""))
    if not java or not Path(java).exists():
        raise KafkaJarsUnavailable(f"Kafka needs Java, and there is none on this machine. {remedy}, or use Docker")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', answer)
    if not found or int(found[1]) < JAVA_VERSION_MIN:
        raise KafkaJarsUnavailable(f"Kafka {KAFKA_VERSION} cannot run on {java} ({answer[:60].strip()}). {remedy}")
    return java


def resolve_jars(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of Kafka's jars, fetched by Maven the first time (54 MB)."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metronome-qbo"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn", path=environment.get("PATH", ""))
    if not maven:
        raise KafkaJarsUnavailable(
            f"Kafka's jars are not in {jars}, and there is no Maven to fetch them. "
            "Install Maven (Debian: apt-get install maven), or use Docker"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as staging:
        fetched = Path(staging, "jars")
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        _run([maven, "-B", "-q", "--strict-checksums", "-f", str(POM), *goal], DOWNLOAD_TIMEOUT_SECONDS)
        try:
            fetched.rename(jars)  # whole or not at all
        except OSError:
            if not jars.is_dir():  # else another process was first
                raise
    return jars


def _run(command: list[str], timeout_seconds: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired:
        raise KafkaJarsUnavailable(f"{command[0]} did not finish within {timeout_seconds:g} s") from None
    if done.returncode:
        output = (done.stdout + done.stderr)[-OUTPUT_CHARACTERS_MAX:]
        raise KafkaJarsUnavailable(f"{' '.join(command)} failed with code {done.returncode}:\n{output}")
    return done.stdout


class _StopAsked(BaseException):
    """SIGTERM or SIGINT arrived."""


def _ask_to_stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the orderly end
    raise _StopAsked


def main() -> int:
    """Run one broker until SIGTERM or SIGINT (code 0), or until it ends by itself (code 1)."""
    parser = argparse.ArgumentParser(prog="python -m simulators.kafka.jars", description="One real Kafka broker.")
    parser.add_argument("--port", type=int, default=9092, help="where it listens on 127.0.0.1")
    parser.add_argument("--data", type=Path, help="directory for its records; a temporary one when not given")
    arguments = parser.parse_args()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _ask_to_stop)
    try:
        with KafkaFromJars(port=arguments.port, data_dir=arguments.data) as kafka:
            print(f"Kafka {KAFKA_VERSION} is ready at {kafka.bootstrap_servers}, data in {kafka.data_dir}", flush=True)
            while kafka.is_running:
                time.sleep(POLL_INTERVAL_SECONDS)
            print(f"Kafka ended by itself: see {kafka.log_file}", file=sys.stderr)
            return 1
    except _StopAsked:
        return 0
    except (KafkaJarsUnavailable, KafkaDidNotStart) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
