"""The words: what each text says, and that it stays within QuickBooks's limits whatever the names are."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.translate import texts
from models.metronome import Invoice, LineItem
from models.money import parse_json, unit_of
from models.quickbooks import clean, cut
from tests.builders import INVOICE_ID, PRODUCT_ID, a_line, an_invoice, json_of

USD = unit_of("USD (cents)")
OTHER_ID = "86824bf6-56e7-5185-8ce7-f972748ac9e9"
TXN_DATE = date(2026, 11, 2)


def read(invoice: dict[str, Any]) -> Invoice:
    return Invoice.model_validate(parse_json(json_of(invoice)))


def described(*, with_quantity: bool = False, style: Any = "guide", whose: str | None = None, **changes: Any) -> str:
    line = LineItem.model_validate(parse_json(json_of(a_line(**changes))))
    return texts.description(line, USD, with_quantity=with_quantity, style=style, whose=whose)


def memo(plan: str | None = "Enterprise", *, kind: Any = "invoice", **changes: Any) -> str:
    return texts.customer_memo(read(an_invoice(**changes)), kind=kind, plan=plan, txn_date=TXN_DATE)


def utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_the_private_note_says_where_the_invoice_comes_from() -> None:
    note = texts.private_note(read(an_invoice()), contract_name="Enterprise", memo_ref="MSA-1042")
    assert note.split("\n") == [
        f"Metronome invoice {INVOICE_ID}",
        "Status: FINALIZED",
        "Billing period: 2026-10-01 – 2026-10-31",
        "Contract: e91a1e81-6f2f-5d84-a5f0-7be08b339c95",
        "Contract name: Enterprise",
        "Reference: MSA-1042",
    ]


def test_what_metronome_does_not_say_is_left_out_of_the_private_note() -> None:
    bare = read(an_invoice(contract_id=None, start_timestamp=None))
    note = texts.private_note(bare, contract_name=None, memo_ref=None)
    assert note == f"Metronome invoice {INVOICE_ID}\nStatus: FINALIZED"


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.integers(1, 4000))
def test_the_private_note_keeps_the_whole_id_in_its_first_line(name: str, ref: str, times: int) -> None:
    note = texts.private_note(read(an_invoice()), contract_name=name * times, memo_ref=ref * times)
    assert note.split("\n")[0] == f"Metronome invoice {INVOICE_ID}"
    assert note.count("\n") <= 5, "no name can make a line of its own"
    assert utf16_units(note) <= 4000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Usage for October 1 – 31, 2026 on the Enterprise plan."),
        ({"plan": None}, "Usage for October 1 – 31, 2026."),
        ({"plan": "Growth Plan"}, "Usage for October 1 – 31, 2026 on the Growth Plan."),
        ({"kind": "creditmemo"}, "Credit for October 1 – 31, 2026 on the Enterprise plan."),
        ({"type": "USAGE_CONSOLIDATED"}, "Usage for October 1 – 31, 2026 on the Enterprise plan."),
        ({"start_timestamp": "2026-09-15T00:00:00Z", "plan": None}, "Usage for September 15 – October 31, 2026."),
        (
            {"end_timestamp": "2027-01-16T00:00:00Z"},
            "Usage for October 1, 2026 – January 15, 2027 on the Enterprise plan.",
        ),
        ({"end_timestamp": "2026-10-02T00:00:00Z"}, "Usage for October 1, 2026 on the Enterprise plan."),
        (
            {"type": "SCHEDULED", "start_timestamp": None, "end_timestamp": None},
            "Charges on the Enterprise plan, billed November 2, 2026.",
        ),
        ({"type": "SCHEDULED", "start_timestamp": None, "plan": ""}, "Charges billed November 2, 2026."),
    ],
)
def test_the_customer_reads_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert memo(**changes) == sentence


def test_a_long_plan_name_is_cut_and_the_sentence_still_ends() -> None:
    sentence = memo("x" * 5000)
    assert utf16_units(sentence) == 1000
    assert sentence.endswith("….")


def test_a_description_says_name_type_days_and_product() -> None:
    assert described() == f"API Calls · usage · 2026-10-01 – 2026-10-31 · product {PRODUCT_ID[:8]}"


def test_tier_and_group_values_are_said_and_nulls_are_not() -> None:
    text = described(
        tier={"level": 2, "starting_at": "1000", "size": None},
        pricing_group_values={"region": "us-east-1", "zone": None},
        presentation_group_values={"project": "alpha", "team": None},
    )
    assert "tier 2 (above 1000) · region: us-east-1, project: alpha · product" in text


@pytest.mark.parametrize(
    ("quantity", "unit_price", "words"),
    [
        ("33.333333333333336", "300", " · 33.3333333 × 3 USD · "),
        ("1E+3", "0.00012345", " · 1000 × 0.0012345 USD per 1,000 · "),
        ("5000000000", "0.00000123", " · 5000000000 × 0.0000123 USD per 1,000 · "),
        ("398765432.125000001", "0.0000000000123456789", " · 398765432.125 × 0.0000001 USD per 1,000,000 · "),
        ("1", "33.3333333333333", " · 1 × 0.3333333 USD · "),
        ("-10.50", "400", " · -10.5 × 4 USD · "),
        ("3", None, " · quantity 3 · "),
        ("1E-999999", "100", " · 1E-999999 × 1 USD · "),
    ],
)
def test_quantity_and_rate_are_said_when_they_are_not_in_fields(
    quantity: str, unit_price: str | None, words: str
) -> None:
    changes = {"quantity": quantity, "unit_price": unit_price}
    assert words in described(with_quantity=True, **changes)
    assert words not in described(with_quantity=False, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "scheduled"}, "scheduled charge"),
        ({"type": "commit_purchase"}, "commit purchase"),
        ({"type": "cpu_conversion"}, "conversion of pricing units"),
        ({"type": "subscription", "is_prorated": True}, "subscription, prorated"),
        ({"type": "something_new"}, "something new"),
        (
            {"type": "applied_commit_or_credit", "applied_commit_or_credit": {"id": "c", "type": "CREDIT"}},
            "credit applied",
        ),
        (
            {"type": "applied_commit_or_credit", "applied_commit_or_credit": {"id": "c", "type": "PREPAID"}},
            "commit applied",
        ),
    ],
)
def test_line_types_are_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert described(**changes).split(" · ")[1] == words


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z", "2026-10-01"),
        ("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", "2026-10-01"),
        ("2026-10-01T00:00:00Z", "2026-10-01T12:00:00Z", "2026-10-01"),
        ("2026-10-01T02:00:00+02:00", "2026-11-01T02:00:00+02:00", "2026-10-01 – 2026-10-31"),
        ("2026-10-01T00:00:00", "2026-11-01T00:00:00", "2026-10-01 – 2026-10-31"),
        ("2026-10-01T00:00:00Z", None, "from 2026-10-01"),
        (None, "2026-11-01T00:00:00Z", "until 2026-10-31"),
    ],
)
def test_a_time_window_ends_on_its_last_day(start: str | None, end: str | None, words: str) -> None:
    assert described(starting_at=start, ending_before=end).split(" · ")[2] == words


def test_what_a_customer_reads_holds_no_id_and_no_word_of_metronomes() -> None:
    text = described(style="customer", with_quantity=True, quantity="1000", unit_price="10", whose="Child GmbH")
    assert text == "API Calls · for Child GmbH · 1000 × 0.1 USD · 2026-10-01 – 2026-10-31"


def test_a_scale_is_said_once_and_fits() -> None:
    assert texts.with_scale("x" * 4000, 1000).endswith("… · per 1,000")
    assert utf16_units(texts.with_scale("x" * 4000, 1_000_000)) == 4000


@pytest.mark.parametrize(
    ("types", "words"),
    [(["usage"], "Usage"), (["subscription"], "Subscription"), (["subscription", "usage"], "Usage and subscription")],
)
def test_the_memo_says_what_is_billed(types: list[str], words: str) -> None:
    invoice = read(an_invoice([a_line(1, type=each) for each in types]))
    said = texts.customer_memo(invoice, kind="invoice", plan=None, txn_date=TXN_DATE)
    assert said == f"{words} for October 1 – 31, 2026."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"correction_record": {"corrected_invoice_id": OTHER_ID}}, "It corrects invoice MTR-86824BF6."),
        ({"regenerated_from_invoice_id": OTHER_ID}, "It replaces invoice MTR-86824BF6."),
    ],
)
def test_the_memo_names_the_document_that_it_belongs_to(changes: dict[str, Any], words: str) -> None:
    assert memo("x" * 5000, **changes).endswith(f"…. {words}")
    assert utf16_units(memo("x" * 5000, **changes)) == 1000


def test_a_line_without_times_says_none() -> None:
    assert described(starting_at=None, ending_before=None) == f"API Calls · usage · product {PRODUCT_ID[:8]}"


def test_control_characters_go_and_unicode_stays() -> None:
    assert clean("\tZürich\r\n東京\x00\x9f 👩‍💻 e\u0301\u2028x\ud83d\n") == "Zürich  東京 👩‍💻 e\u0301 x"


@given(st.text(max_size=50), st.integers(1, 50))
def test_a_cut_text_is_within_its_length_and_starts_like_the_whole(text: str, length: int) -> None:
    short = cut(text, length)
    assert utf16_units(short) <= length
    assert short == text or text.startswith(short.removesuffix("…"))


def test_an_emoji_is_never_cut_in_half() -> None:
    assert cut("👍👍👍", 6) == "👍👍👍"
    assert cut("👍👍👍", 5) == "👍👍…"
    assert cut("👍👍👍", 4) == "👍…"


@pytest.mark.parametrize("character", ["x", "ü", "👍"])
def test_a_description_never_exceeds_its_limit(character: str) -> None:
    assert 3998 <= utf16_units(described(name=character * 9000)) <= 4000
