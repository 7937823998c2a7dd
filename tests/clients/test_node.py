"""Clients for Node: node-quickbooks, Intuit's intuit-oauth and Metronome's own SDK, each in a process of Node."""

from __future__ import annotations

import json

import pytest

from simulators.server import Sandbox
from tests.clients.drivers import Steps, node_driver

pytestmark = pytest.mark.clients

NAME = "O'Reilly + Sons #1 & 50% = \\ ü"


@pytest.fixture(scope="module")
def quickbooks(sandbox: Sandbox, narrow: Sandbox) -> Steps:
    return node_driver("quickbooks", sandbox, narrow)


@pytest.fixture(scope="module")
def oauth(sandbox: Sandbox) -> Steps:
    return node_driver("oauth", sandbox)


@pytest.fixture(scope="module")
def metronome(sandbox: Sandbox) -> Steps:
    return node_driver("metronome", sandbox)


def test_the_company_is_read(quickbooks: Steps) -> None:
    assert quickbooks.gave("read the company")["CompanyName"] == "Sandbox Company US"
    assert quickbooks.gave("read the preferences")["SalesFormsPrefs"]["CustomTxnNumbers"] is True


def test_a_name_full_of_signs_is_found_by_this_clients_own_escapes(quickbooks: Steps) -> None:
    made = quickbooks.gave("create a customer")
    assert made["DisplayName"] == NAME
    assert [each["Id"] for each in quickbooks.gave("find customers by pattern")["Customer"]] == [made["Id"]]
    assert "Customer" not in quickbooks.gave("find nobody")


def test_a_name_is_given_once(quickbooks: Steps) -> None:
    refused = quickbooks.threw("create the customer again")
    assert (refused["status"], refused["code"]) == (400, "6240")


def test_customers_are_counted_and_fetched_in_pages(quickbooks: Steps) -> None:
    fetched = quickbooks.gave("fetch all customers in pages")["Customer"]
    assert len({each["Id"] for each in fetched}) == len(fetched)
    assert quickbooks.gave("count customers")["totalCount"] == len(fetched)


def test_an_invoice_is_created_read_and_found_by_its_number(quickbooks: Steps) -> None:
    made = quickbooks.gave("create an invoice")
    assert (made["TotalAmt"], made["SyncToken"], made["DocNumber"]) == (7599.42, "0", "NODE-1")
    assert quickbooks.gave("read the invoice")["Line"] == made["Line"]
    assert [each["Id"] for each in quickbooks.gave("find the invoice by its number")["Invoice"]] == [made["Id"]]


def test_a_wrong_amount_and_a_number_in_use_are_refused(quickbooks: Steps) -> None:
    assert quickbooks.threw("create an invoice with a wrong amount")["code"] == "6070"
    refused = quickbooks.threw("create an invoice with a number in use")
    assert refused["code"] == "6140"
    assert refused["detail"].endswith(f"TxnId={quickbooks.gave('create an invoice with another number')['Id']}")
    assert quickbooks.gave("create an invoice with a number in use all the same")["DocNumber"] == "NODE-2"


def test_the_same_request_id_gives_the_same_invoice(quickbooks: Steps) -> None:
    assert quickbooks.gave("repeat the request id") == quickbooks.gave("create an invoice with a request id")


def test_a_sparse_update_changes_what_it_names_and_a_stale_one_nothing(quickbooks: Steps) -> None:
    changed = quickbooks.gave("update the invoice")
    assert (changed["PrivateNote"], changed["SyncToken"], changed["TotalAmt"]) == ("seen", "1", 7599.42)
    assert quickbooks.threw("update a stale invoice")["code"] == "5010"


def test_both_ways_to_void_leave_nothing(quickbooks: Steps) -> None:
    included = quickbooks.gave("void by include")
    assert (included["TotalAmt"], included["SyncToken"]) == (0, "2")
    assert quickbooks.gave("void by operation")["Invoice"]["TotalAmt"] == 0


def test_a_deleted_invoice_is_gone(quickbooks: Steps) -> None:
    assert quickbooks.gave("delete the invoice")["Invoice"]["status"] == "Deleted"
    assert quickbooks.threw("read the deleted invoice")["code"] == "610"


def test_a_credit_memo_is_kept(quickbooks: Steps) -> None:
    assert quickbooks.gave("create a credit memo")["RemainingCredit"] == 3


def test_an_inactive_customer_cannot_be_invoiced(quickbooks: Steps) -> None:
    assert quickbooks.gave("make a customer inactive")["Active"] is False
    assert quickbooks.threw("invoice the inactive customer")["code"] in ("610", "2500")  # both were seen


