"""The decision: what is to be done in QuickBooks about one finalized invoice. Pure; rules in docs/mapping.md.

Facts and policy go in, commands come out: same facts, same policy, same bytes. Either the document says exactly what
Metronome billed, or it is declined with the rule that stopped it.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from models.commands import Command, DeclineInvoice, PostInvoice, VoidInvoice
from models.document import CustomerReference, Document, Kind, doc_number
from models.events import InvoiceEnriched
from models.metronome import CUSTOMER_FIELD, MEMO_FIELD, Invoice, LineItem
from models.money import Unit, UnknownUnit, parse_json, quantum, round_half_up, unit_of
from models.policy import Policy
from models.quickbooks import clean, cut
from models.record import Address

from . import templates, texts
from .amounts import broken_sum, counted_lines, figure_out_of_range
from .custom_fields import MappedFields, id_in
from .dates import TxnDate, days, due, txn_date
from .declined import Declined, refused, skipped
from .eligibility import CONSOLIDATED, check_final, check_kind, other_payer
from .lines import LineContext, document_lines
from .requirements import ensure_commands
from .reversal import reversal_of

REASON_LENGTH_MAX = 1000

BY_HAND = "void the document in QuickBooks, or give a credit memo for it"
_LEFT_STANDING = {
    "void": None,
    "flag": BY_HAND,
    "credit-memo": "nothing while metronome-qbo watch runs, which finds the void; else send its webhook again",
}
"""What a person is told to do about the document of an invoice that was regenerated, by policy."""


def translate(facts: InvoiceEnriched, at: Address, *, policy: Policy) -> list[Command]:
    """The commands for one invoice, in the order in which they are to be published. `at` is where `facts` lies.

    A regenerated invoice first voids the one that it replaces, which Metronome has voided already, whatever becomes
    of itself.
    """
    commands: list[Command] = []
    try:
        invoice = _read(facts)
        if invoice.regenerated_from_invoice_id is not None:
            reason = f"Metronome voided the invoice, and regenerated it as {invoice.id}"
            commands.append(_void(invoice.regenerated_from_invoice_id, reason, facts, at, _LEFT_STANDING[policy.voids]))
        if invoice.status == "VOID":
            return [*commands, _take_back(invoice, facts, at, policy)]
        document = _document(invoice, facts, policy)
    except Declined as declined:
        return [*commands, _decline(facts, at, declined)]
    return [
        *commands,
        *ensure_commands(document, realm=facts.realm, facts=at, received_at=facts.received_at, policy=policy),
        _post(document, facts, at),
    ]


def _read(facts: InvoiceEnriched) -> Invoice:
    data = _data(facts)
    try:
        invoice = Invoice.model_validate(data)
    except ValidationError as error:
        if isinstance(data, dict) and isinstance(status := data.get("status"), str):
            check_final(status)  # a draft may lack anything
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, wrong["loc"])) or "data"
        raise refused("unreadable answer", f"Metronome's answer, field {field}: {wrong['msg']}") from None
    if (invoice.id, invoice.customer_id) != (facts.invoice_id, facts.customer_id):
        raise refused(
            "another invoice",
            f"asked for invoice {facts.invoice_id} of customer {facts.customer_id}, "
            f"Metronome answered with {invoice.id} of {invoice.customer_id}",
        )
    return invoice


def _data(facts: InvoiceEnriched) -> Any:
    try:
        answer = parse_json(facts.answer)
    except ValueError as error:
        raise refused("unreadable answer", f"Metronome's answer is not JSON: {error}") from None
    if isinstance(answer, dict) and "data" not in answer:
        raise refused("unreadable answer", "Metronome's answer has no field data")
    return answer["data"] if isinstance(answer, dict) else answer


def _document(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> Document:
    try:
        # What is taken back was final when it was posted.
        final = invoice.model_copy(update={"status": "FINALIZED"}) if invoice.status == "VOID" else invoice
        check_kind(final, facts, policy)
        unit = _unit(invoice)
        counted = counted_lines(invoice)
        if reason := figure_out_of_range(invoice, counted, unit):
            raise refused("figure out of range", reason)
        if reason := broken_sum(invoice, counted, unit):
            raise refused("sum", reason)
        total = round_half_up(unit.major(invoice.total), quantum(unit.currency))
        return _compose(invoice, _billed_lines(counted, total, policy), total, unit, facts, policy)
    except OverflowError:
        raise refused("date out of range", "a date of the invoice or its due date lies beyond the calendar") from None


def _unit(invoice: Invoice) -> Unit:
    try:
        return unit_of(invoice.credit_type.name)
    except UnknownUnit as error:
        raise refused("unknown unit", str(error)) from None


def _billed_lines(counted: Sequence[LineItem], total: Decimal, policy: Policy) -> list[LineItem]:
    if total == 0 and policy.zero_total == "skip":
        raise skipped("zero total", "the invoice's total is zero")
    drop = policy.zero_quantity_lines == "drop"
    billed = [line for line in counted if not (drop and line.quantity == 0 and line.total == 0)]
    if not billed:
        raise skipped("no lines", "the invoice's total is zero and no line is left to post")
    return billed


def _compose(
    invoice: Invoice, billed: Sequence[LineItem], total: Decimal, unit: Unit, facts: InvoiceEnriched, policy: Policy
) -> Document:
    """The document; raises OverflowError when a date cannot be expressed in the company's time zone."""
    kind: Kind = "creditmemo" if total < 0 else "invoice"
    pays = other_payer(invoice)
    customer_fields = invoice.customer_custom_fields if pays is None else facts.payer_custom_fields
    further = MappedFields(invoice.contract_custom_fields, customer_fields)
    dated = txn_date(invoice, facts, policy)
    term_id = further.document_id(policy.term_field, billed)
    is_due = due(invoice, dated, policy, term_id) if kind == "invoice" else None
    note, memo = _texts(invoice, kind, dated, total.copy_abs(), unit, facts, policy)
    return Document(
        kind=kind,
        invoice_id=invoice.id,
        customer=_customer(invoice, facts, pays, customer_fields, unit),
        currency=unit.currency,
        doc_number=doc_number(invoice.id),
        txn_date=dated.day,
        due_date=is_due.day if is_due else None,
        private_note=note,
        customer_memo=memo,
        lines=document_lines(
            billed,
            total,
            LineContext(invoice.id, invoice.customer_id, unit, further, policy, total < 0, facts.constituent_names),
        ),
        total=total.copy_abs(),
        sales_term_id=is_due.sales_term_id if is_due else None,
        class_id=further.document_id(policy.class_field, billed) if policy.class_on == "transaction" else None,
        department_id=further.document_id(policy.department_field, billed),
        email=further.email(policy.email_field, billed),
        custom_fields=further.texts(policy.custom_fields, billed) if policy.custom_fields else {},
        exchange_rate=policy.exchange_rates.get(unit.currency),
        global_tax_calculation=policy.global_tax_calculation,
        constituents=_constituents(invoice),
        replaces=invoice.regenerated_from_invoice_id,
    )


