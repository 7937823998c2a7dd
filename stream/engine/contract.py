"""What we rely on inside Faust and aiokafka, beyond what they document; checked before anything is consumed.

A method that is renamed in a newer version would leave our override without a caller, and records would be lost
silently. So each is named here, with the library's method that has to call it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from faust.tables.base import Collection
from faust.tables.recovery import Recovery
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer

from stream import OperatorError

TESTED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}
"""The versions that requirements.txt pins, with which the tests ran."""


class EngineMismatch(OperatorError):
    """Faust or aiokafka is not as this program needs it; the message names what is missing, and the tested versions."""


@dataclass(frozen=True)
class Reliance:
    """One thing that we override or use. `parameters` are those of the method, None for what is no method.

    `caller` is the library's own function that calls it or sets it, as `Class.method`.
    """

    owner: type
    name: str
    parameters: tuple[str, ...] | None
    caller: Callable[..., Any]
    why: str


RELIANCES = (
    Reliance(
        AIOKafkaConsumerThread,
        "_create_worker_consumer",
        ("self", "transport"),
        AIOKafkaConsumerThread._create_consumer,
        "short waits for records (faust_patches.py)",
    ),
    Reliance(
        AIOKafkaConsumer,
        "_fetch_max_wait_ms",
        None,
        AIOKafkaConsumer.start,
        "Faust has a constant of 1.5 s (faust_patches.py)",
    ),
    Reliance(
        AIOKafkaConsumer, "_fetch_min_bytes", None, AIOKafkaConsumer.start, "fewer, larger fetches (faust_patches.py)"
    ),
    Reliance(
        AIOKafkaConsumerThread,
        "seek_to_committed",
        ("self",),
        ThreadDelegateConsumer.seek_to_committed,
        "partitions without a committed offset are read from their beginning (faust_patches.py)",
    ),
    Reliance(
        AIOKafkaConsumerThread,
        "_ensure_consumer",
        ("self",),
        AIOKafkaConsumerThread._commit,
        "the consumer whose partitions are sought (faust_patches.py)",
    ),
    Reliance(
        Consumer,
        "perform_seek",
        ("self",),
        Recovery.on_recovery_completed,
        "the flow stops before the seek, so that nothing is fetched too early (faust_patches.py)",
    ),
    Reliance(
        Consumer,
        "_new_consumer_thread",
        ("self",),
        ThreadDelegateConsumer.__init__,
        "where our consumer thread comes in (faust_patches.py)",
    ),
    Reliance(
        Producer,
        "_settings_extra",
        ("self",),
        Producer._new_producer,
        "an idempotent producer, whose offsets the fence can rely on (faust_patches.py)",
    ),
    Reliance(
        faust.Table,
        "send_changelog",
        ("self", "partition", "key", "value", "key_serializer", "value_serializer"),
        Collection._send_changelog,
        "every change is waited for, and fenced (tables.py)",
    ),
    Reliance(
        faust.Table,
        "call_recover_callbacks",
        ("self",),
        Collection.on_recovery_completed,
        "the fence begins where the recovery ended (tables.py)",
    ),
    Reliance(
        Recovery,
        "active_highwaters",
        None,
        Recovery.__init__,
        "where the recovery ended (tables.py)",
    ),
    Reliance(
        Recovery,
        "actives_for_table",
        None,
        Recovery.on_recovery_completed,
        "whose changelogs they are (tables.py)",
    ),
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
        if method is None:
            return f"{what} is gone: {reliance.why}"
        found = tuple(inspect.signature(method).parameters)
        if found != reliance.parameters:
            return f"{what} takes {', '.join(found)} instead of {', '.join(reliance.parameters)}: {reliance.why}"
    if not _mentions(reliance.caller, reliance.name):
        return f"{what} is no longer used by {reliance.caller.__qualname__}: {reliance.why}"
    return None


def _mentions(function: Callable[..., Any], name: str) -> bool:
    """Whether the function's code, or a function within it, uses an attribute of that name."""
    code = inspect.unwrap(function).__code__
    inner = [constant for constant in code.co_consts if inspect.iscode(constant)]
    return any(name in each.co_names for each in (code, *inner))
