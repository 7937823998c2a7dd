"""The decision, rule by rule: facts and a policy in, commands out."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.translate.translate import translate
from models.commands import PostInvoice, VoidInvoice
from models.document import Document
from models.money import exact_sum, parse_json, round_half_up
from models.policy import Policy
from stream.operations.replay import History, judge
from tests import FIXTURES
from tests.agents.translate.translating import UNMAPPED, commands, declined, posted
from tests.builders import (
    AT,
    CENTS,
    CREDITS,
    CUSTOMER_ID,
    EUROS,
    INVOICE_ID,
    RECEIVED_AT,
    a_line,
    an_invoice,
    facts_of,
)

SAMPLES = FIXTURES / "metronome_invoices.json"


def sample(name: str) -> dict[str, Any]:
    samples = parse_json(SAMPLES.read_text())["samples"]
    [invoice] = [entry["invoice"] for entry in samples if entry["name"] == name]
    assert isinstance(invoice, dict)
    return invoice


def cents(document: Document) -> list[int]:
    return [int(line.amount.scaleb(2)) for line in document.lines]


# The six invoices of the fixtures; totals and lines worked out by hand.
@pytest.mark.parametrize(
    ("name", "kind", "total", "currency", "lines"),
    [
        (
            "usd_usage_commit_drawdown_credit_groups_tiers",
            "invoice",
            "167.21",
            "USD",
            [5000, -5000, 12345, 10000, -10000, 2000, 2000, 376, 0],
        ),
        ("usd_scheduled_commit_purchase_and_charge", "invoice", "125000.00", "USD", [12000000, 500000]),
        ("eur_custom_unit_conversion_and_prorated_subscription", "invoice", "61.98", "EUR", [305, 5893]),
        ("usd_usage_consolidated_parent", "invoice", "100.00", "USD", [2000, 8000]),
        (
            "usd_regenerated_negative_total_postpaid_not_counted",
            "creditmemo",
            "20.00",
            "USD",
            [-10000, 10000, -2000, 4000],
        ),
        ("usd_legacy_plan_sub_line_items_null_issued_at", "invoice", "75.00", "USD", [6000, 3000, 1000, -2500]),
    ],
)
def test_the_six_fixture_invoices_give_their_stated_totals(
    name: str, kind: str, total: str, currency: str, lines: list[int]
) -> None:
    document = posted(sample(name))
    assert (document.kind, str(document.total), document.currency) == (kind, total, currency)
    assert cents(document) == lines


def test_an_invoice_becomes_one_post_command_with_its_origin() -> None:
    [command] = commands(an_invoice())
    assert isinstance(command, PostInvoice)
    assert (command.realm, command.invoice_id, command.facts, command.received_at) == (
        "9130355377388383",
        INVOICE_ID,
        AT,
        RECEIVED_AT,
    )
    document = command.document
    assert document.invoice_id == INVOICE_ID
    assert document.doc_number == "MTR-D23458E0"
    assert document.txn_date == date(2026, 11, 2)
    assert document.due_date == date(2026, 12, 2)
    assert document.private_note.startswith(f"Metronome invoice {INVOICE_ID}\n")
    assert document.customer_memo == "Usage for October 1 – 31, 2026."
    assert document.customer.qbo_id == "58"


def test_the_same_facts_and_policy_give_the_same_bytes() -> None:
    facts = facts_of(an_invoice([a_line(Decimal("33.3")), a_line(Decimal("66.6"), **UNMAPPED)]))
    policy = Policy(missing_item="create", income_account_id="79")
    first, second = ([c.encode() for c in translate(facts, AT, policy=policy)] for _ in range(2))
    assert first == second


# What is not posted


def test_a_voided_invoice_is_to_be_voided() -> None:
    [command] = commands(an_invoice(status="VOID"))
    assert isinstance(command, VoidInvoice)
    assert (command.invoice_id, command.facts, command.received_at) == (INVOICE_ID, AT, RECEIVED_AT)


@pytest.mark.parametrize("status", ["DRAFT", "DRAFT_INCOMPLETE", "finalized", "SOMETHING"])
def test_an_invoice_that_is_not_finalized_waits_until_it_is(status: str) -> None:
    command = declined(an_invoice(status=status))
    assert (command.decision, command.rule) == ("parked", "not finalized")
    assert command.customer_id == CUSTOMER_ID
    assert status in command.reason


def test_a_draft_may_lack_anything_and_is_not_decided_by_it() -> None:
    draft = {"id": INVOICE_ID, "customer_id": CUSTOMER_ID, "status": "DRAFT_INCOMPLETE"}
    command = declined(draft)
    assert (command.decision, command.rule) == ("parked", "not finalized")
    assert (declined({**draft, "status": "FINALIZED"}).decision) == "refused"


def test_an_unbillable_invoice_is_skipped() -> None:
    command = declined(an_invoice(billable_status="unbillable"))
    assert (command.decision, command.rule) == ("skipped", "unbillable")


def test_an_invoice_that_another_customer_pays_is_refused_lest_it_is_billed_twice() -> None:
    command = declined(an_invoice(payer={"customer_id": "the-parent", "contract_id": "k"}))
    assert (command.decision, command.rule) == ("refused", "billed to another customer")
    assert "the-parent" in command.reason
    assert CUSTOMER_ID in command.reason


@pytest.mark.parametrize(
    "changes",
    [{"payer": {"customer_id": CUSTOMER_ID}}, {"payer": {"customer_id": "other"}, "type": "USAGE_CONSOLIDATED"}],
)
def test_the_payer_itself_and_a_consolidated_parent_are_posted(changes: dict[str, Any]) -> None:
    assert posted(an_invoice(**changes)).total == 10


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"data": {"total": 1e99999999999999999999}}', "not JSON"),
        ("[]", "field data"),
        ("{}", "field data"),
        ('{"data": null}', "field data"),
        ('{"data": {"id": "x"}}', "field customer_id"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused_and_says_where(answer: str, named: str) -> None:
    command = declined(an_invoice(), answer=answer)
    assert (command.decision, command.rule, command.invoice_id) == ("refused", "unreadable answer", INVOICE_ID)
    assert named in command.reason


@pytest.mark.parametrize("damaged", ['"NaN"', "NaN", "Infinity", "true", '"ten"', "{}"])
def test_a_line_whose_total_is_no_number_is_refused_by_name(damaged: str) -> None:
    whole = facts_of(an_invoice([a_line(1234)])).answer
    command = declined(an_invoice(), answer=whole.replace('"total": 1234,', f'"total": {damaged},', 1))
    assert command.rule == "unreadable answer"
    assert "field line_items.0.total" in command.reason


@pytest.mark.parametrize("asked", [{"invoice_id": "another"}, {"customer_id": "another"}])
def test_an_answer_about_another_invoice_or_customer_is_refused(asked: dict[str, Any]) -> None:
    command = declined(an_invoice(), **asked)
    assert (command.decision, command.rule) == ("refused", "another invoice")


def test_an_unknown_unit_is_refused_and_named() -> None:
    command = declined(an_invoice([a_line(450, credit_type=CREDITS)], credit_type=CREDITS))
    assert (command.decision, command.rule) == ("refused", "unknown unit")
    assert "Agent Credits" in command.reason


def test_lines_that_do_not_add_up_are_refused_with_both_numbers() -> None:
    command = declined(an_invoice([a_line(1000), a_line(Decimal("0.5"))], total=1000))
    assert (command.decision, command.rule) == ("refused", "sum")
    assert "1000.5" in command.reason
    assert "total is 1000 " in command.reason


def test_an_amount_beyond_quickbooks_digits_is_refused() -> None:
    command = declined(an_invoice([a_line(10**12)]))
    assert (command.decision, command.rule) == ("refused", "figure out of range")


def test_a_reason_stays_short_and_on_one_line_whatever_a_line_is_called() -> None:
    command = declined(an_invoice([a_line(5, name="x\n" * 9000), a_line(9)], total=9))
    assert len(command.reason) <= 1000
    assert "\n" not in command.reason


# Units and totals


def test_dollars_come_from_cents_and_euros_are_whole() -> None:
    dollars = posted(an_invoice([a_line(12345, quantity=3, unit_price=4115)]))
    euros = posted(an_invoice([a_line(Decimal("123.45"), quantity=3, unit_price=Decimal("41.15"), credit_type=EUROS)],
                              credit_type=EUROS))  # fmt: skip
    for document in (dollars, euros):
        [line] = document.lines
        assert (document.total, line.amount, line.quantity, line.unit_price) == (
            Decimal("123.45"),
            Decimal("123.45"),
            Decimal(3),
            Decimal("41.15"),
        )


def test_the_rounded_total_is_kept_when_lines_round_another_way() -> None:
    document = posted(an_invoice([a_line(Decimal("0.4")) for _ in range(5)]))
    assert document.total == Decimal("0.02")
    assert cents(document) == [1, 1, 0, 0, 0]


def test_a_negative_total_becomes_a_credit_memo_with_positive_total_and_no_due_date() -> None:
    document = posted(an_invoice([a_line(1000), a_line(-3000, quantity=-10, unit_price=300)]))
    assert (document.kind, str(document.total), document.due_date) == ("creditmemo", "20.00", None)
    assert cents(document) == [-1000, 3000]
    assert (document.lines[1].quantity, document.lines[1].unit_price) == (Decimal(10), Decimal(3))
    assert document.customer_memo.startswith("Credit for")


def test_a_negative_line_on_an_invoice_has_an_amount_only_and_tells_its_quantity() -> None:
    document = posted(an_invoice([a_line(5000), a_line(-3000, quantity=-10, unit_price=300)]))
    line = document.lines[1]
    assert (line.amount, line.quantity, line.unit_price) == (Decimal("-30.00"), None, None)
    assert "-10 × 3 USD" in line.description


def test_a_total_that_rounds_to_zero_is_a_zero_invoice_and_no_credit_memo() -> None:
    document = posted(an_invoice([a_line(Decimal("-0.4"))]))
    assert (document.kind, str(document.total), cents(document)) == ("invoice", "0.00", [0])


def test_zero_totals_are_posted_or_skipped_by_policy() -> None:
    covered = an_invoice([a_line(5000), a_line(-5000)])
    assert cents(posted(covered)) == [5000, -5000]
    command = declined(covered, Policy(zero_total="skip"))
    assert (command.decision, command.rule) == ("skipped", "zero total")


def test_lines_of_nothing_are_kept_or_dropped_by_policy() -> None:
    invoice = an_invoice([a_line(500), a_line(0, quantity=0), a_line(7, quantity=0), a_line(0), a_line(0, quantity=5)])
    assert cents(posted(invoice)) == [500, 0, 7, 0, 0]
    assert cents(posted(invoice, Policy(zero_quantity_lines="drop"))) == [500, 7, 0, 0]


def test_an_invoice_without_lines_is_skipped() -> None:
    assert (declined(an_invoice([])).decision, declined(an_invoice([])).rule) == ("skipped", "no lines")
    empty = an_invoice([a_line(0, quantity=0)])
    assert declined(empty, Policy(zero_quantity_lines="drop")).rule == "no lines"


@given(
    st.lists(
        st.tuples(
            st.decimals("-1000", "100000", places=5),
            st.decimals("0", "5000", places=4),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([CENTS, EUROS]),
)
def test_whatever_is_billed_the_lines_add_up_and_multiply(
    figures: list[tuple[Decimal, Decimal]], unit: dict[str, str]
) -> None:
    lines = [a_line(q * p, quantity=q, unit_price=p, credit_type=unit) for q, p in figures]
    invoice = an_invoice(lines, credit_type=unit)
    document = posted(invoice)
    sign = -1 if document.kind == "creditmemo" else 1
    major = invoice["total"] / (100 if unit is CENTS else 1)
    assert document.total == sign * round_half_up(major, Decimal("0.01"))
    assert document.total >= 0
    assert exact_sum([line.amount for line in document.lines]) == document.total
    for line in document.lines:
        assert (line.quantity is None) == (line.unit_price is None)
        if line.quantity is not None and line.unit_price is not None:
            assert round_half_up(line.quantity * line.unit_price, Decimal("0.01")) == line.amount
        else:
            assert " × " in line.description


# Regenerated invoices


def test_the_invoice_that_a_regenerated_one_replaces_is_voided_first_by_the_same_facts() -> None:
    void, ensure, post = commands(an_invoice(regenerated_from_invoice_id="old", customer_custom_fields={}))
    assert isinstance(void, VoidInvoice)
    assert (void.invoice_id, void.facts, void.received_at) == ("old", AT, RECEIVED_AT)
    assert INVOICE_ID in void.reason
    assert ensure.type == "EnsureCustomer"
    assert isinstance(post, PostInvoice)
    assert (post.invoice_id, post.document.replaces) == (INVOICE_ID, "old")


def test_a_regenerated_invoice_that_is_void_itself_leaves_none_of_the_two() -> None:
    made = commands(an_invoice(regenerated_from_invoice_id="old", status="VOID"))
    assert [command.invoice_id for command in made if isinstance(command, VoidInvoice)] == ["old", INVOICE_ID]


def test_a_replay_judges_a_regenerated_invoice_by_its_own_document() -> None:
    made = commands(an_invoice(regenerated_from_invoice_id="old"))
    history = History(document=posted(an_invoice(regenerated_from_invoice_id="old")))
    assert judge(made, history) == ("same", None, [])
    assert judge(made, History()) == ("never posted", None, [])
