"""Tokens, rate limits and idempotency keys of the simulated Metronome, and that nothing makes it raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.http import Answer, Request
from simulators.metronome.core import ROUTES
from simulators.metronome.generator import generate
from simulators.metronome.settings import MetronomeSettings, RateLimit
from tests.simulators.metronome_api import NOW, TOKEN, Api

GET_INVOICE = "GET /v1/customers/{id}/invoices/{id}"


def an_api(**switches: Any) -> Api:
    return Api(generate(7, 40, now=NOW), MetronomeSettings(**switches))


def test_a_token_without_the_right_to_write_may_read() -> None:
    api = an_api(read_only_token="reader")
    contract = api.scene.contracts[0]
    asked = {"customer_id": contract["customer_id"], "contract_id": contract["id"]}
    assert api.send("GET", "/v1/customers", token="reader")[0] == 200
    assert api.send("POST", "/v2/contracts/get", asked, token="reader")[0] == 200
    assert api.send("POST", "/v1/customFields/listKeys", {}, token="reader")[0] == 200
    assert api.send("POST", "/v1/customers", {"name": "x"}, token="reader")[0] == 401
    assert api.send("POST", "/v1/invoices/void", {"id": "x"}, token="reader")[0] == 401


def test_no_access_to_a_customer_is_403_in_the_path_and_in_the_body() -> None:
    contract = generate(7, 40, now=NOW).contracts[0]
    api = an_api(forbidden_customers=frozenset({contract["customer_id"]}))
    asked = {"customer_id": contract["customer_id"], "contract_id": contract["id"]}
    assert api.send("GET", f"/v1/customers/{contract['customer_id']}/invoices")[0] == 403
    assert api.send("POST", "/v2/contracts/get", asked)[0] == 403


@pytest.mark.parametrize("scope", ["client", "customer"])
def test_more_than_the_limit_in_one_second_is_429_and_says_whose_limit_it_is(scope: Any) -> None:
    api = an_api(limits={GET_INVOICE: RateLimit(2, scope)})
    first = api.scene.invoices[0]
    other = next(each for each in api.scene.invoices if each["customer_id"] != first["customer_id"])
    paths = [f"/v1/customers/{each['customer_id']}/invoices/{each['id']}" for each in (first, first, first, other)]
    answers = [api.ask("GET", path) for path in paths]
    assert [each.status for each in answers] == [200, 200, 429, 429 if scope == "client" else 200]
    assert answers[2].headers["X-Metronome-Rate-Limit-Type"] == scope
    assert api.get("/v1/customers")["data"]
    api.clock.now += 1
    assert api.send("GET", paths[0])[0] == 200


def test_the_same_key_and_request_give_the_stored_answer_and_do_nothing() -> None:
    api = an_api()
    first = api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1")
    before = len(api.core.store.objects["customer"])
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1") == first
    assert len(api.core.store.objects["customer"]) == before
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k2")[1] != first[1]


def test_the_same_key_with_other_parameters_is_409() -> None:
    api = an_api()
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1")[0] == 200
    assert api.send("POST", "/v1/customers", {"name": "Other"}, key="k1")[0] == 409
    assert api.send("POST", "/v1/customFields/listKeys", {}, key="k1")[0] == 409
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1")[0] == 200


def test_a_key_is_forgotten_after_a_day() -> None:
    api = an_api()
    first = api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1")
    api.clock.now += 24 * 3600 - 1
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1") == first
    api.clock.now += 2
    assert api.send("POST", "/v1/customers", {"name": "Acme"}, key="k1")[1] != first[1]
    assert len(api.core.store.answers) == 1


@pytest.mark.parametrize("stored", [True, False])
def test_a_stored_error_stays_although_its_cause_is_gone(stored: bool) -> None:
    api = an_api(errors_stored=stored)
    setting = {"entity": "customer", "entity_id": "late", "custom_fields": {"qbo_customer_id": "1"}}
    assert api.send("POST", "/v1/customFields/setValues", setting, key="k1")[0] == 404
    api.core.store.add("customer", {"id": "late", "name": "Late"})
    assert api.send("POST", "/v1/customFields/setValues", setting, key="k1")[0] == (404 if stored else 200)
    assert api.send("POST", "/v1/customFields/setValues", setting, key="k2")[0] == 200


def test_an_invalid_request_is_not_stored() -> None:
    api = an_api()
    path, voiding = "/v1/invoices/regenerate", {"id": api.scene.invoices[0]["id"]}
    assert api.send("POST", path, voiding, key="k1")[0] == 400
    api.post("/v1/invoices/void", voiding)
    assert api.send("POST", path, voiding, key="k1")[0] == 200


def test_a_server_error_put_there_on_purpose_is_replayed_with_its_key() -> None:
    api = an_api()
    headers = {"authorization": f"Bearer {TOKEN}", "idempotency-key": "k1"}
    request = Request("POST", "/v1/customers", {}, headers, b'{"name":"Acme"}')
    api.core.keep_answer(request, Answer(500, b'{"message":"Internal Server Error"}'))
    assert api.core.answer(request).status == 500


def test_endpoints_are_counted_by_their_form_and_unknown_ones_together() -> None:
    api = an_api()
    for number in range(5):
        api.send("GET", f"/v1/customers/{number}")
        api.send("GET", f"/v1/nothing/{number}")
    assert api.core.calls == {"GET /v1/customers/{id}": 5, "unknown endpoint": 5}


names = st.sampled_from(
    [
        "id",
        "name",
        "entity",
        "entity_id",
        "key",
        "keys",
        "custom_fields",
        "enforce_uniqueness",
        "customer_id",
        "contract_id",
        "limit",
        "cursor",
        "next_page",
        "entities",
        "archive_filter",
        "ingest_aliases",
        "covering_date",
        "starting_at",
        "commit_id",
        "product_id",
        "external_id",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
known = st.sampled_from(["customer", "contract", "2026-01-01T00:00:00Z", "ALL", "0001-01-01T00:00:00+14:00"])
queries = st.dictionaries(
    st.sampled_from(["limit", "next_page", "sort", "starting_on", "ending_before", "window_size", "customer_ids"]),
    st.text(max_size=30) | known | st.sampled_from(["ZnJvbTotMQ==", "9" * 5000, "²", "DAY"]),
)
ANY = an_api()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(ROUTES)),
    st.lists(st.sampled_from([ANY.scene.customers[0]["id"], ANY.scene.invoices[0]["id"], "x"]), min_size=2, max_size=2),
    st.dictionaries(names, values | known, max_size=6).map(lambda value: json.dumps(value).encode()) | st.binary(),
    queries,
    st.booleans(),
)
def test_no_request_makes_it_raise_or_answer_with_a_server_error(
    endpoint: str, ids: list[str], body: bytes, query: dict[str, str], keyed: bool
) -> None:
    method, _, path = endpoint.partition(" ")
    for each in ids:
        path = path.replace("{id}", each, 1)
    headers = {"authorization": f"Bearer {TOKEN}"} | ({"idempotency-key": "one"} if keyed else {})
    answer = ANY.core.answer(Request(method, path, query, headers, body))
    assert answer.status < 500
    if answer.status >= 400:
        assert set(json.loads(answer.body)) == {"message"}


@pytest.mark.parametrize("cursor", ["ZnJvbTotMQ==", "rubbish", "=" * 5, "Z" * 300])
def test_a_cursor_that_none_of_the_answers_gave_is_refused(cursor: str) -> None:
    assert ANY.send("GET", "/v1/customers", next_page=cursor) == (400, {"message": "Invalid next_page"})


def test_a_body_nested_too_deep_is_refused() -> None:
    api = an_api()
    headers = {"authorization": f"Bearer {TOKEN}"}
    deep = b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert api.core.answer(Request("POST", "/v1/invoices/void", {}, headers, deep)).status == 400
