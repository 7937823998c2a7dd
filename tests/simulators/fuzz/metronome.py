"""The grammar of requests to Metronome: each endpoint that there is, with ids that the scene holds, and bodies of the
names that the API knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from simulators.http import Json, Request
from simulators.metronome.core import ROUTES
from simulators.metronome.generator import generate
from tests.simulators.fuzz.bodies import odd_values, texts_of
from tests.simulators.fuzz.quickbooks import ODD_PARTS, mostly
from tests.simulators.metronome_api import NOW, TOKEN

SCENE = generate(7, 8, now=NOW, drafts=2, voids=2)
UNKNOWN_ID = str(UUID(int=7))
IDS = {
    "customer": [str(each["id"]) for each in SCENE.customers],
    "contract": [str(each["id"]) for each in SCENE.contracts],
    "product": [str(each["id"]) for each in SCENE.products],
    "invoice": [str(each["id"]) for each in SCENE.invoices],
}


def one_of(*entities: str) -> st.SearchStrategy[str]:
    return mostly([each for entity in entities for each in IDS[entity][:4]], UNKNOWN_ID, "x", "")


moments = mostly(["2026-11-01T00:00:00Z", "2026-11-01"], "9999-12-31T23:59:59Z", "0001-01-01", "soon", "2026-02-30")
keys = mostly(["qbo_customer_id", "qbo_item_id", "a"], "", "x" * 300, "é")
entities = mostly(["customer", "contract", "contract_product", "invoice"], "banana", "")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": one_of("invoice", "product", "customer"),
    "customer_id": one_of("customer"),
    "contract_id": one_of("contract"),
    "product_id": one_of("product"),
    "entity_id": one_of("customer", "contract", "product", "invoice"),
    "entity": entities,
    "entities": st.lists(entities, max_size=2),
    "key": keys,
    "keys": st.lists(keys, max_size=2),
    "enforce_uniqueness": st.booleans(),
    "custom_fields": st.dictionaries(keys, mostly(["1", "2"], "x" * 201, ""), max_size=2),
    "name": mostly(["Acme", "Zoë"], "", "x" * 2000),
    "ingest_aliases": st.lists(keys, max_size=2),
    "external_id": keys,
    "archive_filter": mostly(["ARCHIVED", "NOT_ARCHIVED", "ALL"], "banana"),
    "limit": mostly([1, 2], 0, -1, 10**9, "1", True),
    "cursor": mostly(["1"], "x", "²", "-1", "99999999999999999999"),
    "next_page": mostly(["1"], "x", "²", "-1", "99999999999999999999"),
    "covering_date": moments,
    "starting_at": moments,
    "include_archived": st.booleans(),
    "include_balance": st.booleans(),
    "include_contract_commits": st.booleans(),
}
QUERY: dict[str, st.SearchStrategy[str]] = {
    "limit": mostly(["1", "2"], "0", "-1", "x", "²", "1e3", "99999999999999999999"),
    "next_page": mostly(["1"], "x", "²", "-1", "99999999999999999999"),
    "status": mostly(["FINALIZED", "DRAFT", "VOID"], "banana"),
    "type": mostly(["USAGE", "SCHEDULED"], "banana"),
    "sort": mostly(["date_asc", "date_desc"], "banana"),
    "starting_on": moments,
    "ending_before": moments,
    "window_size": mostly(["DAY", "HOUR"], "banana"),
    "contract_id": one_of("contract"),
    "credit_type_id": one_of("contract"),
    "customer_ids": one_of("customer"),
    "only_archived": mostly(["true", "false"], "banana"),
    "skip_zero_qty_line_items": mostly(["true", "false"], "banana"),
    "resource_id": one_of("invoice"),
    "resource_type": mostly(["invoice"], "banana"),
}
NAMES_NEEDED: dict[str, tuple[str, ...]] = {
    "void": ("id",),
    "regenerate": ("id",),
    "archive": ("id",),
    "get": ("customer_id", "contract_id", "id"),
    "list": ("customer_id",),
    "addKey": ("entity", "key", "enforce_uniqueness"),
    "removeKey": ("entity", "key"),
    "setValues": ("entity", "entity_id", "custom_fields"),
    "deleteValues": ("entity", "entity_id", "keys"),
    "setName": ("name",),
    "setIngestAliases": ("ingest_aliases",),
    "customers": ("name",),
}


def bodies(last_part: str) -> st.SearchStrategy[Json]:
    needed = NAMES_NEEDED.get(last_part, ())
    others = {name: values for name, values in FIELDS.items() if name not in needed}
    chosen = st.lists(st.sampled_from(sorted(others)), max_size=3, unique=True)
    more = chosen.flatmap(lambda names: st.fixed_dictionaries({name: others[name] for name in names}))
    wanted = st.fixed_dictionaries({name: FIELDS[name] for name in needed})
    return st.tuples(wanted, more).map(lambda each: each[0] | each[1])


@st.composite
def endpoint_requests(draw: st.DrawFn) -> Request:
    method, _, template = draw(st.sampled_from(sorted(ROUTES))).partition(" ")
    parts = template.split("/")
    kinds = {"customers": "customer", "invoices": "invoice"}
    for index, part in enumerate(parts):
        if part == "{id}":
            parts[index] = draw(st.one_of(*[one_of(kinds[parts[index - 1]])] * 9, st.sampled_from(ODD_PARTS)))
    names = draw(st.lists(st.sampled_from(sorted(QUERY)), max_size=3, unique=True))
    query = draw(st.fixed_dictionaries({name: QUERY[name] for name in names}))
    body = draw(texts_of(bodies(parts[-1]))) if method == "POST" else b""
    return Request(method, "/".join(parts), query, {}, body)


@st.composite
def elsewhere(draw: st.DrawFn) -> Request:
    parts = draw(st.lists(st.one_of(st.sampled_from([*ODD_PARTS, "v1", "customers"]), st.text(max_size=5)), max_size=5))
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
    return Request(method, "/" + "/".join(parts), {}, {}, draw(texts_of(odd_values)))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    request = draw(st.integers(0, 19).flatmap(lambda n: elsewhere() if n == 19 else endpoint_requests()))
    headers = {"authorization": draw(mostly([f"Bearer {TOKEN}"] * 9, "", "Bearer é", f"bearer {TOKEN}"))}
    if draw(st.integers(0, 3)) == 3:
        headers["idempotency-key"] = draw(mostly(["a", "b", "c"], "", "é", "x" * 300))
    return replace(request, headers=headers)
