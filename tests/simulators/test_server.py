"""Both simulators over HTTP: independent clients, faults, webhooks and pages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from simulators.faults import Fault
from simulators.http import dump
from simulators.metronome.webhooks import Schedule, sign
from simulators.quickbooks.books import Company
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS
from tests.simulators.companies import invoice, line

CREATES = 400


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = await start_sandbox(invoices=12, limits=False, schedule=Schedule(0.01, 0.02, attempts_max=5))
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sandbox.addresses.access_token}"}
    timeout = aiohttp.ClientTimeout(total=BOUND_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield session


def company(sandbox: Sandbox) -> str:
    return f"{sandbox.addresses.quickbooks_url}/v3/company/{sandbox.addresses.realm_id}"


async def state(http: aiohttp.ClientSession, base: str) -> Any:
    async with http.get(base + "/_sandbox/state") as response:
        return await response.json()


class Receiver:
    """Takes webhooks; refuses the first `refusals` with 503."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.taken: list[tuple[dict[str, str], bytes]] = []

    async def __aenter__(self) -> str:
        self.runner = web.ServerRunner(web.Server(self.handle))
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/webhooks/metronome"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.taken.append((dict(request.headers), body))
        return web.Response()


def test_the_documented_webhook_vector_is_reproduced() -> None:
    """docs/vendors/metronome.md §3.3."""
    properties = {
        "customer_id": "5f794d50-085a-4db6-8d15-286e518b7225",
        "widget_id": "0891458d-b6f0-4fdd-a41e-380aae1a1e38",
    }
    event = {"id": "b2c9e307-624e-4e7d-a5a4-1b74107d78c4", "type": "widget_created", "properties": properties}
    body = json.dumps(event, indent=2).encode()
    assert len(body) == 216
    signature = sign("correct-horse-battery-staple", "Mon, 02 Jan 2006 22:04:05 GMT", body)
    assert signature == "b82652fa2246cf1d8a27e591f155c865f68b46c19b9213fd9c052f2419b4742b"


async def test_the_addresses_are_one_json_line_with_every_key(sandbox: Sandbox) -> None:
    text = sandbox.addresses.as_json()
    assert "\n" not in text
    assert set(json.loads(text)) == {
        "metronome_url", "quickbooks_url", "quickbooks_authorize_url", "quickbooks_token_url", "quickbooks_revoke_url",
        "realm_id", "client_id", "client_secret", "access_token", "refresh_token", "metronome_token",
        "webhook_secret", "invoices", "seed", "companies",
    }  # fmt: skip


