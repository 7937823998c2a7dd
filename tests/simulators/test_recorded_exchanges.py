"""Requests recorded from Intuit's own sandbox, replayed: status, keys, types and error codes of the answers agree.

Before each, the simulated books are brought, through the API, to where Intuit's sample company was. Where the two
answers differ, `DIFFERENCES` says why. A difference that is not listed fails, and so does a listed one that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from fnmatch import fnmatch
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from simulators.http import Answer, Json, Request, dump
from tests.simulators.companies import REALM, RECORDINGS, Client

VALUES_COMPARED = ("code", "Message", "message", "type", "status", "element")
"""The texts that clients decide by; of everything else only the type is compared."""

# What QuickBooks fills in, so that no client writes it: a recorded object without these is what a client sent.
ADDED_BY_THE_SERVER = frozenset(
    {
        *("domain", "sparse", "Id", "SyncToken", "MetaData", "Balance", "BalanceWithJobs", "FullyQualifiedName"),
        *("PrintOnCheckName", "Active", "Taxable", "DefaultTaxCodeRef", "Lat", "Long", "Classification", "Level"),
        *("CurrentBalance", "CurrentBalanceWithSubAccounts", "DocNumber", "LinkedTxn", "TotalAmt", "DueDate"),
    }
)

# Recording (a pattern) -> difference (a pattern) -> why. "-" is only in the recording, "+" only in ours, "~" unlike.
DIFFERENCES: dict[str, dict[str, str]] = {
    "*": {
        "+ .QueryResponse.Customer[].DefaultTaxCodeRef": "only new customers of theirs (create__customer_0)",
    },
    "batch__basic_0": {
        "* .BatchItemResponse[].QueryResponse.*": "they are sales receipts, ours is an invoice",
    },
    "cdc__basic_0": {
        "* .CDCResponse[].QueryResponse[].Invoice*": "they are estimates, ours is an invoice",
    },
}

NOT_REPLAYED = {
    "all__sales_receipts_0": "sales receipts are not simulated",
    "attachment__*": "attachments are not simulated",
    "reports__*": "reports are not simulated",
    "update__sales_receipt_*": "sales receipts are not simulated",
}

# What these recordings show of batches and of CDC is asked of invoices: recorded type -> ours.
STAND_INS = {"batch__basic_0": {"SalesReceipt": "Invoice"}, "cdc__basic_0": {"Estimate": "Invoice"}}

Ids = dict[str, str]
"""The recorded id of each object that a test made -> the id that it has here."""


# What the books hold before each request.


def nothing(client: Client) -> Ids:
    return {}


def recorded(kind: str, *names: str) -> Callable[[Client], Ids]:
    """Makes each object of a type that these recordings answer with, as a client would have."""

    def prepare(client: Client) -> Ids:
        ids: Ids = {}
        for name in names:
            for each in entities(kind, answer_of(name)["body"]):
                ids[each["Id"]] = made(client, kind, each, ids)
        return ids

    return prepare


def the_invoice(client: Client) -> Ids:
    [theirs] = entities("Invoice", answer_of("void__invoice_0")["body"])
    ours = made(client, "Invoice", theirs, {})
    return {"264": ours, "266": ours, "130": ours}


def an_expired_token(client: Client) -> Ids:
    client.clock.now += client.oauth.settings.access_token_seconds + 1
    return {}


def an_invoice_changed_since(client: Client) -> Ids:
    """The batch's stale update is of a sales receipt; here of an invoice that has moved on by one."""
    ids = the_invoice(client)
    change = {"Id": ids["264"], "SyncToken": "0", "sparse": True, "Line": [invoice_line(400)]}
    client.made("Invoice", change)
    return {"11": ids["264"]}


def sample_customers(client: Client) -> Ids:
    return recorded("Customer", "all__customers_1")(client)


def sample_vendors(client: Client) -> Ids:
    return recorded("Vendor", "get__inactive_vendors_0")(client)


def sample_employees(client: Client) -> Ids:
    return recorded("Employee", "all__employees_including_active_1")(client)


