"""The decision: what is to be done in QuickBooks about one finalized invoice. Pure; rules in docs/mapping.md.

Facts and policy go in, commands come out: same facts, same policy, same bytes. Either the document says exactly what
Metronome billed, or it is declined with the rule that stopped it.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from models.commands import Command, DeclineInvoice, EnsureCustomer, EnsureItem, PostInvoice, VoidInvoice
from models.document import CustomerNeed, Document, ItemNeed, Line, doc_number
from models.events import InvoiceEnriched
from models.metronome import Invoice, LineItem
from models.money import Unit, UnknownUnit, parse_json, quantum, round_half_up, unit_of
from models.policy import Policy
from models.record import Address

from . import texts
from .amounts import APPLIED, broken_sum, counted_lines, figure_out_of_range, quantity_and_price, spread

CUSTOMER_FIELD = "qbo_customer_id"
ITEM_FIELD = "qbo_item_id"
MEMO_FIELD = "qbo_memo_ref"

ALL_PRODUCTS = "*"
"""The name of the item that stands for every product, in the single-item strategy."""

TERMS_DAYS_MAX = 3650
REASON_LENGTH_MAX = 1000


class _Declined(Exception):
    """Nothing is posted, and why."""

    def __init__(self, decision: Literal["skipped", "refused"], rule: str, reason: str) -> None:
        super().__init__(reason)
        self.decision = decision
        self.rule = rule
        self.reason = reason


def translate(facts: InvoiceEnriched, at: Address, *, policy: Policy) -> list[Command]:
    """The commands for one invoice, in the order in which they are to be published. `at` is where `facts` lies."""
    try:
        invoice = _read(facts)
        if invoice.status == "VOID":
            return [_void(facts, at)]
        document = _document(invoice, facts, policy)
    except _Declined as declined:
        return [_decline(facts, at, declined)]
    return [
        *_ensure_customer(document, facts, at),
        *_ensure_items(document, facts, at, policy),
        _post(document, facts, at),
    ]


def _read(facts: InvoiceEnriched) -> Invoice:
    try:
        answer = parse_json(facts.answer)
        invoice = Invoice.model_validate(answer["data"] if isinstance(answer, dict) else answer)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, wrong["loc"])) or "data"
        raise _refused("unreadable answer", f"Metronome's answer, field {field}: {wrong['msg']}") from None
    except KeyError:
        raise _refused("unreadable answer", "Metronome's answer has no field data") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _refused("unreadable answer", f"Metronome's answer is not JSON: {error}") from None
    if (invoice.id, invoice.customer_id) != (facts.invoice_id, facts.customer_id):
        raise _refused(
            "another invoice",
            f"asked for invoice {facts.invoice_id} of customer {facts.customer_id}, "
            f"Metronome answered with {invoice.id} of {invoice.customer_id}",
        )
    return invoice


def _document(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> Document:
    _check_billable(invoice)
    unit = _unit(invoice)
    counted = counted_lines(invoice)
    if reason := figure_out_of_range(invoice, counted, unit):
        raise _refused("figure out of range", reason)
    if reason := broken_sum(invoice, counted, unit):
        raise _refused("sum", reason)
    total = round_half_up(unit.major(invoice.total), quantum(unit.currency))
    billed = _billed_lines(counted, total, policy)
    try:
        return _compose(invoice, billed, total, unit, facts, policy)
    except OverflowError:
        raise _refused("date out of range", "a date of the invoice or its due date lies beyond the calendar") from None


def _check_billable(invoice: Invoice) -> None:
    if invoice.status != "FINALIZED":
        raise _skipped("not finalized", f"the invoice's status is {invoice.status}, only FINALIZED is posted")
    if invoice.billable_status == "unbillable":
        raise _skipped("unbillable", "Metronome marks the invoice as unbillable")
    payer = invoice.payer
    if payer is not None and payer.customer_id != invoice.customer_id and invoice.type != "USAGE_CONSOLIDATED":
        raise _refused(
            "billed to another customer",
            f"customer {payer.customer_id} pays for customer {invoice.customer_id}: "
            "posting it here too would bill it twice",
        )


def _unit(invoice: Invoice) -> Unit:
    try:
        return unit_of(invoice.credit_type.name)
    except UnknownUnit as error:
        raise _refused("unknown unit", str(error)) from None


def _billed_lines(counted: Sequence[LineItem], total: Decimal, policy: Policy) -> list[LineItem]:
    if total == 0 and policy.zero_total == "skip":
        raise _skipped("zero total", "the invoice's total is zero")
    drop = policy.zero_quantity_lines == "drop"
    billed = [line for line in counted if not (drop and line.quantity == 0 and line.total == 0)]
    if not billed:
        raise _skipped("no lines", "the invoice's total is zero and no line is left to post")
    return billed


def _compose(
    invoice: Invoice, billed: Sequence[LineItem], total: Decimal, unit: Unit, facts: InvoiceEnriched, policy: Policy
) -> Document:
    """The document; raises OverflowError when a date cannot be expressed in the company's time zone."""
    txn_date = _txn_date(invoice, facts, policy)
    kind: Literal["invoice", "creditmemo"] = "creditmemo" if total < 0 else "invoice"
    memo_ref = facts.memo_ref or (invoice.contract_custom_fields or {}).get(MEMO_FIELD)
    return Document(
        kind=kind,
        invoice_id=invoice.id,
        customer=_customer(invoice, facts),
        currency=unit.currency,
        doc_number=doc_number(invoice.id),
        txn_date=txn_date,
        due_date=_due_date(invoice, txn_date, policy) if kind == "invoice" else None,
        private_note=texts.private_note(invoice, contract_name=facts.contract_name, memo_ref=memo_ref),
        customer_memo=texts.customer_memo(
            invoice, kind=kind, plan=facts.contract_name or invoice.plan_name, txn_date=txn_date
        ),
        lines=tuple(_lines(billed, total, unit, policy)),
        total=total.copy_abs(),
    )


