"""The sink: executes commands against QuickBooks, keeps the ledger, and gives every command its one outcome."""

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import structlog

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
from agents.delivery import Claims, Delivered
from models.commands import (
    Command,
    DeclineInvoice,
    EnsureCustomer,
    EnsureItem,
    InvoiceCommand,
    PostInvoice,
    ResumeParked,
    SetCustomerMapping,
    SetItemMapping,
    VoidInvoice,
    subject_of,
)
from models.document import DEFAULT_ITEM
from models.ledger import CustomerMapping, ItemMapping, LedgerEntry, State, move
from models.outcomes import Outcome, Result
from models.quickbooks import CUSTOMER_NAME_CHARACTERS_MAX, tidy_name
from models.record import Record

from . import customers, documents, items, resume, reversal
from .documents import Written
from .resolve import resolve, stands_for
from .sink import GOES_ON, Parked, Sink

log = structlog.get_logger()

NEVER_POSTED = "never posted"
FLAG_ONLY = "void: flag only"
TRIES_AGAIN = "it is tried again, from time to time by itself, at once with metronome-qbo redrive"
VOIDED_BEFORE = "Metronome voided the invoice before"
VOIDED = {"rule": "voided", "reason": "the invoice was voided; it is not posted again"}
VOID_OF_A_CREDIT_MEMO = 'set voids = "credit-memo" in the policy, and send the webhook again: an invoice takes it back'


def claims(command: Command) -> Claims:
    """What a command establishes and uses: an invoice waits for its customer and items, and for those it stands for.

    Customers of one name wait for each other, so that the second finds whose the QuickBooks customer is.
    """
    realm, subject = command.realm, subject_of(command)
    establishes: set[Hashable] = {(realm, subject)}
    uses: set[Hashable] = set()
    if isinstance(command, PostInvoice):
        uses.add((realm, f"customer/{command.document.customer.customer_id}"))
        uses |= {(realm, f"item/{line.item.product_id or DEFAULT_ITEM}") for line in command.document.lines}
        uses |= {(realm, f"invoice/{other}") for other in stands_for(command.document)}
        if command.document.reverses is not None:
            establishes.add((realm, f"invoice/{command.document.reverses}"))
    if isinstance(command, EnsureCustomer):
        name = tidy_name(command.customer.name, CUSTOMER_NAME_CHARACTERS_MAX)
        establishes.add((realm, f"customer name/{name.casefold()}"))
    return Claims(establishes=frozenset(establishes), uses=frozenset(uses))


async def post(delivered: Delivered[Command], *, sink: Sink) -> Sequence[Record]:
    """Execute one command: its outcome, and the commands that go on because of it."""
    command, began = delivered.record, sink.circuit_breaker.monotonic()
    match command:
        case PostInvoice() | VoidInvoice() | DeclineInvoice():
            outcome = await _invoice(command, delivered, sink, began)
        case EnsureCustomer() | EnsureItem():
            outcome = await _ensure(command, delivered, sink, began)
        case SetCustomerMapping() | SetItemMapping():
            outcome = _set_mapping(command, delivered, sink)
        case ResumeParked():
            outcome = _outcome(delivered, "resumed", sink, {})
    log.info("outcome", subject=outcome.subject, result=outcome.result, realm=outcome.realm, rule=outcome.rule)
    return [outcome, *await resume.after(outcome, command, sink)]


# Invoices


async def _invoice(command: InvoiceCommand, delivered: Delivered[Command], sink: Sink, began: float) -> Outcome:
    key = f"{command.realm}/{command.invoice_id}"
    entry = sink.tables.invoices.get(key)
    repeated = _already_executed(entry, delivered, sink)
    if repeated is not None:
        return repeated
    if isinstance(command, DeclineInvoice):
        return _decline(command, entry, key, delivered, sink)
    # An attempt is recorded with its command, so that an older one that comes again leaves it alone.
    entry = (entry or documents.first_entry(command, sink)).replace(command=delivered.at, result=None)
    tell: dict[str, Any] = {"started_at": sink.now()}
    try:
        if isinstance(command, PostInvoice):
            written = await _post(command, entry, sink, tell)
        else:
            written = await _void(command, entry, sink, tell)
    except (Parked, Failure) as trouble:
        # The table knows of attempts that `entry` does not.
        entry = sink.tables.invoices.get(key, entry)
        _note(trouble, command.realm, sink, began)
        return _in_trouble(trouble, entry, delivered, sink, tell)
    if written is not None:
        sink.circuit_breaker.record_success(command.realm)
        return _conclude_written(written, delivered, sink, tell)
    if tell.get("rule") == NEVER_POSTED:
        # Voided it stays, whatever older command may come after: a parked one that resumes, say.
        return _conclude(sink.tables.invoices.get(key, entry), "voided", "skipped", delivered, sink, tell)
    if tell.get("rule") == FLAG_ONLY:
        entry = sink.tables.invoices.get(key, entry)
        state: State = "updated" if entry.state == "updated" else "posted"
        return _conclude(entry.replace(state=state), state, "skipped", delivered, sink, tell)
    return _conclude(entry, entry.state, "unchanged", delivered, sink, tell)