async def test_webhooks_are_signed_sent_again_until_taken_and_always_the_same_event(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    receiver = Receiver(refusals=3)
    async with receiver as url:
        asked = {"url": url, "all": True, "secret": "other-secret"}
        async with http.post(sandbox.addresses.metronome_url + "/_sandbox/finalize", json=asked) as response:
            assert await response.json() == {"accepted": 12, "refused": []}
        await sandbox.send_finalized(url, [sandbox.scene.invoices[0]["id"]])
    assert len(receiver.taken) == 13
    for number, (headers, body) in enumerate(receiver.taken):
        secret = "other-secret" if number < 12 else sandbox.webhook_secret
        assert headers["Metronome-Webhook-Signature"] == sign(secret, headers["X-Metronome-Date"], body)
        assert headers["Date"] == headers["X-Metronome-Date"]
        assert b": " not in body
    events = [json.loads(body) for _, body in receiver.taken]
    assert {each["properties"]["invoice_id"] for each in events} == {each["id"] for each in sandbox.scene.invoices}
    assert len({each["id"] for each in events}) == 12


async def test_a_webhook_nobody_takes_ends_after_its_attempts(sandbox: Sandbox) -> None:
    invoice_id = sandbox.scene.invoices[0]["id"]
    deliveries = await sandbox.send_finalized("http://127.0.0.1:1/", [invoice_id])
    assert [(each.accepted, each.attempts) for each in deliveries] == [(False, 5)]


async def test_finalizing_what_is_unknown_or_unclear_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    for body, status in (({"url": "http://x/", "invoice_ids": ["none"]}, 404), ({"url": "http://x/"}, 400), ([], 400)):
        async with http.post(sandbox.addresses.metronome_url + "/_sandbox/finalize", json=body) as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("fault", "seen", "kept"),
    [
        ({"kind": "status", "status": 503}, "503", 0),
        ({"kind": "status", "status": 500, "after_commit": True}, "500", 1),
        ({"kind": "html", "status": 502}, "502 text/html", 0),
        ({"kind": "drop"}, "ServerDisconnectedError", 0),
        ({"kind": "drop", "after_commit": True}, "ServerDisconnectedError", 1),
        ({"kind": "hang", "delay_seconds": 0.05, "after_commit": True}, "ServerDisconnectedError", 1),
        ({"kind": "truncated"}, "ClientPayloadError", 1),
        ({"kind": "delay", "delay_seconds": 0.05}, "200", 1),
    ],
)
async def test_a_fault_spoils_one_answer_before_or_after_the_work(
    sandbox: Sandbox, http: aiohttp.ClientSession, fault: dict[str, Any], seen: str, kept: int
) -> None:
    base = sandbox.addresses.quickbooks_url
    matching = {"path_contains": "/invoice", "method": "POST", **fault}
    async with http.post(base + "/_sandbox/faults", json=matching) as response:
        assert await response.json() == {"pending": 1}
    try:
        async with http.post(company(sandbox) + "/invoice", json=invoice()) as response:
            await response.read()
            html = response.content_type == "text/html"
            outcome = f"{response.status} text/html" if html else str(response.status)
    except aiohttp.ClientError as error:
        outcome = type(error).__name__
    assert outcome == seen
    assert (await state(http, base))["invoices"] == kept
    async with http.post(company(sandbox) + "/invoice", json=invoice()) as response:
        assert response.status == 200


