"""From what became of a command to its one outcome: what is said, what it waits for, and what a person should do."""

from dataclasses import dataclass, replace
from typing import Any, assert_never

from agents.clients.failures import (
    CompanyUnavailable,
    Failure,
    MappingBroken,
    NotConnected,
    OutcomeUnknown,
    PeriodClosed,
    ReconnectNeeded,
    TokenRefused,
    Wait,
)
from agents.delivery import Delivered, Published
from models.commands import Command, HandOver, InvoiceCommand, VoidInvoice, subject_of
from models.ledger import CustomerMapping, ItemMapping, LedgerEntry, State, move
from models.outcomes import ErrorFacts, Outcome, Result
from models.record import Moment
from models.subject import CONNECTION, MAPPING, OPEN_PERIOD, QUICKBOOKS, QUOTA, Cause

from .documents import Written
from .facts import newest_facts
from .sink import WHEN_QUICKBOOKS_ANSWERS, Parked, Sink

NEVER_POSTED = "never posted"
FLAG_ONLY = "void: flag only"
VOIDED_RULE = "voided"
DELETED_RULE = "deleted in QuickBooks"
OLDER_FACTS = "older facts"
BILLED_ON_CONSOLIDATED = "billed on the consolidated invoice"
QUICKBOOKS_RULE = "quickbooks"
WAITING = ("parked", "uncertain")
TRIED_AGAIN = "it is tried again, from time to time by itself, at once with metronome-qbo redrive"
METRONOME_IS_ASKED = "nothing to do here: Metronome is asked again by itself, at once with metronome-qbo redrive"
VOID_OF_A_CREDIT_MEMO = 'set voids = "credit-memo" in the policy, and send the webhook again: an invoice takes it back'


@dataclass(frozen=True)
class Report:
    """What became of a command: all that its outcome says beyond the command itself.

    `entry` is the invoice's ledger row, in the state in which the command leaves it, and None for customers, items and
    acts of an operator. It is stored with the outcome's reason; with `as_recorded` the table's row stays as it is.
    `follows` is published after the outcome.
    """

    result: Result
    entry: LedgerEntry | None = None
    as_recorded: bool = False
    rule: str | None = None
    reason: str | None = None
    remedy: str | None = None
    waits_for: Cause | None = None
    error: ErrorFacts | None = None
    written: Written | None = None
    mapping: CustomerMapping | ItemMapping | None = None
    away: bool = False
    follows: tuple[Published, ...] = ()


OF_ENTRY = ("kind", "qbo_id", "sync_token", "doc_number", "total", "currency")
_OF_WRITE = ("requestid", "intuit_tid", "adopted", "attempts")
_OF_MAPPING = ("qbo_id", "name")


def conclude(report: Report, delivered: Delivered[Command], started_at: Moment, sink: Sink) -> Outcome:
    """Store the ledger row as this command leaves it, and make the outcome."""
    command, entry = delivered.record, report.entry
    if entry is not None and not report.as_recorded:
        acted_on = (
            newest_facts(command, entry, sink.ledger_age.facts_since)
            if isinstance(command, InvoiceCommand | HandOver)
            else {}
        )
        entry = entry.replace(
            command=delivered.at,
            result=report.result,
            **acted_on,
            reason=report.reason,
            waits_for=report.waits_for,
            error=report.error,
            changed_at=sink.now(),
        )
        sink.tables.invoices[entry.key] = entry
    fields: dict[str, Any] = {}
    for source, names in ((entry, OF_ENTRY), (report.written, _OF_WRITE), (report.mapping, _OF_MAPPING)):
        if source is not None:
            fields |= {name: getattr(source, name) for name in names}
    return Outcome(
        realm=command.realm,
        subject=subject_of(command),
        command_type=command.type,
        command=delivered.at,
        result=report.result,
        rule=report.rule,
        reason=report.reason,
        remedy=report.remedy,
        waits_for=report.waits_for,
        error=report.error,
        away=report.away,
        facts=command.facts,
        received_at=command.received_at,
        started_at=started_at,
        finished_at=sink.now(),
        **fields,
    )


def in_state(entry: LedgerEntry, state: State) -> LedgerEntry:
    """The entry moved to `state`, if it is not there. Raises IllegalMove."""
    return entry if entry.state == state else move(entry, state)


def in_books(entry: LedgerEntry) -> LedgerEntry:
    """The entry in the state that says that its document stands, as it last did."""
    row: LedgerEntry = entry.replace(state="updated" if entry.state == "updated" else "posted")
    return row


# Trouble


@dataclass(frozen=True)
class _Remedy:
    """What a command that was not carried out waits for, and what to do; without a cause it will never be accepted."""

    waits_for: Cause | None = None
    remedy: str | None = None
    rule: str | None = None


def in_trouble(trouble: Parked | Failure, realm: str) -> Report:
    """The report of a command about a customer or an item that could not be carried out."""
    remedy = _remedy(trouble, realm)
    return Report(
        "refused" if remedy.waits_for is None else "parked",
        rule=remedy.rule,
        reason=str(trouble),
        remedy=remedy.remedy,
        waits_for=remedy.waits_for,
        error=trouble.error if isinstance(trouble, Parked) else trouble.facts,
    )


def invoice_in_trouble(trouble: Parked | Failure, entry: LedgerEntry, command: InvoiceCommand) -> Report:
    """The same about an invoice, whose document may stand in the books all the same, or may have been written."""
    report = in_trouble(trouble, entry.realm)
    if entry.attempt is not None:
        # It may have been carried out: only a look-up leads out of this state.
        remedy = f"it is looked up in QuickBooks when {TRIED_AGAIN}"
        return replace(report, result="uncertain", entry=in_state(entry, "uncertain"), remedy=remedy)
    if not entry.in_books:
        return replace(report, entry=in_state(entry, "parked" if report.result == "parked" else "refused"))
    # The document of before still stands; the ledger keeps saying so.
    if report.result == "refused" and isinstance(command, VoidInvoice) and entry.kind == "creditmemo":
        report = replace(report, remedy=VOID_OF_A_CREDIT_MEMO)
    return replace(report, entry=entry.replace(state="posted"))


def cause_of(trouble: Wait | OutcomeUnknown) -> Cause:
    """A company that is throttled answers after a minute; one that is refused for its speed all along is not that."""
    return QUOTA if isinstance(trouble, Wait) and trouble.facts.status == 429 else QUICKBOOKS


def _remedy(trouble: Parked | Failure, realm: str) -> _Remedy:
    match trouble:
        case Parked():
            return _Remedy(trouble.waits_for, trouble.remedy)
        case NotConnected() | ReconnectNeeded():
            return _Remedy(CONNECTION, f"metronome-qbo connect --realm {realm}; it is then tried again by itself")
        case CompanyUnavailable() | TokenRefused():
            remedy = f"check its subscription and the app's rights, then metronome-qbo connect --realm {realm}"
            return _Remedy(CONNECTION, remedy)
        case MappingBroken():
            return _Remedy(MAPPING, f"correct the customer, item or account that QuickBooks names; {TRIED_AGAIN}")
        case PeriodClosed():
            return _Remedy(OPEN_PERIOD, f"open the period in QuickBooks; {TRIED_AGAIN}")
        case Wait() | OutcomeUnknown():
            return _Remedy(cause_of(trouble), WHEN_QUICKBOOKS_ANSWERS)
        case Failure():
            return _Remedy(rule=QUICKBOOKS_RULE)
        case _:
            assert_never(trouble)