async def _post(command: PostInvoice, entry: LedgerEntry, sink: Sink, tell: dict[str, Any]) -> Written | None:
    """None when the books hold exactly this document already, or must not hold it any more."""
    if entry.state == "voided" and entry.attempt is None:
        tell |= VOIDED
        return None
    if command.document.reverses is not None:
        return await _reverse(command, entry, sink, tell)
    if entry.void_wanted:
        # A void that was refused, or waits, is not undone by an older command that goes on only now.
        void = VoidInvoice(
            realm=command.realm, facts=command.facts, invoice_id=command.invoice_id, reason=VOIDED_BEFORE
        )
        return await _void(void, entry, sink, tell)
    resolved = resolve(command, sink)
    same = entry.kind == command.document.kind and entry.content_hash == resolved.content_hash
    if entry.in_books and entry.attempt is None and same:
        tell["reason"] = "the books hold exactly this document already"
        return None
    written = await documents.post_document(command, entry, resolved, sink, sink.retries(command.realm))
    if written.entry.state == "voided":
        tell |= VOIDED
    _remember_customer(command, resolved.customer, sink)
    return written


async def _reverse(command: PostInvoice, entry: LedgerEntry, sink: Sink, tell: dict[str, Any]) -> Written | None:
    """Post the document that takes another one back; None when there is none, or it is taken back already.

    The original is closed before the outcome is known to the table, so that no crash leaves it open for ever.
    """
    if entry.in_books and entry.attempt is None:
        reversal.close(command, f"{entry.doc_number} takes it back", sink)
        tell["reason"] = "it is taken back already"
        return None
    retries = sink.retries(command.realm)
    entry, ours = await reversal.live_document(entry, sink, retries)
    if entry.state == "voided":
        tell |= VOIDED  # a person took ours back
        return documents.adopted(entry, "voided", sink)
    original = reversal.original_of(command, sink)
    if ours is not None:
        written = documents.adopted(entry, "posted", sink)
    else:
        original, found = await reversal.live_document(original, sink, retries)
        if found is None:
            tell |= {"rule": NEVER_POSTED, "reason": "there is nothing in the books to take back"}
            reversal.close(command, "voided in Metronome; there is nothing in the books to take back", sink)
            return None
        resolved = resolve(command, sink)
        reversal.require_match(original, found, resolved)
        written = await documents.post_document(command, entry, resolved, sink, retries)
    reversal.close(command, f"{written.entry.doc_number} takes it back", sink)
    tell["reason"] = f"it takes back {original.doc_number}, since Metronome voided the invoice"
    return written


async def _void(command: VoidInvoice, entry: LedgerEntry, sink: Sink, tell: dict[str, Any]) -> Written | None:
    """None when there is nothing to void: it was voided before, never posted, or is left to a person."""
    if entry.state == "voided" and entry.attempt is None:
        tell["reason"] = "the invoice is voided already"
        return None
    tell["reason"] = command.reason
    if command.by_hand is not None:
        entry, found = await reversal.live_document(entry, sink, sink.retries(command.realm))
        if found is not None:
            reason = f"{command.reason}; {entry.doc_number} stays in QuickBooks"
            tell |= {"rule": FLAG_ONLY, "reason": reason, "remedy": command.by_hand}
            return None
        written = documents.adopted(entry, "voided", sink) if entry.in_books else None
    else:
        entry = entry.replace(void_wanted=True)
        sink.tables.invoices[f"{entry.realm}/{entry.invoice_id}"] = entry
        written = await documents.void_document(command, entry, sink, sink.retries(command.realm))
    if written is None:
        tell |= {"rule": NEVER_POSTED, "reason": f"{command.reason}; there is nothing in the books to void"}
    return written


