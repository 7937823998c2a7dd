"""The simulated Metronome's state as rows: told, taken back, and complete."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from simulators.http import dump
from simulators.metronome.generator import generate
from simulators.scene import Scene
from tests.simulators.metronome_api import NOW, Api


def through_json(rows: Any) -> list[tuple[str, Any]]:
    return [(key, json.loads(dump(value), parse_float=Decimal)) for key, value in rows]


def lived() -> Api:
    """One of everything that a request can leave behind."""
    api = Api(generate(7, 20, now=NOW, kinds={"consolidated": 1, "plan": 1, "prepaid": 1}), track=True)
    customer_id, invoice_id = api.scene.customers[0]["id"], api.scene.invoices[0]["id"]
    api.send("POST", "/v1/customers", {"name": "Acme", "ingest_aliases": ["a"]}, key="k1")
    api.post("/v1/customFields/addKey", {"entity": "invoice", "key": "a/b", "enforce_uniqueness": True})
    api.post(
        "/v1/customFields/setValues", {"entity": "invoice", "entity_id": invoice_id, "custom_fields": {"a/b": "1"}}
    )
    api.post("/v1/customFields/removeKey", {"entity": "contract", "key": "qbo_memo_ref"})
    api.post(f"/v1/customers/{customer_id}/setName", {"name": "Renamed"})
    api.post("/v1/invoices/void", {"id": invoice_id})
    api.post("/v1/invoices/regenerate", {"id": invoice_id})
    return api


def seen(api: Api) -> list[Any]:
    """What one can learn from outside."""
    customers = api.get("/v1/customers", limit="100")["data"]
    return [
        customers,
        [api.get(f"/v1/customers/{each['id']}/invoices", limit="100") for each in customers],
        [api.post("/v2/contracts/list", {"customer_id": each["id"]}) for each in customers],
        api.post("/v1/customFields/listKeys", {}),
        api.post("/v1/contract-pricing/products/list", {}, limit="100"),
        api.get("/v1/credit-types/list"),
        api.get("/v1/auditLogs"),
        api.send("POST", "/v1/customers", {"name": "Acme", "ingest_aliases": ["a"]}, key="k1"),
    ]


def test_rows_that_went_through_json_give_the_same_metronome_again() -> None:
    api, other = lived(), Api(Scene())
    other.core.restore(through_json(api.core.rows()))
    assert seen(other) == seen(api)
    assert dict(other.core.rows()) == dict(through_json(api.core.rows()))
    other.post(f"/v1/customers/{api.scene.customers[1]['id']}/setName", {"name": "Goes on"})
    assert other.get("/v1/auditLogs")["data"][:-1] == api.get("/v1/auditLogs")["data"]


def test_the_rows_touched_are_all_that_changed() -> None:
    """Whoever writes down the touched rows after each request holds what `rows` gives."""
    api = Api(generate(7, 20, now=NOW), track=True)
    held = dict(through_json(api.core.rows()))
    api.core.touched.clear()
    customer_id, invoice_id = api.scene.customers[0]["id"], api.scene.invoices[0]["id"]
    setting = {"entity": "customer", "entity_id": customer_id}
    for path, body in (
        ("/v1/customers", {"name": "Acme"}),
        (f"/v1/customers/{customer_id}/setName", {"name": "Renamed"}),
        (f"/v1/customers/{customer_id}/setIngestAliases", {"ingest_aliases": ["z"]}),
        ("/v1/customers/archive", {"id": customer_id}),
        ("/v1/customFields/addKey", {"entity": "customer", "key": "k", "enforce_uniqueness": False}),
        ("/v1/customFields/setValues", {**setting, "custom_fields": {"k": "v", "qbo_customer_id": "9"}}),
        ("/v1/customFields/deleteValues", {**setting, "keys": ["k"]}),
        ("/v1/customFields/removeKey", {"entity": "customer", "key": "k"}),
        ("/v1/contract-pricing/products/archive", {"product_id": api.scene.products[0]["id"]}),
        ("/v1/invoices/void", {"id": invoice_id}),
        ("/v1/invoices/regenerate", {"id": invoice_id}),
    ):
        assert api.send("POST", path, body, key=path)[0] == 200
        assert api.core.touched
        for key in api.core.touched:
            row = api.core.row(key)
            if row is None:
                held.pop(key, None)
            else:
                held[key] = through_json([(key, row)])[0][1]
        api.core.touched.clear()
        assert held == dict(through_json(api.core.rows())), path


@pytest.mark.parametrize("row", [("person/1", {"id": "1"}), ("customer/1", {"id": "2"}), ("invoice/1", {"id": "1"})])
def test_a_row_that_is_none_of_ours_is_refused(row: tuple[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Api(Scene()).core.restore([row])


def test_reading_touches_nothing_and_without_tracking_nothing_is_collected() -> None:
    api = Api(generate(7, 20, now=NOW), track=True)
    api.core.touched.clear()
    api.get("/v1/customers")
    api.invoice()
    assert api.core.touched == set()
    untracked = Api(generate(7, 20, now=NOW))
    untracked.post("/v1/customers", {"name": "Acme"})
    assert untracked.core.touched == set()
