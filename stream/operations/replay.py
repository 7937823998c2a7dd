"""What today's policy would make of recorded facts, compared with what was posted.

Reads the facts, commands and outcomes where they lie, in no group; writes nothing. `publish` is the only exception,
and only for verdicts that somebody chose to apply.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from models.commands import COMMANDS, Command, DeclineInvoice, PostInvoice, VoidInvoice
from models.document import Document, reversed_id
from models.events import InvoiceEnriched
from models.outcomes import Outcome
from models.policy import Policy
from models.record import Address
from stream import OperatorError
from stream.kafka.log import EventLog, RawRecord
from stream.kafka.producer import publishing
from stream.settings import Settings
from stream.topics import topic_names

Kind = Literal["same", "differs", "declined", "never posted", "voided", "superseded", "unreadable"]

EXPLAINED: dict[Kind, str] = {
    "same": "would be posted as it was",
    "differs": "would be posted otherwise",
    "declined": "would be declined",
    "never posted": "was never posted, and would be",
    "voided": "was voided since; is left alone",
    "superseded": "differs, but newer facts were acted on since; is left alone",
    "unreadable": "is no readable record of facts",
}

APPLICABLE: frozenset[Kind] = frozenset({"differs", "never posted"})


class Translate(Protocol):
    def __call__(self, facts: InvoiceEnriched, at: Address, *, policy: Policy) -> list[Command]: ...


class OutOfRange(OperatorError):
    """No record has the offsets that were asked for; the message says which exist."""


@dataclass(frozen=True)
class Change:
    """One field of the document, such as `lines[0].amount`; None where there is no such field."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Verdict:
    """What a replay of one invoice's facts comes to. `commands` are what would be published."""

    kind: Kind
    at: Address
    realm: str
    invoice_id: str
    reason: str | None = None
    changes: tuple[Change, ...] = ()
    commands: tuple[Command, ...] = ()


@dataclass
class History:
    """What was done about one invoice: the command that the books follow, and how recent the facts acted on are."""

    posted_by: Address | None = None
    voided: bool = False
    document: Document | None = None
    newest_facts: Address | None = None


@dataclass(frozen=True)
class Selection:
    """Which facts to replay: offsets of each partition, both included; one partition or all; one invoice or all."""

    from_offset: int
    to_offset: int
    partition: int | None = None
    invoice_id: str | None = None

    @property
    def partitions(self) -> list[int] | None:
        return None if self.partition is None else [self.partition]


@dataclass
class Replay:
    """One replay. `progress` is told how many records have been read so far, every now and then."""

    settings: Settings
    selection: Selection
    translate: Translate
    progress: Callable[[int], None] = field(default=lambda count: None)
    records_read: int = 0

    async def run(self) -> list[Verdict]:
        """A verdict for each invoice with facts in the selection (its newest there), by address.

        Raises OutOfRange, ReadFailed or BrokerUnreachable.
        """
        await self._check_range()
        facts, unreadable = await self._facts()
        histories = await self._histories({each.invoice_id for each, _ in facts.values()})
        verdicts = [self._judge(each, at, histories[each.invoice_id]) for each, at in facts.values()]
        return sorted([*verdicts, *unreadable], key=lambda each: (each.at.partition, each.at.offset))

    async def _check_range(self) -> None:
        topic, selection = topic_names(self.settings).invoices, self.selection
        bounds = await EventLog.of(self.settings).bounds(topic, selection.partitions)
        if any(
            max(each.first, selection.from_offset) <= min(each.end - 1, selection.to_offset) for each in bounds.values()
        ):
            return
        existing = "; ".join(f"partition {number}: {each}" for number, each in sorted(bounds.items()))
        raise OutOfRange(
            f"no facts at offsets {selection.from_offset} to {selection.to_offset} of {topic}. There is {existing}"
        )

    async def _facts(self) -> tuple[dict[str, tuple[InvoiceEnriched, Address]], list[Verdict]]:
        facts: dict[str, tuple[InvoiceEnriched, Address]] = {}
        unreadable = []
        selection = self.selection
        async for record in self._read(
            topic_names(self.settings).invoices, selection.from_offset, selection.to_offset, selection.partitions
        ):
            try:
                each = InvoiceEnriched.model_validate_json(record.value or b"")
            except ValidationError as error:
                reason = f"{error.error_count()} problems, the first: {error.errors()[0]['msg']}"
                unreadable.append(Verdict("unreadable", record.address, "", "", reason))
                continue
            if selection.invoice_id in (None, each.invoice_id):
                facts[each.invoice_id] = (each, record.address)
        return facts, [] if selection.invoice_id else unreadable

    async def _histories(self, wanted: set[str]) -> dict[str, History]:
        """Outcomes first: they say which command of an invoice the books follow, so only that one is kept."""
        histories = {invoice_id: History() for invoice_id in wanted}
        names = topic_names(self.settings)
        async for record in self._read(names.outcomes):
            if (outcome := record.decoded(Outcome.model_validate_json)) is not None:
                _note_outcome(histories, outcome)
        async for record in self._read(names.commands):
            if (command := record.decoded(COMMANDS.validate_json)) is not None:
                _note_command(histories, command, record.address)
        return histories

    async def _read(
        self, topic: str, from_offset: int = 0, to_offset: int | None = None, partitions: list[int] | None = None
    ) -> AsyncIterator[RawRecord]:
        async with aclosing(
            EventLog.of(self.settings).read_range(topic, from_offset, to_offset, partitions)
        ) as records:
            async for record in records:
                self.records_read += 1
                if self.records_read % 100 == 0:
                    self.progress(self.records_read)
                yield record

    def _judge(self, facts: InvoiceEnriched, at: Address, history: History) -> Verdict:
        commands = self.translate(facts, at, policy=self.settings.policy_of(facts.realm))
        kind, reason, changes = judge(commands, history)
        if kind in APPLICABLE and _newer(history.newest_facts, at):
            kind = "superseded"
        return Verdict(kind, at, facts.realm, facts.invoice_id, reason, tuple(changes), tuple(commands))


