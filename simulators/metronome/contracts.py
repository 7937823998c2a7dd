"""Contracts in both versions, commits and credits, products, pricing units (`docs/vendors/metronome.md` §2)."""

from __future__ import annotations

from datetime import datetime

from simulators.http import Json
from simulators.metronome.reading import Call, Refusal, limit_of, moment, page, slice_of, timestamp
from simulators.metronome.store import Store

CONTRACTS_PER_PAGE_MAX = 20
COMMITS_PER_PAGE_MAX = 25
CREATED = {"created_at": "2025-01-01T00:00:00+00:00", "created_by": "sandbox"}
BEGINNING = "2025-01-01T00:00:00+00:00"


def get_v2(store: Store, call: Call) -> Json:
    return {"data": _shown_v2(store, _own_contract(store, call))}


def get_v1(store: Store, call: Call) -> Json:
    return {"data": _shown_v1(store, _own_contract(store, call))}


def list_v2(store: Store, call: Call) -> Json:
    found, cursor = _listed(store, call)
    return {"data": [_shown_v2(store, each) for each in found], "cursor": cursor}


def list_v1(store: Store, call: Call) -> Json:
    found, cursor = _listed(store, call)
    return {"data": [_shown_v1(store, each) for each in found], "cursor": cursor}


def list_commits(store: Store, call: Call) -> Json:
    return _list_commits(store, call, "commit")


def list_credits(store: Store, call: Call) -> Json:
    return _list_commits(store, call, "contract_credit")


def get_product(store: Store, call: Call) -> Json:
    return {"data": _shown_product(store, store.find("contract_product", call.text("id")))}


def list_products(store: Store, call: Call) -> Json:
    wanted = call.body.get("archive_filter", "NOT_ARCHIVED")
    if wanted not in ("ARCHIVED", "NOT_ARCHIVED", "ALL"):
        raise Refusal(400, "archive_filter must be ARCHIVED, NOT_ARCHIVED or ALL")
    found = [
        each
        for each in store.objects["contract_product"].values()
        if wanted == "ALL" or bool(each.get("archived_at")) is (wanted == "ARCHIVED")
    ]
    return page(call, found, lambda each: _shown_product(store, each))


def archive_product(store: Store, call: Call) -> Json:
    product = store.find("contract_product", call.text("product_id"))
    store.change("contract_product", product, archived_at=timestamp(store.clock()))
    store.log("contract_product", product["id"], "archive", "Product archived")
    return {"data": {"id": product["id"]}}


def list_credit_types(store: Store, call: Call) -> Json:
    """`is_currency` tells money from custom pricing units."""
    return page(call, list(store.objects["credit_type"].values()))


def _own_contract(store: Store, call: Call) -> Json:
    contract = store.find("contract", call.text("contract_id"))
    if contract["customer_id"] != call.text("customer_id"):
        raise Refusal(404, "contract not found")
    return contract


def _listed(store: Store, call: Call) -> tuple[list[Json], str | None]:
    """Filter and page from the body, its cursor named `cursor`."""
    customer = store.find("customer", call.text("customer_id"))
    covering, since = call.moment("covering_date"), call.moment("starting_at")
    if covering and since:
        raise Refusal(400, "covering_date and starting_at cannot be used together")
    found = [
        each
        for each in store.objects["contract"].values()
        if each["customer_id"] == customer["id"]
        and (call.body.get("include_archived") is True or not each.get("archived_at"))
        and (covering is None or _covers(each.get("starting_at"), each.get("ending_before"), covering))
        and (since is None or moment(each.get("starting_at") or BEGINNING, "starting_at") >= since)
    ]
    limit = limit_of(call.body.get("limit"), CONTRACTS_PER_PAGE_MAX, CONTRACTS_PER_PAGE_MAX)
    data, cursor = slice_of(found, call.body.get("cursor"), limit)
    return list(data), cursor


def _shown_v2(store: Store, contract: Json) -> Json:
    return store.with_fields("contract", {**_terms(store, contract), "usage_filter": []})


def _shown_v1(store: Store, contract: Json) -> Json:
    """The same facts, nested: the terms stand in `initial` and `current`."""
    terms = _terms(store, contract)
    own = {name: terms.pop(name) for name in ("id", "customer_id")}
    own |= {"archived_at": terms.pop("archived_at")} if terms.get("archived_at") else {}
    return store.with_fields("contract", {**own, "initial": terms, "current": terms, "amendments": []})


def _terms(store: Store, contract: Json) -> Json:
    """The contract with all that an answer must have (SDK types/shared/contract_v2.py), also when it was made up."""
    usual: Json = {
        **CREATED,
        "starting_at": BEGINNING,
        "overrides": [],
        "scheduled_charges": [],
        "transitions": [],
        "usage_statement_schedule": {"frequency": "MONTHLY", "billing_anchor_date": BEGINNING},
    }
    commits, credits_ = (
        [_shown_commit(store, kind, each) for each in store.commits_of(kind, contract["id"])]
        for kind in ("commit", "contract_credit")
    )
    return usual | contract | {"commits": commits, "credits": credits_}


def _list_commits(store: Store, call: Call, kind: str) -> Json:
    """A customer's commits or credits; those of its contracts only with `include_contract_commits` (or `…_credits`)."""
    customer = store.find("customer", call.text("customer_id"))
    contracts = {each["id"] for each in store.objects["contract"].values() if each["customer_id"] == customer["id"]}
    of_contracts = call.body.get(f"include_contract_{'commits' if kind == 'commit' else 'credits'}") is True
    wanted, covering = call.body.get("commit_id") or call.body.get("credit_id"), call.moment("covering_date")
    found = [
        each
        for each in store.objects[kind].values()
        if each["customer_id"] == customer["id"]
        and (of_contracts or (each.get("contract") or {}).get("id") not in contracts)
        and wanted in (None, each["id"])
        and (covering is None or any(_covers(a["starting_at"], a["ending_before"], covering) for a in _access(each)))
    ]
    limit = limit_of(call.body.get("limit"), COMMITS_PER_PAGE_MAX, COMMITS_PER_PAGE_MAX)
    data, cursor = slice_of(found, call.body.get("next_page"), limit)
    return {"data": [_shown_commit(store, kind, each) for each in data], "next_page": cursor}


def _shown_commit(store: Store, kind: str, commit: Json) -> Json:
    """The customer is ours to know whose it is; the API does not show it."""
    shown = store.with_fields(kind, commit)
    del shown["customer_id"]
    return shown


def _access(commit: Json) -> list[Json]:
    return (commit.get("access_schedule") or {}).get("schedule_items") or []


def _covers(start: str | None, end: str | None, at: datetime) -> bool:
    """From `start`, inclusive, until `end`, exclusive; either may be open."""
    return (not start or moment(start, "start") <= at) and (not end or at < moment(end, "end"))


def _shown_product(store: Store, product: Json) -> Json:
    initial = product.get("initial") or {"name": product["current"]["name"], "starting_at": BEGINNING}
    states = {"initial": CREATED | initial, "current": CREATED | product["current"]}
    return store.with_fields("contract_product", {**product, **states})
