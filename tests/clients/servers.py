"""A sandbox on real ports in a thread of its own, for clients that block and for clients in other processes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS

REALM_ID = "9341450000000042"


class Clock:
    """The time of day, which a test can be ahead of for a while."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead_seconds

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        self._ahead_seconds += seconds
        yield
        self._ahead_seconds -= seconds


def open_sandbox(clock: Clock) -> AbstractContextManager[Sandbox]:
    """One company that numbers its invoices by itself and minds duplicates; no rate limits."""
    company = Company(REALM_ID, custom_txn_numbers=True, warn_duplicate_doc_numbers=True)
    return sandbox_thread(companies=[company], limits=False, invoices=12, seed=6, clock=clock)


def narrow_sandbox() -> AbstractContextManager[Sandbox]:
    """A company that takes one request a minute."""
    return sandbox_thread(quickbooks=QuickBooksSettings(requests_per_minute_max=1), invoices=0)


@contextmanager
def sandbox_thread(**settings: Any) -> Iterator[Sandbox]:
    """`start_sandbox(**settings)` for the length of the block, served by an event loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(start_sandbox(**settings), loop).result(BOUND_SECONDS)
        try:
            yield running
        finally:
            asyncio.run_coroutine_threadsafe(running.stop(), loop).result(BOUND_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND_SECONDS)
        loop.close()
