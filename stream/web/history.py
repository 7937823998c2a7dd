"""What each record says about an invoice, and the fold of an invoice's steps to what is known of it now.

Pure. The topics are read in no particular order between them, so a step names its cause (the address of the record
that led to it) and the fold puts causes before effects, whatever the clocks of the producers said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from agents.delivery import ERROR_HEADER
from agents.enrich import read_webhook
from agents.watch import ASKED_AGAIN, SOURCE, SOURCE_HEADER
from models.commands import (
    COMMANDS,
    Command,
    DeclineInvoice,
    EnsureCustomer,
    EnsureItem,
    HandOver,
    PostInvoice,
    ResumeParked,
    SetCustomerMapping,
    SetItemMapping,
    VoidInvoice,
)
from models.document import Document, reversed_id
from models.events import InvoiceEnriched
from models.ledger import LEGAL_MOVES
from models.metronome import Invoice, InvoiceFinalized
from models.money import parse_json, unit_of
from models.outcomes import Outcome
from models.record import Address
from stream.formatting import DEAD_LETTER, count_text, iso, iso_of_ms, money_text
from stream.kafka.log import RawRecord

Role = Literal["webhooks", "invoices", "commands", "outcomes", "deadletters"]
"""What a topic carries, as far as invoices have a story in it."""

_RANK = {"webhooks": 0, "invoices": 1, "commands": 2, "outcomes": 3, "deadletters": 4}
_ON_THE_WAY = ("received", "enriched", "commanded")
_IN_BOOKS = ("posted", "updated", "unchanged")
_UNSETTLED = ("parked", "uncertain")
_OF_INVOICES = ("unchanged", *LEGAL_MOVES)
"""Results that say something of an invoice; the others are about customers, items and what waited."""
_FINAL = ("posted", "updated", "voided")

SUMMARY_CHARACTERS_MAX = 500


@dataclass(frozen=True)
class Event:
    """One record of an invoice's history, as the index keeps it.

    `state` is where it moves the invoice, None where it does not; `sets` are the columns of the invoice that it
    knows; `reason`, `remedy` and `waits_for` hold for the state that it moves to. Records about customers, items or
    nothing readable have no invoice id.
    """

    address: Address
    role: Role
    at: str
    what: str
    summary: str
    realm: str | None = None
    invoice_id: str | None = None
    cause: str | None = None
    state: str | None = None
    reason: str | None = None
    remedy: str | None = None
    waits_for: str | None = None
    sets: dict[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be processed, with the address that its headers say it came from."""

    address: Address
    at: str
    original_topic: str
    original_partition: int | None
    original_offset: int | None
    error_class: str
    message: str

    @property
    def original(self) -> str:
        return f"{self.original_topic}[{self.original_partition}]@{self.original_offset}"


def event_of(role: Role, record: RawRecord) -> Event:
    """What the record says. Total: a record that cannot be read is a step `unreadable`."""
    try:
        match role:
            case "webhooks":
                return _of_webhook(record)
            case "invoices":
                return _of_facts(record)
            case "commands":
                return _of_command(record)
            case "outcomes":
                return _of_outcome(record)
            case "deadletters":
                return _of_dead_letter(record)
    except (ValueError, ArithmeticError, RecursionError):
        return _step(role, record, "unreadable", f"Not readable, {len(record.value or b''):,} bytes")


def fold(steps: Iterable[Event]) -> dict[str, str | float | None]:
    """What is known of an invoice after these steps, by column of the index; the order of the steps is no matter.

    The steps may include those of the customers and items that the invoice needed: they change nothing.
    """
    row: dict[str, str | float | None] = {}
    state: str | None = None
    settled: str | None = None
    for step in in_order(steps):
        # Seconds are from receipt to the first outcome; later outcomes have later causes.
        row |= {name: value for name, value in step.sets.items() if name != "seconds" or "seconds" not in row}
        moved = _moved(state, settled, step)
        if moved is None:
            continue
        state = moved
        if state not in _ON_THE_WAY and state != DEAD_LETTER:
            settled = state
        # That nothing had to be changed is no trouble to tell of an invoice, only a step of its history.
        reason = None if step.state == "unchanged" else step.reason
        row |= {"reason": reason, "remedy": step.remedy, "waits_for": step.waits_for, "changed_at": step.at}
    row["state"] = state
    row["mismatch"] = _mismatch(row)
    return row