def test_a_batch_answers_item_by_item_and_takes_thirty(quickbooks: Steps) -> None:
    answers = {each["bId"]: each for each in quickbooks.gave("send a batch")["BatchItemResponse"]}
    assert answers["1"]["Invoice"]["TotalAmt"] == 12.5
    assert answers["2"]["Fault"]["Error"][0]["code"] == "6240"
    payer = quickbooks.gave("create another customer")["Id"]
    assert [each["Id"] for each in answers["3"]["QueryResponse"]["Customer"]] == [payer]
    assert quickbooks.threw("send a batch that is too long")["code"] == "1040"


def test_changes_tell_the_deleted_invoice(quickbooks: Steps) -> None:
    responses = quickbooks.gave("ask for changes")["CDCResponse"][0]["QueryResponse"]
    invoices = next(each["Invoice"] for each in responses if "Invoice" in each)
    deleted = [each["Id"] for each in invoices if each.get("status") == "Deleted"]
    assert deleted == [quickbooks.gave("create a second invoice")["Id"]]


def test_an_invoice_is_sent_and_printed(quickbooks: Steps) -> None:
    sent = quickbooks.gave("send the invoice")
    assert (sent["EmailStatus"], sent["SyncToken"]) == ("EmailSent", "1")
    assert quickbooks.gave("print the invoice") == "%PDF-"


def test_an_exchange_rate_is_read(quickbooks: Steps) -> None:
    rate = quickbooks.gave("read an exchange rate")["ExchangeRate"]
    assert (rate["SourceCurrencyCode"], rate["AsOfDate"]) == ("EUR", "2026-10-31")
    assert rate["Rate"] > 0


def test_the_token_is_refreshed_refused_when_bad_and_revoked(quickbooks: Steps) -> None:
    assert quickbooks.gave("refresh the token")["token_type"] == "bearer"
    assert quickbooks.gave("read with the new token")["SalesFormsPrefs"]
    refused = quickbooks.threw("read with a bad token")
    assert refused["status"] == 401
    assert json.loads(refused["body"])["fault"]["error"][0]["code"] == "3200"
    assert quickbooks.gave("revoke the connection") == 200


def test_a_throttled_call_answers_429_in_xml(quickbooks: Steps) -> None:
    assert quickbooks.gave("call once")
    refused = quickbooks.threw("call once too often")
    assert refused["status"] == 429
    assert '<Error code="3001">' in refused["body"]


def test_intuit_oauth_exchanges_a_code_once(oauth: Steps, sandbox: Sandbox) -> None:
    assert oauth.gave("consent").startswith("http://localhost:9/callback?")
    answer = oauth.gave("exchange the code")
    assert answer["expires_in"] == 3600
    assert answer["x_refresh_token_hard_expires_in"] == pytest.approx(157_680_000, abs=60)
    assert oauth.gave("tell the realm") == sandbox.addresses.realm_id
    assert oauth.threw("exchange the code again")["message"] == "invalid_grant"


def test_intuit_oauth_calls_the_company_and_reads_its_faults(oauth: Steps) -> None:
    assert oauth.gave("call the company")["Preferences"]
    assert oauth.threw("break a rule")["code"] == "6240"


def test_intuit_oauth_refreshes_and_revokes(oauth: Steps) -> None:
    assert oauth.gave("refresh")["refresh_token"] != oauth.gave("exchange the code")["refresh_token"]
    assert oauth.threw("refresh with the former token")["message"] == "invalid_grant"
    assert oauth.gave("call with the new token") == 200
    assert oauth.gave("revoke") == 200
    assert oauth.threw("call after the revocation")["code"] == "401"


def test_metronomes_sdk_reads_what_the_simulator_holds(metronome: Steps, sandbox: Sandbox) -> None:
    finalized = {key for key, each in sandbox.metronome.invoices.items() if each["status"] == "FINALIZED"}
    assert len(metronome.gave("list customers")) == len(sandbox.scene.customers)
    assert {each["id"] for each in metronome.gave("list invoices")} == finalized
    assert metronome.gave("read an invoice")["data"]["id"] == metronome.gave("list invoices")[0]["id"]
    assert metronome.threw("read an invoice of nobody")["message"].startswith("404")


def test_metronomes_sdk_accepts_our_signature(metronome: Steps) -> None:
    assert metronome.gave("finalize") == {"accepted": 1, "refused": []}
    event = metronome.gave("verify the webhook")
    assert event["type"] == "invoice.finalized"
    assert event["properties"]["invoice_id"] == metronome.gave("list invoices")[0]["id"]


@pytest.mark.parametrize("step", ["verify a changed byte", "verify with another secret", "verify another date"])
def test_metronomes_sdk_refuses_what_was_not_signed_so(metronome: Steps, step: str) -> None:
    assert "signature does not match" in metronome.threw(step)["message"]
