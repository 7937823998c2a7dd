"""What the simulated QuickBooks does around a request: request ids, limits, quota, bodies, XML, several companies."""

from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from simulators.http import BODY_MAX_BYTES, Request, dump
from simulators.quickbooks.books import Company
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import default_oauth
from tests.simulators.companies import REALM, Client, Clock, code_of, invoice, line, read


def settings(**changes: Any) -> QuickBooksSettings:
    return QuickBooksSettings(**{"limits": False, **changes})


def invoices_of(client: Client) -> int:
    return int(client.query("select count(*) from Invoice")["totalCount"])


@pytest.mark.parametrize(
    ("other_body", "status", "held"), [("replay", 200, 1), ("refuse-600", 400, 1), ("execute", 200, 2)]
)
def test_a_requestid_with_another_body_does_what_the_switch_says(other_body: Any, status: int, held: int) -> None:
    client = Client(settings(requestid_other_body=other_body))
    first = client.post("invoice", invoice(), requestid="r")
    assert client.post("invoice", invoice(), requestid="r").body == first.body
    other = client.post("invoice", invoice(Line=[line(7)]), requestid="r")
    assert (other.status, invoices_of(client)) == (status, held)
    assert (other.body == first.body) is (other_body == "replay")
    if status == 400:
        assert code_of(other) == "600"


def test_a_requestid_on_a_read_is_ignored() -> None:
    """Intuit's own Java SDK sends one with every GET (docs/vendors/quickbooks.md §3.3a)."""
    client = Client()
    assert read(client.send("GET", "query", query="select count(*) from Invoice", requestid="r"))
    client.invoice()
    found = read(client.send("GET", "query", query="select count(*) from Invoice", requestid="r"))
    assert found["QueryResponse"] == {"totalCount": 1}


def test_the_memory_of_request_ids_is_bounded_and_drops_the_oldest() -> None:
    client = Client(settings(requestid_count_max=2))
    for request_id in ("a", "b", "c"):
        client.post("invoice", invoice(), requestid=request_id)
    assert list(client.core.remembered[REALM].answers) == ["b", "c"]
    client.post("invoice", invoice(), requestid="a")
    assert invoices_of(client) == 4


@pytest.mark.parametrize("body", ["xml-429", "xml-403", "json"])
def test_throttled_answers_have_the_shape_of_the_switch(body: Any) -> None:
    client = Client(QuickBooksSettings(requests_per_second_max=1, throttle_body=body, throttle_retry_after_seconds=60))
    client.send("GET", "preferences")
    answer = client.send("GET", "preferences")
    assert answer.status == (403 if body == "xml-403" else 429)
    assert answer.headers["Retry-After"] == "60"
    if body == "json":
        assert read(answer)["fault"]["error"][0]["code"] == "3001"
    else:
        assert f"statusCode={answer.status}" in ElementTree.fromstring(answer.body)[0][0][0].text  # type: ignore[operator]


@pytest.mark.parametrize(("counts", "status"), [(False, 200), (True, 429)])
def test_refused_requests_may_fill_the_window_too(counts: bool, status: int) -> None:
    client = Client(QuickBooksSettings(requests_per_second_max=1, refused_requests_count=counts))
    for _ in range(2):
        client.send("GET", "preferences")
        client.clock.now += 0.6
    assert client.send("GET", "preferences").status == status


@pytest.mark.parametrize(("blocks", "write"), [("everything", 429), ("reads", 200)])
def test_the_quota_of_a_month_ends_with_the_month(blocks: Any, write: int) -> None:
    client = Client(settings(metered_reads_max=2, quota_blocks=blocks))
    assert [client.send("GET", "preferences").status for _ in range(3)] == [200, 200, 429]
    assert client.post("invoice", invoice()).status == write
    client.clock.now += 31 * 86_400
    client.token = next(iter(client.oauth.connect(REALM).access_tokens))
    assert client.send("GET", "preferences").status == 200


def test_writes_are_counted_as_free_and_refusals_not_at_all() -> None:
    client = Client()
    client.invoice()
    client.post("invoice", {})
    client.send("GET", "nonsense")
    meters = client.core.meters[REALM]
    assert (meters.free_writes, meters.metered_reads) == (1, 0)
    assert meters.calls == {"POST invoice": 2, "GET other": 1}


def packed(client: Client, body: bytes) -> Request:
    headers = {"authorization": f"Bearer {client.token}", "content-encoding": "gzip"}
    return Request("POST", f"/v3/company/{REALM}/invoice", {}, headers, body)


