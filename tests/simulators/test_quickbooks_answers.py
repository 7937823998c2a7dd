"""Answers and refusals have the shapes that were recorded from Intuit's own sandbox."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from simulators.http import Answer
from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import REALM, Client, code_of, invoice, line, read, recording, shape


def same_shape_as(name: str, answer: Answer) -> bool:
    recorded = recording(name)["response"]
    assert answer.status == recorded["status"]["code"]
    return shape(read(answer)) == shape(recorded["body"])


def without_time(answer: Answer) -> object:
    return {name: value for name, value in read(answer).items() if name != "time"}


def test_the_recorded_create_request_gives_the_recorded_answer() -> None:
    """A company that numbers by itself answers with the same keys and types, line by line."""
    client = Client(custom_txn_numbers=False)
    answer = client.post("invoice", recording("create__invoice_0")["request"]["body"])
    assert same_shape_as("create__invoice_0", answer)
    made, recorded = read(answer)["Invoice"], recording("create__invoice_0")["response"]["body"]["Invoice"]
    for name in ("Line", "CustomerRef", "TotalAmt", "Balance", "BillAddr", "TxnTaxDetail", "CustomField"):
        assert made[name] == recorded[name]


def test_void_keeps_the_document_and_zeroes_it() -> None:
    client = Client(custom_txn_numbers=False)
    made = client.invoice()
    answer = client.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="void")
    assert same_shape_as("void__invoice_1", answer)
    voided = read(answer)["Invoice"]
    assert (voided["TotalAmt"], voided["Balance"], voided["SyncToken"]) == (0, 0, "1")
    assert voided["PrivateNote"] == "Voided"


def test_void_goes_in_front_of_an_existing_note() -> None:
    client = Client()
    made = client.invoice(PrivateNote="as agreed")
    voided = client.made("Invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="void")
    assert voided["PrivateNote"].startswith("Voided")
    assert voided["PrivateNote"].endswith("as agreed")


def test_delete_answers_with_a_tombstone_and_the_document_is_gone() -> None:
    client = Client()
    made = client.invoice()
    answer = client.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    assert same_shape_as("delete__invoice_1", answer)
    assert code_of(client.send("GET", f"invoice/{made['Id']}")) == "610"
    assert client.query("select * from Invoice") == {}


def test_a_new_customer_is_answered_as_recorded() -> None:
    answer = Client().post("customer", recording("create__customer_0")["request"]["body"])
    assert same_shape_as("create__customer_0", answer)


def test_unknown_property_is_2010_with_the_known_ones_listed() -> None:
    answer = Client().post("invoice", recording("error__400_json_0")["request"]["body"])
    assert same_shape_as("error__400_json_0", answer)
    error = read(answer)["Fault"]["Error"][0]
    assert error["code"] == "2010"
    assert 'Unrecognized field "BadJson" (class com.intuit.schema.finance.v3.Invoice)' in error["Detail"]
    assert '"DocNumber"' in error["Detail"]


def test_unknown_property_is_found_at_any_depth() -> None:
    assert code_of(Client().post("invoice", invoice(Line=[line(Price=3)]))) == "2010"


def test_bodies_that_are_no_object_of_the_right_shape_are_2010() -> None:
    client = Client()
    assert code_of(client.send("POST", "invoice", b"{")) == "2010"
    assert code_of(client.send("POST", "invoice", b"[]")) == "2010"
    assert code_of(client.post("invoice", invoice(CustomerRef="1"))) == "2010"
    assert code_of(client.post("invoice", invoice(Line=line()))) == "2010"
    assert code_of(client.post("invoice", invoice(Line=["text"]))) == "2010"


def test_duplicate_name_is_6240_as_recorded_and_names_no_id() -> None:
    client = Client()
    client.made("Customer", {"DisplayName": "Weiskopf Consulting"})
    answer = client.post("customer", recording("error__validation_0")["request"]["body"])
    assert same_shape_as("error__validation_0", answer)
    assert without_time(answer)["Fault"] == recording("error__validation_0")["response"]["body"]["Fault"]


def test_expired_token_is_the_lower_case_401_with_a_challenge() -> None:
    client = Client()
    client.clock.now += 3601
    answer = client.send("GET", "customer/1")
    recorded = recording("error__401_0")["response"]
    assert answer.headers["WWW-Authenticate"] == recorded["headers"]["Www-Authenticate"][0]
    assert answer.status == 401
    ours, theirs = read(answer), recorded["body"]
    assert {**ours, "time": 0, "fault": 0} == {**theirs, "time": 0, "fault": 0}
    assert ours["fault"]["error"][0]["code"] == "3200"
    assert ours["fault"]["error"][0]["detail"] == f"Token expired: {client.token}"


def test_a_token_of_another_company_is_403_with_3100() -> None:
    answer = Client().send("GET", "customer/1", realm="999")
    assert answer.status == 403
    assert read(answer)["fault"]["error"][0]["code"] == "3100"


def test_unknown_path_is_code_500_inside_http_400() -> None:
    answer = Client().send("GET", "customer/1/5")
    assert same_shape_as("error__500_0", answer)
    assert code_of(answer) == "500"


def test_an_id_that_is_no_number_is_2030() -> None:
    error = read(Client().send("GET", "customer/1.5"))["Fault"]
    assert error == recording("error__500_1")["response"]["body"]["Fault"]


def test_missing_object_and_stale_token_have_the_recorded_texts() -> None:
    client = Client()
    made = client.invoice()
    recorded = recording("batch__basic_0")["response"]["body"]["BatchItemResponse"]
    gone = client.post("invoice", {"Id": "129", "SyncToken": "0"}, operation="delete")
    assert read(gone)["Fault"] == recorded[1]["Fault"]
    client.made("Invoice", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "first"})
    stale = client.post("invoice", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "late"})
    assert shape(read(stale)["Fault"]) == shape(recorded[2]["Fault"])
    assert code_of(stale) == "5010"
    assert read(client.send("GET", f"invoice/{made['Id']}"))["Invoice"]["PrivateNote"] == "first"


def test_bad_entity_is_4001_as_recorded() -> None:
    answer = Client().send("GET", "query", query="SELECT * FROM Custmoer")
    assert without_time(answer)["Fault"] == recording("error__400_1")["response"]["body"]["Fault"]


def test_nothing_found_leaves_the_entity_out_as_recorded() -> None:
    query = "SELECT * FROM Customer WHERE Id IN ('5','6') AND Active IN ( true, false ) MAXRESULTS 2 STARTPOSITION 7"
    answer = Client().send("GET", "query", query=query)
    assert same_shape_as("all__alt_select_4", answer)


def test_the_eleventh_request_of_a_second_is_429_in_xml() -> None:
    client = Client(QuickBooksSettings())
    assert {client.send("GET", "preferences").status for _ in range(10)} == {200}
    answer = client.send("GET", "preferences")
    assert (answer.status, answer.headers["Content-Type"]) == (429, "application/xml")
    error = ElementTree.fromstring(answer.body)[0][0]
    assert error.get("code") == "3001"
    assert client.core.throttled == 1
    client.clock.now += 1.01
    assert client.send("GET", "preferences").status == 200


def test_the_501st_request_of_a_minute_is_refused_until_the_minute_has_passed() -> None:
    client = Client(QuickBooksSettings())
    start = client.clock.now
    for number in range(500):
        client.clock.now = start + number * 0.11
        assert client.send("GET", "preferences").status == 200
    client.clock.now = start + 59.5
    assert client.send("GET", "preferences").status == 429
    client.clock.now = start + 60.01
    assert client.send("GET", "preferences").status == 200


def test_every_answer_carries_its_own_intuit_tid() -> None:
    client = Client()
    answers = [client.send("GET", "preferences"), client.send("GET", "nothing"), client.send("GET", "customer/1")]
    assert len({each.headers["intuit_tid"] for each in answers}) == 3


def test_reads_are_metered_and_writes_are_not() -> None:
    client = Client()
    client.invoice()
    client.query("select * from Invoice")
    client.send("GET", "customer/999")
    assert client.core.metered_reads == 1
    assert client.core.calls == {"POST invoice": 1, "GET query": 1, "GET customer": 1}


def test_preferences_and_company_info_tell_the_company() -> None:
    client = Client(custom_txn_numbers=False, name="Books & Co")
    preferences = read(client.send("GET", "preferences"))["Preferences"]
    assert preferences["SalesFormsPrefs"]["CustomTxnNumbers"] is False
    assert read(client.send("GET", f"companyinfo/{REALM}"))["CompanyInfo"]["CompanyName"] == "Books & Co"
