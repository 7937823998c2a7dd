"""The simulated Metronome's invoice list, breakdowns and PDF, and what regenerating makes of an invoice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from simulators.http import dump
from simulators.metronome.generator import generate
from simulators.metronome.settings import MetronomeSettings
from simulators.pdf import ROWS_PER_PAGE
from tests.simulators.metronome_api import NOW, Api

PERIOD = {"starting_on": "2026-01-01T00:00:00Z", "ending_before": "2027-01-01T00:00:00Z"}


@pytest.fixture
def api() -> Api:
    return Api(generate(2, 0, now=NOW, eur_share=0, kinds={"scheduled": 2, "tiers": 3, "void": 1, "custom-unit": 1}))


def test_a_list_is_filtered_by_status_type_contract_and_unit(api: Api) -> None:
    invoice = api.scene.invoices[0]
    path = f"/v1/customers/{invoice['customer_id']}/invoices"
    assert len(api.get(path)["data"]) == 7
    assert len(api.get(path, status="VOID")["data"]) == 1
    assert len(api.get(path, type="SCHEDULED")["data"]) == 2
    assert len(api.get(path, credit_type_id=invoice["credit_type"]["id"])["data"]) == 6
    assert len(api.get(path, contract_id=invoice["contract_id"])["data"]) == 7
    assert api.get(path, contract_id="other")["data"] == []
    assert api.send("GET", path, type="CREDIT_NOTE")[0] == 400
    assert api.send("GET", path, sort="newest")[0] == 400


def test_what_is_not_documented_about_lists_is_a_switch(api: Api) -> None:
    path = f"/v1/customers/{api.scene.invoices[0]['customer_id']}/invoices"
    other = Api(api.scene, MetronomeSettings(sort_default="date_desc", undated_listed=True))
    issued = [each["issued_at"] for each in api.get(path)["data"]]
    assert issued == sorted(issued) != sorted(issued, reverse=True)
    assert [each["issued_at"] for each in other.get(path)["data"]] == sorted(issued, reverse=True)
    assert not [each for each in api.get(path, **PERIOD)["data"] if each["type"] == "SCHEDULED"]
    assert len([each for each in other.get(path, **PERIOD)["data"] if each["type"] == "SCHEDULED"]) == 2
    for name, value in PERIOD.items():
        assert {each["type"] for each in api.get(path, **{name: value})["data"]} == {"USAGE"}


def test_breakdowns_by_day_sum_up_to_the_invoice_to_the_last_digit() -> None:
    api = Api(generate(1, 0, now=NOW, kinds={"fractional-quantity": 2}))
    invoice = api.scene.invoices[0]
    path = f"/v1/customers/{invoice['customer_id']}/invoices/breakdowns"
    seen, cursor = [], {}
    for _ in range(20):
        page = api.get(path, **PERIOD, **cursor)
        assert len(page["data"]) <= 35
        seen += [each for each in page["data"] if each["id"] == invoice["id"]]
        if page["next_page"] is None:
            break
        cursor = {"next_page": page["next_page"]}
    assert 28 <= len(seen) <= 31
    assert seen[0]["breakdown_start_timestamp"] == invoice["start_timestamp"]
    assert seen[-1]["breakdown_end_timestamp"] == invoice["end_timestamp"]
    assert sum(each["total"] for each in seen) == invoice["total"]
    for index, line in enumerate(invoice["line_items"]):
        assert sum(Decimal(each["line_items"][index]["quantity"]) for each in seen) == line["quantity"]


def test_breakdowns_need_both_dates_and_a_window_that_exists(api: Api) -> None:
    path = f"/v1/customers/{api.scene.invoices[0]['customer_id']}/invoices/breakdowns"
    assert api.send("GET", path, starting_on="2026-01-01T00:00:00Z")[0] == 400
    assert api.send("GET", path, window_size="WEEK", **PERIOD)[0] == 400
    assert len(api.get(path, window_size="HOUR", **PERIOD)["data"]) == 24
    assert api.send("GET", path, window_size="HOUR", limit="25", **PERIOD)[0] == 400


@pytest.mark.parametrize("kind", ["long-texts", "large", "no-lines"])
def test_a_pdf_has_its_parts_where_its_table_says(kind: str) -> None:
    api = Api(generate(1, 0, now=NOW, kinds={kind: 1}))
    invoice = api.scene.invoices[0]
    answer = api.ask("GET", f"/v1/customers/{invoice['customer_id']}/invoices/{invoice['id']}/pdf")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert answer.body.startswith(b"%PDF-1.4")
    start = int(answer.body.rsplit(b"startxref\n", 1)[1].split()[0])
    table = answer.body[start:].split(b"\n")
    assert table[0] == b"xref"
    for number in range(1, int(table[1].split()[1])):
        place = int(table[2 + number].split()[0])
        assert answer.body[place:].startswith(b"%d 0 obj" % number)
    assert answer.body.count(b"/Type /Page ") == (len(invoice["line_items"]) + 6) // ROWS_PER_PAGE + 1


def test_a_regenerated_invoice_has_no_custom_fields_and_no_external_invoice_of_the_voided_one(api: Api) -> None:
    external = {"billing_provider_type": "stripe", "invoice_id": "in_1"}
    text = dump({**api.scene.invoices[0], "custom_fields": {"qbo": "1"}, "external_invoice": external})
    api.core.add_invoice(text)
    old = api.invoice()
    assert (old["custom_fields"], old["external_invoice"]) == ({"qbo": "1"}, external)
    api.post("/v1/invoices/void", {"id": old["id"]})
    new_id = api.post("/v1/invoices/regenerate", {"id": old["id"]})["data"]["id"]
    new = api.get(f"/v1/customers/{old['customer_id']}/invoices/{new_id}")["data"]
    assert (new["custom_fields"], new["external_invoice"]) == ({}, None)


def test_a_draft_is_finalized_and_a_finalized_one_stays_as_it_is() -> None:
    api = Api(generate(1, 1, now=NOW, drafts=1))
    for index in (0, 1):
        api.core.finalize(api.scene.invoices[index]["id"])
        assert api.invoice(index)["status"] == "FINALIZED"
    assert api.scene.invoices[1]["status"] == "DRAFT"
