"""Every answer of a walk over the whole API has only the names and values of Intuit's own schema, in JSON and XML."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest

from simulators.http import Answer, Json, Request, dump
from simulators.quickbooks.settings import QuickBooksSettings
from tests.qbo_schema import answer_faults, xml_faults
from tests.simulators.companies import REALM, Client, recording

COMPANIES: dict[str, dict[str, Any]] = {
    "US": {},
    "US, numbers by itself": {"custom_txn_numbers": False},
    "US, several currencies": {"multicurrency": True},
    "US, sales tax by hand": {"tax_mode": "us-manual"},
    "US, automated sales tax": {"tax_mode": "us-automated"},
    "US, classes and locations": {"class_tracking": "line", "track_departments": True},
    "UK": {"country": "GB", "tax_mode": "global", "currency": "GBP"},
}
FORMATS = {"json": "application/json", "xml": "application/xml"}
ACCOUNTS = {"IncomeAccountRef": {"value": "1"}, "ExpenseAccountRef": {"value": "80"}}
ADDRESS = {"Line1": "4581 Finch St.", "City": "Bayshore", "CountrySubDivisionCode": "CA", "PostalCode": "94326"}
PERSON = {
    "Title": "Ms",
    "GivenName": "Ada",
    "FamilyName": "Byron",
    "Suffix": "II",
    "PrimaryPhone": {"FreeFormNumber": "(650) 555-3311"},
    "PrimaryEmailAddr": {"Address": "ada@example.com"},
}
LISTS: dict[str, tuple[Json, Json]] = {
    "Customer": (
        {**PERSON, "DisplayName": "Ada", "CompanyName": "Engines", "BillAddr": ADDRESS, "WebAddr": {"URI": "http://a"}},
        {"Notes": "pays late"},
    ),
    "Vendor": ({**PERSON, "DisplayName": "Ada's Supplies", "BillAddr": ADDRESS}, {"AcctNum": "7"}),
    "Employee": ({"GivenName": "Grace", "FamilyName": "Hopper"}, {"PrimaryPhone": {"FreeFormNumber": "1"}}),
    "Item": (
        {"Name": "Cycles", "Type": "Service", "UnitPrice": 1.5, **ACCOUNTS},
        {"Description": "by the million"},
    ),
    "Account": ({"Name": "Usage income", "AccountType": "Income"}, {"Description": "metered"}),
    "Term": ({"Name": "Net 45", "DueDays": 45}, {"DueDays": 46}),
    "Class": ({"Name": "North"}, {"Name": "Northwest"}),
    "Department": ({"Name": "Paris"}, {"Name": "Lyon"}),
    "PaymentMethod": ({"Name": "Barter"}, {"Name": "Trade"}),
}
READ_ONLY = ("TaxCode", "TaxRate", "CompanyCurrency", "CompanyInfo", "Preferences")
SALES = ("Invoice", "CreditMemo")
REFUSED: dict[str, tuple[str, str, dict[str, str], object]] = {
    "no such path": ("GET", "customer/1/5", {}, None),
    "no such object": ("GET", "invoice/987654", {}, None),
    "an id that is no number": ("GET", "customer/1.5", {}, None),
    "an unknown property": ("POST", "invoice", {}, {"BadJson": True}),
    "no customer": ("POST", "invoice", {}, {"Line": []}),
    "an unknown customer": ("POST", "invoice", {}, {"CustomerRef": {"value": "777"}, "Line": [{}]}),
    "a name that is taken": ("POST", "customer", {}, {"DisplayName": "Amy's Bird Sanctuary"}),
    "a name that is too long": ("POST", "customer", {}, {"DisplayName": "x" * 501}),
    "a bad entity in a query": ("GET", "query", {"query": "select * from Custmoer"}, None),
    "a bad query": ("GET", "query", {"query": "select banana"}, None),
    "a long requestid": ("POST", "customer", {"requestid": "x" * 51}, {"DisplayName": "Ok"}),
    "a bad operation": ("POST", "invoice", {"operation": "fold"}, {"Id": "1", "SyncToken": "0"}),
    "no JSON": ("POST", "invoice", {}, "no object"),
    "too large a batch": ("POST", "batch", {}, {"BatchItemRequest": [{"bId": str(n)} for n in range(31)]}),
    "changes of a banana": ("GET", "cdc", {"entities": "Banana", "changedSince": "2026-11-10"}, None),
}


class Walker:
    """Sends requests that ask for one format, and judges each answer by the schema."""

    def __init__(self, client: Client, accept: str) -> None:
        self.client = client
        self.accept = accept

    def send(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        headers = {"authorization": f"Bearer {self.client.token}", "accept": self.accept}
        content = b"" if body is None else dump(body)
        if content:
            headers["content-type"] = "application/json"
        answer = self.client.core.answer(Request(method, f"/v3/company/{REALM}/{path}", query, headers, content))
        if not answer.headers["Content-Type"].startswith("application/pdf"):
            assert faults_of(answer) == [], (method, path, query, answer.body)
        return answer

    def good(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        answer = self.send(method, path, body, **query)
        assert answer.status == 200, (method, path, body, answer.body)
        assert b"Fault" not in answer.body or path == "batch", answer.body
        return answer


def faults_of(answer: Answer) -> list[str]:
    content_type = answer.headers["Content-Type"]
    if "xml" in content_type:
        return xml_faults(answer.body)
    assert "json" in content_type
    return answer_faults(json.loads(answer.body, parse_float=Decimal))


def identity(answer: Answer) -> Json:
    """The Id and SyncToken of the object that an answer shows, in either format."""
    if "xml" in answer.headers["Content-Type"]:
        shown = ElementTree.fromstring(answer.body)[0]
        return {name: shown.findtext(f"{{*}}{name}") for name in ("Id", "SyncToken")}
    [shown] = [value for value in json.loads(answer.body).values() if isinstance(value, dict)]
    return {name: shown[name] for name in ("Id", "SyncToken")}


def sale(client: Client, **changes: object) -> Json:
    tax: Json = {} if client_is_american(client) else {"TaxCodeRef": {"value": global_tax_code(client)}}
    sold = {"ItemRef": {"value": "1"}, "Qty": 3, "UnitPrice": 12.5, **tax}
    lines = [
        {"Amount": 37.5, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": sold, "Description": "Usage"},
        {"Description": "only text", "DetailType": "DescriptionOnly"},
        {"Amount": 5, "DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": False}},
    ]
    return {
        "CustomerRef": {"value": "1"},
        "Line": lines,
        "PrivateNote": "a note",
        "CustomerMemo": {"value": "thank you"},
        "BillEmail": {"Address": "ada@example.com"},
        "BillAddr": ADDRESS,
        **changes,
    }


def client_is_american(client: Client) -> bool:
    return client.core.books[REALM].company.country == "US"


def global_tax_code(client: Client) -> str:
    """A tax code that the company began with, as an app finds one."""
    return str(client.query("select * from TaxCode")["TaxCode"][0]["Id"])


@pytest.fixture(params=COMPANIES)
def client(request: pytest.FixtureRequest) -> Client:
    return Client(**COMPANIES[request.param])


@pytest.fixture(params=FORMATS)
def walker(request: pytest.FixtureRequest, client: Client) -> Walker:
    return Walker(client, FORMATS[request.param])


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_entry_from_birth_to_retirement(walker: Walker, kind: str) -> None:
    body, change = LISTS[kind]
    path = kind.lower()
    made = identity(walker.good("POST", path, body))
    walker.good("GET", f"{path}/{made['Id']}")
    changed = identity(walker.good("POST", path, {**made, "sparse": True, **change}))
    changed = identity(walker.good("POST", path, {**body, **change, **changed}))
    walker.good("GET", "query", query=f"select * from {kind}")
    walker.good("GET", "query", query=f"select count(*) from {kind}")
    walker.good("POST", path, {**changed, "sparse": True, "Active": False})
    walker.good("GET", "query", query=f"select * from {kind} where Active IN (true, false)")
    walker.good("GET", "cdc", entities=kind, changedSince=walker.client.core.books[REALM].timestamp(0))


@pytest.mark.parametrize("kind", SALES)
def test_a_sale_from_birth_to_death(walker: Walker, kind: str) -> None:
    path = kind.lower()
    made = identity(walker.good("POST", path, sale(walker.client)))
    changed = identity(walker.good("POST", path, {**made, "sparse": True, "PrivateNote": "another"}))
    changed = identity(walker.good("POST", path, {**sale(walker.client), **changed}))
    walker.good("GET", f"{path}/{made['Id']}")
    if kind == "Invoice":
        changed = identity(walker.good("POST", f"{path}/{made['Id']}/send", sendTo="ada@example.com"))
        walker.good("GET", f"{path}/{made['Id']}", include="invoiceLink")
        changed = identity(walker.good("POST", path, changed, operation="void"))
    walker.good("GET", f"{path}/{made['Id']}/pdf")
    walker.good("GET", "query", query=f"select * from {kind} orderby TxnDate desc")
    walker.good("POST", path, changed, operation="delete")
    walker.good("GET", "query", query=f"select * from {kind}")
    walker.good("GET", "cdc", entities=f"{kind},Customer", changedSince="2026-11-10T00:00:00Z")


@pytest.mark.parametrize("kind", READ_ONLY)
def test_what_is_only_read(walker: Walker, kind: str) -> None:
    walker.good("GET", "query", query=f"select * from {kind}")
    if kind == "Preferences":
        walker.good("GET", "preferences")
    if kind == "CompanyInfo":
        walker.good("GET", f"companyinfo/{REALM}")


@pytest.mark.parametrize("accept", FORMATS.values())
def test_exchange_rates(accept: str) -> None:
    walker = Walker(Client(multicurrency=True), accept)
    walker.good("GET", "exchangerate", sourcecurrencycode="EUR", asofdate="2026-11-01")
    made = walker.good("POST", "exchangerate", {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-11-01", "Rate": 1.0825})
    assert b"1.0825" in made.body
    walker.good("GET", "query", query="select * from ExchangeRate where SourceCurrencyCode = 'EUR'")


def test_a_batch_with_good_and_bad_items(walker: Walker) -> None:
    made = identity(walker.good("POST", "invoice", sale(walker.client)))
    items = [
        {"bId": "1", "operation": "create", "Customer": {"DisplayName": "Batched"}},
        {"bId": "2", "operation": "create", "Invoice": sale(walker.client)},
        {"bId": "3", "operation": "update", "Invoice": {**made, "sparse": True, "PrivateNote": "x"}},
        {"bId": "4", "operation": "delete", "Invoice": {"Id": "987654", "SyncToken": "0"}},
        {"bId": "5", "Query": "select * from Customer"},
        {"bId": "6", "Query": "select * from Banana"},
        {"bId": "7", "operation": "create", "Invoice": {"Banana": 1}},
    ]
    answer = walker.good("POST", "batch", {"BatchItemRequest": items})
    assert answer.body.count(b"bId") == len(items)


@pytest.mark.parametrize("why", REFUSED)
def test_a_refusal(walker: Walker, why: str) -> None:
    method, path, query, body = REFUSED[why]
    answer = walker.send(method, path, body, **query)
    assert answer.status == 400, answer.body
    assert b"Fault" in answer.body


def test_the_throttle_in_xml() -> None:
    walker = Walker(Client(QuickBooksSettings()), FORMATS["json"])
    statuses = [walker.send("GET", "preferences").status for _ in range(11)]
    assert statuses[-1] == 429


@pytest.mark.parametrize("realm", [REALM, "999"])
def test_the_gateways_own_fault_has_the_keys_recorded(realm: str) -> None:
    """Intuit's schema does not know this lower-case shape; the recording does."""
    client = Client()
    if realm == REALM:
        client.clock.now += client.oauth.settings.access_token_seconds + 1
    ours = json.loads(client.send("GET", "customer/1", realm=realm).body)
    theirs = recording("error__401_0")["response"]["body"]
    assert ours.keys() == theirs.keys()
    assert ours["fault"].keys() == theirs["fault"].keys()
    assert ours["fault"]["error"][0].keys() == theirs["fault"]["error"][0].keys()