def _already_executed(entry: LedgerEntry | None, delivered: Delivered[Command], sink: Sink) -> Outcome | None:
    """The outcome of a command that comes again after a crash, told from the ledger; nothing is written twice."""
    at = delivered.at
    if entry is None or entry.command is None or entry.command.topic != at.topic:
        return None
    if entry.command.partition != at.partition or at.offset > entry.command.offset:
        return None
    if at.offset < entry.command.offset:
        reason = "a later command of this invoice was executed already"
        return _outcome(delivered, "unchanged", sink, {"reason": reason}, entry)
    match entry.result:
        case "posted" | "updated" | "voided":
            return _outcome(delivered, entry.result, sink, {"reason": entry.reason}, entry)
        case "skipped" if not isinstance(delivered.record, DeclineInvoice):
            rule = NEVER_POSTED if entry.state == "voided" else FLAG_ONLY
            return _outcome(delivered, "skipped", sink, {"reason": entry.reason, "rule": rule}, entry)
        case _:
            return None


def _decline(
    command: DeclineInvoice, entry: LedgerEntry | None, key: str, delivered: Delivered[Command], sink: Sink
) -> Outcome:
    """Nothing is posted. A document that stands in the books already stays, and the outcome says so."""
    tell = {"rule": command.rule, "reason": command.reason, "started_at": sink.now()}
    if entry is not None and (entry.in_books or entry.attempt is not None or entry.state == "voided"):
        if entry.in_books or entry.attempt is not None:
            tell["reason"] = f"{command.reason}; the document posted before is left as it is"
        return _outcome(delivered, command.decision, sink, tell, entry)
    entry = entry or LedgerEntry(
        realm=command.realm, invoice_id=command.invoice_id, state="commanded", changed_at=sink.now()
    )
    return _conclude(entry, command.decision, command.decision, delivered, sink, tell)


def _in_trouble(
    trouble: Exception, entry: LedgerEntry, delivered: Delivered[Command], sink: Sink, tell: dict[str, Any]
) -> Outcome:
    """The outcome of a command that could not be carried out."""
    tell["reason"] = str(trouble)
    tell |= _what_to_do(trouble, entry.realm)
    if isinstance(trouble, Failure):
        tell["error"] = trouble.facts
    result: Literal["parked", "refused", "uncertain"] = "parked" if "waits_for" in tell else "refused"
    if entry.attempt is not None:
        result = "uncertain"  # it may have been carried out: only a look-up leads out of this state
        tell["remedy"] = f"it is looked up in QuickBooks when {TRIES_AGAIN}"
    elif entry.in_books:
        # The document of before still stands; the ledger keeps saying so.
        if result == "refused" and isinstance(delivered.record, VoidInvoice) and entry.kind == "creditmemo":
            tell["remedy"] = VOID_OF_A_CREDIT_MEMO
        return _conclude(entry.replace(state="posted"), "posted", result, delivered, sink, tell)
    return _conclude(entry, result, result, delivered, sink, tell)


def _note(trouble: Exception, realm: str, sink: Sink, began: float) -> None:
    """Learn from a command that was not carried out whether its company answers."""
    match trouble:
        case Wait() | OutcomeUnknown():
            sink.circuit_breaker.record_timeout(realm, _cause(trouble), since=began)
        case NotConnected() | ReconnectNeeded() | TokenRefused():
            pass
        case Failure():
            sink.circuit_breaker.record_success(realm)


def _cause(trouble: Wait | OutcomeUnknown) -> str:
    """A company that is throttled goes on after a minute; one that is refused for its speed all along is not that."""
    return "quota" if isinstance(trouble, Wait) and trouble.facts.status == 429 else "quickbooks"


def _what_to_do(trouble: Exception, realm: str) -> dict[str, Any]:
    """What the command waits for, and the remedy; for what will never be accepted only the rule."""
    match trouble:
        case Parked():
            return {"waits_for": trouble.waits_for, "remedy": trouble.remedy, "error": trouble.error}
        case NotConnected() | ReconnectNeeded():
            remedy = f"metronome-qbo connect --realm {realm}; it goes on by itself then"
            return {"waits_for": "connection", "remedy": remedy}
        case CompanyUnavailable() | TokenRefused():
            remedy = f"check its subscription and the app's rights, then metronome-qbo connect --realm {realm}"
            return {"waits_for": "connection", "remedy": remedy}
        case MappingBroken():
            remedy = f"mend the customer, item or account that QuickBooks names; {TRIES_AGAIN}"
            return {"waits_for": "mapping", "remedy": remedy}
        case PeriodClosed():
            return {"waits_for": "open period", "remedy": f"open the period in QuickBooks; {TRIES_AGAIN}"}
        case Wait() | OutcomeUnknown():
            return {"waits_for": _cause(trouble), "remedy": GOES_ON}
        case _:
            return {"rule": "quickbooks"}


