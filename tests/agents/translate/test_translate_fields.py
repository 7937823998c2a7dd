"""The document's fields, rule by rule: dates, customer, items and what the texts take from the facts."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from models.commands import EnsureCustomer, EnsureItem, PostInvoice
from models.document import ItemReference
from models.policy import Policy
from tests.agents.translate.translating import UNMAPPED, commands, declined, posted
from tests.builders import AT, CUSTOMER_ID, PRODUCT_ID, RECEIVED_AT, a_line, an_invoice

# Dates


@pytest.mark.parametrize(
    ("changes", "zone", "expected"),
    [
        ({}, "UTC", date(2026, 11, 2)),
        ({}, "America/Los_Angeles", date(2026, 11, 1)),
        ({"issued_at": "2026-11-02T12:00:00Z"}, "Pacific/Auckland", date(2026, 11, 3)),
        ({"issued_at": "2026-11-02T00:30:00"}, "UTC", date(2026, 11, 2)),
        ({"issued_at": None}, "UTC", date(2026, 11, 1)),
        ({"issued_at": None, "end_timestamp": None}, "UTC", date(2026, 11, 5)),
    ],
)
def test_the_date_is_that_of_issue_else_of_the_periods_end_else_of_receipt_in_the_companys_zone(
    changes: dict[str, Any], zone: str, expected: date
) -> None:
    received = datetime(2026, 11, 5, 9, tzinfo=UTC)
    assert posted(an_invoice(**changes), Policy(time_zone=zone), received_at=received).txn_date == expected


@pytest.mark.parametrize(
    ("terms", "policy_terms", "due"),
    [
        (45, None, date(2026, 12, 17)),
        (Decimal("30.0"), 10, date(2026, 12, 2)),
        (0, 10, date(2026, 11, 2)),
        (None, 14, date(2026, 11, 16)),
        (None, None, None),
    ],
)
def test_the_due_date_counts_the_invoices_terms_else_the_policys_else_none(
    terms: Any, policy_terms: int | None, due: date | None
) -> None:
    document = posted(an_invoice(net_payment_terms_days=terms), Policy(payment_terms_days=policy_terms))
    assert document.due_date == due


@pytest.mark.parametrize(
    ("end", "due"),
    [
        ("2026-12-31T00:00:00Z", date(2026, 12, 31)),
        ("2026-11-02T00:00:00Z", date(2026, 11, 2)),
        ("2026-11-01T00:00:00Z", date(2026, 12, 2)),
        (None, date(2026, 12, 2)),
    ],
)
def test_by_policy_the_due_date_is_the_periods_end_unless_that_has_passed(end: str | None, due: date) -> None:
    assert posted(an_invoice(end_timestamp=end), Policy(due_date="end_timestamp")).due_date == due


@pytest.mark.parametrize("terms", [-1, 3651, Decimal("1e99999999")])
def test_terms_that_make_no_sense_are_refused(terms: Any) -> None:
    assert declined(an_invoice(net_payment_terms_days=terms)).rule == "payment terms"


def test_a_date_beyond_the_calendar_is_refused() -> None:
    zero_time = an_invoice(issued_at="0001-01-01T00:00:00Z")
    assert declined(zero_time, Policy(time_zone="America/Los_Angeles")).rule == "date out of range"
    assert declined(an_invoice(issued_at="9999-12-31T00:00:00Z")).rule == "date out of range"


# Customers


def test_a_customer_without_an_id_is_ensured_first() -> None:
    first, second = commands(an_invoice(customer_custom_fields={}))
    assert isinstance(first, EnsureCustomer)
    assert isinstance(second, PostInvoice)
    assert (first.customer.customer_id, first.customer.name, first.currency) == (CUSTOMER_ID, "Acme GmbH", "USD")
    assert (first.facts, first.received_at, first.realm) == (AT, RECEIVED_AT, second.realm)
    assert second.document.customer == first.customer
    assert first.customer.currency == "USD"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_custom_field_is_no_id(value: str) -> None:
    assert posted(an_invoice(customer_custom_fields={"qbo_customer_id": value})).customer.qbo_id is None


@pytest.mark.parametrize("value", ["abc", "5 8", "-58", "58.0", "٥٨", "²"])
def test_a_customer_field_that_is_no_id_is_refused_by_name(value: str) -> None:
    command = declined(an_invoice(customer_custom_fields={"qbo_customer_id": value}))
    assert (command.decision, command.rule) == ("refused", "bad custom field")
    assert "qbo_customer_id" in command.reason
    assert value in command.reason


# Items


def items(invoice: dict[str, Any], policy: Policy) -> list[ItemReference]:
    return [line.item for line in posted(invoice, policy).lines]


def test_a_products_custom_field_names_its_item() -> None:
    [item] = items(an_invoice(), Policy(missing_item="default", default_item_id="1"))
    assert item == ItemReference(name="API Calls", product_id=PRODUCT_ID, qbo_id="31", default_qbo_id="1")


def test_a_product_field_that_is_no_id_is_refused_by_name() -> None:
    command = declined(an_invoice([a_line(product_custom_fields={"qbo_item_id": "item 31"})]))
    assert command.rule == "bad custom field"
    assert "qbo_item_id" in command.reason
    assert PRODUCT_ID in command.reason


@pytest.mark.parametrize(("missing", "default"), [("park", None), ("create", None), ("default", "1")])
def test_the_default_item_covers_unmapped_products_only_when_the_policy_says_so(
    missing: Any, default: str | None
) -> None:
    policy = Policy(missing_item=missing, default_item_id="1", income_account_id="79")
    without_product = a_line(product_id=None, product_custom_fields=None, type="cpu_conversion")
    unmapped, productless = items(an_invoice([a_line(**UNMAPPED), without_product]), policy)
    assert (unmapped.qbo_id, unmapped.default_qbo_id) == (None, default)
    assert (productless.product_id, productless.qbo_id, productless.default_qbo_id) == (None, None, "1")


def test_items_are_created_once_per_unmapped_product_in_line_order_after_the_customer() -> None:
    other = UNMAPPED | {"product_id": "another-product"}
    lines = [a_line(), a_line(**other), a_line(**UNMAPPED), a_line(**other), a_line(product_id=None)]
    policy = Policy(missing_item="create", income_account_id="79", default_item_id="1")
    made = commands(an_invoice(lines, customer_custom_fields=None), policy)
    assert [command.type for command in made] == ["EnsureCustomer", "EnsureItem", "EnsureItem", "PostInvoice"]
    ensured = [command.item.product_id for command in made if isinstance(command, EnsureItem)]
    assert ensured == ["another-product", UNMAPPED["product_id"]]
    assert all(command.facts == AT and command.received_at == RECEIVED_AT for command in made)


def test_an_item_for_draw_downs_or_rounding_is_never_created_nor_defaulted() -> None:
    """Which account these belong to is for a person to say."""
    applied = a_line(-500, type="applied_commit_or_credit", applied_commit_or_credit={"id": "c", "type": "PREPAID"})
    own = {"draw_down_item": "own", "rounding": "rounding-line", "default_item_id": "1", "income_account_id": "79"}
    invoice = an_invoice([a_line(1000), applied, *[a_line(Decimal("33.3"))] * 3])
    for missing in ("create", "default"):
        [command] = commands(invoice, Policy(missing_item=missing, **own))
        assert isinstance(command, PostInvoice)
        needs = {line.item.product_id: line.item for line in command.document.lines}
        assert {"~draw-down", "~rounding"} < set(needs)
        assert (needs["~draw-down"].qbo_id, needs["~draw-down"].default_qbo_id) == (None, None)
        assert (needs["~rounding"].qbo_id, needs["~rounding"].default_qbo_id) == (None, None)


@pytest.mark.parametrize("missing", ["park", "default"])
def test_no_item_is_created_unless_the_policy_says_so(missing: Any) -> None:
    [command] = commands(an_invoice([a_line(**UNMAPPED)]), Policy(missing_item=missing, default_item_id="1"))
    assert command.type == "PostInvoice"


def test_a_products_item_is_not_named_after_the_commit_that_was_drawn_down() -> None:
    applied = {"id": "c", "type": "PREPAID"}
    lines = [
        a_line(-500, name="Applied", type="applied_commit_or_credit", applied_commit_or_credit=applied, **UNMAPPED),
        a_line(900, name="Storage", **UNMAPPED),
    ]
    assert [item.name for item in items(an_invoice(lines), Policy())] == ["Storage", "Storage"]


def test_the_single_item_strategy_uses_one_item_for_every_line() -> None:
    policy = Policy(item_strategy="single-item", default_item_id="7", missing_item="create", income_account_id="79")
    lines = [a_line(product_custom_fields={"qbo_item_id": "not read"}), a_line(**UNMAPPED), a_line(product_id=None)]
    assert len(commands(an_invoice(lines), policy)) == 1
    assert items(an_invoice(lines), policy) == [ItemReference(name="*", qbo_id="7")] * 3


def test_the_single_item_strategy_without_its_item_is_refused_with_the_remedy() -> None:
    command = declined(an_invoice(), Policy(item_strategy="single-item"))
    assert (command.decision, command.rule) == ("refused", "no default item")
    assert "default_item_id" in command.reason


# Texts from the facts


def test_the_memo_ref_may_come_from_the_contracts_custom_field_on_the_invoice() -> None:
    invoice = an_invoice(contract_custom_fields={"qbo_memo_ref": "PO-1"})
    assert "Reference: PO-1" in posted(invoice, memo_ref=None).private_note
    assert "Reference: MSA-1042" in posted(invoice).private_note


def test_the_plan_name_stands_in_for_a_contract_name() -> None:
    told = Policy(memo_contract_name=True)
    assert posted(an_invoice(plan_name="Growth"), told, contract_name=None).customer_memo.endswith(
        "on the Growth plan."
    )
    assert posted(an_invoice(), told).customer_memo == "Usage for October 1 – 31, 2026 on the Enterprise plan."


def test_whose_tax_code_it_is_goes_by_the_policys_order() -> None:
    """Reverse charge and exemption depend on who buys."""
    invoice = an_invoice(
        [a_line(1000, product_custom_fields={"qbo_item_id": "31", "qbo_tax_code": "20"})],
        customer_custom_fields={"qbo_customer_id": "58", "qbo_tax_code": "21"},
        contract_custom_fields={"qbo_tax_code": "22"},
    )

    def code(**policy: Any) -> str | None:
        return posted(invoice, Policy(tax_code="9", **policy)).lines[0].tax_code

    assert code() == "21"
    assert code(tax_code_order=("product", "customer")) == "20"
    assert code(tax_code_order=("contract",)) == "22"
    assert code(tax_code_order=()) == "9"


def test_a_tax_code_that_is_none_names_its_owner() -> None:
    invoice = an_invoice(customer_custom_fields={"qbo_customer_id": "58", "qbo_tax_code": "reverse charge"})
    assert "qbo_tax_code of the customer is 'reverse charge'" in declined(invoice).reason


def test_a_line_of_another_customer_names_it() -> None:
    child = "efd7df8b-dc6a-5e6b-9ea5-c579a828934c"
    lines = [a_line(1000, origin={"customer_id": each}) for each in (child, "5f58b1d6-8bd4-5091-85db-0330f1c561f2")]
    invoice = an_invoice(lines, type="USAGE_CONSOLIDATED")
    first, second = posted(invoice, constituent_names={child: "Child GmbH"}).lines
    assert " · for Child GmbH · " in first.description
    assert " · for customer 5f58b1d6 · " in second.description


def test_a_commit_that_is_purchased_waits_for_an_item_of_its_own() -> None:
    """The default item, or an item of income made for it, would be revenue at once."""
    line = a_line(10_000_000, type="commit_purchase", product_custom_fields={})
    for policy in (
        Policy(missing_item="default", default_item_id="31"),
        Policy(missing_item="create", income_account_id="1"),
    ):
        [*before, last] = commands(an_invoice([line]), policy)
        assert before == []
        assert isinstance(last, PostInvoice)
        [item] = [each.item for each in last.document.lines]
        assert (item.qbo_id, item.default_qbo_id, item.is_prepayment) == (None, None, True)


def test_damaged_names_do_not_stop_an_invoice() -> None:
    invoice = an_invoice([a_line(name="Cut \ud83d", product_id="p\ud83d")])
    [command] = commands(invoice)
    assert json.loads(command.encode())["document"]["lines"][0]["item"]["name"] == "Cut"
