"""The simulated Metronome's contracts in both versions, hierarchies, commits, products and pricing units."""

from __future__ import annotations

from typing import Any

import pytest

from simulators.metronome.generator import generate
from simulators.scene import FIAT, Scene
from tests.simulators.metronome_api import NOW, Api


@pytest.fixture
def api() -> Api:
    return Api(generate(7, 40, now=NOW, eur_share=0, kinds={"consolidated": 1, "prepaid": 1, "credit": 1}))


def a_contract(number: int, **changes: Any) -> dict[str, Any]:
    starting_at = f"2026-01-{number + 1:02}T00:00:00+00:00"
    return {"id": f"contract-{number}", "customer_id": "c", "name": "n", "starting_at": starting_at, **changes}


def test_both_versions_show_the_same_contract_in_their_own_shape(api: Api) -> None:
    contract = api.scene.contracts[0]
    asked = {"customer_id": contract["customer_id"], "contract_id": contract["id"]}
    flat, nested = api.post("/v2/contracts/get", asked)["data"], api.post("/v1/contracts/get", asked)["data"]
    assert flat["name"] == nested["current"]["name"] == contract["name"]
    assert flat["custom_fields"] == nested["custom_fields"] == contract["custom_fields"]
    assert nested["amendments"] == []
    assert "current" not in flat


def test_contracts_are_paged_by_twenty_with_a_cursor_in_the_body() -> None:
    contracts = tuple(a_contract(number) for number in range(25))
    api = Api(Scene(customers=({"id": "c", "name": "n"},), contracts=contracts))
    for path in ("/v1/contracts/list", "/v2/contracts/list"):
        first = api.post(path, {"customer_id": "c"})
        second = api.post(path, {"customer_id": "c", "cursor": first["cursor"]})
        assert (len(first["data"]), len(second["data"]), second["cursor"]) == (20, 5, None)
        assert api.send("POST", path, {"customer_id": "c", "limit": 21})[0] == 400


def test_contracts_are_listed_by_date_and_archived_ones_on_request() -> None:
    contracts = (
        a_contract(0, ending_before="2026-02-01T00:00:00+00:00"),
        a_contract(1),
        a_contract(2, archived_at="2026-01-09T00:00:00+00:00"),
    )
    api = Api(Scene(customers=({"id": "c", "name": "n"},), contracts=contracts))

    def listed(**asked: object) -> list[str]:
        found = api.post("/v2/contracts/list", {"customer_id": "c", **asked})["data"]
        return [each["id"].removeprefix("contract-") for each in found]

    assert listed() == ["0", "1"]
    assert listed(include_archived=True) == ["0", "1", "2"]
    assert listed(covering_date="2026-02-01T00:00:00Z") == ["1"]
    assert listed(covering_date="2026-01-31T23:59:59Z") == ["0", "1"]
    assert listed(starting_at="2026-01-02T00:00:00Z") == ["1"]
    both = {"customer_id": "c", "starting_at": "2026-01-02T00:00:00Z", "covering_date": "2026-01-02T00:00:00Z"}
    assert api.send("POST", "/v2/contracts/list", both)[0] == 400


def test_a_parent_names_its_children_and_each_child_its_parent(api: Api) -> None:
    parent_invoice = next(each for each in api.scene.invoices if each["type"] == "USAGE_CONSOLIDATED")
    asked = {name: parent_invoice[name] for name in ("customer_id", "contract_id")}
    parent = api.post("/v2/contracts/get", asked)["data"]["hierarchy_configuration"]
    assert parent["parent_behavior"] == {"invoice_consolidation_type": "CONCATENATE"}
    seen = {}
    for child in parent["children"]:
        own = api.post("/v1/contracts/get", child)["data"]["current"]["hierarchy_configuration"]
        assert (own["parent"], own["payer"]) == (asked, "PARENT")
        seen[child["contract_id"]] = own["usage_statement_behavior"]
    constituents = {each["contract_id"] for each in parent_invoice["constituent_invoices"]}
    assert {key for key, behavior in seen.items() if behavior == "CONSOLIDATE"} == constituents - {asked["contract_id"]}
    assert list(seen.values()).count("SEPARATE") == 1


@pytest.mark.parametrize(
    ("kind", "path", "with_contracts"),
    [
        ("PREPAID", "/v1/contracts/customerCommits/list", "include_contract_commits"),
        ("CREDIT", "/v1/contracts/customerCredits/list", "include_contract_credits"),
    ],
)
def test_the_commit_of_a_line_is_looked_up_and_its_product_is_not_that_of_the_line(
    api: Api, kind: str, path: str, with_contracts: str
) -> None:
    invoice, line = next(
        (invoice, line)
        for invoice in api.scene.invoices
        for line in invoice["line_items"]
        if line["type"] == "applied_commit_or_credit" and line["applied_commit_or_credit"]["type"] == kind
    )
    id_name = "commit_id" if kind == "PREPAID" else "credit_id"
    asked = {"customer_id": invoice["customer_id"], id_name: line["commit_id"]}
    assert api.post(path, asked)["data"] == []
    [commit] = api.post(path, {**asked, with_contracts: True})["data"]
    assert (commit["id"], commit["type"]) == (line["commit_id"], kind)
    assert commit["product"]["id"] != line["product_id"]
    assert commit["product"]["name"] == "Prepaid Commit"
    contract = api.post(
        "/v2/contracts/get", {"customer_id": invoice["customer_id"], "contract_id": invoice["contract_id"]}
    )["data"]
    assert commit["id"] in {each["id"] for each in contract["commits" if kind == "PREPAID" else "credits"]}


def test_commits_are_paged_in_the_body() -> None:
    commit = {"type": "PREPAID", "customer_id": "c", "contract": None, "product": {"id": "p", "name": "n"}}
    commits = tuple({**commit, "id": f"commit-{number}"} for number in range(30))
    api = Api(Scene(customers=({"id": "c", "name": "n"},), commits=commits))
    first = api.post("/v1/contracts/customerCommits/list", {"customer_id": "c"})
    second = api.post("/v1/contracts/customerCommits/list", {"customer_id": "c", "next_page": first["next_page"]})
    assert (len(first["data"]), len(second["data"]), second["next_page"]) == (25, 5, None)


def test_archived_products_are_listed_on_request(api: Api) -> None:
    product_id = api.scene.products[0]["id"]
    api.post("/v1/contract-pricing/products/archive", {"product_id": product_id})

    def listed(wanted: dict[str, str]) -> set[str]:
        return {each["id"] for each in api.post("/v1/contract-pricing/products/list", wanted)["data"]}

    assert listed({"archive_filter": "ARCHIVED"}) == {product_id}
    assert listed({}) == listed({"archive_filter": "NOT_ARCHIVED"}) == listed({"archive_filter": "ALL"}) - {product_id}
    assert api.send("POST", "/v1/contract-pricing/products/list", {"archive_filter": "SOME"})[0] == 400


def test_every_currency_is_listed_as_money_and_a_custom_unit_is_not() -> None:
    api = Api(generate(1, 0, now=NOW, kinds={"currencies": 1}, extra_currencies=("JPY",)))
    listed = {each["name"]: each["is_currency"] for each in api.get("/v1/credit-types/list", limit="100")["data"]}
    assert set(listed) == {"USD (cents)", *FIAT[1:], "JPY", "Agent Credits"}
    assert [name for name, money in listed.items() if not money] == ["Agent Credits"]
    ids = {each["name"]: each["id"] for each in api.get("/v1/credit-types/list", limit="100")["data"]}
    assert len(set(ids.values())) == len(ids)
