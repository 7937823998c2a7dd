"""Whatever Metronome bills, under whatever policy: the books get exactly that, or nothing and a reason.

Invoices come from our own strategies and from the simulator's generator; the judge is the simulator's QuickBooks, which
knows nothing of our code. `make properties` runs many more examples (PROPERTY_EXAMPLES).
"""

import os
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from agents.clients.quickbooks import encode
from agents.translate.translate import translate
from models.commands import Command, DeclineInvoice, PostInvoice, VoidInvoice
from models.document import Document
from models.events import ContractHierarchy
from models.metronome import Invoice
from models.money import EXACT, exact_sum, parse_json, quantum, round_half_up, unit_of
from models.policy import Policy
from models.quickbooks import ENTITY, body_of
from models.record import utc
from simulators.metronome.generator import generate
from simulators.quickbooks.books import Books, Company, add_customer, add_item, new_entry
from simulators.quickbooks.sales import made_sale
from simulators.quickbooks.sample import opened
from simulators.scene import Scene
from tests import ROOT
from tests.builders import AT, CENTS, CREDITS, EUROS, Json, an_invoice, facts_of, json_of
from tests.qbo_schema import faults

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "500"))
MAPPING = ROOT / "docs" / "mapping.md"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "KWD", "AUD", "BRL", "CAD", "CHF", "CZK", "INR", "MXN", "NGN", "NOK", "NZD",
              "PLN", "SEK", "SGD", "TRY", "ZAR")  # fmt: skip
UNMAPPED_ITEM = "40"
SEEDS = 50
INVOICES_PER_SEED = 40

exhaustively = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

YEN, DINAR = {"id": "yen", "name": "JPY"}, {"id": "dinar", "name": "KWD"}
figures = st.one_of(
    st.decimals("-1000", "100000", places=2),
    st.decimals("0", "5000000", places=9),
    st.decimals("0", "1", places=12),
    st.integers(0, 10**13).map(Decimal),
    st.floats(-1e6, 1e9, allow_nan=False).map(lambda number: Decimal(repr(number))),
)


def rarely(*odd: Any, usual: Any) -> st.SearchStrategy[Any]:
    """`usual`, but once in a while one of the odd ones, so that most invoices get as far as the books."""
    return st.sampled_from([*[usual] * (15 * len(odd)), *odd])


texts_of_people = st.text(max_size=40) | st.sampled_from(["🧾" * 2100, "x" * 5000, "{{ 7 * 7 }}", "a\x00b\nc"])
ids = rarely("5", "not an id", usual="4") | st.none()


@st.composite
def lines(draw: st.DrawFn, unit: Json) -> Json:
    quantity, price = draw(st.none() | figures), draw(st.none() | figures)
    made = Decimal(0) if quantity is None or price is None else EXACT.multiply(quantity, price)
    rounded = [made.quantize(Decimal(step), context=EXACT) for step in ("1", "0.001")]
    total = draw(st.sampled_from([made, *rounded]) | figures)
    fields = {
        "qbo_item_id": draw(st.sampled_from(["31", "32", ""])),
        "class": draw(ids),
        "qbo_tax_code": draw(rarely("no code", usual="") | st.sampled_from(["TAX", "NON"])),
    }
    line: Json = {
        "type": draw(st.sampled_from(["usage", "subscription", "commit_purchase", "cpu_conversion", "made_up"])),
        "name": draw(texts_of_people),
        "total": total,
        "quantity": quantity,
        "unit_price": price,
        "credit_type": draw(rarely(CREDITS, usual=unit)),
        "product_id": draw(st.sampled_from(["p-1", "p-2", None])),
        "product_custom_fields": {name: value for name, value in fields.items() if value is not None},
        "commit_custom_fields": draw(st.sampled_from([None, {}, {"qbo_item_id": "33"}])),
        "pricing_group_values": draw(st.none() | st.dictionaries(st.text(max_size=5), texts_of_people, max_size=2)),
    }
    if draw(st.integers(0, 4)) == 0:
        applied = {"id": "c", "type": draw(st.sampled_from(["PREPAID", "CREDIT", "POSTPAID"]))}
        line |= {"type": "applied_commit_or_credit", "applied_commit_or_credit": applied, "total": -abs(total)}
    return line