def _txn_date(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> date:
    return _local_date(invoice.issued_at or invoice.end_timestamp or facts.received_at, policy)


def _due_date(invoice: Invoice, txn_date: date, policy: Policy) -> date | None:
    """By policy; None leaves it to QuickBooks. An `end_timestamp` before TxnDate, as usual, makes no due date."""
    if policy.due_date == "end_timestamp" and invoice.end_timestamp is not None:
        end = _local_date(invoice.end_timestamp, policy)
        if end >= txn_date:
            return end
    terms = invoice.net_payment_terms_days
    if terms is not None and not 0 <= terms <= TERMS_DAYS_MAX:
        raise _refused("payment terms", f"net_payment_terms_days is {terms}, not between 0 and {TERMS_DAYS_MAX}")
    days = policy.payment_terms_days if terms is None else int(terms)
    return None if days is None else txn_date + timedelta(days=days)


def _local_date(moment: datetime, policy: Policy) -> date:
    return texts.utc(moment).astimezone(ZoneInfo(policy.time_zone)).date()


def _customer(invoice: Invoice, facts: InvoiceEnriched) -> CustomerNeed:
    qbo_id = _qbo_id(invoice.customer_custom_fields, CUSTOMER_FIELD, f"customer {invoice.customer_id}")
    return CustomerNeed(customer_id=invoice.customer_id, name=texts.clean(facts.customer_name), qbo_id=qbo_id)


def _lines(billed: Sequence[LineItem], total: Decimal, unit: Unit, policy: Policy) -> list[Line]:
    """The lines, adding up to `total` without its sign: QuickBooks takes a negative total as a positive credit memo."""
    negated = total < 0
    exact = [unit.major(line.total) for line in billed]
    if negated:
        exact = [amount.copy_negate() for amount in exact]
    amounts = spread(exact, total.copy_abs(), quantum(unit.currency))
    names = _product_names(billed)
    return [
        _line(line, amount, _item(line, names, policy), unit, negated=negated)
        for line, amount in zip(billed, amounts, strict=True)
    ]


def _line(line: LineItem, amount: Decimal, item: ItemNeed, unit: Unit, *, negated: bool) -> Line:
    quantity, price = quantity_and_price(line, amount, unit, negated=negated) or (None, None)
    return Line(
        item=item,
        amount=amount,
        description=texts.description(line, unit, with_quantity=quantity is None),
        quantity=quantity,
        unit_price=price,
    )


def _product_names(billed: Sequence[LineItem]) -> dict[str, str]:
    """A name for each product: its first line's, but not that of a draw-down, which is named after the commit."""
    draw_downs_last = sorted(billed, key=lambda line: line.type == APPLIED)
    names: dict[str, str] = {}
    for line in draw_downs_last:
        if line.product_id is not None:
            names.setdefault(line.product_id, texts.clean(line.name))
    return names


def _item(line: LineItem, names: dict[str, str], policy: Policy) -> ItemNeed:
    if policy.item_strategy == "single-item":
        if policy.default_item_id is None:
            raise _refused(
                "no default item", "the single-item strategy needs the policy's default_item_id: set it, then replay"
            )
        return ItemNeed(name=ALL_PRODUCTS, qbo_id=policy.default_item_id)
    if line.product_id is None:
        return ItemNeed(name=texts.clean(line.name), default_qbo_id=policy.default_item_id)
    return ItemNeed(
        name=names[line.product_id],
        product_id=texts.clean(line.product_id),
        qbo_id=_qbo_id(line.product_custom_fields, ITEM_FIELD, f"product {line.product_id} (line {line.name!r})"),
        default_qbo_id=policy.default_item_id if policy.missing_item == "default" else None,
    )


def _qbo_id(custom_fields: dict[str, str] | None, field: str, owner: str) -> str | None:
    """The QuickBooks id in a custom field, None when absent or empty; ids are digits (facts/quickbooks.md §1.1)."""
    value = (custom_fields or {}).get(field, "").strip()
    if value and not (value.isascii() and value.isdigit()):
        raise _refused("bad custom field", f"{field} of {owner} is {value!r}, not a QuickBooks id, which is all digits")
    return value or None


def _ensure_customer(document: Document, facts: InvoiceEnriched, at: Address) -> list[Command]:
    if document.customer.qbo_id is not None:
        return []
    return [
        EnsureCustomer(
            realm=facts.realm,
            facts=at,
            received_at=facts.received_at,
            customer=document.customer,
            currency=document.currency,
        )
    ]


def _ensure_items(document: Document, facts: InvoiceEnriched, at: Address, policy: Policy) -> list[Command]:
    """One command for each product that only a new item can cover, in line order."""
    if policy.missing_item != "create":
        return []
    items = [line.item for line in document.lines]
    needed = {item.product_id: item for item in items if item.product_id is not None and item.qbo_id is None}
    return [
        EnsureItem(realm=facts.realm, facts=at, received_at=facts.received_at, item=item) for item in needed.values()
    ]


def _post(document: Document, facts: InvoiceEnriched, at: Address) -> Command:
    return PostInvoice(
        realm=facts.realm, facts=at, received_at=facts.received_at, invoice_id=facts.invoice_id, document=document
    )


def _void(facts: InvoiceEnriched, at: Address) -> Command:
    return VoidInvoice(
        realm=facts.realm,
        facts=at,
        received_at=facts.received_at,
        invoice_id=facts.invoice_id,
        reason="Metronome voided the invoice",
    )


def _decline(facts: InvoiceEnriched, at: Address, declined: _Declined) -> Command:
    return DeclineInvoice(
        realm=facts.realm,
        facts=at,
        received_at=facts.received_at,
        invoice_id=facts.invoice_id,
        decision=declined.decision,
        rule=declined.rule,
        reason=texts.cut(texts.clean(declined.reason), REASON_LENGTH_MAX),
    )


def _refused(rule: str, reason: str) -> _Declined:
    return _Declined("refused", rule, reason)


def _skipped(rule: str, reason: str) -> _Declined:
    return _Declined("skipped", rule, reason)