PREPARE: dict[str, Callable[[Client], Ids]] = {
    "all__alt_select_*": sample_customers,
    "all__customers_*": sample_customers,
    "all__employees_including_active_*": sample_employees,
    "all__vendors_by_5_*": sample_vendors,
    "batch__basic_0": an_invoice_changed_since,
    "cdc__basic_0": the_invoice,
    "create__*": nothing,
    "deactivate__account_*": recorded("Account", "deactivate__account_0"),
    "deactivate__employee_*": recorded("Employee", "deactivate__employee_0"),
    "delete__invoice_*": the_invoice,
    "error__400_0": sample_customers,
    "error__400_1": nothing,
    "error__400_json_0": nothing,
    "error__401_0": an_expired_token,
    "error__500_*": nothing,
    "error__validation_0": sample_customers,
    "get__display_name_0": sample_customers,
    "get__id_0": recorded("Customer", "get__id_0"),
    "get__inactive_vendors_0": sample_vendors,
    "get_pdf__invoice_0": the_invoice,
    "misc__ampersand_0": sample_vendors,
    "update__customer_*": recorded("Customer", "update__customer_0"),
    "void__invoice_*": the_invoice,
}


def invoice_line(amount: int) -> Json:
    detail = {"ItemRef": {"value": "1"}}
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


def made(client: Client, kind: str, theirs: Json, ids: Ids) -> str:
    """Writes what a client must have written for the recorded object; returns the id that it got."""
    written = without(theirs, ADDED_BY_THE_SERVER)
    if "Line" in written:
        written["Line"] = [each for each in written["Line"] if each["DetailType"] != "SubTotalLineDetail"]
    if "ParentRef" in written:
        written["ParentRef"] = {"value": ids[theirs["ParentRef"]["value"]]}
    for name in ("DisplayName", "Name"):
        if name in written:
            written[name] = written[name].removesuffix(" (deleted)")
    ours = seeded(client, kind, written)
    if ours:
        written |= {"Id": ours["Id"], "SyncToken": ours["SyncToken"], "sparse": True}
    ours = client.made(kind, written)
    if theirs.get("Active") is False:
        client.made(kind, {"Id": ours["Id"], "SyncToken": ours["SyncToken"], "sparse": True, "Active": False})
    return str(ours["Id"])


def seeded(client: Client, kind: str, written: Json) -> Json | None:
    """The object of that name that the books began with, if there is one."""
    name = written.get("DisplayName")
    if name is None or "ParentRef" in written:
        return None
    escaped = name.replace("'", "\\'")
    found = client.query(f"SELECT * FROM {kind} WHERE DisplayName = '{escaped}'").get(kind, [])
    return next((each for each in found if each.get("FullyQualifiedName", name) == name), None)


def without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: without(child, names) for name, child in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


# The recordings.


def recording(name: str) -> Json:
    value: Json = json.loads((RECORDINGS / f"{name}.json").read_text(), parse_float=Decimal)
    return value


def answer_of(name: str) -> Json:
    """The recorded answer, in the types that stand in for those that are not simulated."""
    value: Json = recording(name)["response"]
    for theirs, ours in STAND_INS.get(name, {}).items():
        value = json.loads(json.dumps(value, default=float).replace(theirs, ours), parse_float=Decimal)
    return value


def entities(kind: str, body: Json) -> list[Json]:
    found = body[kind] if kind in body else body["QueryResponse"][kind]
    return found if isinstance(found, list) else [found]


def matching(name: str, table: dict[str, Any]) -> list[Any]:
    return [value for pattern, value in table.items() if fnmatch(name, pattern)]


def recording_names() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


def replayed_names() -> list[str]:
    return [name for name in recording_names() if not matching(name, NOT_REPLAYED)]


def replayed(client: Client, name: str, ids: Ids) -> Answer:
    """Sends the recorded request to the simulated company, with our ids and our token."""
    theirs = recording(name)["request"]
    address = urlsplit(theirs["uri"])
    path = address.path.removeprefix("/v3/").removeprefix("company/-COMPANY_ID-/")
    parts = [ids.get(each, each) for each in path.split("/")]
    query = dict(parse_qsl(address.query, keep_blank_values=True))
    if "query" in query:
        query["query"] = with_our_ids(query["query"], ids)
    body = theirs["body"]
    for their_type, our_type in STAND_INS.get(name, {}).items():
        query = {key: value.replace(their_type.lower(), our_type.lower()) for key, value in query.items()}
        body = json.loads(json.dumps(body, default=float).replace(their_type, our_type)) if body else body
    if isinstance(body, dict):
        body = with_our_id(body, ids)
    path = "/".join(parts)
    headers = {"authorization": f"Bearer {client.token}", "accept": "application/json"}
    if body:
        headers["content-type"] = "application/json"
    request = Request(
        theirs["method"].upper(), f"/v3/company/{REALM}/{path}", query, headers, dump(body) if body else b""
    )
    return client.core.answer(request)


def with_our_ids(query: str, ids: Ids) -> str:
    """Quoted ids of a query, all at once: one of ours may be another's recorded one."""
    pieces = query.split("'")
    pieces[1::2] = [ids.get(each, each) for each in pieces[1::2]]
    return "'".join(pieces)


