"""What a person sees, in a real browser: Chromium, found on the PATH."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from simulators.kafka.embedded import embedded_broker
from stream.web.app import create_web
from stream.web.index import Index
from stream.web.projection import Projection
from tests.stream.recorded import invoice_id, record_a_month, recording, settings_of

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE = {"width": 390, "height": 844}
CONTRAST_MIN = 4.5  # WCAG 2.2 AA, for text of this size

CONTRASTS = """
() => {
  const channels = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.getClientRects().length
      && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((element) => {
      const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 100)];
    });
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the pages, with a month's invoices in them."""
    with embedded_broker() as bootstrap:
        settings = settings_of(bootstrap, tmp_path_factory.mktemp("site") / "i.sqlite", page_rows=20)
        async with recording(settings) as recorder:
            await record_a_month(recorder, 30)
        index = Index(settings.web.index)
        await Projection(settings, index).catch_up()
        async with TestServer(create_web(settings, index)) as server:
            yield str(server.make_url("")).rstrip("/")


def paths() -> list[str]:
    invoices = [f"/invoices/{invoice_id(number)}" for number in (1, 3, 5, 7, 8)]
    tables = [f"/tables/{name}" for name in ("customers", "invoices", "connections")]
    return ["/", "/invoices", "/deadletters", "/records/metronome.webhooks/0/0", *invoices, *tables]


async def test_no_page_scrolls_sideways_on_a_phone(site: str, page: Page) -> None:
    await page.set_viewport_size(PHONE)
    for path in paths():
        answer = await page.goto(site + path)
        assert answer is not None
        assert answer.status == 200, path
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


async def test_all_text_is_readable_against_its_ground(site: str, page: Page) -> None:
    for path in paths():
        await page.goto(site + path)
        faint = [each for each in await page.evaluate(CONTRASTS) if each[0] < CONTRAST_MIN]
        assert faint == [], path


async def test_from_the_first_page_to_the_payload_of_a_step(site: str, page: Page) -> None:
    await page.goto(site)
    await page.get_by_role("link", name="Invoices", exact=True).click()
    number = f"MTR-{invoice_id(1)[:8].upper()}"
    await page.get_by_label("Search").fill(number)
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("link", name=number).click()
    await page.get_by_role("heading", name=number).wait_for()
    assert (
        await page.locator(".totals strong").nth(0).inner_text()
        == await page.locator(".totals strong").nth(1).inner_text()
    )
    await page.locator(".story a").nth(1).click()
    assert '"type": "InvoiceEnriched"' in await page.locator("pre").inner_text()


async def test_money_stands_right_aligned_in_one_column(site: str, page: Page) -> None:
    await page.goto(site + "/invoices?state=posted")
    cells = page.locator("tbody td:nth-child(4)")
    assert await cells.count() > 5
    for number in range(await cells.count()):
        assert await cells.nth(number).evaluate("cell => getComputedStyle(cell).textAlign") == "right"


async def test_the_filter_says_states_in_plain_words(site: str, page: Page) -> None:
    await page.goto(site + "/invoices")
    await page.locator('select[name="state"]').select_option("parked")
    await page.get_by_role("button", name="Show").click()
    states = await page.locator("tbody .state").all_inner_texts()
    assert states
    assert set(states) == {"Waiting for an item mapping"}


async def test_the_pages_can_be_walked_by_keyboard(site: str, page: Page) -> None:
    await page.goto(site)
    for _ in range(3):
        await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Invoices"
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Invoices").wait_for()