def test_packed_bodies_are_unpacked_and_bounded() -> None:
    client = Client()
    assert client.core.answer(packed(client, gzip.compress(dump(invoice())))).status == 200
    assert client.core.answer(packed(client, dump(invoice()))).status == 200, "the transport has unpacked it already"
    bomb = gzip.compress(b" " * (BODY_MAX_BYTES + 1))
    assert code_of(client.core.answer(packed(client, bomb))) == "500"
    assert code_of(client.core.answer(packed(client, gzip.compress(dump(invoice()))[:-20]))) == "500"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"PrivateNote": "\xff"}', "500"),
        (b'{"PrivateNote": "\\ud800"}', "500"),
        (b'{"ExchangeRate": NaN}', "2010"),
        (b"[" * 100_000, "2010"),
        (b'{"Line": 1e99999999999999999999}', "2010"),
        (b'{"Line": [' + b'{"GroupLineDetail": {"Line": [' * 40 + b"]}}" * 40 + b"]}", "2010"),
        (b'{"Id": "\\u00b2", "SyncToken": "0"}', "2030"),
    ],
)
def test_odd_bodies_are_refused(body: bytes, code: str) -> None:
    assert code_of(Client().send("POST", "invoice", body)) == code


def test_who_asks_for_xml_gets_it_refusals_included() -> None:
    client = Client()
    headers = {"authorization": f"Bearer {client.token}", "accept": "application/xml"}
    for path, query, name, status in (
        ("customer/1", {}, "Customer", 200),
        ("customer/99", {}, "Fault", 400),
        ("query", {"query": "select * from Term"}, "QueryResponse", 200),
    ):
        answer = client.core.answer(Request("GET", f"/v3/company/{REALM}/{path}", query, headers))
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (status, "application/xml")
        assert ElementTree.fromstring(answer.body)[0].tag.endswith(name)
    body = b'<Customer xmlns="http://schema.intuit.com/finance/v3"><DisplayName>By XML</DisplayName></Customer>'
    headers |= {"content-type": "application/xml", "accept": "application/json"}
    made = client.core.answer(Request("POST", f"/v3/company/{REALM}/customer", {}, headers, body))
    assert read(made)["Customer"]["DisplayName"] == "By XML"


@pytest.mark.parametrize("by_default", [False, True])
def test_without_accept_the_switch_decides(by_default: bool) -> None:
    answer = Client(settings(default_xml=by_default)).send("GET", "customer/1")
    assert answer.headers["Content-Type"].startswith("application/xml" if by_default else "application/json")


def test_sending_and_printing_go_by_the_document() -> None:
    client = Client()
    made = client.invoice()
    sent = read(client.send("POST", f"invoice/{made['Id']}/send", sendTo="a@example.com"))["Invoice"]
    assert (sent["EmailStatus"], sent["SyncToken"]) == ("EmailSent", "1")
    assert read(client.send("GET", f"invoice/{made['Id']}"))["Invoice"] == sent
    printed = client.send("GET", f"invoice/{made['Id']}/pdf")
    assert (printed.headers["Content-Type"], printed.body[:5]) == ("application/pdf", b"%PDF-")
    for method, path in (("GET", "invoice/9/pdf"), ("POST", "invoice/9/send")):
        assert code_of(client.send(method, path)) == "610"


def test_the_invoice_link_comes_only_when_it_is_asked_for() -> None:
    client = Client()
    made = client.invoice()
    assert "InvoiceLink" not in made
    assert "InvoiceLink" in read(client.send("GET", f"invoice/{made['Id']}", include="invoiceLink"))["Invoice"]


def test_void_may_be_said_by_include_alone() -> None:
    """As Intuit's Java SDK does (docs/vendors/quickbooks.md §3.3a)."""
    client = Client()
    made = client.invoice()
    assert client.made("Invoice", {"Id": made["Id"], "SyncToken": "0"}, include="void")["TotalAmt"] == 0


def test_companies_have_their_own_books_limits_and_request_ids() -> None:
    clock = Clock()
    companies = [Company("1"), Company("2", country="GB", currency="GBP", tax_mode="global", name="Two Ltd")]
    oauth = OAuthServer(default_oauth(1), {"1": "One", "2": "Two"}, clock, "1")
    core = QuickBooks(companies, oauth, clock, QuickBooksSettings(requests_per_second_max=1))
    tokens = {realm: next(iter(oauth.connect(realm).access_tokens)) for realm in ("1", "2")}

    def send(realm: str, method: str, path: str, body: object = None, **query: str) -> Any:
        headers = {"authorization": f"Bearer {tokens[realm]}"}
        return core.answer(Request(method, f"/v3/company/{realm}/{path}", query, headers, dump(body)))

    for realm in ("1", "2"):
        made = send(realm, "POST", "customer", {"DisplayName": "Same"}, requestid="r")
        assert json.loads(made.body)["Customer"]["Id"] == "31"
    assert send("1", "GET", "preferences").status == 429
    clock.now += 2
    info = json.loads(send("2", "GET", "companyinfo/2").body)["CompanyInfo"]
    assert (info["Country"], info["CompanyName"]) == ("GB", "Two Ltd")
    assert core.throttled == 1
