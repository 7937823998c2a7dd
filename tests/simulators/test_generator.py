"""Generated invoices: exact sums, repeatable, real-shaped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from simulators.http import Json, dump
from simulators.metronome.generator import KINDS, generate
from simulators.metronome.lines import LINES_MAX
from simulators.scene import AGENT_CREDITS, FIAT

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def due(invoice: Json) -> Decimal:
    """The documented sum rule, written down once more (docs/vendors/metronome.md §1.4)."""
    total = Decimal(0)
    for line in invoice["line_items"]:
        postpaid = (line.get("applied_commit_or_credit") or {}).get("type") == "POSTPAID"
        if line["credit_type"]["id"] != invoice["credit_type"]["id"]:
            continue
        if line["type"] == "applied_commit_or_credit" and postpaid:
            continue
        total += Decimal(line["total"])
    return total + sum(Decimal(each["total"]) for each in invoice.get("invoice_adjustments", ()))


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


def of_kind(kind: str, **options: Any) -> Sequence[Json]:
    return generate(1, 0, now=NOW, kinds={kind: 1}, **options).invoices


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "broken"])
def test_the_total_of_every_kind_follows_the_sum_rule(kind: str) -> None:
    for number in range(3):
        for invoice in generate(number, 0, now=NOW, kinds={kind: 2}).invoices:
            assert due(invoice) == invoice["total"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_line_of_description_and_is_the_same_alone_and_among_others(kind: str) -> None:
    assert KINDS[kind]
    assert "\n" not in KINDS[kind]
    alone = {each["id"]: dump(each["line_items"]) for each in of_kind(kind)}
    among = {
        each["id"]: dump(each["line_items"]) for each in generate(1, 5, now=NOW, kinds=dict.fromkeys(KINDS, 2)).invoices
    }
    assert alone
    assert {each: among[each] for each in alone} == alone


def test_the_usual_invoices_are_the_same_whatever_is_asked_for_beside_them() -> None:
    usual = generate(5, 20, now=NOW)
    more = generate(5, 20, now=NOW, kinds=dict.fromkeys(KINDS, 1), extra_currencies=("JPY",))
    assert dump(more.invoices[:20]) == dump(usual.invoices)
    assert dump(more.customers[: len(usual.customers)]) == dump(usual.customers)
    assert dump(generate(5, 90, now=NOW, mix="every-kind")) == dump(generate(5, 90, now=NOW, mix="every-kind"))


def test_ids_are_unique_and_all_that_an_invoice_names_exists() -> None:
    scene = generate(3, 40, now=NOW, kinds=dict.fromkeys(KINDS, 3))
    ids = [each["id"] for each in scene.invoices]
    assert len(set(ids)) == len(ids)
    known = {each["id"] for each in (*scene.customers, *scene.contracts, *scene.products, *scene.commits)}
    for invoice in scene.invoices:
        assert {invoice["customer_id"], invoice.get("contract_id", invoice["customer_id"])} <= known
        for line in invoice["line_items"]:
            named = {line.get("product_id"), line.get("commit_id"), (line.get("postpaid_commit") or {}).get("id")}
            assert named - {None} <= known
    entries = [(each.name, each.id) for each in scene.quickbooks_customers]
    assert len({name for name, _ in entries}) == len({entry_id for _, entry_id in entries}) == len(entries)


def test_the_mix_of_every_kind_holds_every_kind_and_mostly_usual_invoices_beyond() -> None:
    scene = generate(1, 500, now=NOW, mix="every-kind")
    marks = {
        "void": lambda each: each["status"] == "VOID",
        "draft": lambda each: each["status"] == "DRAFT",
        "negative": lambda each: each["total"] < 0,
        "consolidated": lambda each: each["type"] == "USAGE_CONSOLIDATED",
        "large": lambda each: len(each["line_items"]) == 2000,
        "plan": lambda each: "plan_id" in each,
        "broken": lambda each: due(each) != each["total"],
    }
    assert {name for name, holds in marks.items() if any(map(holds, scene.invoices))} == set(marks)
    assert sum(len(each["line_items"]) == 2000 for each in scene.invoices) == 1
    few = generate(1, 3, now=NOW, mix="every-kind")
    assert len(few.invoices) == 3


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown kind of invoice: nonsense; known are all-line-types, tiers"):
        generate(1, 1, now=NOW, kinds={"nonsense": 1})


def test_all_line_types_stand_on_one_invoice() -> None:
    [invoice] = of_kind("all-line-types")
    assert {line["type"] for line in invoice["line_items"]} == {
        "usage", "subscription", "scheduled", "commit_purchase", "applied_commit_or_credit", "cpu_conversion"
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "applied"), [("prepaid", "PREPAID"), ("credit", "CREDIT"), ("postpaid", "POSTPAID")])
def test_draw_downs_are_pairs_and_only_the_postpaid_one_is_not_counted(kind: str, applied: str) -> None:
    [invoice] = of_kind(kind)
    covered, negative, *rest = invoice["line_items"]
    assert (covered["total"], negative["type"]) == (-negative["total"], "applied_commit_or_credit")
    assert covered["applied_commit_or_credit"] == negative["applied_commit_or_credit"]
    assert negative["applied_commit_or_credit"]["type"] == applied
    beyond = sum(each["total"] for each in rest)
    assert invoice["total"] == (covered["total"] if applied == "POSTPAID" else beyond)


def test_a_true_up_and_a_quantity_commit_carry_their_own_fields() -> None:
    [true_up] = of_kind("true-up")
    assert (true_up["type"], list(true_up["line_items"][0]["postpaid_commit"])) == ("SCHEDULED", ["id"])
    [counted] = of_kind("quantity-commit")
    negative = counted["line_items"][1]
    assert negative["applied_commit_or_credit"]["access_type"] == "QUANTITY"
    assert negative["quantity_consumed"] == counted["line_items"][0]["quantity"]


def test_units_are_cents_for_dollars_whole_for_others_and_never_money_for_credits() -> None:
    totals = {each["credit_type"]["name"]: each["total"] for each in of_kind("currencies", extra_currencies=("JPY",))}
    assert totals == {"USD (cents)": 8700} | dict.fromkeys((*FIAT[1:], "JPY"), 87)
    [converted] = of_kind("cpu-conversion", eur_share=0)
    used, free, conversion = converted["line_items"]
    assert used["credit_type"] == free["credit_type"] == AGENT_CREDITS
    assert conversion["total"] == converted["total"] == conversion["quantity"] * Decimal("0.87")
    assert "product_id" not in conversion
    assert of_kind("custom-unit")[0]["credit_type"] == AGENT_CREDITS
    listed = {each["id"] for each in generate(1, 0, now=NOW, kinds={"unknown-unit": 1}).credit_types}
    assert of_kind("unknown-unit")[0]["credit_type"]["id"] not in listed


def test_fractions_are_really_fractions() -> None:
    [cents] = of_kind("fractional-cents", eur_share=0)
    assert all(Decimal(line["total"]) % 1 for line in cents["line_items"])
    assert cents["total"] == Decimal("7.7")
    [prices] = of_kind("long-prices")
    assert all(int(Decimal(line["unit_price"]).as_tuple().exponent) < -7 for line in prices["line_items"])
    [quantities] = of_kind("fractional-quantity")
    assert all(Decimal(line["quantity"]) % 1 for line in quantities["line_items"])


def test_a_plan_has_money_in_its_adjustments_and_detail_in_its_sub_lines() -> None:
    [invoice] = of_kind("plan", eur_share=0)
    [line] = invoice["line_items"]
    assert sum(each["subtotal"] for each in line["sub_line_items"]) == line["total"] == 7000
    assert [each["total"] for each in invoice["invoice_adjustments"]] == [3000, -1500]
    assert invoice["total"] == 8500
    assert not {"contract_id", "product_id"} & {*invoice, *line}


def test_a_consolidated_parent_repeats_the_lines_of_its_constituents() -> None:
    *constituents, whole = of_kind("consolidated")
    assert [each["invoice_id"] for each in whole["constituent_invoices"]] == [each["id"] for each in constituents]
    assert whole["total"] == sum(each["total"] for each in constituents)
    assert [line["origin"]["invoice_id"] for line in whole["line_items"]] == [each["id"] for each in constituents]
    assert {dump(each["payer"]) for each in (*constituents, whole)} == {dump(whole["payer"])}
    assert whole["payer"]["customer_id"] == whole["customer_id"] != constituents[1]["customer_id"]
    [paid_for] = of_kind("payer")
    assert paid_for["payer"]["customer_id"] != paid_for["customer_id"]


def test_heads_are_of_their_kind() -> None:
    assert of_kind("unbillable")[0]["billable_status"] == "unbillable"
    assert of_kind("imported")[0]["issued_at"] < "2025"
    assert (of_kind("void")[0]["status"], of_kind("draft")[0]["status"]) == ("VOID", "DRAFT")
    former, new = of_kind("regenerated")
    assert (former["status"], new["regenerated_from_invoice_id"]) == ("VOID", former["id"])
    corrected, correction = of_kind("correction")
    assert correction["correction_record"]["corrected_invoice_id"] == corrected["id"]
    [scheduled] = of_kind("scheduled")
    assert not {"start_timestamp", "end_timestamp"} & set(scheduled)
    [equal] = of_kind("equal-dates")
    assert equal["start_timestamp"] == equal["end_timestamp"] == equal["issued_at"]
    [undated] = of_kind("no-dates")
    assert (undated["issued_at"], "end_timestamp" in undated) == (None, False)


def test_totals_and_lines_are_of_their_kind() -> None:
    assert of_kind("negative-total")[0]["total"] < 0
    [negative] = of_kind("negative-line")
    assert negative["total"] > 0 > min(line["total"] for line in negative["line_items"])
    assert [of_kind(each)[0]["total"] for each in ("zero-total", "no-lines")] == [0, 0]
    assert of_kind("zero-total")[0]["line_items"]
    assert sum(line["quantity"] == 0 for line in of_kind("zero-quantity")[0]["line_items"]) == 2
    assert len(of_kind("large")[0]["line_items"]) == 2000
    [broken] = of_kind("broken", eur_share=0)
    assert broken["total"] - due(broken) == 100
    assert of_kind("composite")[0]["line_items"][1]["product_type"] == "CompositeProductListItem"


def test_long_texts_survive_as_json() -> None:
    [invoice] = of_kind("long-texts")
    names = [line["name"] for line in json.loads(dump(invoice))["line_items"]]
    assert names == [line["name"] for line in invoice["line_items"]]
    assert len(names[0]) > 4000
    assert "\0" in names[2]
    assert "漢字" in names[1]


def test_bytes_of_the_usual_mix_have_not_changed() -> None:
    """Figures in the documentation and the demo depend on them."""
    scene = generate(11, 500, now=NOW, drafts=3, voids=3, negatives=3)
    held = [scene.customers, scene.products, scene.contracts, scene.invoices, scene.custom_field_keys]
    digest = hashlib.sha256(dump([*held, scene.quickbooks_customers, scene.quickbooks_items, scene.credit_types]))
    assert digest.hexdigest() == "e603881147b5848151d4695be06ab4374942bb749e7c1984912fff580252f0ee"
