"""The company's own texts: bounded, in a sandbox, and refused by name when they are broken."""

from typing import Any

import pytest
from pydantic import ValidationError

from agents.translate.templates import check_template, render
from models.policy import Policy
from stream.settings import Settings
from tests.agents.translate.translating import declined, posted
from tests.builders import INVOICE_ID, a_line, an_invoice

NOTE, MEMO, DESCRIPTION = "private_note_template", "customer_memo_template", "description_template"


@pytest.mark.parametrize(
    ("field", "source", "named"),
    [
        (NOTE, "{{ plan", "unexpected end of template"),
        (MEMO, "{% if plan %}", "'endif'"),
        (MEMO, "{{ nothing }}", "there is no nothing in it; there are contract_id"),
        (DESCRIPTION, "{{ plan }}", "there is no plan in it"),
        (NOTE, "{{ range(9) }}", "there is no range in it"),
        (NOTE, "{{ plan | no_filter }}", "No filter named 'no_filter'"),
        (NOTE, "{% include 'x' %}{{ x }}", "there is no x in it"),
    ],
)
def test_a_broken_template_is_refused_when_the_settings_are_read(field: str, source: str, named: str) -> None:
    with pytest.raises(ValueError, match=field) as raised:
        check_template(field, source)
    assert named in str(raised.value)
    with pytest.raises(ValidationError, match=field):
        Settings(policy=Policy(**{field: source}))
    with pytest.raises(ValidationError, match=field):
        Settings(policies={"1": Policy(**{field: source})})


@pytest.mark.parametrize(
    "source",
    [
        "{{ default.__class__.__mro__ }}",
        "{{ custom_fields.missing }}",
        "{{ plan * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ 1 / 0 }}",
        "{% include 'x' %}",
        "{{ custom_fields.update({'a': 'b'}) }}",
    ],
)
def test_what_fails_while_rendering_refuses_the_invoice_and_names_the_template(source: str) -> None:
    command = declined(an_invoice(), Policy(customer_memo_template=source))
    assert (command.decision, command.rule) == ("refused", "template")
    assert MEMO in command.reason


@pytest.mark.parametrize("template", ["", "Metronome invoice 1", "{{ 'x' | string }}\n" * 500, "{{ default }}"])
def test_the_first_line_of_the_note_is_ours_whatever_the_template(template: str) -> None:
    note = posted(an_invoice(), Policy(private_note_template=template)).private_note
    assert note.split("\n")[0] == f"Metronome invoice {INVOICE_ID}"
    assert len(note) <= 4000


@pytest.mark.parametrize(("field", "length"), [(NOTE, 4000), (MEMO, 1000), (DESCRIPTION, 4000)])
def test_a_text_ends_at_quickbooks_limit_and_at_a_whole_character(field: str, length: int) -> None:
    policy = Policy(**{field: "{% for each in default %}" + "🧾" * 400 + "{% endfor %}"})
    document = posted(an_invoice(), policy)
    texts = {NOTE: document.private_note, MEMO: document.customer_memo, DESCRIPTION: document.lines[0].description}
    assert length - 2 <= len(texts[field].encode("utf-16-le")) // 2 <= length
    assert texts[field].endswith("🧾…")


def test_the_built_in_text_is_at_hand_and_nothing_else_changes() -> None:
    invoice = an_invoice([a_line(1000, quantity=2, unit_price=500, pricing_group_values={"region": "eu"})])
    plain = posted(invoice)
    policy = Policy(**dict.fromkeys((NOTE, MEMO, DESCRIPTION), "{{ default }}"))
    assert posted(invoice, policy) == plain


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{{ name }}: {{ quantity }} × {{ unit_price }} {{ currency }}", "Egress: 2 × 5 USD"),
        ("{{ groups.region }}|{{ tier }}|{{ period }}", "eu||2026-10-01 – 2026-10-31"),
        ("{% for key in groups %}{{ key }}{% endfor %} {{ amount }}", "region 10"),
        ("{{ custom_fields.gl }}", "4000"),
        ("a\x00b\r\n  c  ", "ab\nc"),
    ],
)
def test_a_line_is_described_in_the_companys_words(template: str, written: str) -> None:
    fields = {"qbo_item_id": "31", "gl": "4000"}
    line: dict[str, Any] = a_line(
        1000,
        name="Egress",
        quantity=2,
        unit_price=500,
        pricing_group_values={"region": "eu"},
        product_custom_fields=fields,
    )
    [made] = posted(an_invoice([line]), Policy(description_template=template)).lines
    assert made.description == written


def test_what_metronome_writes_is_no_template() -> None:
    policy = Policy(description_template="{{ name }}", customer_memo_template="{{ plan }}")
    document = posted(an_invoice([a_line(name="{{ 7 * 7 }}")]), policy, contract_name="{{ default }}")
    assert (document.lines[0].description, document.customer_memo) == ("{{ 7 * 7 }}", "{{ default }}")


def test_rendering_stops_when_there_is_enough() -> None:
    asked = []

    class Endless:
        def __iter__(self) -> Any:
            while True:
                asked.append(1)
                yield "x" * 100

    assert len(render(NOTE, "{% for each in groups %}{{ each }}{% endfor %}", {"groups": Endless()}, 1000)) == 1000
    assert len(asked) < 20
