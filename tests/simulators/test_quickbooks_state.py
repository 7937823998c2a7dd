"""The rows of the simulated QuickBooks: what was restored answers like what was saved."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from simulators.http import Answer, dump
from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import REALM, Client, invoice, line

SETTINGS = QuickBooksSettings(limits=False)
COMPANY: dict[str, Any] = {"multicurrency": True, "custom_txn_numbers": False, "warn_duplicate_doc_numbers": True}


def saved(client: Client) -> list[tuple[str, Any]]:
    """Through JSON, as a snapshot or a database keeps them."""
    return [(key, json.loads(dump(value), parse_float=Decimal)) for key, value in client.core.rows()]


def lived() -> Client:
    """Books in which everything that has a row has happened."""
    client = Client(SETTINGS, **COMPANY)
    parent = client.made("Customer", {"DisplayName": "Freeman", "CreditLimit": "12.50"})
    inner = {"DisplayName": "Lane", "Job": True, "ParentRef": {"value": parent["Id"]}}
    child = client.made("Customer", inner)
    client.post("invoice", invoice(Line=[line("12.34")], CustomerRef={"value": child["Id"]}), requestid="kept")
    client.invoice(DocNumber="App_0041")
    dropped = client.invoice()
    client.made("Invoice", {"Id": dropped["Id"], "SyncToken": "0"}, operation="delete")
    client.made("Vendor", {"Id": "30", "SyncToken": "0", "sparse": True, "Active": False})
    client.made("ExchangeRate", {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-01-05", "Rate": "1.5"})
    client.made("Preferences", {"SyncToken": "0", "SalesFormsPrefs": {"AllowDiscount": False}})
    client.made("CreditMemo", invoice(Line=[line(5)]))
    return client


def later(client: Client) -> list[Answer]:
    """Requests whose answers depend on every kind of row."""
    answers = [
        client.post("invoice", invoice(), requestid="kept"),
        client.post("invoice", invoice()),
        client.post("invoice", invoice(DocNumber="App_0041")),
        client.post("customer", {"DisplayName": "Books by Bessie"}),
        client.post("customer", {"DisplayName": "Lane"}),
        client.post("customer", {"DisplayName": "New", "BillAddr": {"Line1": "1 Main St."}}),
        client.post("exchangerate", {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-01-05", "Rate": 2}),
        client.send("GET", "exchangerate", sourcecurrencycode="EUR", asofdate="2026-01-05"),
        client.send("GET", "preferences"),
        client.send("GET", "cdc", entities="Invoice,Vendor,Customer", changedSince="2026-01-01"),
        client.post("batch", {"BatchItemRequest": [{"bId": "1", "Query": "select * from CreditMemo"}]}),
    ]
    for kind in ("Invoice", "Customer", "Vendor", "Item", "Account", "TaxCode", "CompanyCurrency", "Employee"):
        filtered = "" if kind == "Invoice" else " where Active in (true, false)"
        answers.append(client.send("GET", "query", query=f"select * from {kind}{filtered}"))
    return answers


def restored_from(client: Client, rows: list[tuple[str, Any]]) -> Client:
    other = Client(SETTINGS, name="Someone else")
    other.core.restore(rows)
    other.clock.now = client.clock.now
    other.token = client.token
    return other


def test_restored_books_answer_every_later_request_byte_for_byte() -> None:
    client = lived()
    other = restored_from(client, saved(client)[::-1])
    assert [(each.status, each.body, each.headers) for each in later(other)] == [
        (each.status, each.body, each.headers) for each in later(client)
    ]
    assert dict(saved(other)) == dict(saved(client))


def test_tokens_survive_expiry_rotation_and_revocation_included() -> None:
    client = lived()
    grant = client.oauth._grants[0]
    other = restored_from(client, saved(client))
    again = other.oauth._grants[0]
    assert (again.refresh_token, again.access_tokens) == (grant.refresh_token, grant.access_tokens)
    assert other.oauth.connect(REALM).refresh_token == client.oauth.connect(REALM).refresh_token
    other.clock.now += 3600
    assert other.send("GET", "preferences").status == 401


def test_the_rows_that_were_touched_are_all_that_changed() -> None:
    """A copy that is given only the touched rows after each request stays equal to the original."""
    client = lived()
    copy = dict(saved(client))
    client.core.track = True
    steps = [
        lambda: client.post("invoice", invoice(Line=[line(7)]), requestid="one"),
        lambda: client.post("invoice", {"Id": "1", "SyncToken": "0"}, operation="void"),
        lambda: client.post("invoice", {"Id": "2", "SyncToken": "0"}, operation="delete"),
        lambda: client.post("customer", {"Id": "31", "SyncToken": "0", "sparse": True, "DisplayName": "Free & Co"}),
        lambda: client.post("item", {"Name": "New", "IncomeAccountRef": {"value": "1"}}),
        lambda: client.post("preferences", {"SyncToken": "1", "SalesFormsPrefs": {"CustomTxnNumbers": True}}),
        lambda: client.post("exchangerate", {"SourceCurrencyCode": "GBP", "Rate": 2}),
        lambda: client.post("batch", {"BatchItemRequest": [{"bId": "1", "operation": "create", "Invoice": invoice()}]}),
        lambda: client.post("creditmemo/4/send", None, sendTo="a@example.com"),
        lambda: client.oauth.connect(REALM),
        lambda: client.send("GET", "query", query="select * from Invoice"),
    ]
    for step in steps:
        step()
        for key in client.core.touched:
            value = client.core.row(key)
            if value is None:
                copy.pop(key, None)
            else:
                copy[key] = json.loads(dump(value), parse_float=Decimal)
        client.core.touched.clear()
        assert copy == dict(saved(client))


def test_nothing_is_noted_while_nobody_tracks() -> None:
    assert lived().core.touched == set()


def test_rows_without_their_company_are_refused_and_nothing_is_lost() -> None:
    client = lived()
    before = dict(saved(client))
    rows = [(key, value) for key, value in before.items() if key != f"{REALM}/company"]
    with pytest.raises(ValueError, match=REALM):
        client.core.restore(rows)
    assert dict(saved(client)) == before