def _customer(
    invoice: Invoice, facts: InvoiceEnriched, pays: str | None, fields: dict[str, str] | None, unit: Unit
) -> CustomerReference:
    """Who is billed: the invoice's customer, or by policy the one who pays for it."""
    customer_id = pays or invoice.customer_id
    name = facts.customer_name if pays is None else facts.payer_name or ""
    qbo_id = id_in(fields, CUSTOMER_FIELD, f"customer {customer_id}")
    away = pays is None and facts.home not in (None, facts.realm)
    return CustomerReference(
        customer_id=customer_id, name=clean(name), qbo_id=qbo_id, currency=unit.currency, away=away
    )


def _constituents(invoice: Invoice) -> tuple[str, ...]:
    if invoice.type != CONSOLIDATED or not invoice.constituent_invoices:
        return ()
    return tuple(each.invoice_id for each in invoice.constituent_invoices if each.invoice_id != invoice.id)


def _texts(
    invoice: Invoice, kind: Kind, dated: TxnDate, total: Decimal, unit: Unit, facts: InvoiceEnriched, policy: Policy
) -> tuple[str, str]:
    """PrivateNote and CustomerMemo."""
    memo_ref = facts.memo_ref or (invoice.contract_custom_fields or {}).get(MEMO_FIELD)
    plan = facts.contract_name or invoice.plan_name
    more = {
        "Original date": f"{dated.original}, in a closed period" if dated.original else None,
        "Used by": f"{facts.customer_name} ({invoice.customer_id})" if other_payer(invoice) else None,
    }
    note = texts.private_note(invoice, contract_name=facts.contract_name, memo_ref=memo_ref, more=more)
    memo = texts.customer_memo(invoice, kind=kind, plan=plan if policy.memo_contract_name else None, txn_date=dated.day)
    if policy.private_note_template is None and policy.customer_memo_template is None:
        return note, memo
    period = days(invoice.start_timestamp, invoice.end_timestamp)
    values = {
        "invoice_id": invoice.id,
        "type": invoice.type,
        "kind": kind,
        "status": invoice.status,
        "customer_id": invoice.customer_id,
        "customer_name": clean(facts.customer_name),
        "contract_id": invoice.contract_id,
        "contract_name": clean(facts.contract_name or ""),
        "plan": clean(plan or ""),
        "reference": clean(memo_ref or ""),
        "period": texts.spoken_period(*period) if period else "",
        "period_start": period[0] if period else None,
        "period_end": period[1] if period else None,
        "txn_date": dated.day,
        "total": total,
        "currency": unit.currency,
        "custom_fields": {**(invoice.customer_custom_fields or {}), **(invoice.contract_custom_fields or {})},
    }
    if policy.private_note_template is not None:
        below = values | {"default": note.partition("\n")[2]}
        text = templates.render(
            "private_note_template", policy.private_note_template, below, texts.PRIVATE_NOTE_LENGTH_MAX
        )
        note = texts.below_identity(invoice.id, text)
    if policy.customer_memo_template is not None:
        values["default"] = memo
        memo = templates.render(
            "customer_memo_template", policy.customer_memo_template, values, texts.CUSTOMER_MEMO_LENGTH_MAX
        )
    return note, memo


