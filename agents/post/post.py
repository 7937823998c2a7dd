"""The sink: executes commands against QuickBooks, keeps the ledger, and gives every command its one outcome."""

from collections.abc import Hashable, MutableMapping, Sequence
from typing import TypeVar, assert_never

import structlog

from agents.clients.failures import (
    Failure,
    NotConnected,
    OutcomeUnknown,
    ReconnectNeeded,
    TokenRefused,
    Wait,
)
from agents.delivery import Claims, Delivered, Published
from models.commands import (
    NOT_FINALIZED,
    Command,
    DeclineInvoice,
    EnsureCustomer,
    EnsureItem,
    HandOver,
    InvoiceCommand,
    PostInvoice,
    ResumeParked,
    SetCustomerMapping,
    SetItemMapping,
    VoidInvoice,
    subject_of,
)
from models.document import DEFAULT_ITEM
from models.ledger import CustomerMapping, ItemMapping, LedgerEntry
from models.outcomes import Result
from models.quickbooks import CUSTOMER_NAME_CHARACTERS_MAX, tidy_name
from models.record import Address
from models.subject import FINALIZATION, RowKey, Subject

from . import customers, documents, items, numbers, resume, reversal
from .documents import Written
from .facts import is_older, newest_facts
from .hand_over import forgotten, hand_over, told, went_elsewhere
from .reporting import (
    BILLED_ON_CONSOLIDATED,
    DELETED_RULE,
    FLAG_ONLY,
    METRONOME_IS_ASKED,
    NEVER_POSTED,
    OLDER_FACTS,
    VOIDED_RULE,
    WAITING,
    Report,
    cause_of,
    conclude,
    in_books,
    in_state,
    in_trouble,
    invoice_in_trouble,
)
from .resolve import remember_billed, resolve, stands_for
from .sink import Parked, Sink

log = structlog.get_logger()

M = TypeVar("M", CustomerMapping, ItemMapping)

STAYS_VOIDED = "the invoice was voided; it is not posted again"
VOIDED_BEFORE = "Metronome voided the invoice before"


def claims(command: Command) -> Claims:
    """What a command establishes and uses: an invoice waits for its customer and items, and for those it stands for,
    which are not billed beside it either.

    Customers of one name wait for each other, so that the second finds whose the QuickBooks customer is.
    """
    realm, subject = command.realm, subject_of(command)
    establishes: set[Hashable] = {(realm, subject)}
    uses: set[Hashable] = set()
    if isinstance(command, PostInvoice):
        document = command.document
        uses.add((realm, Subject.customer(document.customer.customer_id)))
        uses |= {(realm, Subject.item(line.item.product_id or DEFAULT_ITEM)) for line in document.lines}
        establishes |= {(realm, Subject.invoice(other)) for other in stands_for(document)}
        if document.reverses is not None:
            establishes.add((realm, Subject.invoice(document.reverses)))
    if isinstance(command, EnsureCustomer):
        name = tidy_name(command.customer.name, CUSTOMER_NAME_CHARACTERS_MAX)
        establishes.add((realm, f"customer name/{name.casefold()}"))
    return Claims(establishes=frozenset(establishes), uses=frozenset(uses))


async def post(delivered: Delivered[Command], *, sink: Sink) -> Sequence[Published]:
    """Execute one command: its outcome, and what is published because of it: commands again, outcomes of others."""
    started_at, command = sink.now(), delivered.record
    report = await _executed(command, delivered.at, sink)
    if report.entry is not None and not report.as_recorded:
        await sink.make_sure(command.realm)  # a successor may have posted it, or handed it over
    outcome = conclude(report, delivered, started_at, sink)
    log.info("outcome", subject=outcome.subject, result=outcome.result, realm=outcome.realm, rule=outcome.rule)
    return [outcome, *report.follows, *await resume.after(outcome, command, sink)]


async def _executed(command: Command, at: Address, sink: Sink) -> Report:
    match command:
        case PostInvoice() | VoidInvoice() | DeclineInvoice():
            return await _invoice(command, at, sink)
        case HandOver():
            return await hand_over(command, at, sink)
        case EnsureCustomer() | EnsureItem():
            return await _ensure(command, at, sink)
        case SetCustomerMapping() | SetItemMapping():
            return _set_mapping(command, at, sink)
        case ResumeParked():
            return Report("resumed")
        case _:
            assert_never(command)


# Invoices


