"""The simulated Metronome's customers, their custom fields, and what the audit log says of changes."""

from __future__ import annotations

import pytest

from simulators.metronome.custom_fields import ENTITIES
from simulators.metronome.generator import generate
from simulators.metronome.store import AUDIT_RECORDS_MAX
from simulators.scene import Scene
from tests.simulators.metronome_api import NOW, Api


@pytest.fixture
def api() -> Api:
    return Api(generate(7, 40, now=NOW))


def test_a_customer_is_created_with_aliases_and_custom_fields_and_found_by_them(api: Api) -> None:
    asked = {"name": "N" * 200, "ingest_aliases": ["acme", "acme-eu"], "custom_fields": {"qbo_customer_id": "900"}}
    made = api.post("/v1/customers", asked)["data"]
    assert set(made) == {"id", "external_id", "ingest_aliases", "name", "custom_fields"}
    assert (made["name"], made["custom_fields"]) == ("N" * 160, {"qbo_customer_id": "900"})
    [found] = api.get("/v1/customers", ingest_alias="acme-eu")["data"]
    assert found == api.get(f"/v1/customers/{made['id']}")["data"]
    assert found["external_id"] == "acme"
    both = ",".join((made["id"], api.scene.customers[0]["id"]))
    assert len(api.get("/v1/customers", customer_ids=both)["data"]) == 2


def test_an_alias_moves_only_after_its_customer_gave_it_up_even_when_that_is_archived(api: Api) -> None:
    first, second = api.scene.customers[0]["id"], api.scene.customers[1]["id"]
    wanted = {"ingest_aliases": ["customer-0"]}
    assert api.send("POST", "/v1/customers", {"name": "x", **wanted})[0] == 409
    api.post("/v1/customers/archive", {"id": first})
    assert api.send("POST", f"/v1/customers/{second}/setIngestAliases", wanted)[0] == 409
    api.post(f"/v1/customers/{first}/setIngestAliases", {"ingest_aliases": []})
    api.post(f"/v1/customers/{second}/setIngestAliases", wanted)
    assert api.get("/v1/customers", ingest_alias="customer-0")["data"][0]["id"] == second


def test_an_archived_customer_is_listed_only_among_the_archived_ones(api: Api) -> None:
    customer_id = api.scene.customers[0]["id"]
    assert api.post("/v1/customers/archive", {"id": customer_id}) == {"data": {"id": customer_id}}
    active = {each["id"] for each in api.get("/v1/customers", limit="100")["data"]}
    assert customer_id not in active
    assert len(active) == len(api.scene.customers) - 1
    assert [each["id"] for each in api.get("/v1/customers", only_archived="true")["data"]] == [customer_id]
    assert api.get(f"/v1/customers/{customer_id}")["data"]["archived_at"]


def test_a_unique_value_stays_taken_by_an_archived_customer(api: Api) -> None:
    api.post("/v1/customFields/addKey", {"entity": "customer", "key": "crm", "enforce_uniqueness": True})
    first, second = (each["id"] for each in api.scene.customers[:2])
    setting = {"entity": "customer", "entity_id": first, "custom_fields": {"crm": "1"}}
    api.post("/v1/customFields/setValues", setting)
    api.post("/v1/customFields/setValues", setting)
    api.post("/v1/customers/archive", {"id": first})
    assert api.send("POST", "/v1/customFields/setValues", {**setting, "entity_id": second})[0] == 409
    assert api.send("POST", "/v1/customers", {"name": "x", "custom_fields": {"crm": "1"}})[0] == 409


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_entity_takes_keys_and_refuses_values_of_what_does_not_exist(entity: str) -> None:
    api = Api(Scene())
    api.post("/v1/customFields/addKey", {"entity": entity, "key": "k", "enforce_uniqueness": False})
    assert api.post("/v1/customFields/listKeys", {"entities": [entity]})["data"][0]["entity"] == entity
    setting = {"entity": entity, "entity_id": "unknown", "custom_fields": {"k": "v"}}
    assert api.send("POST", "/v1/customFields/setValues", setting)[0] == 404
    assert api.send("POST", "/v1/customFields/addKey", {"entity": "person", "key": "k", "enforce_uniqueness": True})[
        1
    ] == {"message": "Unknown entity person"}


@pytest.mark.parametrize(
    ("kind", "id_name", "entity", "shown_as"),
    [
        ("subscription", "subscription_id", "subscription", "subscription_custom_fields"),
        ("scheduled", "scheduled_charge_id", "scheduled_charge", "scheduled_charge_custom_fields"),
        ("prepaid", "commit_id", "commit", "commit_custom_fields"),
        ("credit", "commit_id", "contract_credit", "commit_custom_fields"),
    ],
)
def test_fields_of_what_a_line_names_are_passed_down_to_the_line(
    kind: str, id_name: str, entity: str, shown_as: str
) -> None:
    api = Api(generate(1, 0, now=NOW, kinds={kind: 1}))
    line_id = api.invoice()["line_items"][0][id_name]
    api.post("/v1/customFields/addKey", {"entity": entity, "key": "gl", "enforce_uniqueness": False})
    setting = {"entity": entity, "entity_id": line_id, "custom_fields": {"gl": "4000"}}
    api.post("/v1/customFields/setValues", setting)
    assert api.invoice()["line_items"][0][shown_as] == {"gl": "4000"}


def test_changes_are_in_the_audit_log_which_goes_on_where_it_was_left(api: Api) -> None:
    customer_id, invoice_id = api.scene.customers[0]["id"], api.scene.invoices[0]["id"]
    start = api.get("/v1/auditLogs")
    assert start["data"] == []
    api.post(f"/v1/customers/{customer_id}/setName", {"name": "New"})
    api.post("/v1/invoices/void", {"id": invoice_id})
    api.post("/v1/invoices/regenerate", {"id": invoice_id})
    first = api.get("/v1/auditLogs", next_page=start["next_page"], limit="2")
    assert [(each["resource_type"], each["action"]) for each in first["data"]] == [
        ("customer", "update"),
        ("invoice", "void"),
    ]
    rest = api.get("/v1/auditLogs", next_page=first["next_page"])
    assert [each["action"] for each in rest["data"]] == ["regenerate"]
    again = api.get("/v1/auditLogs", next_page=rest["next_page"])
    assert (again["data"], again["next_page"]) == ([], rest["next_page"])
    about = api.get("/v1/auditLogs", resource_type="invoice", resource_id=invoice_id)["data"]
    assert [(each["action"], each["status"], each["resource_id"]) for each in about] == [
        ("void", "success", invoice_id)
    ]
    newest = api.get("/v1/auditLogs", sort="date_desc", limit="1")
    assert newest["data"] == rest["data"]
    assert api.get("/v1/auditLogs", sort="date_desc", next_page=newest["next_page"])["data"] == first["data"][::-1]


def test_the_audit_log_refuses_half_a_resource_and_dates_beside_a_cursor(api: Api) -> None:
    assert api.send("GET", "/v1/auditLogs", resource_type="invoice")[0] == 400
    cursor = api.get("/v1/auditLogs")["next_page"]
    assert api.send("GET", "/v1/auditLogs", next_page=cursor, starting_on="2026-01-01T00:00:00Z")[0] == 400


def test_the_audit_log_is_bounded() -> None:
    api = Api(generate(1, 4, now=NOW), track=True)
    for number in range(AUDIT_RECORDS_MAX + 3):
        api.core.store.log("customer", str(number), "update", "")
    assert len(api.core.store.audit) == AUDIT_RECORDS_MAX
    assert "audit/3" in api.core.touched
    assert api.core.row("audit/3") is None