def of_facts(facts: InvoiceEnriched, at: Address) -> dict[str, Any]:
    """The fields by which a command of an invoice says which facts it was decided from."""
    return {
        "realm": facts.realm,
        "facts": at,
        "facts_fetched_at": facts.fetched_at,
        "received_at": facts.received_at,
        "customer_id": facts.customer_id,
        "owner_epoch": facts.owner_epoch,
    }


def _post(document: Document, facts: InvoiceEnriched, at: Address) -> Command:
    return PostInvoice(**of_facts(facts, at), invoice_id=document.invoice_id, document=document)


def _take_back(invoice: Invoice, facts: InvoiceEnriched, at: Address, policy: Policy) -> Command:
    """What becomes of the document of a voided invoice, by policy."""
    reason = "Metronome voided the invoice"
    if policy.voids == "credit-memo":
        try:
            return _post(_reversal(invoice, facts, policy), facts, at)
        except Declined as declined:
            why = cut(clean(declined.reason), REASON_LENGTH_MAX)
            return _void(invoice.id, f"{reason}; nothing takes it back by itself: {why}", facts, at, BY_HAND)
    return _void(invoice.id, reason, facts, at, BY_HAND if policy.voids == "flag" else None)


def _reversal(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> Document:
    """Dated when we learned of the void. Whether the invoice was posted at all is for the ledger to say."""
    then = policy.model_copy(update={"books_closed_through": None, "not_before": None, "zero_total": "post"})
    document = _document(invoice, facts, then)
    today = invoice.model_copy(update={"issued_at": facts.received_at})
    return reversal_of(document, txn_date(today, facts, policy.model_copy(update={"txn_date": "issued"})))


def _void(invoice_id: str, reason: str, facts: InvoiceEnriched, at: Address, by_hand: str | None = None) -> Command:
    return VoidInvoice(**of_facts(facts, at), invoice_id=invoice_id, reason=reason, by_hand=by_hand)


def _decline(facts: InvoiceEnriched, at: Address, declined: Declined) -> Command:
    return DeclineInvoice(
        **of_facts(facts, at),
        invoice_id=facts.invoice_id,
        decision=declined.decision,
        rule=declined.rule,
        reason=cut(clean(declined.reason), REASON_LENGTH_MAX),
    )
