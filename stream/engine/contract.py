"""What we rely on inside Faust and aiokafka, beyond what they document; checked before anything is consumed.

A method that is renamed in a newer version would leave our override without a caller, and records would be lost
silently. So each is named here, with the library's own methods that have to use it.
"""

import inspect
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import faust
import mode
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.conductor import ConductorCompiler
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer, Transport
from mode.threads import ServiceThread

from stream import OperatorError

TESTED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}
"""The versions that requirements.txt pins, with which the tests ran."""


class EngineMismatch(OperatorError):
    """Faust or aiokafka is not as this program needs it; the message names what is missing, and the tested versions."""


@dataclass(frozen=True)
class Reliance:
    """One thing that we override, set or use. `parameters` are those of the method, None for what is no method.

    `users` are the library's own methods that call it, read it or set it: the class, and the method's name.
    """

    owner: type
    name: str
    parameters: tuple[str, ...] | None
    users: tuple[tuple[type, str], ...]
    why: str


RELIANCES = (
    # How our classes come in (faust_patches.py).
    Reliance(
        faust.App,
        "transport",
        None,
        ((faust.App, "_new_consumer"), (faust.App, "_new_producer")),
        "where our transport comes in",
    ),
    Reliance(Transport, "Consumer", None, ((Transport, "create_consumer"),), "where our consumer comes in"),
    Reliance(Transport, "Producer", None, ((Transport, "create_producer"),), "where our producer comes in"),
    Reliance(
        Consumer,
        "_new_consumer_thread",
        ("self",),
        ((ThreadDelegateConsumer, "__init__"),),
        "where our consumer thread comes in",
    ),
    # Records come promptly (faust_patches.py).
    Reliance(
        AIOKafkaConsumerThread,
        "_create_worker_consumer",
        ("self", "transport"),
        ((AIOKafkaConsumerThread, "_create_consumer"),),
        "its consumer gets short waits for records",
    ),
    Reliance(
        AIOKafkaConsumer,
        "_fetch_max_wait_ms",
        None,
        ((AIOKafkaConsumer, "__init__"), (AIOKafkaConsumer, "start")),
        "the wait for records; Faust has a constant of 1.5 s",
    ),
    Reliance(
        AIOKafkaConsumer,
        "_fetch_min_bytes",
        None,
        ((AIOKafkaConsumer, "__init__"), (AIOKafkaConsumer, "start")),
        "fewer, larger fetches",
    ),
    # None is lost (faust_patches.py).
    Reliance(
        Consumer,
        "perform_seek",
        ("self",),
        ((Recovery, "on_recovery_completed"), (Recovery, "_resume_streams")),
        "the flow stops before the seek, so that nothing is fetched too early and lost",
    ),
    Reliance(
        Consumer, "stop_flow", ("self",), ((faust.App, "_on_partitions_revoked"),), "the flow stops before the seek"
    ),
    Reliance(
        Consumer,
        "resume_flow",
        ("self",),
        ((Recovery, "on_recovery_completed"), (Recovery, "_resume_streams")),
        "the flow that stopped before the seek starts again after it",
    ),
    Reliance(
        AIOKafkaConsumerThread,
        "seek_to_committed",
        ("self",),
        ((Consumer, "perform_seek"), (ThreadDelegateConsumer, "seek_to_committed")),
        "partitions without a committed offset are read from their beginning",
    ),
    Reliance(
        AIOKafkaConsumerThread,
        "_ensure_consumer",
        ("self",),
        ((AIOKafkaConsumerThread, "seek_to_committed"),),
        "the consumer whose partitions are sought",
    ),
    Reliance(
        AIOKafkaConsumerThread,
        "call_thread",
        ("self", "fun", "args", "kwargs"),
        ((AIOKafkaConsumerThread, "seek_to_committed"),),
        "the consumer is used in its own thread",
    ),
    Reliance(
        TableManager,
        "changelog_topics",
        None,
        ((Consumer, "_is_changelog_tp"),),
        "changelogs are sought by the recovery, and by nobody else",
    ),
    # Nothing ends without need (faust_patches.py).
    Reliance(
        AIOKafkaConsumerThread,
        "verify_event_path",
        ("self", "now", "tp"),
        ((Consumer, "verify_event_path"),),
        "a partition without a position does not end the worker",
    ),
    # A rebalance does not stand still, and one partition stops no other (faust_patches.py).
    Reliance(
        Consumer,
        "wait_empty",
        ("self",),
        ((faust.App, "_consumer_wait_empty"), (BaseConsumer, "on_stop")),
        "what is in flight is drained within a bound before partitions go",
    ),
    Reliance(
        faust.App,
        "_consumer_wait_empty",
        ("self", "consumer", "logger"),
        ((faust.App, "_on_partitions_revoked"), (faust.App, "_stop_consumer")),
        "what is in flight is drained before partitions go",
    ),
    Reliance(
        Consumer,
        "commit_and_end_transactions",
        ("self",),
        ((BaseConsumer, "on_stop"),),
        "what was acknowledged while draining is committed",
    ),
    Reliance(
        Consumer,
        "on_buffer_full",
        ("self", "tp"),
        ((ConductorCompiler, "build"),),
        "a partition is held back",
    ),
    Reliance(
        Consumer,
        "on_buffer_drop",
        ("self", "tp"),
        ((ConductorCompiler, "build"),),
        "a partition that was held back goes on",
    ),
    Reliance(
        Consumer,
        "_buffered_partitions",
        None,
        ((Consumer, "getmany"), (Consumer, "on_buffer_full"), (Consumer, "on_buffer_drop")),
        "no partition of before is held back after a rebalance",
    ),
    # None is written twice (faust_patches.py).
    Reliance(
        Producer,
        "_settings_extra",
        ("self",),
        ((Producer, "_new_producer"),),
        "an idempotent producer, whose offsets the fence can rely on",
    ),
    # Changes of tables are durable when we say so (tables.py).
    Reliance(
        faust.Table,
        "send_changelog",
        ("self", "partition", "key", "value", "key_serializer", "value_serializer"),
        ((faust.Table, "on_key_set"), (faust.Table, "on_key_del")),
        "every change of a table is waited for, and fenced",
    ),
    Reliance(
        faust.Table,
        "call_recover_callbacks",
        ("self",),
        ((Collection, "on_recovery_completed"),),
        "the fence begins where the recovery ended",
    ),
    Reliance(Recovery, "active_highwaters", None, ((Recovery, "__init__"),), "where the recovery ended"),
    Reliance(
        Recovery,
        "actives_for_table",
        None,
        ((Recovery, "__init__"), (Recovery, "on_recovery_completed")),
        "whose changelogs were recovered",
    ),
    # A broker that hangs is given up (broker_requests.py).
    Reliance(
        AIOKafkaClient,
        "_request_timeout_ms",
        None,
        ((AIOKafkaClient, "_get_conn"), (AIOKafkaClient, "bootstrap")),
        "how long a connection waits for an answer",
    ),
    Reliance(
        AIOKafkaClient,
        "send",
        ("self", "node_id", "request", "group"),
        ((GroupCoordinator, "_send_req"), (Fetcher, "_proc_fetch_request")),
        "how long one request may take",
    ),
    Reliance(AIOKafkaClient, "_conns", None, ((AIOKafkaClient, "send"),), "the connection that waits"),
    Reliance(
        AIOKafkaConnection, "_request_timeout", None, ((AIOKafkaConnection, "send"),), "how long one request may take"
    ),
    Reliance(
        Sender,
        "_request_timeout_ms",
        None,
        ((SendProduceReqHandler, "create_request"),),
        "how long a broker waits for its replicas",
    ),
    Reliance(
        Producer,
        "_new_producer",
        ("self", "transactional_id"),
        ((Producer, "on_start"),),
        "the producer whose connections are bounded",
    ),
    # What ended by itself is noticed (watchdog.py).
    Reliance(mode.Service, "_shutdown", None, ((mode.Service, "set_shutdown"),), "Faust's fetcher has ended"),
    Reliance(faust.App, "_fetcher", None, ((faust.App, "_stop_fetcher"),), "Faust's fetcher has ended"),
    Reliance(ThreadDelegateConsumer, "_thread", None, ((ThreadDelegateConsumer, "__init__"),), "the consumer's thread"),
    Reliance(ServiceThread, "_thread", None, ((ServiceThread, "start"),), "the consumer's thread lives"),
    Reliance(
        GroupCoordinator,
        "_coordination_task",
        None,
        ((GroupCoordinator, "__init__"), (GroupCoordinator, "check_errors")),
        "the consumer is a member of its group",
    ),
    Reliance(
        GroupCoordinator,
        "_pending_exception",
        None,
        ((GroupCoordinator, "_push_error_to_user"), (GroupCoordinator, "check_errors")),
        "what the group refused",
    ),
    Reliance(AIOKafkaConsumerThread, "_consumer", None, ((AIOKafkaConsumerThread, "on_start"),), "the consumer"),
    Reliance(AIOKafkaConsumer, "_coordinator", None, ((AIOKafkaConsumer, "start"),), "the consumer's membership"),
    Reliance(AIOKafkaConsumer, "_client", None, ((AIOKafkaConsumer, "__init__"),), "the consumer's connections"),
    Reliance(AIOKafkaConsumer, "_fetcher", None, ((AIOKafkaConsumer, "start"),), "the consumer fetches"),
    Reliance(Producer, "_producer", None, ((Producer, "on_start"),), "the producer"),
    Reliance(AIOKafkaProducer, "_sender", None, ((AIOKafkaProducer, "start"),), "the producer sends"),
    Reliance(AIOKafkaProducer, "client", None, ((AIOKafkaProducer, "__init__"),), "the producer's connections"),
    # What went wrong is noticed (worker.py).
    Reliance(mode.Service, "crash_reason", None, ((mode.Service, "_crash"),), "a worker that crashed ends"),
)


