"""Intuit's own SDK for Java, once in JSON and once in XML.

It gzips its bodies, sends a requestid with every call, reads included, and voids by `include=void`
(docs/vendors/quickbooks.md §3.3a).
"""

from __future__ import annotations

import pytest

from tests.clients.drivers import Steps, java_driver
from tests.clients.servers import Clock, narrow_sandbox, open_sandbox

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module", params=["json", "xml"])
def java(request: pytest.FixtureRequest) -> Steps:
    with open_sandbox(Clock()) as sandbox, narrow_sandbox() as narrow:
        return java_driver("Life", sandbox, narrow, options=[request.param])


def test_bodies_are_compressed_as_the_sdk_is_set_by_default(java: Steps) -> None:
    assert java.gave("tell the compression") == "gzip"


def test_a_customer_with_an_apostrophe_is_created_and_found(java: Steps) -> None:
    made = java.gave("create a customer")
    assert (made["DisplayName"], made["SyncToken"]) == ("O'Hara & Zoë", "0")
    assert java.gave("find the customer") == [made["Id"]]
    assert java.gave("find nobody") == 0


def test_a_name_is_given_once(java: Steps) -> None:
    assert java.threw("create the customer again")["code"] == "6240"


def test_an_item_is_created(java: Steps) -> None:
    assert java.gave("create an item")["Name"] == "Storage"


def test_an_invoice_is_created_and_read(java: Steps) -> None:
    made = java.gave("create an invoice")
    assert (made["DocNumber"], made["TotalAmt"], made["SyncToken"], made["lines"]) == ("JAVA-1", 7599.42, "0", 2)
    assert java.gave("read the invoice") == made


def test_a_wrong_amount_and_a_number_in_use_are_refused(java: Steps) -> None:
    assert java.threw("create an invoice with a wrong amount")["code"] == "6070"
    refused = java.threw("create an invoice with a number in use")
    assert refused["code"] == "6140"
    assert refused["detail"].endswith(f"TxnId={java.gave('create an invoice')['Id']}")


def test_the_same_request_id_gives_the_same_invoice(java: Steps) -> None:
    assert java.gave("repeat the request id") == java.gave("create an invoice with a request id")


def test_a_sparse_update_changes_what_it_names_and_a_stale_one_nothing(java: Steps) -> None:
    changed = java.gave("update the invoice")
    assert (changed["PrivateNote"], changed["SyncToken"], changed["TotalAmt"]) == ("seen", "1", 7599.42)
    assert java.threw("update a stale invoice")["code"] == "5010"


def test_an_invoice_is_voided_then_deleted(java: Steps) -> None:
    voided = java.gave("void the invoice")
    assert (voided["TotalAmt"], voided["SyncToken"], voided["PrivateNote"]) == (0, "1", "Voided")
    assert java.gave("delete the invoice") is True
    assert java.threw("read the deleted invoice")["code"] == "610"


def test_a_credit_memo_is_kept(java: Steps) -> None:
    assert java.gave("create a credit memo")["TotalAmt"] == 3


def test_a_batch_answers_item_by_item(java: Steps) -> None:
    answer = java.gave("send a batch")
    assert answer["invoice"]["TotalAmt"] == 12.5
    assert answer["fault"] == "6240"
    assert answer["query"] == [java.gave("create a customer")["Id"]]


def test_changes_tell_what_was_created_and_deleted(java: Steps) -> None:
    changed = java.gave("ask for changes")
    assert {java.gave(each)["Id"] for each in ("create an invoice", "create a second invoice")} <= set(
        changed["Invoice"]
    )
    assert java.gave("create a customer")["Id"] in changed["Customer"]


def test_an_invoice_is_sent_and_printed(java: Steps) -> None:
    assert java.gave("send the invoice") is True
    assert java.gave("print the invoice") == "%PDF-"


def test_a_bad_token_is_refused_as_such(java: Steps) -> None:
    assert java.threw("read with a bad token")["class"] in ("InvalidTokenException", "AuthenticationException")


def test_a_throttled_call_is_a_service_exception(java: Steps) -> None:
    assert java.gave("call once") > 0
    refused = java.threw("call once too often")
    assert (refused["class"], refused["code"]) == ("ServiceException", "3001")
