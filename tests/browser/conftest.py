"""One Chromium for the tests of a file, and a new page for each of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests import BOUND_SECONDS

DESK = {"width": 1280, "height": 900}


def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "BROWSER TESTS DID NOT RUN: no chromium on the PATH (Debian: apt-get install chromium)"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            timeout=BOUND_SECONDS * 1000,
        )
        yield browser
        await browser.close()


@pytest.fixture
def harmless() -> tuple[str, ...]:
    """How addresses begin that a page may ask for, though they are not the server's."""
    return ()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, harmless: tuple[str, ...]) -> AsyncIterator[Page]:
    """A page that fails the test when its console shows an error, or when it asks for anything from outside."""
    opened = await browser.new_page(viewport=DESK)
    opened.set_default_timeout(BOUND_SECONDS * 1000)
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: troubles.append(request.url) if "127.0.0.1" not in request.url else None)
    yield opened
    await opened.close()
    assert [each for each in troubles if not each.startswith(harmless)] == []
