"""A simulator's state as rows: one JSON document to take away and bring back, or a SQLite file that outlives it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from simulators.http import Json, dump

FORMAT = 1
APPLICATION_ID = 0x4D51534E  # in the header of the file, so that another program's file is not mistaken for ours
Row = tuple[str, Json]


class Stateful(Protocol):
    """What both cores are: all that they hold is in rows, and `touched` names those that changed."""

    @property
    def touched(self) -> set[str]: ...

    def row(self, key: str) -> Json | None: ...

    def rows(self) -> Iterator[Row]: ...

    def restore(self, rows: Iterable[Row]) -> None: ...


class StateUnusable(Exception):
    """The snapshot or the state file is not one of this sandbox; the message says why."""


def snapshot(server: str, core: Stateful) -> bytes:
    """All rows of a core in one JSON document."""
    return dump({"format": FORMAT, "server": server, "rows": list(core.rows())})


def restore(server: str, core: Stateful, document: bytes) -> None:
    """Replaces all state by a snapshot's. Raises StateUnusable, with the state as it was."""
    rows = _rows_of(server, document)
    before = list(core.rows())
    try:
        core.restore(rows)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
        core.restore(before)
        raise StateUnusable(f"rows: the state cannot be read: {type(problem).__name__} {problem}") from None


def _rows_of(server: str, document: bytes) -> list[Row]:
    try:
        value: Any = _loaded(document)
    except (ValueError, RecursionError):
        raise StateUnusable("the snapshot is not JSON") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise StateUnusable(f"format: {FORMAT} is expected")
    if value.get("server") != server:
        raise StateUnusable(f"server: this is {server}, the snapshot is of {value.get('server')!r:.40}")
    rows = value.get("rows")
    if not isinstance(rows, list) or not all(_is_row(each) for each in rows):
        raise StateUnusable("rows: a list of pairs of key and object is expected")
    return [(key, row) for key, row in rows]


def _is_row(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _loaded(text: bytes | str) -> Any:
    return json.loads(text, parse_float=Decimal)


class StateFile:
    """The rows of both servers in one SQLite file, which only one process can have open.

    What `keep` has written outlives a killed process. A machine that loses its power may lose the last writes, and
    never the file: SQLite's log is not flushed to the disk for each of them.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises StateUnusable."""
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._prepare()
        except sqlite3.Error as problem:
            raise StateUnusable(f"{path}: {problem}") from None
        except StateUnusable as problem:
            self._database.close()
            raise StateUnusable(f"{path}: {problem}") from None

    def _prepare(self) -> None:
        execute = self._database.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("BEGIN IMMEDIATE")
        [tables] = execute("SELECT count(*) FROM sqlite_master").fetchone()
        [application] = execute("PRAGMA application_id").fetchone()
        [written] = execute("PRAGMA user_version").fetchone()
        if tables and application != APPLICATION_ID:
            raise StateUnusable("this is a database of another program")
        if tables and written != FORMAT:
            raise StateUnusable(f"its format is {written}, {FORMAT} is expected")
        if not tables:
            execute(f"PRAGMA application_id = {APPLICATION_ID}")
            execute(f"PRAGMA user_version = {FORMAT}")
            # Rows keep the place of their first insertion: lists are answered in that order.
            execute("CREATE TABLE rows (server TEXT, key TEXT, value TEXT NOT NULL, UNIQUE (server, key))")
        execute("COMMIT")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self._database.close()

    def read(self, server: str) -> list[Row]:
        found = self._database.execute("SELECT key, value FROM rows WHERE server = ? ORDER BY rowid", (server,))
        return [(key, _loaded(value)) for key, value in found]

    def replace(self, server: str, rows: Iterable[Row]) -> None:
        """All rows of a server, in one transaction."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM rows WHERE server = ?", (server,))
            self._put(server, rows)

    def put(self, server: str, key: str, row: Json) -> None:
        """One row, in a transaction of its own."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._put(server, [(key, row)])

    def keep(self, server: str, core: Stateful) -> None:
        """Writes what was touched, in one transaction; then nothing is touched any more."""
        if not core.touched:
            return
        # Numbers that count up stay in their order: shorter before longer.
        keys = sorted(core.touched, key=lambda key: (len(key), key))
        found = [(key, core.row(key)) for key in keys]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            gone = [(server, key) for key, row in found if row is None]
            self._database.executemany("DELETE FROM rows WHERE server = ? AND key = ?", gone)
            self._put(server, ((key, row) for key, row in found if row is not None))
        core.touched.clear()

    def _put(self, server: str, rows: Iterable[Row]) -> None:
        self._database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            ((server, key, dump(row).decode()) for key, row in rows),
        )
