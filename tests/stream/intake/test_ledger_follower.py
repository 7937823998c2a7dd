"""The ledger as others follow it: every row of an invoice, and nothing else that lies in its changelog."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog.testing

from models.ledger import LedgerEntry
from models.record import Address
from models.subject import CLAIM, RowKey
from stream.intake import ledger_follower
from stream.intake.ledger_follower import following
from stream.kafka.log import Followed, RawRecord
from stream.settings import Settings
from tests import BOUND_SECONDS
from tests.agents.in_process import REALM
from tests.builders import RECEIVED_AT


def a_row(invoice_id: str) -> LedgerEntry:
    return LedgerEntry(realm=REALM, invoice_id=invoice_id, state="posted", changed_at=RECEIVED_AT)


def a_record(offset: int, key: str, value: bytes | None) -> RawRecord:
    return RawRecord(Address(topic="ledger", partition=0, offset=offset), 0, key.encode(), value)


async def test_that_a_worker_makes_sure_of_its_company_is_no_invoice_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It puts a row and takes it away, for each invoice: as much would stand in the log of `watch`."""
    row, claim = a_row("i-1"), RowKey.of(REALM, CLAIM)
    records = [a_record(0, claim, a_row(CLAIM).encode()), a_record(1, claim, None), a_record(2, row.key, row.encode())]

    class Log:
        async def follow(self, topics: list[str]) -> AsyncIterator[Followed]:
            yield Followed(records, caught_up=True)
            await asyncio.Event().wait()

    class Logs:
        @staticmethod
        def of(settings: Settings) -> Any:
            return Log()

    monkeypatch.setattr(ledger_follower, "EventLog", Logs)
    entered: list[LedgerEntry] = []
    with structlog.testing.capture_logs() as logs:
        async with following(Settings(), entered.append) as ledger, asyncio.timeout(BOUND_SECONDS):
            await ledger.caught_up()
    assert (entered, logs) == ([row], [])