def in_order(steps: Iterable[Event]) -> list[Event]:
    """Causes before effects, else by time."""
    effective: dict[str, str] = {}
    ordered = sorted(steps, key=lambda step: (_RANK[step.role], step.address.partition, step.address.offset))
    for step in ordered:
        effective[str(step.address)] = max(step.at, effective.get(step.cause or "", ""))
    return sorted(ordered, key=lambda step: effective[str(step.address)])  # stable: ranks decide between equals


def _moved(state: str | None, settled: str | None, step: Event) -> str | None:
    """The state that the step moves to, or None when it stays."""
    if step.state is None:
        return None
    if step.role == "outcomes":
        if step.state != "unchanged":
            return step.state
        return settled if settled in _FINAL else "posted"
    if state is None:
        return step.state
    if step.state == DEAD_LETTER:
        return DEAD_LETTER if state in _ON_THE_WAY else None
    if state == DEAD_LETTER:
        return step.state
    if state in _ON_THE_WAY:
        forward = _ON_THE_WAY.index(step.state) >= _ON_THE_WAY.index(state)
        return step.state if forward else None
    return step.state if step.state in LEGAL_MOVES[state] else None  # type: ignore[index]


def _mismatch(row: dict[str, str | float | None]) -> int:
    """1 when the books hold another amount than Metronome billed; while a command is under way nobody knows yet."""
    metronome, quickbooks = row.get("metronome_total"), row.get("qbo_total")
    if metronome is None or quickbooks is None or row["state"] in ("voided", *_ON_THE_WAY):
        return 0
    same_currency = row.get("qbo_currency") in (None, row.get("currency"))
    return int(not same_currency or Decimal(str(metronome)) != Decimal(str(quickbooks)))


def _step(role: Role, record: RawRecord, what: str, summary: str, **parts: object) -> Event:
    if len(summary) > SUMMARY_CHARACTERS_MAX:
        summary = summary[: SUMMARY_CHARACTERS_MAX - 1] + "…"
    return Event(record.address, role, iso_of_ms(record.timestamp_ms), what, summary, **parts)  # type: ignore[arg-type]


_HOW_FOUND = {
    SOURCE.encode(): "Found by watch in Metronome, where no webhook had told of it",
    ASKED_AGAIN.encode(): "Asked about again, since Metronome had not finalized it, or since another company had it",
}
"""Sources other than Metronome's webhooks."""


def _of_webhook(record: RawRecord) -> Event:
    webhook = read_webhook(record.value or b"")
    if not isinstance(webhook, InvoiceFinalized):
        return _step("webhooks", record, "other webhook", f"A webhook of type {webhook.type}, not acted on")
    return _step(
        "webhooks",
        record,
        "webhook",
        _HOW_FOUND.get(dict(record.headers).get(SOURCE_HEADER, b""), "Metronome says that the invoice is final"),
        invoice_id=webhook.properties.invoice_id,
        state="received",
        sets={
            "customer_id": webhook.properties.customer_id,
            "received_at": iso_of_ms(record.timestamp_ms),
        },
    )


def _of_facts(record: RawRecord) -> Event:
    facts = InvoiceEnriched.model_validate_json(record.value or b"")
    total, currency, summary = _in_answer(facts)
    return _step(
        "invoices",
        record,
        facts.type,
        f"Read from Metronome: {facts.customer_name}{summary}",
        realm=facts.realm,
        invoice_id=facts.invoice_id,
        cause=str(facts.webhook),
        state="enriched",
        sets={
            "realm": facts.realm,
            "customer_id": facts.customer_id,
            "customer_name": facts.customer_name,
            "received_at": iso(facts.received_at),
            **({} if total is None else {"metronome_total": total, "currency": currency}),
        },
    )


