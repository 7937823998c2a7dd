from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from models.events import ConnectionChanged
from models.record import Address
from stream.web import queries
from stream.web.history import Event
from stream.web.index import Batch, Index, NotAnIndex, Position, TableRow
from tests.builders import RECEIVED_AT


def step(number: int, *, name: str = "Acme", total: str = "10.00", state: str = "posted") -> Event:
    sets = {"customer_name": name, "doc_number": f"MTR-{number}", "metronome_total": total, "currency": "USD"}
    return Event(
        Address(topic="outcomes", partition=0, offset=number), "outcomes", f"2026-11-02T01:02:{number:02d}.000Z", state,
        "…", invoice_id=f"inv-{number}", state=state, sets=sets,
    )  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "deep" / "index.sqlite")


def found(index: Index, **asked: object) -> queries.Page:
    with index.reading() as connection:
        return queries.invoices(
            connection,
            **{"search": "", "state": "", "sort": "changed", "page": 1, "page_rows": 10, **asked},  # type: ignore[arg-type]
        )


def ids(page: queries.Page) -> list[str]:
    return [row["invoice_id"] for row in page.rows]


def test_rows_and_positions_enter_together_and_entering_twice_changes_nothing(index: Index) -> None:
    batch = Batch(steps=[step(1)], positions={("outcomes", 0): Position(2, 5)})
    index.apply(batch)
    index.apply(batch)
    assert found(index).count == 1
    assert index.positions() == {("outcomes", 0): Position(2, 5)}


def test_a_batch_that_fails_leaves_neither_rows_nor_positions(index: Index) -> None:
    broken = Batch(
        steps=[step(1)],
        table_rows=[TableRow("items", "r/1", "\ud800", Address(topic="t", partition=0, offset=0), "2026")],
        positions={("outcomes", 0): Position(2, 5)},
    )
    with pytest.raises(UnicodeEncodeError):
        index.apply(broken)
    assert found(index).count == 0
    assert index.positions() == {}


def test_an_index_of_another_version_is_built_anew(index: Index) -> None:
    index.apply(Batch(steps=[step(1)]))
    with closing(sqlite3.connect(index.path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    assert found(Index(index.path)).count == 0


def test_an_index_of_this_version_is_kept(index: Index) -> None:
    index.apply(Batch(steps=[step(1)]))
    assert found(Index(index.path)).count == 1


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE precious (thing)")
    with pytest.raises(NotAnIndex, match=r"web\.index"):
        Index(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM precious").fetchone() == (0,)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    with pytest.raises(NotAnIndex):
        Index(path)
    assert path.read_text().startswith("not a database")


def test_search_finds_parts_and_takes_wildcards_literally(index: Index) -> None:
    index.apply(Batch(steps=[step(1, name="100% Pure"), step(2, name="1000 Pure"), step(3, name="a_b")]))
    assert ids(found(index, search="100%")) == ["inv-1"]
    assert ids(found(index, search="a_b")) == ["inv-3"]
    assert ids(found(index, search="mtr-2")) == ["inv-2"]
    assert found(index, search="' OR 1=1 --").count == 0


def test_sorting_by_total_is_numeric(index: Index) -> None:
    index.apply(Batch(steps=[step(1, total="9.99"), step(2, total="1000.00"), step(3, total="100000000000000000000")]))
    assert ids(found(index, sort="total")) == ["inv-3", "inv-2", "inv-1"]


@pytest.mark.parametrize("total", ["1E+999999999", "-1E+999999999", "1E-999999999", "0E+999999999"])
def test_a_total_that_no_integer_holds_is_sorted_too(index: Index, total: str) -> None:
    index.apply(Batch(steps=[step(1, total=total), step(2, total="1.00")]))
    assert set(ids(found(index, sort="total"))) == {"inv-1", "inv-2"}


def test_pages_divide_the_rows_and_a_page_beyond_the_last_is_the_last(index: Index) -> None:
    index.apply(Batch(steps=[step(number) for number in range(1, 8)]))
    assert ids(found(index, page=2, page_rows=3)) == ["inv-4", "inv-3", "inv-2"]
    last = found(index, page=99, page_rows=3)
    assert (last.number, last.last, ids(last)) == (3, 3, ["inv-1"])


def test_the_newest_change_of_a_connection_wins_and_a_refresh_keeps_the_name(index: Index) -> None:
    first = ConnectionChanged(realm="r", state="connected", changed_at=RECEIVED_AT, company_name="Example")
    later = first.replace(state="reconnect needed", changed_at=RECEIVED_AT + timedelta(hours=1), company_name=None)
    index.apply(Batch(connections=[first, later]))
    index.apply(Batch(connections=[first]))
    with index.reading() as connection:
        (row,) = queries.overview(connection)["connections"]
    assert (row["state"], row["company_name"]) == ("reconnect needed", "Example")


def test_a_deleted_table_row_leaves_the_index(index: Index) -> None:
    at = Address(topic="t", partition=0, offset=0)
    index.apply(
        Batch(table_rows=[TableRow("items", "r/1", "{}", at, "2026"), TableRow("items", "r/2", "{}", at, "2026")])
    )
    index.apply(Batch(table_rows=[TableRow("items", "r/1", None, at, "2026")]))
    with index.reading() as connection:
        assert [row["key"] for row in queries.table(connection, "items", search="", page=1, page_rows=9).rows] == [
            "r/2"
        ]


def test_a_dead_letter_that_is_read_before_its_webhook_still_finds_it(index: Index) -> None:
    letter = Event(
        Address(topic="deadletters", partition=0, offset=0), "deadletters", "2026-11-02T01:02:09.000Z", "dead letter",
        "…", cause="outcomes[0]@1", state="dead letter", reason="404",
    )  # fmt: skip
    for batches in ([[letter], [step(1, state="received")]], [[step(1, state="received")], [letter]]):
        index.clear()
        for steps in batches:
            index.apply(Batch(steps=[each if each is letter else _webhook(each) for each in steps]))
        assert [row["state"] for row in found(index).rows] == ["dead letter"]


def _webhook(like: Event) -> Event:
    return Event(like.address, "webhooks", like.at, "webhook", "…", invoice_id=like.invoice_id, state="received")


def test_readers_cannot_write(index: Index) -> None:
    with index.reading() as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM invoices")