async def _invoice(command: InvoiceCommand, at: Address, sink: Sink) -> Report:
    key = RowKey.of(command.realm, command.invoice_id)
    entry = sink.tables.invoices.get(key)
    if (gone := went_elsewhere(command, entry, sink)) is not None:
        return gone
    if sink.ledger_age.has_forgotten(command, entry):
        return forgotten(command)
    if entry is not None and entry.handed_to is not None:  # it came back
        entry = entry.replace(handed_to=None, owner_epoch=command.owner_epoch)
        sink.tables.invoices[key] = entry  # also should this command have to wait
    is_ours = entry is not None and sink.ledger_age.is_of_this_log(entry.changed_at)
    if entry is not None and is_ours and (repeated := _already_executed(entry, command, at)) is not None:
        return repeated
    if entry is not None and is_older(command, entry, sink.ledger_age.facts_since):
        return _superseded(command, entry)
    if isinstance(command, DeclineInvoice):
        return _decline(command, entry, sink)
    # An attempt is recorded with its command, so that an older one that comes again leaves it alone.
    entry = entry or documents.first_entry(command, sink)
    entry = entry.replace(command=at, result=None, **newest_facts(command, entry, sink.ledger_age.facts_since))
    entry = numbers.marked(sink.ledger_age.marked(entry, command, at), sink.tables.doc_numbers)
    began = sink.circuit_breaker.monotonic()
    try:
        report = await (
            _post(command, entry, sink) if isinstance(command, PostInvoice) else _void(command, entry, sink)
        )
    except (Parked, Failure) as trouble:
        _note(trouble, command.realm, sink, began)
        # The table knows of attempts that `entry` does not.
        return invoice_in_trouble(trouble, sink.tables.invoices.get(key, entry), command)
    if report.written is not None:
        sink.circuit_breaker.record_success(command.realm)
    return told(command, report)


async def _post(command: PostInvoice, entry: LedgerEntry, sink: Sink) -> Report:
    """Unchanged when by the ledger the books hold exactly this document, or must not hold it any more."""
    if entry.state == "voided" and entry.attempt is None:
        return Report("unchanged", entry, rule=VOIDED_RULE, reason=STAYS_VOIDED)
    if command.document.reverses is not None:
        return await _reverse(command, entry, sink)
    if entry.void_wanted:
        # A void that was refused, or waits, is not undone by an older command that is executed only now.
        void = VoidInvoice(
            realm=command.realm, facts=command.facts, invoice_id=command.invoice_id, reason=VOIDED_BEFORE
        )
        return await _void(void, entry, sink)
    if (billed := _billed_by_parent(entry, sink)) is not None:
        return billed
    resolved = resolve(command, sink)
    remember_billed(command, sink)
    same = entry.kind == command.document.kind and entry.content_hash == resolved.content_hash
    if entry.in_books and entry.attempt is None and same:
        seen = "" if entry.seen_at is None else f"; QuickBooks last said so at {entry.seen_at:%Y-%m-%d %H:%M:%S %Z}"
        return Report("unchanged", entry, reason=f"by the ledger the books hold exactly this document{seen}")
    written = await documents.post_document(command, entry, resolved, sink, sink.retries(command.realm))
    _remember_customer(command, resolved.customer, sink)
    return _of_write(written) if written.state != "voided" else _of_write(written, STAYS_VOIDED, rule=VOIDED_RULE)


async def _reverse(command: PostInvoice, entry: LedgerEntry, sink: Sink) -> Report:
    """Post the document that takes another one back; skipped when there is none, unchanged when it is taken back.

    The original is closed before the outcome is known to the table, so that no crash leaves it open for ever.
    """
    if entry.in_books and entry.attempt is None:
        reversal.close(command, f"{entry.doc_number} takes it back", sink)
        return Report("unchanged", entry, reason="it is taken back already")
    retries, look_up_first = sink.retries(command.realm), entry.look_up_first
    entry, ours = await reversal.live_document(entry, sink, retries, reversal.resolved_or_none(command, sink))
    if entry.state == "voided":  # a person took ours back
        return _of_write(documents.adopted(entry, "voided", sink), STAYS_VOIDED, rule=VOIDED_RULE)
    original = reversal.original_of(command, sink)
    if look_up_first and not original.attempts:
        original = original.replace(look_up_first=True)
    if ours is not None:
        written = documents.adopted(entry, "posted", sink)
    else:
        original, found = await reversal.live_document(original, sink, retries)
        if found is None:
            reversal.close(command, "voided in Metronome; there is nothing in the books to take back", sink)
            row = sink.tables.invoices.get(entry.key, entry)
            reason = "there is nothing in the books to take back"
            return Report("skipped", in_state(row, "voided"), rule=NEVER_POSTED, reason=reason)
        resolved = resolve(command, sink)
        reversal.require_match(original, found, resolved)
        written = await documents.post_document(command, entry, resolved, sink, retries)
    reversal.close(command, f"{written.entry.doc_number} takes it back", sink)
    return _of_write(
        written, f"it takes back {original.doc_number or 'the document'}, since Metronome voided the invoice"
    )


