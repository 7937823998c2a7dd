"""Batches and change data capture of the simulated QuickBooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import Client, code_of, invoice, line, read, recording, shape


def batch(client: Client, *items: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = client.post("batch", {"BatchItemRequest": list(items)}, **query)
    assert answer.status == 200, answer.body
    return read(answer)["BatchItemResponse"]  # type: ignore[no-any-return]


def create(bid: str, amount: object = 1, **changes: object) -> dict[str, Any]:
    return {"bId": bid, "operation": "create", "Invoice": invoice(Line=[line(amount)], **changes)}


def test_the_recorded_batch_is_answered_item_by_item_with_the_recorded_faults() -> None:
    """All but its sales receipts, which are not served here."""
    client = Client()
    asked = recording("batch__basic_0")["request"]["body"]["BatchItemRequest"]
    recorded = recording("batch__basic_0")["response"]["body"]["BatchItemResponse"]
    vendor, gone = batch(client, asked[0], asked[1])
    assert shape(vendor) == shape(recorded[0])
    assert gone == recorded[1]


def test_every_operation_works_in_a_batch_and_a_fault_spoils_only_its_own_item() -> None:
    client = Client(warn_duplicate_doc_numbers=True)
    first, second = (client.invoice(DocNumber=each) for each in ("A", "B"))
    answers = batch(
        client,
        {"bId": "1", "operation": "update", "optionsData": "void", "Invoice": {"Id": first["Id"], "SyncToken": "0"}},
        {"bId": "2", "operation": "delete", "Invoice": {"Id": second["Id"], "SyncToken": "0"}},
        create("3", DocNumber="A"),
        create("4", DocNumber="A") | {"optionsData": "allowduplicatedocnum"},
        {"bId": "5", "Query": "select count(*) from Invoice"},
        {"bId": "6", "operation": "update", "Customer": {"Id": "1", "SyncToken": "0", "sparse": True, "Notes": "n"}},
        {"bId": "7", "operation": "update", "Customer": {"Id": "1", "SyncToken": "0", "sparse": True, "Notes": "o"}},
        {"bId": "8", "CDCQuery": {"Entities": "customer", "ChangedSince": "2026-01-01"}},
        {"bId": "9", "operation": "merge", "Customer": {"Id": "1", "SyncToken": "1"}},
        {"bId": "10", "operation": "create", "Bill": {}},
        {"bId": "11"},
    )
    assert [each["bId"] for each in answers] == [str(number) for number in range(1, 12)]
    assert answers[0]["Invoice"]["PrivateNote"] == "Voided"
    assert answers[1]["Invoice"]["status"] == "Deleted"
    assert answers[3]["Invoice"]["DocNumber"] == "A"
    assert answers[4]["QueryResponse"] == {"totalCount": 2}
    assert answers[5]["Customer"]["SyncToken"] == "1"
    assert len(answers[7]["CDCResponse"][0]["QueryResponse"][0]["Customer"]) == 2
    codes = {each["bId"]: each["Fault"]["Error"][0]["code"] for each in answers if "Fault" in each}
    assert codes == {"3": "6140", "7": "5010", "9": "500", "10": "500", "11": "2020"}


def test_more_than_thirty_items_are_1040_and_none_is_done() -> None:
    client = Client()
    answer = client.post("batch", {"BatchItemRequest": [create(str(number)) for number in range(31)]})
    assert code_of(answer) == "1040"
    assert client.query("select count(*) from Invoice") == {"totalCount": 0}
    assert len(batch(client, *(create(str(number)) for number in range(30)))) == 30


def test_a_batch_of_the_wrong_shape_is_refused() -> None:
    client = Client()
    for body, code in (({}, "2020"), ({"BatchItemRequest": []}, "2020"), ({"BatchItemRequest": [1]}, "2010")):
        assert code_of(client.post("batch", body)) == code


def test_a_batch_is_replayed_when_its_requestid_and_all_its_bids_are_the_same() -> None:
    """With other bIds it is another request (docs/vendors/quickbooks.md §3.2)."""
    client = Client()
    first = batch(client, create("a"), create("b"), requestid="r")
    assert batch(client, create("a"), create("b"), requestid="r") == first
    assert batch(client, create("a"), create("c"), requestid="r") != first
    assert client.query("select count(*) from Invoice") == {"totalCount": 4}


def test_a_batchs_requestid_and_bids_have_their_own_lengths() -> None:
    client = Client()
    for item, request_id in ((create("a"), "x" * 37), (create("x" * 11), "r")):
        assert code_of(client.post("batch", {"BatchItemRequest": [item]}, requestid=request_id)) == "2130"
    assert len(batch(client, create("x" * 11))) == 1


def test_the_41st_batch_of_a_minute_is_throttled_and_single_requests_are_not() -> None:
    client = Client(QuickBooksSettings())
    start = client.clock.now
    for number in range(40):
        client.clock.now = start + number
        batch(client, {"bId": "1", "Query": "select count(*) from Invoice"})
    assert client.post("batch", {"BatchItemRequest": [create("1")]}).status == 429
    assert client.send("GET", "preferences").status == 200
    client.clock.now = start + 60.5
    assert len(batch(client, create("1"))) == 1


@pytest.mark.parametrize(("metered_as", "reads"), [("call", 1), ("items", 3)])
def test_a_batch_of_writes_is_metered(metered_as: Any, reads: int) -> None:
    client = Client(QuickBooksSettings(limits=False, batch_metered_as=metered_as))
    batch(client, create("1"), create("2"), create("3"))
    assert client.core.metered_reads == reads


def cdc(client: Client, entities: str, since: str) -> list[dict[str, Any]]:
    answer = client.send("GET", "cdc", entities=entities, changedSince=since)
    assert answer.status == 200, answer.body
    return read(answer)["CDCResponse"][0]["QueryResponse"]  # type: ignore[no-any-return]


def test_cdc_tells_what_changed_and_what_was_deleted_since_an_instant() -> None:
    client = Client()
    old = client.invoice()
    client.clock.now += 100
    since = client.core.books["111"].timestamp(client.clock.now)
    kept, dropped = client.invoice(), client.invoice()
    client.clock.now += 1
    client.made("Invoice", {"Id": dropped["Id"], "SyncToken": "0"}, operation="delete")
    invoices, customers = cdc(client, "invoice,Customer", since)
    assert customers == {}
    assert [each["Id"] for each in invoices["Invoice"]] == [kept["Id"], dropped["Id"]]
    assert invoices["Invoice"][1]["status"] == "Deleted"
    assert old["Id"] not in [each["Id"] for each in invoices["Invoice"]]
    in_utc = datetime.fromisoformat(since).astimezone(UTC).isoformat()
    assert cdc(client, "Invoice", in_utc) == [invoices]


def test_cdc_finds_nothing_as_recorded_and_gives_a_thousand_at_most() -> None:
    client = Client()
    assert cdc(client, "CreditMemo", "2026-11-01") == [{}]
    for number in range(1002):
        client.made("Class", {"Name": f"C{number}"})
    assert len(cdc(client, "Class", "2026-11-01")[0]["Class"]) == 1000


def test_cdc_of_more_than_thirty_days_is_answered_or_refused() -> None:
    """The recording asks for nine years and gets them; the documentation says thirty days."""
    assert len(cdc(Client(), "Term", "2011-10-10T09:00:00-07:00")[0]["Term"]) == 4
    strict = Client(QuickBooksSettings(limits=False, cdc_beyond_thirty_days="refuse"))
    assert code_of(strict.send("GET", "cdc", entities="Term", changedSince="2011-10-10T09:00:00-07:00")) == "2150"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"entities": "Term"}, "2020"),
        ({"changedSince": "2026-11-01"}, "2020"),
        ({"entities": "Term", "changedSince": "lately"}, "2150"),
        ({"entities": "Nonsense", "changedSince": "2026-11-01"}, "4001"),
    ],
)
def test_a_bad_cdc_is_refused(query: dict[str, str], code: str) -> None:
    assert code_of(Client().send("GET", "cdc", **query)) == code
