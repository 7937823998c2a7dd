"""What follows from an outcome for those that are parked: the commands that are published again after it."""

from models.commands import Command, PostInvoice, ResumeParked, SetCustomerMapping, SetItemMapping
from models.events import Announcement
from models.ledger import Waiting
from models.outcomes import Outcome
from models.record import Address
from models.subject import MAPPING, QUICKBOOKS, RowKey, Subject

from .parked import again
from .reporting import NEVER_POSTED, OF_ENTRY, OLDER_FACTS, VOIDED_RULE, WAITING
from .sink import Sink

LOST_RULE = "command deleted"
COMMAND_TYPES = {"invoice": "PostInvoice", "customer": "EnsureCustomer", "item": "EnsureItem"}
SUCCEEDED = ("posted", "updated", "voided", "unchanged", "created", "found", "mapped")


async def after(outcome: Outcome, command: Command, sink: Sink) -> list[Command | Outcome | Announcement]:
    """Enters the outcome into the parked commands, and returns those to publish again because of it, in order; and an
    outcome for each whose command is gone."""
    lost = sink.parked.take_lost(outcome.realm, frozenset()) if isinstance(command, ResumeParked) else []
    told = _closed(outcome, command, sink)
    chosen = _released(outcome, command, sink)
    if (cause := sink.circuit_breaker.take_closed(outcome.realm)) is not None:
        chosen += sink.parked.released_by(outcome.realm, cause, sink.now())
    if not chosen:
        return [*told, *(_lost(each, sink) for each in lost)]
    in_order = sorted(dict.fromkeys(chosen), key=lambda at: (at.partition, at.offset))
    recalled = await sink.read_commands(in_order)
    lost += sink.parked.take_lost(outcome.realm, recalled.gone) if recalled.gone else []
    resumed = again(recalled.commands, sink.policy_of(outcome.realm), sink.now())
    return [*told, *(_lost(each, sink) for each in lost), *resumed]


def _closed(outcome: Outcome, command: Command, sink: Sink) -> list[Outcome]:
    """What is said of the invoice that was taken back, or of which there was nothing to take back: whatever it waited
    for, it waits no more. Its own command may never come again, when it was a draft."""
    if not isinstance(command, PostInvoice) or command.document.reverses is None or outcome.result in WAITING:
        return []
    subject = Subject.invoice(command.document.reverses)
    entry = sink.tables.invoices.get(RowKey.of(outcome.realm, subject.id))
    if entry is None or entry.state != "voided":
        return []
    sink.parked.unpark(outcome.realm, subject, outcome.command)
    closed = Outcome(
        realm=outcome.realm,
        subject=subject,
        command_type=outcome.command_type,
        command=outcome.command,
        result="skipped" if entry.qbo_id is None else "voided",
        rule=NEVER_POSTED if entry.qbo_id is None else VOIDED_RULE,
        reason=entry.reason,
        facts=outcome.facts,
        received_at=outcome.received_at,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        **{name: getattr(entry, name) for name in OF_ENTRY},
    )
    return [closed]


def _lost(row: Waiting, sink: Sink) -> Outcome:
    """It waits no more, since its command is not there to be tried: said once."""
    entry = sink.tables.invoices.get(RowKey.of(row.realm, row.subject.id)) if row.subject.kind == "invoice" else None
    now = sink.now()
    return Outcome(
        realm=row.realm,
        subject=row.subject,
        command_type=COMMAND_TYPES[row.subject.kind],
        command=row.command,
        result="parked",
        rule=LOST_RULE,
        reason=f"it waited for {row.waits_for}, and its command at {row.command} was deleted from Kafka meanwhile",
        remedy="send the invoice's webhook again, or metronome-qbo replay --apply; by itself it is not tried any more",
        facts=None if entry is None else entry.facts,
        started_at=now,
        finished_at=now,
    )


def _released(outcome: Outcome, command: Command, sink: Sink) -> list[Address]:
    parked, realm, subject, now = sink.parked, outcome.realm, outcome.subject, sink.now()
    if isinstance(command, ResumeParked):
        if command.waits_for is not None:
            return parked.released_by(realm, command.waits_for, now)
        return parked.due_for_probe(realm, now) + sink.unsettled.take(realm)
    if outcome.result in WAITING and outcome.rule == OLDER_FACTS:
        # The command of the newer facts stands for both. The ledger knows it; who waits may have been overwritten.
        entry = sink.tables.invoices.get(RowKey.of(realm, subject.id))
        waits = RowKey.of(realm, subject) in parked.rows
        return [entry.command] if waits and entry is not None and entry.command is not None else []
    if outcome.result in WAITING:
        parked.park(realm, subject, outcome.waits_for or QUICKBOOKS, outcome.command, now)
        return []
    waited_for = parked.unpark(realm, subject, outcome.command)
    chosen = parked.released_by(realm, subject, now) if _brings(outcome, command) else []
    if isinstance(command, PostInvoice) and command.document.reverses is not None and outcome.result in SUCCEEDED:
        chosen += parked.released_by(realm, Subject.invoice(command.document.reverses), now)
    if isinstance(command, SetCustomerMapping | SetItemMapping):
        # It may be the one that QuickBooks found fault with, which it names by its own id, if at all.
        chosen += parked.released_by(realm, MAPPING, now)
    if waited_for is not None and outcome.result in SUCCEEDED:
        chosen += parked.released_after_success(realm, waited_for, now)
    return chosen


def _brings(outcome: Outcome, command: Command) -> bool:
    """Whether others may wait for what there is since this command: a customer or item, or an invoice that is gone."""
    new = outcome.result in ("created", "found") or (outcome.result == "mapped" and command.facts is None)
    return new or outcome.result == "voided"