@st.composite
def invoices(draw: st.DrawFn) -> Json:
    unit = draw(rarely(DINAR, CREDITS, usual=CENTS) | st.sampled_from([EUROS, YEN]))
    made = draw(st.lists(lines(unit), min_size=draw(rarely(0, usual=1)), max_size=8))
    counted = [
        each["total"]
        for each in made
        if each["credit_type"] == unit and each.get("applied_commit_or_credit", {}).get("type") != "POSTPAID"
    ]
    total = exact_sum(counted) + draw(rarely(1, Decimal("0.001"), usual=0))
    moments = st.datetimes(timezones=st.sampled_from([None, UTC])) | st.just(datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    return an_invoice(
        made,
        credit_type=unit,
        total=total,
        status=draw(rarely("DRAFT", "VOID", usual="FINALIZED")),
        type=draw(st.sampled_from(["USAGE", "SCHEDULED", "USAGE_CONSOLIDATED", "Refund"])),
        issued_at=draw(st.none() | st.just("2026-11-02T00:00:00Z") | moments.map(datetime.isoformat)),
        net_payment_terms_days=draw(rarely(9999, usual=30) | st.sampled_from([None, 0, Decimal("45.0")])),
        payer=draw(rarely({"customer_id": "the-parent"}, usual=None)),
        regenerated_from_invoice_id=draw(rarely("old", usual=None)),
        correction_record=draw(st.sampled_from([None, {"corrected_invoice_id": "old", "memo": "m", "reason": None}])),
        constituent_invoices=draw(st.sampled_from([None, [{"invoice_id": "child-1"}, {"invoice_id": "child-2"}]])),
        contract_custom_fields=draw(st.sampled_from([None, {"class": "4", "mail": "a@b.example", "po": "77"}])),
    )


policies = st.builds(
    Policy,
    item_strategy=st.sampled_from(["per-product", "single-item"]),
    default_item_id=rarely(None, usual="34"),
    missing_item=st.sampled_from(["park", "create", "default"]),
    draw_down_item=st.sampled_from(["product", "own"]),
    draw_down_item_id=st.sampled_from([None, "35"]),
    commit_purchase_item=st.sampled_from(["product", "own"]),
    payer=st.sampled_from(["refuse", "payer"]),
    not_before=rarely(date(2026, 1, 1), usual=None),
    zero_total=rarely("skip", usual="post"),
    zero_quantity_lines=st.sampled_from(["keep", "drop"]),
    line_limit=rarely(1, usual=2) | st.just(750),
    too_many_lines=rarely("refuse", usual="group"),
    line_figures=st.sampled_from(["amount-only", "quantity-one", "rescaled"]),
    rounding=st.sampled_from(["largest-remainder", "rounding-line"]),
    time_zone=st.sampled_from(["UTC", "America/Los_Angeles", "Pacific/Auckland"]),
    txn_date=st.sampled_from(["issued", "service-end"]),
    service_date=st.sampled_from(["none", "start", "end"]),
    rounding_line_max=st.sampled_from([0, 1, 2]),
    line_text=st.sampled_from(["guide", "customer"]),
    memo_contract_name=st.booleans(),
    due_date=st.sampled_from(["terms", "end_timestamp", "sales-term"]),
    sales_term_ids=st.sampled_from([{}, {"30": "3"}]),
    sales_term_id=rarely(None, usual="2"),
    books_closed_through=rarely(date(2026, 10, 31), usual=None),
    closed_books=st.sampled_from(["refuse", "first-open-day"]),
    private_note_template=rarely("{{ reference * 2 }}", usual=None) | st.just("{{ default }}\n{{ plan }} 🧾"),
    customer_memo_template=st.sampled_from([None, "{{ period or txn_date }}: {{ total * 2 }}"]),
    description_template=rarely("{{ amount / 0 }}", usual=None) | st.just("{{ name }} {{ groups }} {{ quantity }}"),
    exchange_rates=st.sampled_from([{}, {"EUR": Decimal("1.0845")}]),
    tax_code=st.sampled_from([None, "NON"]),
    class_field=st.sampled_from([None, "class"]),
    class_on=st.sampled_from(["line", "transaction"]),
    department_field=st.sampled_from([None, "class"]),
    term_field=st.sampled_from([None, None, "class"]),
    email_field=st.sampled_from([None, "mail"]),
    custom_fields=st.sampled_from([{}, {"1": "po"}]),
)


@exhaustively
@given(invoices(), policies, rarely("CONSOLIDATE", "SEPARATE", usual=None), st.booleans(), texts_of_people)
def test_any_invoice_under_any_policy(
    invoice: Json, policy: Policy, statements: str | None, payer_known: bool, name: str
) -> None:
    hierarchy = ContractHierarchy(payer="PARENT", usage_statement_behavior=statements) if statements else None
    payer = {"payer_name": "Holding", "payer_custom_fields": {}} if payer_known else {}
    facts = facts_of(invoice, hierarchy=hierarchy, contract_name=name.replace("\ud800", ""), **payer)
    is_exact_or_declined(invoice, translate(facts, AT, policy=policy), policy)


@exhaustively
@given(st.integers(0, SEEDS - 1), st.integers(0, INVOICES_PER_SEED - 1), policies)
def test_any_generated_invoice_under_any_policy(seed: int, number: int, policy: Policy) -> None:
    invoice = parse_json(json_of(scene(seed).invoices[number]))
    facts = facts_of(invoice, memo_ref=None)
    is_exact_or_declined(invoice, translate(facts, AT, policy=policy), policy)


@exhaustively
@given(
    invoices(),
    st.sampled_from(["TaxExcluded", "TaxInclusive", "NotApplicable"]),
    st.sampled_from(["quantity-one", "rescaled"]),
)
def test_any_invoice_outside_the_us(invoice: Json, calculation: Any, figures: Any) -> None:
    """Whatever tax QuickBooks adds, without it the total is ours."""
    policy = Policy(tax_code="2", tax_code_field="off", global_tax_calculation=calculation, line_figures=figures)
    is_exact_or_declined(invoice, translate(facts_of(invoice), AT, policy=policy), policy)


@cache
def scene(seed: int) -> Scene:
    return generate(seed, INVOICES_PER_SEED, now=NOW, eur_share=0.4, mix="every-kind", extra_currencies=("JPY", "KWD"))


def is_exact_or_declined(invoice: Json, commands: list[Command], policy: Policy) -> None:
    last = commands[-1]
    note(repr(last))
    match last:
        case PostInvoice(document=document):
            assert invoice["status"] == "FINALIZED"
            is_exact(invoice, document)
            is_dated(invoice, document, policy)
            is_accepted(document, policy)
        case DeclineInvoice():
            assert f"`{last.rule}`" in documented_rules()
            assert (last.decision == "parked") is (invoice["status"] not in ("FINALIZED", "VOID"))
            assert last.reason.strip()
        case VoidInvoice():
            assert invoice["status"] == "VOID"
        case other:
            raise AssertionError(other)


def is_exact(invoice: Json, document: Document) -> None:
    """The lines add up to Metronome's total in the currency's smallest unit, and each says how it came about."""
    unit = unit_of(Invoice.model_validate(invoice).credit_type.name)
    billed = round_half_up(EXACT.divide(Decimal(invoice["total"]), Decimal(unit.per_major)), quantum(unit.currency))
    assert document.currency == unit.currency
    assert document.total * (-1 if document.kind == "creditmemo" else 1) == billed
    assert exact_sum([line.amount for line in document.lines]) == document.total >= 0
    numbers = [(line.amount, line.quantity or Decimal(0)) for line in document.lines]
    assert not any(number.is_signed() for pair in numbers for number in pair if number == 0)
    assert document.private_note.splitlines()[0] == f"Metronome invoice {invoice['id']}"


def is_dated(invoice: Json, document: Document, policy: Policy) -> None:
    """Not after the day of issue, unless closed books move it; and not due before that day."""
    if not isinstance(invoice.get("issued_at"), str):
        return
    moment = Invoice.model_validate(invoice).issued_at
    assert moment is not None
    issued = utc(moment).astimezone(ZoneInfo(policy.time_zone)).date()
    closed = policy.books_closed_through
    assert document.txn_date <= issued or (closed is not None and document.txn_date == closed + timedelta(days=1))
    assert document.due_date is None or document.due_date >= max(issued, document.txn_date)


def is_accepted(document: Document, policy: Policy) -> None:
    """Intuit's schema knows every name, and the simulated QuickBooks takes the body and has the same total."""
    refs = [line.item.qbo_id or line.item.default_qbo_id or UNMAPPED_ITEM for line in document.lines]
    customer = str(100 + CURRENCIES.index(document.currency))
    body = body_of(document, customer_ref=customer, item_refs=refs, doc_number=document.doc_number)
    assert faults(ENTITY[document.kind], body) == []
    sent = parse_json(encode(body))
    company = books("" if policy.class_field is None else policy.class_on, policy.global_tax_calculation is not None)
    sale = made_sale(ENTITY[document.kind], sent, company, 0, None, allow_duplicate=False)
    added = Decimal((sale.get("TxnTaxDetail") or {}).get("TotalTax", 0))
    if policy.global_tax_calculation == "TaxInclusive":
        added = Decimal(0)
    assert Decimal(sale["TotalAmt"]) - added == document.total
    assert len([line for line in sale["Line"] if line["DetailType"] == "SalesItemLineDetail"]) == len(document.lines)


@cache
def books(class_tracking: Any, outside_the_us: bool) -> Books:
    """A company with all that a document may refer to."""
    place: Any = {"country": "GB", "currency": "GBP", "tax_mode": "global"} if outside_the_us else {}
    company = Company(
        "9130355377388383", class_tracking=class_tracking, track_departments=True, line_limit=750, **place
    )
    made = opened(company, 0)
    for number, currency in enumerate(CURRENCIES, 100):
        add_customer(made, str(number), f"Customer in {currency}", 0, currency)
    for number in range(31, 41):
        add_item(made, str(number), f"Item {number}", 0)
    for kind in ("Class", "Department"):
        for number in ("4", "5"):
            made.put_entry(kind, {**new_entry(made, number, 0), "Name": f"{kind} {number}"})
    made.put_entry("Term", {**new_entry(made, "5", 0), "Name": "Net 7", "DueDays": 7})
    return made


@cache
def documented_rules() -> set[str]:
    """The first column of the table of what is not posted."""
    return set(re.findall(r"^\| (`[^`]+`) \| (?:refused|skipped|parked) \|", MAPPING.read_text(), re.MULTILINE))