def check_engine(reliances: tuple[Reliance, ...] = RELIANCES) -> None:
    """Raises EngineMismatch that names everything that is not as it was tested."""
    problems = [problem for each in reliances if (problem := mismatch(each)) is not None]
    if problems:
        installed = ", ".join(f"{name} {version(name)} (tested with {tested})" for name, tested in TESTED.items())
        raise EngineMismatch(
            f"{'; '.join(problems)}. Installed: {installed}. Install the tested versions: "
            "pip install --require-hashes --no-deps -r requirements.txt"
        )


def mismatch(reliance: Reliance) -> str | None:
    """What is not as it was tested; None when all is well."""
    what = f"{reliance.owner.__module__}.{reliance.owner.__qualname__}.{reliance.name}"
    if reliance.parameters is not None:
        method = getattr(reliance.owner, reliance.name, None)
        if method is None or getattr(method, "__isabstractmethod__", False):  # only declared, by Faust's types
            return f"{what} is gone: {reliance.why}"
        found = tuple(inspect.signature(method).parameters)
        if found != reliance.parameters:
            return f"{what} takes {', '.join(found)} instead of {', '.join(reliance.parameters)}: {reliance.why}"
    for user, name in reliance.users:
        if not _mentions(getattr(user, name, None), reliance.name):
            return f"{what} is no longer used by {user.__qualname__}.{name}: {reliance.why}"
    return None


def _mentions(function: Any, name: str) -> bool:
    """Whether the function's code, or a function within it, uses an attribute of that name; False without any code."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return False
    inner = [constant for constant in code.co_consts if inspect.iscode(constant)]
    return any(name in each.co_names for each in (code, *inner))
