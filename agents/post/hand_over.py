"""An invoice's company changes: only the company that has it can give it away, and only before its first attempt.

Where a write may ever have left, the invoice stays, and so do its voids and updates; that the routing says otherwise is
told as parked. Else the ledger says first, confirmed by the broker, that it went, so that nothing here posts it any
more; then the commands for the other company are published, and `enrich` learns whose it is.
"""

from models.commands import HandOver, InvoiceCommand, PostInvoice
from models.document import reversed_id
from models.events import Announcement, InvoiceHandedOver
from models.ledger import LedgerEntry
from models.metronome import FINALIZED
from models.record import Address
from models.subject import ROUTING, RowKey

from . import documents, numbers
from .facts import is_newer, newest_facts
from .reporting import Report, in_state
from .sink import Sink

RULE = "routing"


async def hand_over(command: HandOver, at: Address, sink: Sink) -> Report:
    """What becomes of the invoice, and the commands of one of the two companies. Repeating it changes nothing."""
    key = RowKey.of(command.realm, command.invoice_id)
    entry = sink.tables.invoices.get(key)
    if sink.ledger_age.has_forgotten(command, entry):
        return forgotten(command)
    if entry is not None and entry.handed_to is not None and command.owner_epoch < entry.owner_epoch:
        if entry.handed_to != command.to:
            reason = f"the invoice was handed over to company {entry.handed_to} before; Metronome is asked again"
            return Report("unchanged", entry, as_recorded=True, reason=reason, follows=(_asked_again(command),))
    else:
        entry = entry or documents.first_entry(command, sink)
        entry = numbers.marked(sink.ledger_age.marked(entry, command, at), sink.tables.doc_numbers)
        if entry.ever_attempted or entry.look_up_first:
            sink.tables.invoices[key] = entry
            reason = f"it was attempted in company {command.realm} before the routing said {command.to}: it stays"
            return Report("unchanged", entry, as_recorded=True, reason=reason, follows=command.stays)
        entry = entry.replace(
            owner_epoch=command.owner_epoch + 1,
            handed_to=command.to,
            **newest_facts(command, entry, sink.ledger_age.facts_since),
        )
        entry = entry if entry.state == "voided" else in_state(entry, "skipped")
        await sink.tables.record_attempt(key, entry)
    handed = InvoiceHandedOver(
        realm=command.to,
        invoice_id=command.invoice_id,
        customer_id=command.customer_id,
        owner_epoch=entry.owner_epoch,
    )
    reason = f"the routing says company {command.to}, and it was never attempted here"
    return Report("skipped", entry, rule=RULE, reason=reason, follows=(*command.goes, handed))


def went_elsewhere(command: InvoiceCommand, entry: LedgerEntry | None, sink: Sink) -> Report | None:
    """The report of a command that was decided before `enrich` knew that the invoice was given away.

    One from newer facts, a void say, is for the company that has it now: Metronome is asked again, and what it says
    goes there, since `enrich` reads before that whose the invoice is.
    """
    if entry is None or entry.handed_to is None or command.owner_epoch > entry.owner_epoch:
        return None
    reason = f"the invoice was handed over to company {entry.handed_to}"
    if not is_newer(command, entry, sink.ledger_age.facts_since) or command.customer_id is None:
        return Report("unchanged", entry, as_recorded=True, reason=reason)
    reason += "; Metronome is asked again, for that company"
    return Report("unchanged", entry, as_recorded=True, reason=reason, follows=(_asked_again(command),))


def forgotten(command: InvoiceCommand | HandOver) -> Report:
    """The report of a command from facts that are older than the ledger: what became of newer ones, nobody knows."""
    reason = "its facts are older than the ledger, and newer ones may have been acted on; Metronome is asked again"
    return Report("unchanged", as_recorded=True, reason=reason, follows=(_asked_again(command),))


def _asked_again(command: InvoiceCommand | HandOver) -> Announcement:
    """For Metronome there is only the invoice, and not what takes it back here."""
    assert command.customer_id is not None
    return Announcement(
        invoice_id=reversed_id(command.invoice_id) or command.invoice_id,
        customer_id=command.customer_id,
        status=FINALIZED,
        received_at=command.received_at,
    )


def told(command: InvoiceCommand, report: Report) -> Report:
    """Of a document that stands here although the routing now says otherwise, that it does."""
    if not isinstance(command, PostInvoice) or command.routed_to is None or report.result != "unchanged":
        return report
    if report.entry is None or not report.entry.in_books:
        return report
    return Report(
        "parked",
        report.entry,
        as_recorded=True,
        rule=RULE,
        reason=f"posted in company {command.realm} as {report.entry.doc_number}; the routing now says "
        f"{command.routed_to}. It stays where it is",
        remedy=f"if it belongs to company {command.realm}, route it there and send its webhook again",
        waits_for=ROUTING,
    )
