"""The simulators' pages in a real browser, at a desk and on a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page

from simulators.faults import Fault
from simulators.quickbooks.books import Company
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS
from tests.browser.conftest import DESK
from tests.browser.test_pages import CONTRAST_MIN, CONTRASTS, PHONE
from tests.simulators.companies import invoice, line

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

COMPANIES = (
    Company("9341450000000001"),
    Company("9341450000000002", name="Nordlicht GmbH & Co. Kommanditgesellschaft"),
)
LONG = "API calls, tier 1 (per thousand) " * 6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """Books of two companies, a log with refused and spoiled requests, Metronome's invoices of every kind."""
    sandbox = await start_sandbox(invoices=45, mix="every-kind", limits=False, companies=COMPANIES)
    address = sandbox.addresses
    headers = {"Authorization": f"Bearer {address.access_token}"}
    base = f"{address.quickbooks_url}/v3/company/{address.realm_id}"
    sandbox.quickbooks_faults.add(Fault("status", path_contains="/customer", status=429))
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session:
        for number in range(3):
            sold = [{**line("12345678.90"), "Description": LONG}] * 3
            body = invoice(DocNumber=f"MTR-{number}", PrivateNote="x" * 200, Line=sold)
            async with session.post(f"{base}/invoice?requestid={str(number) * 36}", json=body) as response:
                assert response.status == 200
        for path in ("/customer/1", "/invoice/999", "/query?query=select * from Item where Name = 'x'"):
            async with session.get(base + path):
                pass
    yield sandbox
    await sandbox.stop()


@pytest.fixture
def harmless() -> tuple[str, ...]:
    """The pages' icon is none."""
    return ("data:",)


def urls(sandbox: Sandbox) -> list[str]:
    books, metronome = sandbox.addresses.quickbooks_url, sandbox.addresses.metronome_url
    realm, largest = COMPANIES[0].realm_id, max(sandbox.scene.invoices, key=lambda each: len(each["line_items"]))
    paths = [
        "/",
        "/?kind=Customer",
        f"/books/{realm}/Invoice/1",
        f"/books/{realm}/Customer/1",
        "/requests",
        "/counters",
    ]
    return [
        *(books + path for path in paths),
        *(metronome + path for path in ("/", "/customers", f"/invoices/{largest['id']}", "/requests", "/counters")),
    ]


async def test_no_page_scrolls_sideways_on_a_phone_or_at_a_desk(sandbox: Sandbox, page: Page) -> None:
    for size in (PHONE, DESK):
        await page.set_viewport_size(size)
        for url in urls(sandbox):
            answer = await page.goto(url)
            assert answer is not None
            assert answer.status == 200, url
            assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], url


async def test_all_text_is_readable_against_its_ground(sandbox: Sandbox, page: Page) -> None:
    for url in urls(sandbox)[:8]:
        await page.goto(url)
        faint = [each for each in await page.evaluate(CONTRASTS) if each[0] < CONTRAST_MIN]
        assert faint == [], url


async def test_from_the_books_to_a_document_and_its_json(sandbox: Sandbox, page: Page) -> None:
    await page.goto(sandbox.addresses.quickbooks_url)
    await page.locator('select[name="company"]').select_option(COMPANIES[1].realm_id)
    await page.get_by_role("button", name="Show").click()
    await page.get_by_text("There are none yet.").wait_for()
    await page.locator('select[name="company"]').select_option("")
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("link", name="MTR-2").click()
    await page.get_by_role("heading", name="Invoice MTR-2").wait_for()
    assert "37,037,036.70" in await page.locator("dl").inner_text()
    assert await page.locator("tbody tr").count() == 4  # three lines and the subtotal
    assert '"DocNumber": "MTR-2"' in await page.locator("pre").inner_text()


async def test_the_log_says_what_was_wrong(sandbox: Sandbox, page: Page) -> None:
    await page.goto(sandbox.addresses.quickbooks_url)
    await page.get_by_role("link", name="Requests").click()
    rows = await page.locator("tbody tr").all_inner_texts()
    assert len(rows) == 6
    assert "429" in rows[2]
    assert "status" in rows[2]
