"""The pages of both simulators and the same as JSON, the request log and the counters."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from simulators.faults import Fault
from simulators.http import Answer, Request
from simulators.pages.rendering import ROWS_PER_PAGE, Slice, money
from simulators.quickbooks.books import Company
from simulators.request_log import REQUESTS_MAX, RequestLog
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS
from tests.simulators.companies import invoice, line

COMPANIES = (Company("1001", name="Nordlicht <GmbH>"), Company("1002", name="Second"))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = await start_sandbox(invoices=30, limits=False, companies=COMPANIES)
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session:
        yield session


async def post(
    http: aiohttp.ClientSession, sandbox: Sandbox, kind: str, body: Any, *, number: int = 0, **query: str
) -> Any:
    address = sandbox.addresses.companies[number]
    url = f"{sandbox.addresses.quickbooks_url}/v3/company/{address.realm_id}/{kind}"
    bearer = {"Authorization": f"Bearer {address.access_token}"}
    async with http.post(url, json=body, params=query, headers=bearer) as response:
        return json.loads(await response.read(), parse_float=Decimal)


async def page(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/html"
        return await response.text()


async def data(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        return json.loads(await response.read(), parse_float=Decimal)


async def test_the_books_are_filtered_by_company_and_kind(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    base = sandbox.addresses.quickbooks_url
    for number, name in ((0, "A-1"), (0, "A-2"), (1, "B-1")):
        await post(http, sandbox, "invoice", invoice(DocNumber=name), number=number)
    await post(http, sandbox, "creditmemo", invoice(DocNumber="C-1", Line=[line("1234.50")]))
    both = await page(http, base + "/")
    assert [name in both for name in ("A-1", "A-2", "B-1", "C-1")] == [True, True, True, False]
    assert both.index("A-2") < both.index("A-1")
    assert "Nordlicht &lt;GmbH&gt;" in both
    second = await page(http, base + "/?company=1002")
    assert [name in second for name in ("A-1", "A-2", "B-1")] == [False, False, True]
    memos = await page(http, base + "/?kind=CreditMemo")
    assert "-1,234.50 USD" in memos
    assert "Bill&#39;s Windsurf Shop" in await page(http, base + "/?kind=Customer")
    listed = await data(http, base + "/books.json?kind=Item&company=1002")
    assert {each["realm_id"] for each in listed["objects"]} == {"1002"}
    assert "Services" in [each["Name"] for each in listed["objects"]]


async def test_a_document_has_a_page_with_its_lines_and_its_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    base = sandbox.addresses.quickbooks_url
    lines = [line("1234.5", Qty="2.5", UnitPrice="493.8"), {**line("0.07"), "Description": "<i>tiny</i>"}]
    made = (await post(http, sandbox, "invoice", invoice(DocNumber="A-1", Line=lines)))["Invoice"]
    shown = await page(http, f"{base}/books/1001/Invoice/{made['Id']}")
    for text in (
        "Invoice A-1",
        "1,234.57",
        "493.80",
        "2.5",
        "&lt;i&gt;tiny&lt;/i&gt;",
        "&#34;SyncToken&#34;: &#34;0&#34;",
    ):
        assert text in shown, text
    assert await data(http, f"{base}/books/1001/Invoice/{made['Id']}.json") == {"realm_id": "1001", **made}
    assert "Amy&#39;s Bird Sanctuary" in await page(http, base + "/books/1001/Customer/1")


@pytest.mark.parametrize("path", ["/books/1001/Invoice/99", "/books/1001/Melon/1", "/books/9/Invoice/1", "/books/x"])
async def test_what_is_not_there_is_not_found(sandbox: Sandbox, http: aiohttp.ClientSession, path: str) -> None:
    for suffix in ("", ".json"):
        async with http.get(sandbox.addresses.quickbooks_url + path + suffix) as response:
            assert response.status == 404


@pytest.mark.parametrize("query", ["kind=Melon", "page=-1", "page=x", "page=999999999999999999", "page=²", "company=9"])
async def test_a_query_that_makes_no_sense_shows_nothing_worse_than_an_empty_page(
    sandbox: Sandbox, http: aiohttp.ClientSession, query: str
) -> None:
    for base in (sandbox.addresses.quickbooks_url, sandbox.addresses.metronome_url):
        await page(http, f"{base}/?{query}")


async def test_metronomes_invoices_are_filtered_and_shown_with_their_lines(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    base, [first, *_] = sandbox.addresses.metronome_url, sandbox.scene.invoices
    listed = await page(http, f"{base}/?customer={first['customer_id']}")
    for each in sandbox.scene.invoices:
        assert (each["id"] in listed) == (each["customer_id"] == first["customer_id"])
    drafts = await data(http, base + "/invoices.json?status=DRAFT")
    assert drafts == {"total": 0, "page": 1, "pages": 1, "invoices": []}
    shown = await page(http, f"{base}/invoices/{first['id']}")
    assert all(each["name"].replace("&", "&amp;") in shown for each in first["line_items"])
    assert (await data(http, f"{base}/invoices/{first['id']}.json"))["total"] == first["total"]
    customers = await page(http, base + "/customers")
    assert all(each["id"] in customers for each in sandbox.scene.customers)
    assert (await data(http, base + "/customers.json"))["total"] == len(sandbox.scene.customers)


async def test_the_log_tells_what_was_asked_and_keeps_secrets(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    addresses = sandbox.addresses
    sandbox.quickbooks_faults.add(Fault("status", path_contains="/invoice", method="POST", status=429))
    await post(http, sandbox, "query", "", requestid="r-1", query="select * from Item")
    async with http.get(f"{addresses.quickbooks_url}/v3/company/1001/item/1?access_token={addresses.access_token}"):
        pass
    url = f"{addresses.quickbooks_url}/v3/company/1001/invoice?requestid=r-2"
    bearer = {"Authorization": f"Bearer {addresses.access_token}"}
    async with http.post(url, data=b'{"secret": "in the body"}', headers=bearer) as response:
        assert response.status == 429
    log = await data(http, addresses.quickbooks_url + "/requests.json")
    assert (log["total"], log["kept"]) == (3, 3)
    newest, middle, oldest = log["requests"]
    assert (newest["method"], newest["status"], newest["requestid"], newest["fault"]) == ("POST", 429, "r-2", "status")
    assert newest["path"] == "/v3/company/1001/invoice"
    assert newest["authorization"] == f"Bearer …{addresses.access_token[-4:]}"
    assert newest["milliseconds"] >= 0
    assert (middle["status"], middle["query"]) == (401, {"access_token": "…"})
    assert middle["intuit_tid"]
    assert oldest["query"]["query"] == "select * from Item"
    shown = await page(http, addresses.quickbooks_url + "/requests")
    assert "select * from Item" in shown
    assert "r-2" in shown
    for text in (shown, json.dumps(log, default=str)):
        assert addresses.access_token not in text
        assert "in the body" not in text


def test_the_log_is_bounded_and_newest_first() -> None:
    log = RequestLog(lambda: 0.0)
    core = log.around(lambda request: Answer(200))
    for number in range(REQUESTS_MAX + 10):
        core(Request("GET", f"/{number}", body=b"x"))
    assert (log.total, len(log)) == (REQUESTS_MAX + 10, REQUESTS_MAX)
    kept = list(log.newest())
    assert [kept[0].request.path, kept[-1].request.path] == [f"/{REQUESTS_MAX + 9}", "/10"]
    assert kept[0].request.body == b""


async def test_the_counters_are_a_page_and_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await post(http, sandbox, "invoice", invoice())
    bearer = {"Authorization": f"Bearer {sandbox.addresses.access_token}"}
    async with http.get(f"{sandbox.addresses.quickbooks_url}/v3/company/1001/item/1", headers=bearer) as response:
        assert response.status == 200
    counted = await data(http, sandbox.addresses.quickbooks_url + "/_sandbox/state")
    assert (counted["metered_reads"], counted["free_writes"], counted["throttled"]) == (1, 1, 0)
    assert counted["calls"] == {"POST invoice": 1, "GET item": 1}
    shown = await page(http, sandbox.addresses.quickbooks_url + "/counters")
    assert "POST invoice" in shown
    assert "FINALIZED" in await page(http, sandbox.addresses.metronome_url + "/counters")


async def test_long_lists_are_turned_page_by_page(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    base = sandbox.addresses.quickbooks_url
    for number in range(ROWS_PER_PAGE + 5):
        await post(http, sandbox, "invoice", invoice(DocNumber=f"N-{number:03}"))
    first, second = await page(http, base + "/?company=1001"), await page(http, base + "/?company=1001&page=2")
    assert ("N-005<" in first, "N-004<" in first) == (True, False)
    assert ("N-005<" in second, "N-004<" in second, "N-000<" in second) == (False, True, True)
    assert "/?kind=Invoice&amp;company=1001&amp;page=2" in first
    listed = await data(http, base + "/books.json?page=2")
    assert (listed["total"], listed["pages"], len(listed["objects"])) == (ROWS_PER_PAGE + 5, 2, 5)


def test_a_page_beyond_the_last_is_empty() -> None:
    assert Slice.asked("3", 150).of([{"number": each} for each in range(150)]) == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1234.5", "1,234.50"), (Decimal("0.00035"), "0.00035"), (0, "0.00"), (None, ""), ("", ""), ("n/a", "n/a"),
     (Decimal("1e999999"), "1E+999999")],
)  # fmt: skip
def test_amounts_are_shown_with_every_digit(value: object, shown: str) -> None:
    assert money(value) == shown
