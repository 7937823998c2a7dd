"""What follows from an outcome for those that are parked: the commands that are published again after it."""

from models.commands import Command, PostInvoice, ResumeParked, SetCustomerMapping, SetItemMapping
from models.events import Announcement
from models.ledger import Waiting
from models.outcomes import Outcome
from models.record import Address
from models.subject import MAPPING, QUICKBOOKS, RowKey, Subject

from .parked import again
from .reporting import OLDER_FACTS, WAITING
from .sink import Sink

LOST_RULE = "command deleted"
COMMAND_TYPES = {"invoice": "PostInvoice", "customer": "EnsureCustomer", "item": "EnsureItem"}
SUCCEEDED = ("posted", "updated", "voided", "unchanged", "created", "found", "mapped")


async def after(outcome: Outcome, command: Command, sink: Sink) -> list[Command | Outcome | Announcement]:
    """Enters the outcome into the parked commands, and returns those to publish again because of it, in order; and an
    outcome for each whose command is gone."""
    lost = sink.parked.take_lost(outcome.realm, frozenset()) if isinstance(command, ResumeParked) else []
    chosen = _released(outcome, command, sink)
    if (cause := sink.circuit_breaker.take_closed(outcome.realm)) is not None:
        chosen += sink.parked.released_by(outcome.realm, cause, sink.now())
    if not chosen:
        return [_lost(each, sink) for each in lost]
    in_order = sorted(dict.fromkeys(chosen), key=lambda at: (at.partition, at.offset))
    recalled = await sink.read_commands(in_order)
    lost += sink.parked.take_lost(outcome.realm, recalled.gone) if recalled.gone else []
    resumed = again(recalled.commands, sink.policy_of(outcome.realm), sink.now())
    return [*(_lost(each, sink) for each in lost), *resumed]


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