def _conclude_written(written: Written, delivered: Delivered[Command], sink: Sink, tell: dict[str, Any]) -> Outcome:
    tell |= {
        "requestid": written.requestid,
        "intuit_tid": written.intuit_tid,
        "adopted": written.adopted,
        "attempts": written.attempts,
    }
    state = written.entry.state
    assert state in ("posted", "updated", "voided"), state
    result: Result = "voided" if state == "voided" else "updated" if state == "updated" else "posted"
    return _conclude(written.entry, state, result, delivered, sink, tell)


def _conclude(
    entry: LedgerEntry, state: State, result: Result, delivered: Delivered[Command], sink: Sink, tell: dict[str, Any]
) -> Outcome:
    """Store the entry as this command leaves it, and tell the outcome."""
    moved = entry if entry.state == state else move(entry, state)
    moved = moved.replace(
        command=delivered.at,
        result=result,
        facts=delivered.record.facts or moved.facts,
        reason=tell.get("reason"),
        waits_for=tell.get("waits_for"),
        error=tell.get("error"),
        changed_at=sink.now(),
    )
    sink.tables.invoices[f"{moved.realm}/{moved.invoice_id}"] = moved
    return _outcome(delivered, result, sink, tell, moved)


def _outcome(
    delivered: Delivered[Command], result: Result, sink: Sink, tell: dict[str, Any], entry: LedgerEntry | None = None
) -> Outcome:
    command, now = delivered.record, sink.now()
    document = {}
    if entry is not None:
        document = {
            "kind": entry.kind,
            "qbo_id": entry.qbo_id,
            "sync_token": entry.sync_token,
            "doc_number": entry.doc_number,
            "total": entry.total,
            "currency": entry.currency,
        }
    return Outcome.model_validate(
        {
            "realm": command.realm,
            "subject": subject_of(command),
            "command_type": command.type,
            "command": delivered.at,
            "result": result,
            "facts": command.facts,
            "received_at": command.received_at,
            "started_at": now,
            "finished_at": now,
            **document,
            **tell,
        }
    )


def _remember_customer(command: PostInvoice, qbo_id: str, sink: Sink) -> None:
    """A mapping that came as a custom field enters the table, so that people see it there."""
    customer, key = command.document.customer, f"{command.realm}/{command.document.customer.customer_id}"
    known = sink.tables.customers.get(key)
    if customer.qbo_id != qbo_id or command.facts is None or (known is not None and known.qbo_id == qbo_id):
        return
    sink.tables.customers[key] = CustomerMapping(
        realm=command.realm,
        customer_id=customer.customer_id,
        qbo_id=qbo_id,
        name=customer.name,
        currency=command.document.currency,
        source="custom field",
        since=command.facts,
    )


# Customers and items


async def _ensure(
    command: EnsureCustomer | EnsureItem, delivered: Delivered[Command], sink: Sink, began: float
) -> Outcome:
    tell: dict[str, Any] = {"started_at": sink.now()}
    try:
        mapping: CustomerMapping | ItemMapping
        if isinstance(command, EnsureCustomer):
            mapping, result = await customers.ensure_customer(command, delivered.at, sink)
        else:
            mapping, result = await items.ensure_item(command, delivered.at, sink)
    except (Parked, Failure) as trouble:
        _note(trouble, command.realm, sink, began)
        tell |= {"reason": str(trouble), "error": trouble.facts if isinstance(trouble, Failure) else None}
        tell |= _what_to_do(trouble, command.realm)
        return _outcome(delivered, "parked" if "waits_for" in tell else "refused", sink, tell)
    if result != "mapped":
        sink.circuit_breaker.record_success(command.realm)
    return _outcome(delivered, _MAPPING_RESULTS[result], sink, tell | {"qbo_id": mapping.qbo_id, "name": mapping.name})


_MAPPING_RESULTS: dict[str, Result] = {"mapped": "mapped", "found": "found", "created": "created"}


def _set_mapping(command: SetCustomerMapping | SetItemMapping, delivered: Delivered[Command], sink: Sink) -> Outcome:
    if isinstance(command, SetCustomerMapping):
        sink.tables.customers[f"{command.realm}/{command.customer_id}"] = CustomerMapping(
            realm=command.realm,
            customer_id=command.customer_id,
            qbo_id=command.qbo_id,
            name=command.name,
            source="operator",
            since=delivered.at,
        )
    else:
        sink.tables.items[f"{command.realm}/{command.product_id}"] = ItemMapping(
            realm=command.realm,
            product_id=command.product_id,
            qbo_id=command.qbo_id,
            name=command.name,
            source="operator",
            since=delivered.at,
        )
    return _outcome(delivered, "mapped", sink, {"qbo_id": command.qbo_id, "name": command.name})