def with_our_id(body: Json, ids: Ids) -> Json:
    """The body of a write, or of a batch of them, that names our object where the recorded one named theirs."""
    changed = {name: with_our_id(value, ids) for name, value in body.items() if isinstance(value, dict)}
    if "BatchItemRequest" in body:
        changed["BatchItemRequest"] = [with_our_id(each, ids) for each in body["BatchItemRequest"]]
    if "Id" in body:
        changed["Id"] = ids.get(body["Id"], body["Id"])
    return {**body, **changed}


# The comparison.


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Each difference of two answers in keys, types or decisive texts, once for all elements of a list."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from (f"- {path}.{name}" for name in theirs.keys() - ours.keys())
        yield from (f"+ {path}.{name}" for name in ours.keys() - theirs.keys())
        for name in theirs.keys() & ours.keys():
            yield from differences(theirs[name], ours[name], f"{path}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from list_differences(theirs, ours, f"{path}[]")
    elif json_type(theirs) != json_type(ours):
        yield f"~ {path}: {json_type(ours)} for {json_type(theirs)}"
    elif path.rsplit(".", 1)[-1] in VALUES_COMPARED and theirs != ours:
        yield f"~ {path}: {ours!r} for {theirs!r}"


def list_differences(theirs: list[Any], ours: list[Any], path: str) -> Iterator[str]:
    """Named objects are compared by name, and the order of the names; others by position."""
    if theirs and ours and all(isinstance(each, dict) and "DisplayName" in each for each in theirs + ours):
        by_name = {full_name(each): each for each in ours}
        names, our_names = [full_name(each) for each in theirs], [full_name(each) for each in ours]
        yield from (f"- {path} {name}" for name in names if name not in by_name)
        yield from (f"+ {path} {name}" for name in our_names if name not in names)
        if sorted(names) == sorted(our_names) and names != our_names:
            yield f"~ {path}: order"
        pairs = [(each, by_name[full_name(each)]) for each in theirs if full_name(each) in by_name]
    else:
        if len(theirs) != len(ours):
            yield f"~ {path}: {len(ours)} for {len(theirs)}"
        pairs = list(zip(theirs, ours, strict=False))
    for each, our in pairs:
        yield from differences(each, our, path)


def full_name(value: Json) -> str:
    return str(value.get("FullyQualifiedName", value["DisplayName"]))


def json_type(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | Decimal) else type(value).__name__


@cache
def found_differences(name: str) -> frozenset[str]:
    """Of keys, types and texts; raises AssertionError when the status or a header is not the recorded one."""
    client = Client(custom_txn_numbers=False)
    [prepare] = matching(name, PREPARE)
    answer = replayed(client, name, prepare(client))
    theirs = answer_of(name)
    assert answer.status == theirs["status"]["code"], answer.body
    assert answer.headers.get("WWW-Authenticate") == theirs["headers"].get("Www-Authenticate", [None])[0]
    content_type = theirs["headers"]["Content-Type"][0].split(";")[0]
    assert answer.headers["Content-Type"].split(";")[0] == content_type
    if content_type == "application/pdf":
        assert answer.body.startswith(b"%PDF-")
        return frozenset()
    return frozenset(differences(theirs["body"], json.loads(answer.body, parse_float=Decimal)))


@pytest.mark.parametrize("name", replayed_names())
def test_the_answer_is_as_recorded(name: str) -> None:
    listed = [pattern for table in matching(name, DIFFERENCES) for pattern in table]
    assert [each for each in sorted(found_differences(name)) if not matches_one(each, listed)] == []


def test_every_listed_difference_is_one() -> None:
    """One that has gone must leave the list."""
    for names, table in DIFFERENCES.items():
        found = {each for name in replayed_names() if fnmatch(name, names) for each in found_differences(name)}
        for pattern in table:
            assert [each for each in found if matches_one(each, [pattern])], (names, pattern)


def matches_one(difference: str, patterns: list[str]) -> bool:
    """Brackets are meant as they stand; only * is a pattern."""
    return any(fnmatch(difference, pattern.replace("[", "[[]")) for pattern in patterns)


def test_each_recording_is_replayed_or_its_absence_explained() -> None:
    """And the tables name nothing that does not exist."""
    for name in recording_names():
        assert len(matching(name, PREPARE)) + len(matching(name, NOT_REPLAYED)) == 1, name
    for pattern in (*PREPARE, *NOT_REPLAYED, *DIFFERENCES):
        assert [name for name in recording_names() if fnmatch(name, pattern)], pattern