def judge(commands: Sequence[Command], history: History) -> tuple[Kind, str | None, list[Change]]:
    """Today's commands for an invoice beside its history: the verdict, a reason, and the fields that differ. Pure.

    Its own command is the last: those before it are for customers, items, and an invoice that it replaces.
    """
    document = history.document
    in_books = document is not None and not history.voided
    for command in reversed(commands):
        match command:
            case DeclineInvoice():
                still = f" ({document.doc_number} stands in QuickBooks)" if document and in_books else ""
                return "declined", f"{command.decision}, {command.rule}: {command.reason}{still}", []
            case VoidInvoice(by_hand=str()) if document and in_books:
                return "declined", f"{command.reason}; {document.doc_number} stays in QuickBooks: {command.by_hand}", []
            case VoidInvoice() if in_books:
                return "differs", command.reason, [Change("document", "posted", "voided")]
            case VoidInvoice():
                return "same", "not in the books, and would not be", []
            case PostInvoice(document=Document(reverses=str())) if in_books:
                taken_back = Change("document", "posted", f"taken back by {command.document.doc_number}")
                return "differs", "Metronome voided the invoice", [taken_back]
            case PostInvoice(document=Document(reverses=str())) if not history.voided:
                return "same", "not in the books, and would not be", []
            case PostInvoice() if history.voided:
                return "voided", None, []
            case PostInvoice():
                if document is None:
                    return "never posted", None, []
                changes = differences(document, command.document)
                return ("differs" if changes else "same"), None, changes
    return "declined", "the translation gives no command for the invoice", []


def differences(before: Document, after: Document) -> list[Change]:
    """The fields that differ, in the order of the document; amounts are compared as numbers, so 1.0 is 1.00."""
    old, new = _leaves(before.model_dump()), _leaves(after.model_dump())
    names = [*old, *(name for name in new if name not in old)]
    return [
        Change(name, _text(old.get(name)), _text(new.get(name))) for name in names if old.get(name) != new.get(name)
    ]


async def publish(settings: Settings, verdicts: Iterable[Verdict]) -> int:
    """Write the commands of the verdicts to the commands topic, in order; gives how many the broker confirmed."""
    published = 0
    async with publishing(settings) as publisher:
        for verdict in verdicts:
            for command in verdict.commands:
                await publisher.send(topic_names(settings).commands, command.realm.encode(), command.encode())
                published += 1
    return published


def _note_outcome(histories: dict[str, History], outcome: Outcome) -> None:
    subject_id = outcome.subject.id
    taken_back = reversed_id(subject_id)
    history = histories.get(taken_back or subject_id) if outcome.subject.kind == "invoice" else None
    if history is None:
        return
    if outcome.result == "voided" or (taken_back is not None and outcome.result in ("posted", "unchanged")):
        history.voided = True
    elif outcome.result in ("posted", "updated", "unchanged") and outcome.command_type == PostInvoice.__name__:
        history.posted_by, history.voided = outcome.command, False


def _note_command(histories: dict[str, History], command: Command, at: Address) -> None:
    if not isinstance(command, PostInvoice | VoidInvoice | DeclineInvoice):
        return
    history = histories.get(command.invoice_id)
    if history is None:
        return
    if command.facts is not None and (history.newest_facts is None or _newer(command.facts, history.newest_facts)):
        history.newest_facts = command.facts
    if isinstance(command, PostInvoice) and at == history.posted_by:
        history.document = command.document


def _newer(facts: Address | None, than: Address) -> bool:
    """Facts of one company lie in one partition, so that their offsets are their order."""
    return (
        facts is not None
        and (facts.topic, facts.partition) == (than.topic, than.partition)
        and facts.offset > than.offset
    )


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    match value:
        case dict():
            parts = [(f"{name}.{key}" if name else key, part) for key, part in value.items()]
        case tuple() | list():
            parts = [(f"{name}[{number}]", part) for number, part in enumerate(value)]
        case _:
            return {name: value}
    return {leaf: part for path, branch in parts for leaf, part in _leaves(branch, path).items()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
