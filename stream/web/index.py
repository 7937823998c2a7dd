"""The disposable index: a SQLite file that the projection writes and the pages read.

It holds addresses and summaries, never payloads and never a token. It may be deleted at any time, and is built anew
from the topics; that also happens when it was written by another version of this schema. One writer at a time;
readers open their own connections, so they never wait for it (WAL).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from models.events import ConnectionChanged
from models.record import Address
from stream import OperatorError
from stream.formatting import iso

from .history import DeadLetter, Event, fold, in_order

APPLICATION_ID = 0x4D51_4958  # says that a SQLite file is ours, so that no other one is ever deleted
SCHEMA_VERSION = 2
BUSY_TIMEOUT_SECONDS = 10

SCHEMA = """
CREATE TABLE positions (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE steps (
    address TEXT PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    role TEXT NOT NULL, at TEXT NOT NULL, what TEXT NOT NULL, summary TEXT NOT NULL, realm TEXT, invoice_id TEXT,
    cause TEXT, state TEXT, reason TEXT, remedy TEXT, waits_for TEXT, sets TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX steps_of_invoice ON steps (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX steps_of_cause ON steps (cause) WHERE cause IS NOT NULL;
CREATE INDEX steps_of_kind ON steps (role, what);
CREATE TABLE invoices (
    invoice_id TEXT PRIMARY KEY, realm TEXT, customer_id TEXT, customer_name TEXT, state TEXT NOT NULL, kind TEXT,
    doc_number TEXT, currency TEXT, metronome_total TEXT, qbo_total TEXT, qbo_currency TEXT, qbo_id TEXT,
    mismatch INTEGER NOT NULL, reason TEXT, remedy TEXT, waits_for TEXT, received_at TEXT, changed_at TEXT,
    seconds REAL, document TEXT, metronome_total_order INTEGER, qbo_total_order INTEGER
) WITHOUT ROWID;
CREATE INDEX invoices_by_state ON invoices (state, changed_at);
CREATE INDEX invoices_by_change ON invoices (changed_at);
CREATE INDEX invoices_by_receipt ON invoices (received_at);
CREATE INDEX invoices_mismatched ON invoices (mismatch) WHERE mismatch = 1;
CREATE TABLE deadletters (
    address TEXT PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    at TEXT NOT NULL, original_topic TEXT NOT NULL, original_partition INTEGER, original_offset INTEGER,
    error_class TEXT NOT NULL, message TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX deadletters_by_time ON deadletters (at);
CREATE TABLE table_rows (
    name TEXT, key TEXT, value TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE connections (
    realm TEXT PRIMARY KEY, company_name TEXT, state TEXT NOT NULL, changed_at TEXT NOT NULL,
    access_token_expires_at TEXT, refresh_token_expires_at TEXT, hard_expires_at TEXT, reason TEXT
) WITHOUT ROWID;
"""

# An invoice's own steps, and whatever they caused: its customer's and items' commands and outcomes, dead letters.
STORY = """
WITH RECURSIVE history (address) AS (
    SELECT address FROM steps WHERE invoice_id = ?
    UNION
    SELECT steps.address FROM steps JOIN history ON steps.cause = history.address
     WHERE steps.invoice_id IS NULL OR steps.invoice_id = ?
)
SELECT steps.* FROM history JOIN steps USING (address)
"""

_SAME_IN_STEP = (
    "role", "at", "what", "summary", "realm", "invoice_id", "cause", "state", "reason", "remedy", "waits_for",
)  # fmt: skip
_ORDER_UNITS = 1_000_000
_ORDER_MAX = Decimal((2**63 - 1) // _ORDER_UNITS)


class NotAnIndex(OperatorError):
    """The file at the index's path is something else; it is left alone."""


@dataclass(frozen=True)
class Position:
    """Where to read on in a partition, and the timestamp of the record before, by which it is recognised."""

    next_offset: int
    timestamp_ms: int


@dataclass(frozen=True)
class TableRow:
    """The newest record of a table's key; `value` is JSON with its secrets masked, None when it was deleted."""

    name: str
    key: str
    value: str | None
    address: Address
    at: str


@dataclass
class Batch:
    """What is to enter the index in one transaction, with the positions that it brings the index to."""

    steps: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    table_rows: list[TableRow] = field(default_factory=list)
    connections: list[ConnectionChanged] = field(default_factory=list)
    positions: dict[tuple[str, int], Position] = field(default_factory=dict)


class Index:
    """The index at `path`; created when it is not there, or of another version. Raises NotAnIndex."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prepare()

    def exists(self) -> bool:
        return self.path.exists()

    def clear(self) -> None:
        """Begin anew, with no rows and no positions."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self._prepare()

    def positions(self) -> dict[tuple[str, int], Position]:
        with self.reading() as connection:
            rows = connection.execute("SELECT topic, partition, next_offset, timestamp_ms FROM positions")
            return {(row[0], row[1]): Position(row[2], row[3]) for row in rows}

    def apply(self, batch: Batch) -> None:
        """Enter the batch, all or nothing. Entering it once more changes nothing."""
        with self._writing() as connection:
            _insert_steps(connection, batch.steps)
            _insert_dead_letters(connection, batch.dead_letters)
            _insert_table_rows(connection, batch.table_rows)
            _insert_connections(connection, batch.connections)
            for invoice_id in sorted(_touched(connection, batch.steps)):
                _fold_invoice(connection, invoice_id)
            connection.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                [(*place, each.next_offset, each.timestamp_ms) for place, each in batch.positions.items()],
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the index throughout and cannot write."""
        with closing(self._connect("ro")) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect("rw")) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut breaks is built anew
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # not reached after an exception: closing rolls back

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotAnIndex(
                f"{self.path}: its folder cannot be made ({error.strerror}); set web.index to another path"
            ) from None
        try:
            with closing(self._connect("rwc")) as connection:
                application = connection.execute("PRAGMA application_id").fetchone()[0]
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
                if empty:
                    connection.execute("PRAGMA journal_mode = WAL")  # the file keeps it
                    connection.executescript(
                        f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                    )
                    return
        except sqlite3.DatabaseError as error:
            raise NotAnIndex(
                f"{self.path}: {error}. If it is a broken index, delete it and it comes back; else set web.index to "
                "another path"
            ) from error
        if application != APPLICATION_ID:
            raise NotAnIndex(f"{self.path} is a SQLite file of something else; set web.index to another path")
        if version != SCHEMA_VERSION:
            self.clear()


def history_of(connection: sqlite3.Connection, invoice_id: str) -> list[Event]:
    """Every step of an invoice, those of its customer and items among them, causes before effects."""
    return in_order(_step(row) for row in connection.execute(STORY, (invoice_id, invoice_id)))


def _step(row: sqlite3.Row) -> Event:
    address = Address(topic=row["topic"], partition=row["partition"], offset=row["offset"])
    return Event(address=address, sets=json.loads(row["sets"]), **{name: row[name] for name in _SAME_IN_STEP})


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    columns = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    # Tables and columns are named in this file and in stream/web/history.py, never by input.
    connection.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))  # noqa: S608


def _insert_steps(connection: sqlite3.Connection, steps: Iterable[Event]) -> None:
    for step in steps:
        same = {name: getattr(step, name) for name in _SAME_IN_STEP}
        _insert(connection, "steps", {**_place(step.address), **same, "sets": json.dumps(step.sets)})


def _insert_dead_letters(connection: sqlite3.Connection, dead_letters: Iterable[DeadLetter]) -> None:
    for letter in dead_letters:
        row = {
            **_place(letter.address),
            "at": letter.at,
            "original_topic": letter.original_topic,
            "original_partition": letter.original_partition,
            "original_offset": letter.original_offset,
            "error_class": letter.error_class,
            "message": letter.message,
        }
        _insert(connection, "deadletters", row)


def _insert_table_rows(connection: sqlite3.Connection, rows: Iterable[TableRow]) -> None:
    for row in rows:
        if row.value is None:
            connection.execute("DELETE FROM table_rows WHERE name = ? AND key = ?", (row.name, row.key))
        else:
            place = _place(row.address)
            del place["address"]
            values = {"name": row.name, "key": row.key, "value": row.value, "at": row.at}
            _insert(connection, "table_rows", {**values, **place})


def _insert_connections(connection: sqlite3.Connection, changes: Iterable[ConnectionChanged]) -> None:
    for change in changes:
        # The newest `changed_at` wins; a refresh does not repeat the company's name.
        connection.execute(
            """INSERT INTO connections VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (realm) DO UPDATE SET
               company_name = coalesce(excluded.company_name, company_name), state = excluded.state,
               changed_at = excluded.changed_at, access_token_expires_at = excluded.access_token_expires_at,
               refresh_token_expires_at = excluded.refresh_token_expires_at,
               hard_expires_at = excluded.hard_expires_at, reason = excluded.reason
               WHERE excluded.changed_at >= connections.changed_at""",
            (
                change.realm,
                change.company_name,
                change.state,
                iso(change.changed_at),
                change.access_token_expires_at and iso(change.access_token_expires_at),
                change.refresh_token_expires_at and iso(change.refresh_token_expires_at),
                change.hard_expires_at and iso(change.hard_expires_at),
                change.reason,
            ),
        )


def _touched(connection: sqlite3.Connection, steps: Iterable[Event]) -> set[str]:
    """The invoices whose rows these steps may change: their own, and for a dead letter those of its original."""
    touched = set()
    for step in steps:
        if step.invoice_id is not None:
            touched.add(step.invoice_id)
        elif step.state is not None:
            rows = connection.execute("SELECT invoice_id FROM steps WHERE address = ?", (step.cause,))
            touched.update(row[0] for row in rows if row[0] is not None)
    return touched


def _fold_invoice(connection: sqlite3.Connection, invoice_id: str) -> None:
    row = fold(history_of(connection, invoice_id))
    row |= {
        "invoice_id": invoice_id,
        "metronome_total_order": _order(row.get("metronome_total")),
        "qbo_total_order": _order(row.get("qbo_total")),
    }
    _insert(connection, "invoices", row)


def _order(total: Any) -> int | None:
    """An integer by which to sort amounts, and for nothing else: SQLite has no exact decimals."""
    if total is None:
        return None
    return int(max(-_ORDER_MAX, min(_ORDER_MAX, Decimal(str(total)))) * _ORDER_UNITS)


def _place(address: Address) -> dict[str, Any]:
    return {
        "address": str(address),
        "topic": address.topic,
        "partition": address.partition,
        "offset": address.offset,
    }
