"""The query language of the simulated QuickBooks."""

from __future__ import annotations

import pytest

from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import Client, code_of, line, read


@pytest.fixture(scope="module")
def client() -> Client:
    client = Client()
    for number in range(1, 6):
        client.invoice(DocNumber=f"MTR-{number}", TxnDate=f"2026-01-0{number}", Line=[line(number * 10)])
    client.made("Customer", {"DisplayName": "Percent & Co"})
    client.made("Customer", {"Id": "2", "SyncToken": "0", "sparse": True, "Active": False})
    return client


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("Invoice WHERE DocNumber = 'MTR-2'", ["2"]),
        ("Invoice where DocNumber in ('MTR-2', 'MTR-4', 'none')", ["4", "2"]),
        ("Invoice WHERE DocNumber LIKE 'mtr-%' AND TotalAmt > '20.00' AND TotalAmt <= '40'", ["4", "3"]),
        ("Invoice WHERE TxnDate < '2026-01-03'", ["2", "1"]),
        ("Invoice WHERE TxnDate >= '2026-01-04' ORDERBY TxnDate DESC", ["5", "4"]),
        ("Invoice ORDER BY CustomerRef, TotalAmt ASC MAXRESULTS 2", ["1", "2"]),
        ("Invoice ORDERBY CustomerRef DESC, TotalAmt DESC MAXRESULTS 2", ["5", "4"]),
        ("Invoice WHERE CustomerRef = '1' STARTPOSITION 2 MAXRESULTS 2", ["4", "3"]),
        ("Invoice MAXRESULTS 1 STARTPOSITION 5", ["1"]),
        ("Invoice WHERE MetaData.LastUpdatedTime < '2020-01-01T00:00:00Z'", []),
        ("Invoice WHERE MetaData.CreateTime > '2026-01-01T00:00:00Z' AND Id IN ('1','2')", ["2", "1"]),
        (r"Customer WHERE DisplayName = 'Amy\'s Bird Sanctuary'", ["1"]),
        ("Customer WHERE DisplayName = 'Percent & Co'", ["31"]),
        ("Customer", ["1", "31"]),
        ("Customer WHERE Active IN (true, false)", ["1", "2", "31"]),
        ("Customer WHERE Active = false", ["2"]),
        ("Vendor", ["30"]),
        ("Term WHERE Name = 'Net 30'", ["3"]),
        ("Account WHERE AccountType = 'Income' AND Name LIKE '%Product%'", ["45"]),
        ("Item WHERE Name = 'Services'", ["1"]),
        ("Item WHERE Name LIKE 'S%v%c%s'", ["1"]),
        ("Item WHERE Name LIKE '%c%v%'", []),
        ("Item WHERE Name LIKE 'Hours%s'", []),
        ("Item WHERE Name LIKE 'HOURS'", ["2"]),
    ],
)
def test_a_query_finds(client: Client, where: str, ids: list[str]) -> None:
    response = client.query(f"SELECT * FROM {where}")
    entity = where.split()[0]
    assert [each["Id"] for each in response.get(entity, [])] == ids


def test_a_page_says_where_it_starts_and_how_much_it_holds(client: Client) -> None:
    """totalCount comes with invoices and not with customers, as recorded."""
    page = client.query("select * from Invoice startposition 3 maxresults 2")
    assert (page["startPosition"], page["maxResults"], page["totalCount"]) == (3, 2, 5)
    assert "totalCount" not in client.query("select * from Customer")
    assert client.query("select count(*) from Invoice where TotalAmt > '30'") == {"totalCount": 2}


def test_a_query_may_be_posted_as_text_or_in_the_address(client: Client) -> None:
    text = "select * from Invoice where Id = '1'"
    posted = read(client.send("POST", "query", text.encode()))
    addressed = read(client.send("POST", "query", query=text))
    assert posted["QueryResponse"] == addressed["QueryResponse"] == client.query(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT Id FROM Invoice", "4000"),
        ("SELECT * FROM Invoice WHERE DocNumber = 'a' OR DocNumber = 'b'", "4000"),
        ("SELECT * FROM Customer WHERE DisplayName = 'Amy''s'", "4000"),
        ("SELECT * FROM Invoice WHERE DocNumber = 'a' AND", "4000"),
        ("SELECT * FROM Invoice MAXRESULTS 1001", "4001"),
        ("SELECT * FROM Invoice WHERE Number = 'a'", "4001"),
        ("SELECT * FROM Invoice WHERE Id > '3'", "4001"),
        ("SELECT * FROM Bill", "4001"),
        ("SELECT * FROM Invoice MAXRESULTS 0", "4001"),
        ("SELECT * FROM Invoice MAXRESULTS 1.5", "4000"),
        ("SELECT * FROM Invoice WHERE TotalAmt > 'much'", "4001"),
        ("SELECT * FROM Invoice WHERE DocNumber = 'open", "4000"),
        ("SELECT * FROM Invoice WHERE DocNumber IN ()", "4000"),
        ("SELECT * FROM Invoice WHERE DocNumber BETWEEN 'a'", "4000"),
        ("SELECT * FROM Invoice, Customer", "4000"),
        ("SELECT * FROM Customer WHERE " + " AND ".join(["Id = '1'"] * 31), "4000"),
        ("SELECT * FROM Customer" + " " * 100_000, "4000"),
        ("", "4000"),
    ],
)
def test_a_bad_query_is_refused(client: Client, text: str, code: str) -> None:
    assert code_of(client.send("GET", "query", query=text)) == code


def test_columns_after_the_star_change_nothing(client: Client) -> None:
    """python-quickbooks asks for `*, Sku`."""
    assert client.query("SELECT *, Sku FROM Item") == client.query("SELECT * FROM Item")


def test_a_query_that_is_behind_does_not_see_what_was_just_made() -> None:
    client = Client(QuickBooksSettings(limits=False, query_lag_seconds=5))
    client.invoice(DocNumber="MTR-1")
    assert client.query("SELECT * FROM Invoice") == {}
    assert read(client.send("GET", "invoice/1"))["Invoice"]["DocNumber"] == "MTR-1"
    client.clock.now += 6
    assert len(client.query("SELECT * FROM Invoice")["Invoice"]) == 1


def test_a_query_beyond_latin1_is_answered_or_refused() -> None:
    text = "SELECT * FROM Customer WHERE DisplayName = 'Łódź'"
    assert Client().query(text) == {}
    refused = Client(QuickBooksSettings(limits=False, query_beyond_latin1="refuse"))
    assert code_of(refused.send("GET", "query", query=text)) == "4000"
