"""The simulated Metronome: reads, custom fields, void and regenerate, and its refusals."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from simulators.http import dump
from simulators.metronome.generator import generate
from simulators.scene import Scene
from tests import FIXTURES
from tests.simulators.metronome_api import NOW, Api

SAMPLES = FIXTURES / "metronome_invoices.json"


@pytest.fixture
def api() -> Api:
    return Api(generate(7, 40, now=NOW))


def test_an_invoice_is_read_with_the_custom_fields_of_its_customer_contract_and_products(api: Api) -> None:
    index = next(
        number
        for number, invoice in enumerate(api.scene.invoices)
        if invoice["customer_id"] == api.scene.customers[0]["id"]
    )
    shown = api.invoice(index)
    assert shown["customer_custom_fields"] == api.scene.customers[0]["custom_fields"] != {}
    assert shown["contract_custom_fields"]["qbo_memo_ref"].startswith("MSA-")
    assert all("product_custom_fields" in line for line in shown["line_items"])
    assert shown["total"] == api.scene.invoices[index]["total"]


def test_values_set_afterwards_show_on_invoices_read_afterwards(api: Api) -> None:
    customer_id = api.scene.invoices[0]["customer_id"]
    product_id = api.invoice()["line_items"][0]["product_id"]
    for entity, entity_id, fields in (
        ("customer", customer_id, {"qbo_customer_id": "4711"}),
        ("contract_product", product_id, {"qbo_item_id": "4712"}),
    ):
        status, _ = api.send(
            "POST", "/v1/customFields/setValues", {"entity": entity, "entity_id": entity_id, "custom_fields": fields}
        )
        assert status == 200
    shown = api.invoice()
    assert shown["customer_custom_fields"]["qbo_customer_id"] == "4711"
    assert shown["line_items"][0]["product_custom_fields"] == {"qbo_item_id": "4712"}
    api.post(
        "/v1/customFields/deleteValues", {"entity": "customer", "entity_id": customer_id, "keys": ["qbo_customer_id"]}
    )
    assert api.invoice()["customer_custom_fields"] == {}


def test_a_key_must_exist_before_a_value_and_is_made_once() -> None:
    api = Api(generate(7, 4, now=NOW, mapped=False))
    customer_id = api.scene.customers[0]["id"]
    setting = {"entity": "customer", "entity_id": customer_id, "custom_fields": {"qbo_customer_id": "1"}}
    assert api.send("POST", "/v1/customFields/setValues", setting) == (400, {"message": "Invalid custom field keys"})
    key = {"entity": "customer", "key": "qbo_customer_id", "enforce_uniqueness": True}
    assert api.send("POST", "/v1/customFields/addKey", key) == (200, None)
    assert api.send("POST", "/v1/customFields/addKey", key)[0] == 409
    assert api.post("/v1/customFields/listKeys", {})["data"] == [key]
    api.post("/v1/customFields/setValues", setting)
    other = {**setting, "entity_id": api.scene.customers[1]["id"]}
    assert api.send("POST", "/v1/customFields/setValues", other)[0] == 409
    api.post("/v1/customFields/removeKey", {"entity": "customer", "key": "qbo_customer_id"})
    assert api.get(f"/v1/customers/{customer_id}")["data"]["custom_fields"] == {}


def test_a_value_of_more_than_200_characters_is_refused_and_nothing_is_set(api: Api) -> None:
    customer_id = api.scene.customers[0]["id"]
    fields = {"qbo_customer_id": "x" * 201}
    setting = {"entity": "customer", "entity_id": customer_id, "custom_fields": fields}
    assert api.send("POST", "/v1/customFields/setValues", setting)[0] == 400
    assert api.get(f"/v1/customers/{customer_id}")["data"]["custom_fields"] == {"qbo_customer_id": "58"}


def test_refusals_are_a_status_and_a_message(api: Api) -> None:
    invoice, other = api.scene.invoices[0], api.scene.customers
    stranger = next(each["id"] for each in other if each["id"] != invoice["customer_id"])
    path = f"/v1/customers/{invoice['customer_id']}/invoices/{invoice['id']}"
    assert api.send("GET", path, token="wrong") == (401, {"message": "Unauthorized"})
    assert api.send("GET", f"/v1/customers/{stranger}/invoices/{invoice['id']}")[0] == 404
    assert api.send("GET", f"/v1/customers/{stranger}/invoices/unknown")[0] == 404
    assert api.send("GET", "/v1/customers/unknown")[0] == 404
    assert api.send("GET", "/v1/nothing")[0] == 404
    assert api.send("DELETE", "/v1/customers")[0] == 404
    assert api.send("POST", "/v1/invoices/void", [])[0] == 400


def test_void_and_regenerate_give_a_new_invoice_in_place_of_the_old_one(api: Api) -> None:
    old = api.invoice()
    assert api.send("POST", "/v1/invoices/regenerate", {"id": old["id"]})[0] == 400
    assert api.post("/v1/invoices/void", {"id": old["id"]}) == {"data": {"id": old["id"]}}
    assert api.invoice() == {**old, "status": "VOID"}
    assert api.send("POST", "/v1/invoices/void", {"id": old["id"]})[0] == 400
    new_id = api.post("/v1/invoices/regenerate", {"id": old["id"]})["data"]["id"]
    new = api.get(f"/v1/customers/{old['customer_id']}/invoices/{new_id}")["data"]
    assert (new["status"], new["regenerated_from_invoice_id"]) == ("FINALIZED", old["id"])
    assert (new["total"], new["line_items"]) == (old["total"], old["line_items"])
    assert api.send("POST", "/v1/invoices/regenerate", {"id": old["id"]})[0] == 409


def test_a_list_is_paged_to_its_end_and_sorted_by_issue_date(api: Api) -> None:
    customer_id = api.scene.invoices[0]["customer_id"]
    path, seen, page = f"/v1/customers/{customer_id}/invoices", [], {}
    for _ in range(40):
        answer = api.get(path, limit="2", sort="date_desc", **page)
        seen += answer["data"]
        if answer["next_page"] is None:
            break
        page = {"next_page": answer["next_page"]}
    expected = [each["id"] for each in api.scene.invoices if each["customer_id"] == customer_id]
    assert sorted(each["id"] for each in seen) == sorted(expected)
    assert [each["issued_at"] for each in seen] == sorted((each["issued_at"] for each in seen), reverse=True)
    assert api.send("GET", path, limit="101")[0] == 400
    assert api.send("GET", path, next_page="rubbish")[0] == 400


def test_list_dates_filter_on_the_billing_period_and_not_on_the_issue_date(api: Api) -> None:
    """A one-day window round the issue date finds nothing, which is the trap."""
    invoice = next(each for each in api.scene.invoices if each["type"] == "USAGE")
    path = f"/v1/customers/{invoice['customer_id']}/invoices"
    day = {"starting_on": "2026-11-02T00:00:00Z", "ending_before": "2026-11-03T00:00:00Z"}
    assert api.get(path, **day)["data"] == []
    found = api.get(path, starting_on=invoice["start_timestamp"], limit="100")["data"]
    assert invoice["id"] in {each["id"] for each in found}
    assert api.get(path, status="VOID")["data"] == []


def test_zero_quantity_lines_are_left_out_on_request() -> None:
    api = Api(generate(3, 60, now=NOW))
    index, invoice = next(
        (number, each)
        for number, each in enumerate(api.scene.invoices)
        if any(line["quantity"] == 0 for line in each["line_items"])
    )
    path = f"/v1/customers/{invoice['customer_id']}/invoices/{invoice['id']}"
    short = api.get(path, skip_zero_qty_line_items="true")["data"]["line_items"]
    assert len(short) < len(api.invoice(index)["line_items"])
    assert all(line["quantity"] != 0 for line in short)


def test_contracts_products_and_units_are_served(api: Api) -> None:
    contract = api.scene.contracts[0]
    asked = {"customer_id": contract["customer_id"], "contract_id": contract["id"]}
    assert api.post("/v2/contracts/get", asked)["data"]["name"] == contract["name"]
    assert api.send("POST", "/v2/contracts/get", {**asked, "customer_id": "other"})[0] == 404
    product = api.scene.products[1]
    assert (
        api.post("/v1/contract-pricing/products/get", {"id": product["id"]})["data"]["current"]["name"] == "GPU Hours"
    )
    listed = api.post("/v1/contract-pricing/products/list", {})["data"]
    assert [each["custom_fields"].get("qbo_item_id") for each in listed][-3:] == ["38", None, None]
    units = {each["name"]: each["is_currency"] for each in api.get("/v1/credit-types/list")["data"]}
    assert units == {"USD (cents)": True, "EUR": True, "GBP": True, "Agent Credits": False}
    assert len(api.get("/v1/customers", limit="100")["data"]) == len(api.scene.customers)


def test_an_invoice_added_as_text_is_served_digit_for_digit() -> None:
    api = Api(Scene())
    for sample in json.loads(SAMPLES.read_text(), parse_float=Decimal)["samples"]:
        text = dump(sample["invoice"])
        invoice_id = api.core.add_invoice(text)
        path = f"/v1/customers/{sample['invoice']['customer_id']}/invoices/{invoice_id}"
        shown = api.get(path)["data"]
        assert shown["total"] == sample["invoice"]["total"]
        for line, given in zip(shown["line_items"], sample["invoice"]["line_items"], strict=True):
            assert {name: line[name] for name in given if name != "product_custom_fields"} == {
                name: value for name, value in given.items() if name != "product_custom_fields"
            }


def test_long_digits_survive_the_wire() -> None:
    api = Api(Scene())
    unit = {"id": "u", "name": "EUR"}
    digits = "0.12345678901234567890123"
    line = f'{{"name":"n","type":"usage","total":{digits},"credit_type":{json.dumps(unit)}}}'
    text = f'{{"id":"i","customer_id":"c","status":"FINALIZED","type":"USAGE","total":{digits},"line_items":[{line}],'
    api.core.add_invoice(text + f'"credit_type":{json.dumps(unit)}}}')
    assert str(api.get("/v1/customers/c/invoices/i")["data"]["total"]) == digits
