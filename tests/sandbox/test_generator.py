"""Generated invoices: exact sums, repeatable, real-shaped."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

from stream.sandbox.http import Json, dump
from stream.sandbox.metronome.generator import LINES_MAX, generate

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def due(invoice: Json) -> Decimal:
    """The documented sum rule, written down once more (facts/metronome.md §1.4)."""
    total = Decimal(0)
    for line in invoice["line_items"]:
        postpaid = (line.get("applied_commit_or_credit") or {}).get("type") == "POSTPAID"
        if line["credit_type"]["id"] != invoice["credit_type"]["id"]:
            continue
        if line["type"] == "applied_commit_or_credit" and postpaid:
            continue
        total += Decimal(line["total"])
    return total


def test_the_total_of_500_invoices_is_the_exact_sum_of_their_lines() -> None:
    scene = generate(11, 500, now=NOW, voids=3, negatives=3, drafts=3)
    assert len(scene.invoices) == 509
    for invoice in scene.invoices:
        assert due(invoice) == invoice["total"]
        for line in invoice["line_items"]:
            if line["quantity"] is not None:
                assert Decimal(line["quantity"]) * Decimal(line["unit_price"]) == line["total"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    assert dump(generate(5, 20, now=NOW).invoices) == dump(generate(5, 20, now=NOW).invoices)
    assert not {each["id"] for each in generate(5, 20, now=NOW).invoices} & {
        each["id"] for each in generate(6, 20, now=NOW).invoices
    }


def test_the_usual_mix_is_finalized_not_negative_and_of_every_kind() -> None:
    scene = generate(1, 500, now=NOW)
    lines = [line for invoice in scene.invoices for line in invoice["line_items"]]
    assert {invoice["status"] for invoice in scene.invoices} == {"FINALIZED"}
    assert min(invoice["total"] for invoice in scene.invoices) >= 0
    assert {line["type"] for line in lines} == {
        "usage", "subscription", "scheduled", "commit_purchase", "applied_commit_or_credit"
    }  # fmt: skip
    assert max(len(invoice["line_items"]) for invoice in scene.invoices) == LINES_MAX
    for trait in ("tier", "pricing_group_values", "presentation_group_values"):
        assert any(trait in line for line in lines)
    assert any(line["quantity"] == 0 for line in lines)
    assert any(Decimal(line["total"]) % 1 for line in lines if line["credit_type"]["name"] == "USD (cents)")
    assert any(invoice["total"] == 0 for invoice in scene.invoices)


def test_a_covered_line_is_followed_by_its_equal_negative() -> None:
    for invoice in generate(2, 200, now=NOW).invoices:
        lines = invoice["line_items"]
        for index, line in enumerate(lines):
            if line["type"] == "applied_commit_or_credit":
                assert line["total"] == -lines[index - 1]["total"]
                assert (line["quantity"], line["unit_price"]) == (None, None)


def test_a_customer_has_one_currency() -> None:
    scene = generate(1, 300, now=NOW)
    seen = {(invoice["customer_id"], invoice["credit_type"]["name"]) for invoice in scene.invoices}
    assert len(seen) == len({customer for customer, _ in seen})
    assert set(Counter(name for _, name in seen)) == {"USD (cents)", "EUR"}
    assert {each["credit_type"]["name"] for each in generate(1, 50, now=NOW, eur_share=0).invoices} == {"USD (cents)"}


def test_dates_lie_before_now_even_on_the_first_of_a_month() -> None:
    for now in (NOW, datetime(2026, 3, 1, 0, 30, tzinfo=UTC)):
        for invoice in generate(4, 60, now=now).invoices:
            assert datetime.fromisoformat(invoice["issued_at"]) <= now
            if invoice["type"] == "USAGE":
                assert invoice["start_timestamp"] < invoice["end_timestamp"] < invoice["issued_at"]


def test_mapped_ids_stand_in_the_scene_and_some_are_missing() -> None:
    scene = generate(1, 100, now=NOW)
    customers = {each.id for each in scene.quickbooks_customers}
    mapped = [each["custom_fields"]["qbo_customer_id"] for each in scene.customers if each["custom_fields"]]
    assert set(mapped) <= customers
    assert 0 < len(mapped) < len(scene.customers)
    items = {each.id for each in scene.quickbooks_items}
    assert items == {each["custom_fields"]["qbo_item_id"] for each in scene.products if each["custom_fields"]}
    assert len(items) < len(scene.products)
    bare = generate(1, 100, now=NOW, mapped=False)
    assert not any(each["custom_fields"] for each in (*bare.customers, *bare.products, *bare.contracts))
    assert bare.custom_field_keys == ()


def test_other_kinds_come_on_request() -> None:
    scene = generate(1, 2, now=NOW, drafts=1, voids=1, negatives=1)
    assert [each["status"] for each in scene.invoices] == ["FINALIZED", "FINALIZED", "DRAFT", "VOID", "FINALIZED"]
    assert scene.invoices[-1]["total"] < 0