async def _void(command: VoidInvoice, entry: LedgerEntry, sink: Sink) -> Report:
    """Skipped when there is nothing to void, or when that is left to a person; unchanged when it was voided before."""
    if entry.state == "voided" and entry.attempt is None:
        return Report("unchanged", entry, reason="the invoice is voided already")
    retries = sink.retries(command.realm)
    if command.by_hand is not None:
        entry, found = await reversal.live_document(entry, sink, retries)
        if found is not None:
            reason = f"{command.reason}; {entry.doc_number} stays in QuickBooks"
            row = in_books(sink.tables.invoices.get(entry.key, entry))
            return Report("skipped", row, rule=FLAG_ONLY, reason=reason, remedy=command.by_hand)
        written = documents.adopted(entry, "voided", sink) if entry.in_books else None
    else:
        entry = entry.replace(void_wanted=True)
        sink.tables.invoices[entry.key] = entry
        written = await documents.void_document(entry, sink, retries)
    if written is not None:
        return _of_write(written, command.reason)
    # Voided it stays, whatever older command may come after: a parked one that is tried again, say.
    row = in_state(sink.tables.invoices.get(entry.key, entry), "voided")
    if row.deleted_at is not None:
        reason = f"{command.reason}; {row.doc_number} was deleted in QuickBooks, so that nothing is left to void"
        return Report("voided", row, rule=DELETED_RULE, reason=reason)
    return Report("skipped", row, rule=NEVER_POSTED, reason=f"{command.reason}; there is nothing in the books to void")


def _superseded(command: InvoiceCommand, entry: LedgerEntry) -> Report:
    """The command comes after newer facts were acted on. When their command waits or was refused, so is the invoice."""
    reason = f"newer facts of the invoice than {command.facts} were acted on already, those at {entry.facts}"
    if entry.result in (*WAITING, "refused"):
        reason = f"{reason}: {entry.reason}"
        return Report(
            entry.result,
            entry,
            as_recorded=True,
            rule=OLDER_FACTS,
            reason=reason,
            remedy="nothing to do for this one; see the newer one",
            waits_for=entry.waits_for,
            error=entry.error,
        )
    return Report("unchanged", entry, as_recorded=True, rule=OLDER_FACTS, reason=reason)


def _billed_by_parent(entry: LedgerEntry, sink: Sink) -> Report | None:
    """That nothing is posted, when a consolidated invoice bills this one; one that stands itself may be updated."""
    if entry.billed_by is None or entry.in_books or entry.attempt is not None:
        return None
    parent = sink.tables.invoices.get(RowKey.of(entry.realm, entry.billed_by))
    if parent is None or not (parent.in_books or parent.attempt is not None):
        return None
    number = f" as {parent.doc_number}" if parent.doc_number else ""
    reason = f"the consolidated invoice {parent.invoice_id} bills it, which stands in the books{number}"
    return Report("skipped", in_state(entry, "skipped"), rule=BILLED_ON_CONSOLIDATED, reason=reason)


def _of_write(written: Written, reason: str | None = None, *, rule: str | None = None) -> Report:
    return Report(written.state, written.entry, rule=rule, reason=reason, written=written)


def _already_executed(entry: LedgerEntry, command: InvoiceCommand, at: Address) -> Report | None:
    """The report of a command that comes again after a crash, as the ledger has it; nothing is written twice."""
    last = entry.command
    if last is None or (last.topic, last.partition) != (at.topic, at.partition) or at.offset > last.offset:
        return None
    if at.offset < last.offset:
        reason = "a later command of this invoice was executed already"
        return Report("unchanged", entry, as_recorded=True, reason=reason)
    match entry.result:
        case "posted" | "updated" | "voided":
            return Report(entry.result, entry, as_recorded=True, reason=entry.reason)
        case "skipped" if not isinstance(command, DeclineInvoice):
            rule = NEVER_POSTED if entry.state == "voided" else FLAG_ONLY
            return Report("skipped", entry, as_recorded=True, rule=rule, reason=entry.reason)
        case _:
            return None