def _in_answer(facts: InvoiceEnriched) -> tuple[str | None, str | None, str]:
    """Total and currency by Metronome's own answer, and a piece of summary; nothing where it cannot be read."""
    try:
        answer = parse_json(facts.answer)
        invoice = Invoice.model_validate(answer["data"])
        unit = unit_of(invoice.credit_type.name)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None, None, ""
    total = unit.major(invoice.total)
    lines = count_text(len(invoice.line_items), "line", "lines")
    return str(total), unit.currency, f", {money_text(total, unit.currency)} on {lines}"


def _of_command(record: RawRecord) -> Event:
    command = COMMANDS.validate_json(record.value or b"")
    cause = str(command.facts) if command.facts else None
    summary = _command_summary(command)
    sets: dict[str, str | float | None] = {"realm": command.realm}
    match command:
        case PostInvoice(document=Document(reverses=str())):
            pass  # the invoice's own document is the one that is taken back
        case PostInvoice(document=document):
            sets |= {
                "kind": document.kind,
                "customer_id": document.customer.customer_id,
                "customer_name": document.customer.name,
                "doc_number": document.doc_number,
                "currency": document.currency,
                "metronome_total": str(document.total),
                "document": str(record.address),
            }
        case VoidInvoice() | DeclineInvoice() | HandOver():
            pass
        case _:
            return _step("commands", record, command.type, summary, realm=command.realm, cause=cause)
    return _step(
        "commands",
        record,
        command.type,
        summary,
        realm=command.realm,
        invoice_id=reversed_id(command.invoice_id) or command.invoice_id,
        cause=cause,
        state="commanded",
        sets=sets,
    )


def _command_summary(command: Command) -> str:
    match command:
        case PostInvoice(document=document):
            words = "invoice" if document.kind == "invoice" else "credit memo"
            lines = count_text(len(document.lines), "line", "lines")
            total = money_text(document.total, document.currency)
            to_be = "To be in QuickBooks as" if document.reverses is None else "To be taken back in QuickBooks by"
            return f"{to_be} {words} {document.doc_number}: {total} on {lines}"
        case VoidInvoice(by_hand=str()):
            return f"To be left to a person, if it was posted: {command.reason}"
        case VoidInvoice():
            return f"To be voided: {command.reason}"
        case DeclineInvoice():
            return f"Not to be posted ({command.rule}): {command.reason}"
        case HandOver():
            return f"To be given to company {command.to}, where the routing has it now, unless it was attempted here"
        case EnsureCustomer():
            return f"QuickBooks needs a customer for {command.customer.name}"
        case EnsureItem():
            return f"QuickBooks needs an item for {command.item.name}"
        case SetCustomerMapping():
            return f"An operator says: Metronome customer {command.customer_id} is QuickBooks customer {command.qbo_id}"
        case SetItemMapping():
            return f"An operator says: Metronome product {command.product_id} is QuickBooks item {command.qbo_id}"
        case ResumeParked():
            return f"What waits for {command.waits_for} may resume" if command.waits_for else "What waits is tried"