async def test_a_server_error_put_in_place_of_metronomes_answer_is_replayed_under_its_idempotency_key(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.metronome_faults.add(Fault("status", status=500, body='{"message": "gone wrong"}', method="POST"))
    url = sandbox.addresses.metronome_url + "/v1/customers"
    keyed = {"Authorization": f"Bearer {sandbox.addresses.metronome_token}", "Idempotency-Key": "one"}
    statuses = []
    for headers in (keyed, keyed, keyed | {"Idempotency-Key": "two"}):
        async with http.post(url, json={"name": "Acme"}, headers=headers) as response:
            statuses.append(response.status)
    assert statuses == [500, 500, 200]


async def test_faults_can_be_listed_cleared_and_must_be_known(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = sandbox.addresses.metronome_url + "/_sandbox/faults"
    async with http.post(url, json=[{"kind": "drop", "count": 2}, {"kind": "html"}]) as response:
        assert await response.json() == {"pending": 2}
    async with http.delete(url) as response:
        assert await response.json() == {"pending": 0}
    for wrong in ({"kind": "melt"}, {}, {"kind": "drop", "often": 1}, 7):
        async with http.post(url, json=wrong) as response:
            assert response.status == 400


async def test_a_fault_may_carry_headers_and_counts_down(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    headers = {"X-Metronome-Rate-Limit-Type": "client"}
    body = '{"message": "Too many requests"}'
    sandbox.metronome_faults.add(Fault("status", path_contains="/v1/", status=429, body=body, headers=headers, count=2))
    bearer = {"Authorization": f"Bearer {sandbox.addresses.metronome_token}"}
    statuses = []
    for _ in range(3):
        async with http.get(sandbox.addresses.metronome_url + "/v1/customers", headers=bearer) as response:
            statuses.append((response.status, response.headers.get("X-Metronome-Rate-Limit-Type")))
    assert statuses == [(429, "client"), (429, "client"), (200, None)]


async def test_state_tells_duplicates_by_the_metronome_id_in_the_note(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    metronome_id = sandbox.scene.invoices[0]["id"]
    for number in range(3):
        body = invoice(PrivateNote=f"Metronome {metronome_id}", Line=[line("0.10")])
        async with http.post(company(sandbox) + "/invoice", json=body, params={"requestid": str(number)}) as response:
            made = (await response.json())["Invoice"]
    counted = await state(http, sandbox.addresses.quickbooks_url)
    assert (counted["invoices"], counted["totals"], counted["duplicates"]) == (3, {"USD": "0.30"}, [metronome_id])
    for number in (made["Id"], "1"):
        void = {"Id": number, "SyncToken": "0"}
        async with http.post(company(sandbox) + "/invoice?operation=void", json=void) as response:
            assert response.status == 200
    assert (await state(http, sandbox.addresses.quickbooks_url))["duplicates"] == []
    async with http.get(sandbox.addresses.quickbooks_url + "/_sandbox/invoices") as response:
        assert [each["Id"] for each in await response.json()] == ["1", "2", "3"]


async def test_the_generated_customers_and_items_stand_in_the_books(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    for kind, entries in (("customer", sandbox.scene.quickbooks_customers), ("item", sandbox.scene.quickbooks_items)):
        assert entries
        for each in entries:
            async with http.get(f"{company(sandbox)}/{kind}/{each.id}") as response:
                found = (await response.json())[kind.title()]
            assert each.name == found["DisplayName" if kind == "customer" else "Name"]
            assert kind == "item" or found["CurrencyRef"]["value"] == each.currency


async def test_the_pages_show_the_books_and_escape_what_is_in_them(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    body = invoice(DocNumber="MTR-<b>", PrivateNote="<script>alert(1)</script>", Line=[line("1234.5")])
    async with http.post(company(sandbox) + "/invoice", json=body) as response:
        assert response.status == 200
    async with http.get(sandbox.addresses.quickbooks_url + "/") as response:
        page = await response.text()
    assert "1,234.50 USD" in page
    assert "MTR-&lt;b&gt;" in page
    assert "<script>" not in page
    async with http.get(sandbox.addresses.metronome_url + "/") as response:
        assert sandbox.scene.invoices[0]["id"] in await response.text()


async def test_the_rate_of_creates_is_printed(
    sandbox: Sandbox, http: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """Client and server share one core here, so the server alone is faster than this."""
    body = dump(invoice(Line=[line()] * 4, PrivateNote="a note of a usual length " * 5))

    async def create(count: int) -> None:
        for _ in range(count):
            async with http.post(company(sandbox) + "/invoice", data=body) as response:
                await response.read()
                assert response.status == 200

    start = time.perf_counter()
    await asyncio.gather(*(create(CREATES // 8) for _ in range(8)))
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(f"\nQuickBooks simulator: {CREATES / seconds:,.0f} invoice creates/s, client included")
    assert (await state(http, sandbox.addresses.quickbooks_url))["invoices"] == CREATES


async def test_two_companies_keep_their_books_tokens_and_request_ids_apart() -> None:
    companies = (Company("1001", name="First"), Company("1002", name="Second", currency="EUR"))
    sandbox = await start_sandbox(invoices=4, limits=False, companies=companies)
    try:
        base = sandbox.addresses.quickbooks_url
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session:
            for realm, grant in sandbox.grants.items():
                headers = {"Authorization": f"Bearer {next(iter(grant.access_tokens))}"}
                for asked, status in ((realm, 200), ("1001" if realm == "1002" else "1002", 403)):
                    url = f"{base}/v3/company/{asked}/invoice?requestid=same"
                    async with session.post(url, json=invoice(), headers=headers) as response:
                        assert response.status == status
            assert (await state(session, base))["totals"] == {"USD": "100.00", "EUR": "100.00"}
    finally:
        await sandbox.stop()


async def test_stop_does_not_wait_for_a_hanging_answer(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.quickbooks_faults.add(Fault("hang"))
    caller = asyncio.create_task(http.get(company(sandbox) + "/preferences").__aenter__())
    async with asyncio.timeout(BOUND_SECONDS):
        while sandbox.quickbooks_faults.pending:
            await asyncio.sleep(0.01)
        await sandbox.stop()
    with pytest.raises(aiohttp.ClientError):
        await caller