def _decline(command: DeclineInvoice, entry: LedgerEntry | None, sink: Sink) -> Report:
    """Nothing is posted. A document that stands in the books already stays, and the outcome says so.

    Where Metronome has not decided it is parked; `watch` is told so for ever, also when it is not asked for any more.
    """
    early = command.rule == NOT_FINALIZED
    was_final: Result = "skipped" if early else command.decision  # what was attempted or voided had been final
    if entry is not None and (entry.in_books or entry.attempt is not None):
        reason = f"{command.reason}; the document posted before is left as it is"
        if entry.attempt is None:  # no older command changes it any more either
            sink.tables.invoices[entry.key] = entry = entry.replace(
                **newest_facts(command, entry, sink.ledger_age.facts_since)
            )
        return Report(was_final, entry, as_recorded=True, rule=command.rule, reason=reason)
    if entry is not None and entry.state == "voided":
        return Report(was_final, entry, as_recorded=True, rule=command.rule, reason=command.reason)
    entry = entry or documents.first_entry(command, sink)
    return Report(
        command.decision,
        in_state(entry, command.decision),
        rule=command.rule,
        reason=command.reason,
        remedy=METRONOME_IS_ASKED if command.decision == "parked" else None,
        waits_for=FINALIZATION if early else None,
    )


def _note(trouble: Parked | Failure, realm: str, sink: Sink, began: float) -> None:
    """Learn from a command that was not carried out whether its company answers."""
    match trouble:
        case Wait() | OutcomeUnknown():
            sink.circuit_breaker.record_timeout(realm, cause_of(trouble), since=began)
        case NotConnected() | ReconnectNeeded() | TokenRefused():
            pass
        case Failure():
            sink.circuit_breaker.record_success(realm)


def _remember_customer(command: PostInvoice, qbo_id: str, sink: Sink) -> None:
    """A mapping that came as a custom field enters the table, so that people see it there; not over what a person said
    while the document was written."""
    customer = command.document.customer
    key = RowKey.of(command.realm, customer.customer_id)
    known = sink.tables.customers.get(key)
    if customer.qbo_id != qbo_id or command.facts is None:
        return
    if known is not None and (known.qbo_id == qbo_id or known.source == "operator"):
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


async def _ensure(command: EnsureCustomer | EnsureItem, at: Address, sink: Sink) -> Report:
    began = sink.circuit_breaker.monotonic()
    try:
        mapping: CustomerMapping | ItemMapping
        if isinstance(command, EnsureCustomer):
            mapping, result = await customers.ensure_customer(command, at, sink)
        else:
            mapping, result = await items.ensure_item(command, at, sink)
    except (Parked, Failure) as trouble:
        _note(trouble, command.realm, sink, began)
        return in_trouble(trouble, command.realm)
    if result != "mapped":
        sink.circuit_breaker.record_success(command.realm)
    away = isinstance(command, EnsureCustomer) and command.customer.away
    return Report(_RESULTS[result], mapping=mapping, away=away)


_RESULTS: dict[str, Result] = {"mapped": "mapped", "found": "found", "created": "created"}


def _set_mapping(command: SetCustomerMapping | SetItemMapping, at: Address, sink: Sink) -> Report:
    """What a person says. Read once more after what they said later, it changes nothing."""
    said = {"realm": command.realm, "qbo_id": command.qbo_id, "name": command.name, "source": "operator", "since": at}
    if isinstance(command, SetCustomerMapping):
        customer = CustomerMapping.model_validate({**said, "customer_id": command.customer_id})
        return _said(sink.tables.customers, RowKey.of(command.realm, command.customer_id), customer, sink)
    item = ItemMapping.model_validate({**said, "product_id": command.product_id})
    return _said(sink.tables.items, RowKey.of(command.realm, command.product_id), item, sink)


def _said(table: MutableMapping[str, M], key: RowKey, mapping: M, sink: Sink) -> Report:
    known = table.get(key)
    if known is not None and known.source == "operator" and sink.ledger_age.log_since is None:
        later, now = known.since, mapping.since
        if (later.topic, later.partition) == (now.topic, now.partition) and later.offset > now.offset:
            return Report("mapped", mapping=known)
    table[key] = mapping
    return Report("mapped", mapping=mapping)