def _of_outcome(record: RawRecord) -> Event:
    outcome = Outcome.model_validate_json(record.value or b"")
    subject_id = outcome.subject.id
    summary, cause = _outcome_summary(outcome), str(outcome.command)
    if outcome.subject.kind != "invoice" or outcome.result not in _OF_INVOICES:
        return _step("outcomes", record, outcome.result, summary, realm=outcome.realm, cause=cause)
    sets: dict[str, str | float | None] = {"realm": outcome.realm}
    if (taken_back := reversed_id(subject_id)) is not None:
        return _step(
            "outcomes",
            record,
            outcome.result,
            summary,
            realm=outcome.realm,
            invoice_id=taken_back,
            cause=cause,
            state="voided" if outcome.result in _IN_BOOKS else outcome.result,
            reason=outcome.reason,
            remedy=outcome.remedy,
            waits_for=outcome.waits_for,
            sets=sets,
        )
    for column, value in (
        ("kind", outcome.kind),
        ("qbo_id", outcome.qbo_id),
        ("doc_number", outcome.doc_number),
        ("qbo_total", None if outcome.total is None else str(outcome.total)),
        ("qbo_currency", outcome.currency),
        ("document", cause if outcome.result in _IN_BOOKS else None),
    ):
        if value is not None:
            sets[column] = value
    if outcome.received_at is not None and outcome.result not in _UNSETTLED:
        sets["seconds"] = round((outcome.finished_at - outcome.received_at).total_seconds(), 3)
    return _step(
        "outcomes",
        record,
        outcome.result,
        summary,
        realm=outcome.realm,
        invoice_id=subject_id,
        cause=cause,
        state=outcome.result,
        reason=outcome.reason,
        remedy=outcome.remedy,
        waits_for=outcome.waits_for,
        sets=sets,
    )


def _outcome_summary(outcome: Outcome) -> str:
    what = "credit memo" if outcome.kind == "creditmemo" else outcome.subject.kind
    total = money_text(outcome.total, outcome.currency)
    named = ", ".join(filter(None, (outcome.doc_number, outcome.name, total)))
    document = f"{what} {outcome.qbo_id or ''}".rstrip() + (f" ({named})" if named else "")
    because = f": {outcome.reason}" if outcome.reason else ""
    match outcome.result:
        case "posted" if reversed_id(outcome.subject) is not None:
            return f"Taken back in QuickBooks by {document}{because}"
        case "posted":
            verb = "Found in QuickBooks, so not posted again:" if outcome.adopted else "Posted in QuickBooks as"
            return f"{verb} {document}"
        case "updated":
            return f"Updated in QuickBooks: {document}"
        case "unchanged":
            return f"Nothing to change: QuickBooks already holds {document}"
        case "voided":
            return f"Voided in QuickBooks: {document}{because}"
        case "skipped":
            return f"Skipped by policy{because}"
        case "parked":
            return f"Waits{because}"
        case "refused":
            return f"Refused{because}"
        case "uncertain":
            return f"Not known whether it arrived{because}"
        case "found":
            return f"Found in QuickBooks: {document}"
        case "created":
            return f"Created in QuickBooks: {document}"
        case "mapped":
            return f"Mapped to QuickBooks {document}"
        case "resumed":
            return "What waited for it resumes"


def dead_letter_of(record: RawRecord) -> DeadLetter:
    """The dead letter's own account of itself. Total: what its headers do not say is empty."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    return DeadLetter(
        address=record.address,
        at=iso_of_ms(record.timestamp_ms),
        original_topic=headers.get(ERROR_HEADER + "topic", ""),
        original_partition=_whole_number(headers.get(ERROR_HEADER + "partition")),
        original_offset=_whole_number(headers.get(ERROR_HEADER + "offset")),
        error_class=headers.get(ERROR_HEADER + "exception.class.name", ""),
        message=headers.get(ERROR_HEADER + "exception.message", "")[:SUMMARY_CHARACTERS_MAX],
    )


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _of_dead_letter(record: RawRecord) -> Event:
    letter = dead_letter_of(record)
    return _step(
        "deadletters",
        record,
        DEAD_LETTER,
        f"Could not be processed: {letter.message or letter.error_class or 'no reason was recorded'}",
        cause=letter.original,
        state=DEAD_LETTER,
        reason=letter.message or letter.error_class,
        remedy="Look at the dead letter; once its cause is gone, send the webhook again.",
    )
