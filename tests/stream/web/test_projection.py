"""The projection against an embedded broker whose topics were written by hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from models.ledger import ItemMapping
from models.outcomes import Result
from models.record import Address
from simulators.kafka.embedded import embedded_broker
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import TopicsMissing
from stream.topics import topic_names
from stream.web import queries
from stream.web.index import Batch, Index, TableRow, history_of
from stream.web.projection import Projection
from tests import BOUND_SECONDS
from tests.builders import RECEIVED_AT
from tests.stream.recorded import (
    REALM,
    Recorder,
    invoice_id,
    invoice_of,
    record_a_month,
    recording,
    settings_of,
)


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with embedded_broker() as servers:
        yield servers


async def project(recorder: Recorder) -> Index:
    index = Index(recorder.settings.web.index)
    await Projection(recorder.settings, index).catch_up()
    return index


def dump(index: Index) -> dict[str, list[tuple[object, ...]]]:
    with index.reading() as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(tuple, connection.execute(f"SELECT * FROM {name}")), key=repr) for name in tables}


def count(index: Index, table: str) -> int:
    with index.reading() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def state(index: Index, number: int) -> str | None:
    with index.reading() as connection:
        row = queries.invoice(connection, invoice_id(number))
    return None if row is None else str(row["state"])


class Killed(Exception):
    pass


class Dying(Index):
    """An index whose process dies in the middle of a batch, after some whole ones."""

    def __init__(self, path: Path, batches: int) -> None:
        super().__init__(path)
        self.batches = batches

    def apply(self, batch: Batch) -> None:
        if self.batches == 0:
            with suppress(UnicodeEncodeError):  # the second half fails, so none of it may stay
                broken = TableRow("items", "r/1", "\ud800", Address(topic="t", partition=0, offset=0), "2026")
                super().apply(Batch(steps=batch.steps, table_rows=[broken], positions=batch.positions))
            raise Killed
        self.batches -= 1
        super().apply(batch)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_month_becomes_rows_with_the_addresses_of_their_records(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        invoice = invoice_of(1, cents=123456)
        _, facts_at, _, command_at = await recorder.story(invoice)
        index = await project(recorder)
    with index.reading() as connection:
        row, history = queries.invoice(connection, invoice["id"]), history_of(connection, invoice["id"])
    assert row is not None
    assert (row["state"], row["metronome_total"], row["qbo_total"]) == ("posted", "1234.56", "1234.56")
    assert [step.what for step in history] == ["webhook", "InvoiceEnriched", "PostInvoice", "posted"]
    assert [history[1].address, history[2].address] == [facts_at, command_at]
    assert row["document"] == str(command_at)


async def test_the_story_holds_what_the_invoice_needed(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        invoice = invoice_of(1, customer_custom_fields=None)
        await recorder.story(invoice)
        await recorder.story(invoice_of(2, customer_custom_fields=None))
        index = await project(recorder)
    with index.reading() as connection:
        history = history_of(connection, invoice["id"])
    assert [step.what for step in history].count("EnsureCustomer") == 1
    assert [step.what for step in history].count("found") == 1


async def test_a_second_catch_up_reads_on_and_counts_nothing_twice(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await recorder.story(invoice_of(1))
        once = dump(await project(recorder))
        assert dump(await project(recorder)) == once
        await recorder.story(invoice_of(2))
        index = await project(recorder)
    assert (count(index, "invoices"), count(index, "steps")) == (2, 8)


async def test_a_projection_killed_anywhere_ends_with_the_same_index(bootstrap: str, tmp_path: Path) -> None:
    """Small batches, each perhaps the last of its process, give what one run gives."""
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await record_a_month(recorder, 14)
        whole = dump(await project(recorder))
        torn = Index(tmp_path / "torn.sqlite")
        for batches in (0, 1, 2):
            with suppress(Killed):
                await Projection(recorder.settings, Dying(torn.path, batches)).catch_up()
        await Projection(recorder.settings, torn).catch_up()
    assert dump(torn) == whole


async def test_a_running_projection_follows(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        index = Index(recorder.settings.web.index)
        task = asyncio.create_task(Projection(recorder.settings, index).run())
        try:
            await recorder.story(invoice_of(1))
            await until(lambda: state(index, 1) == "posted")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_index_deleted_under_a_running_projection_comes_back(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await recorder.story(invoice_of(1))
        index = Index(recorder.settings.web.index)
        task = asyncio.create_task(Projection(recorder.settings, index).run())
        try:
            await until(lambda: state(index, 1) == "posted")
            index.path.unlink()

            def is_back() -> bool:
                with suppress(sqlite3.OperationalError):
                    return state(index, 1) == "posted"
                return False

            await until(is_back)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_topics_made_anew_make_the_index_anew(tmp_path: Path) -> None:
    for stories in (2, 0):
        with embedded_broker() as bootstrap:
            async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
                for each in range(stories):
                    await recorder.story(invoice_of(each))
                index = await project(recorder)
                assert count(index, "invoices") == stories


async def test_topics_made_anew_are_noticed_when_they_are_longer_than_before(tmp_path: Path) -> None:
    histories: list[tuple[Result, int]] = [("parked", 1), ("posted", 3)]
    for result, stories in histories:
        with embedded_broker() as bootstrap:
            async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
                for each in range(stories):
                    await recorder.story(invoice_of(each), result)  # the first lies where the first lay before
                index = await project(recorder)
    assert [state(index, each) for each in range(3)] == ["posted"] * 3


async def test_garbage_on_every_topic_does_not_stop_the_projection(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        for topic in topic_names(recorder.settings).all():
            for value in (b"\xff\x00garbage", b"", None, b"[[[", b'{"type": 3}'):
                await recorder.send(topic, value, b"\xff")
        await recorder.story(invoice_of(1))
        index = await project(recorder)
    assert state(index, 1) == "posted"


async def test_tokens_never_enter_the_index(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await recorder.connection(company_name="Example", access_token="gAAAAsecret1", refresh_token="gAAAAsecret2")
        index = await project(recorder)
    assert count(index, "connections") == 1
    assert count(index, "table_rows") == 1
    files = [each.read_bytes() for each in tmp_path.glob("i.sqlite*")]
    assert not any(b"gAAAAsecret" in each for each in files)


async def test_a_table_holds_the_newest_row_of_each_key(bootstrap: str, tmp_path: Path) -> None:
    since = Address(topic="x", partition=0, offset=0)
    mapping = ItemMapping(realm=REALM, product_id="p", qbo_id="1", name="API", source="created", since=since)
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await recorder.row("items", f"{REALM}/p", mapping)
        await recorder.row("items", f"{REALM}/p", mapping.replace(qbo_id="2"))
        await recorder.row("items", f"{REALM}/gone", mapping)
        await recorder.row("items", f"{REALM}/gone", None)
        index = await project(recorder)
    with index.reading() as connection:
        (row,) = queries.table(connection, "items", search="", page=1, page_rows=10).rows
    assert row["key"] == f"{REALM}/p"
    assert '"qbo_id":"2"' in row["value"]


async def test_the_overview_says_what_waits_for_whom_and_what_differs(bootstrap: str, tmp_path: Path) -> None:
    async with recording(settings_of(bootstrap, tmp_path / "i.sqlite")) as recorder:
        await recorder.connection(company_name="Example", access_token_expires_at=RECEIVED_AT)
        parked = {"reason": "no item", "remedy": "map it", "waits_for": "item/1"}
        for number in (1, 2):
            await recorder.story(invoice_of(number), "parked", changes=parked)
        await recorder.story(invoice_of(3), changes={"total": Decimal(1)})
        at = await recorder.webhook(invoice_of(4))
        await recorder.dead_letter(at, b"{}", "no such invoice")
        index = await project(recorder)
    with index.reading() as connection:
        overview = queries.overview(connection)
        letters = queries.dead_letters(connection, page=1, page_rows=10).rows
    first = overview["waiting"][0]
    assert (first["reason"], first["remedy"], first["count"]) == (
        "no item",
        "map it",
        2,
    )
    assert [each["invoice_id"] for each in overview["mismatched"]] == [invoice_id(3)]
    assert (overview["mismatches"], overview["deadletters"], overview["came_in"]["webhooks"]) == (1, 1, 4)
    assert overview["connections"][0]["access_token_expires_at"] == "2026-11-02T01:02:03.000Z"
    assert [(each["invoice_id"], each["original_offset"], each["error_class"]) for each in letters] == [
        (invoice_id(4), at.offset, "agents.clients.failures.GiveUp")
    ]


async def test_missing_topics_are_named_within_the_time(bootstrap: str, tmp_path: Path) -> None:
    settings = settings_of(bootstrap, tmp_path / "i.sqlite")
    hurried = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"timeout_seconds": 5})})
    with pytest.raises(TopicsMissing, match=r"quickbooks\.outcomes"):
        await asyncio.wait_for(Projection(hurried, Index(tmp_path / "i.sqlite")).run(), BOUND_SECONDS)


async def test_a_broker_that_is_not_there_is_an_error_within_the_time(tmp_path: Path) -> None:
    settings = settings_of("127.0.0.1:1", tmp_path / "i.sqlite")
    hurried = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"timeout_seconds": 1})})
    with pytest.raises(BrokerUnreachable):
        await asyncio.wait_for(Projection(hurried, Index(tmp_path / "i.sqlite")).catch_up(), BOUND_SECONDS)
