"""What must hold when a run is over, read from the log and the books: every record came to an end that is meant."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agents.delivery import ERROR_HEADER, POSTPONED_FROM_HEADER
from agents.enrich import FORWARDED_FROM_HEADER, read_webhook
from models.commands import COMMANDS
from models.events import InvoiceEnriched
from models.metronome import InvoiceFinalized
from models.outcomes import Outcome
from simulators.quickbooks.books import SALES
from stream.kafka.log import RawRecord
from stream.settings import Kafka, Settings
from stream.web.index import Index
from stream.web.projection import Projection
from tests.chaos.log import Stored
from tests.chaos.worker import TOPICS

from .world import World


def wrong(world: World, index: Path) -> list[str]:
    """Everything that is wrong with this world; `index` is the folder for an index of the pages."""
    found = [f"the worker ended: {each}" for each in world.ended]
    if world.never_quiet:
        found.append(f"never handled: {world.never_quiet}")
    found += [f"a wrong total was believed: {each}" for each in world.wrong]
    if not found:
        found += [*_twice(world), *_without_end(world)]
        found += _pages(world, index)
    return found


def counted(world: World) -> Counter[str]:
    """How many of the worker's records there are of each kind: outcomes by their result, and dead letters."""
    found = Counter[str]()
    for role in ("outcomes", "deadletters"):
        for at, stored in world.log.records(TOPICS[role]):
            if (at.topic, at.partition, at.offset) not in world.put:
                found["dead letters" if role == "deadletters" else _decoded(role, stored).result] += 1
    return found


def _twice(world: World) -> Iterator[str]:
    """No invoice has two documents in one company."""
    for realm, books in world.quickbooks.books.items():
        noted = Counter(
            str(sale.get("PrivateNote")).partition("\n")[0].removeprefix("Voided - ")
            for kind in SALES
            for sale in books.objects[kind].values()
        )
        for note, count in noted.items():
            if count > 1 and note.startswith("Metronome invoice"):
                yield f"{count} documents in {realm}: {note}"


def _without_end(world: World) -> Iterator[str]:
    """Records that ended in no dead letter and nothing that follows from them."""
    ended = Counter(_ends(world))
    for role, follows in FOLLOWS.items():
        for at, stored in world.log.records(TOPICS[role]):
            record = _decoded(role, stored)
            if not ended[str(at)] and (record is None or follows(record)):
                yield f"{at} has no end: {stored.value[:300]!r}"


FOLLOWS: dict[str, Callable[[Any], bool]] = {
    "webhooks": lambda record: isinstance(record, InvoiceFinalized),
    "invoices": lambda record: True,
    "commands": lambda record: True,
    "outcomes": lambda record: False,
    "connections": lambda record: False,
}
"""Whether a record that can be read must have an end on another topic."""

DECODE: dict[str, Callable[[bytes], Any]] = {
    "webhooks": read_webhook,
    "invoices": InvoiceEnriched.model_validate_json,
    "commands": COMMANDS.validate_json,
    "outcomes": Outcome.model_validate_json,
}


def _decoded(role: str, stored: Stored) -> Any:
    try:
        return DECODE[role](stored.value) if role in DECODE else stored
    except ValueError:
        return None


def _ends(world: World) -> Iterator[str]:
    """The addresses of what ended, told by the records of the worker's own."""
    for role, topic in TOPICS.items():
        for at, stored in world.log.records(topic):
            if (at.topic, at.partition, at.offset) in world.put:
                continue
            record = _decoded(role, stored)
            match role:
                case "deadletters":
                    topic, partition, offset = (
                        stored.headers[ERROR_HEADER + name].decode() for name in ("topic", "partition", "offset")
                    )
                    yield f"{topic}[{partition}]@{offset}"
                case "webhooks":
                    for name in (FORWARDED_FROM_HEADER, POSTPONED_FROM_HEADER):
                        yield stored.headers.get(name, b"").decode(errors="replace")
                case "invoices":
                    yield str(record.webhook)
                case "commands":
                    yield str(record.facts)
                case "outcomes":
                    yield str(record.command)


def _pages(world: World, index: Path) -> Iterator[str]:
    """The projection takes whatever lies in the topics; what it does not take together, it is given one by one."""
    projection = Projection(Settings(kafka=Kafka(bootstrap_servers="nowhere:1")), at := Index(index / "index.sqlite"))
    records = [
        RawRecord(address, int(stored.seconds * 1000), stored.key, stored.value, tuple(stored.headers.items()))
        for topic in TOPICS.values()
        for address, stored in world.log.records(topic)
    ]
    try:
        at.apply(projection._batch(records, {}))
    except Exception:
        for each in records:
            try:
                at.apply(projection._batch([each], {}))
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                yield f"the pages' index ended at {each.address}: {told[:300]}: {(each.value or b'')[:200]!r}"
