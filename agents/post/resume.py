"""What follows from an outcome for those that are parked: the commands that are published again after it."""

from models.commands import Command, PostInvoice, ResumeParked, SetCustomerMapping, SetItemMapping
from models.events import Announcement
from models.outcomes import Outcome
from models.record import Address
from models.subject import MAPPING, QUICKBOOKS, Subject

from .parked import again
from .sink import Sink

WAITS = ("parked", "uncertain")
SUCCEEDED = ("posted", "updated", "voided", "unchanged", "created", "found", "mapped")


async def after(outcome: Outcome, command: Command, sink: Sink) -> list[Command | Announcement]:
    """Enters the outcome into the parked commands, and returns those to publish again because of it, in order."""
    chosen = _released(outcome, command, sink)
    if (cause := sink.circuit_breaker.take_closed(outcome.realm)) is not None:
        chosen += sink.parked.released_by(outcome.realm, cause, sink.now())
    if not chosen:
        return []
    in_order = sorted(dict.fromkeys(chosen), key=lambda at: (at.partition, at.offset))
    return again(await sink.read_commands(in_order), sink.policy_of(outcome.realm), sink.now())


def _released(outcome: Outcome, command: Command, sink: Sink) -> list[Address]:
    parked, realm, subject, now = sink.parked, outcome.realm, outcome.subject, sink.now()
    if isinstance(command, ResumeParked):
        if command.waits_for is not None:
            return parked.released_by(realm, command.waits_for, now)
        return parked.due_for_probe(realm, now) + sink.unsettled.take(realm)
    if outcome.result in WAITS:
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
