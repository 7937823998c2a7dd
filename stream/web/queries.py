"""What the pages ask of the index. Each function takes a connection from `Index.reading` and gives plain rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.formatting import DEAD_LETTER

Row = dict[str, Any]

SHOWN_MAX = 20
PAGE_MAX = 1_000_000

SORTS: Mapping[str, str] = {
    "changed": "changed_at DESC, invoice_id",
    "received": "received_at DESC, invoice_id",
    "customer": "customer_name COLLATE NOCASE, invoice_id",
    "number": "doc_number, invoice_id",
    "total": "metronome_total_order DESC, invoice_id",
    "state": "state, changed_at DESC, invoice_id",
}
"""What invoices can be sorted by."""

MISMATCH = "mismatch"
"""A filter beside the states: the books hold another amount than Metronome billed."""

NEEDS_A_PERSON = ("parked", "refused", "uncertain", DEAD_LETTER)


INVOICE = """invoice_id, realm, customer_id, customer_name, state, kind, doc_number, currency, metronome_total,
    qbo_total, qbo_currency, qbo_id, mismatch, reason, remedy, waits_for, received_at, changed_at, seconds, document"""


@dataclass(frozen=True)
class Page:
    """Some of the rows that were asked for, and how many there are in all; pages count from 1."""

    rows: list[Row]
    count: int
    number: int
    size: int

    @property
    def last(self) -> int:
        return max(1, -(-self.count // self.size))


def overview(connection: sqlite3.Connection) -> Row:
    """Everything on the first page: what came in, states, mismatches, what waits for a person, connections."""
    return {
        "came_in": came_in(connection),
        "states": _rows(connection, "SELECT state, count(*) AS count FROM invoices GROUP BY state ORDER BY count DESC"),
        "mismatches": _count(connection, "SELECT count(*) FROM invoices WHERE mismatch = 1"),
        "mismatched": _rows(
            connection,
            """SELECT invoice_id, customer_name, doc_number, currency, metronome_total, qbo_total, qbo_currency
                 FROM invoices WHERE mismatch = 1 ORDER BY changed_at DESC LIMIT ?""",
            SHOWN_MAX,
        ),
        "waiting": waiting(connection),
        "deadletters": _count(connection, "SELECT count(*) FROM deadletters"),
        "connections": _rows(connection, "SELECT * FROM connections ORDER BY company_name COLLATE NOCASE, realm"),
    }


def came_in(connection: sqlite3.Connection) -> Row:
    """How many records of each kind there are, and the median of seconds from receipt to outcome."""
    counts = {
        (row["role"], row["what"]): row["count"]
        for row in connection.execute("SELECT role, what, count(*) AS count FROM steps GROUP BY role, what")
    }
    settled = _count(connection, "SELECT count(*) FROM invoices WHERE seconds IS NOT NULL")
    median = connection.execute(
        "SELECT seconds FROM invoices WHERE seconds IS NOT NULL ORDER BY seconds LIMIT 1 OFFSET ?", (settled // 2,)
    ).fetchone()
    return {
        "webhooks": counts.get(("webhooks", "webhook"), 0),
        "other_webhooks": counts.get(("webhooks", "other webhook"), 0),
        "unreadable": sum(count for (_, what), count in counts.items() if what == "unreadable"),
        "invoices": _count(connection, "SELECT count(*) FROM invoices"),
        "last_at": connection.execute("SELECT max(received_at) FROM invoices").fetchone()[0],
        "median_seconds": median[0] if median else None,
    }


def waiting(connection: sqlite3.Connection) -> list[Row]:
    """What a person has to see to, the same trouble on one row, with an invoice to look at."""
    marks = ", ".join("?" * len(NEEDS_A_PERSON))
    return _rows(
        connection,
        f"""SELECT state, waits_for, reason, remedy, count(*) AS count, min(invoice_id) AS invoice_id,
                   min(changed_at) AS since
              FROM invoices WHERE state IN ({marks})
             GROUP BY state, waits_for, reason, remedy ORDER BY count DESC, since LIMIT ?""",  # noqa: S608 - marks only
        *NEEDS_A_PERSON,
        SHOWN_MAX,
    )


def invoices(connection: sqlite3.Connection, *, search: str, state: str, sort: str, page: int, page_rows: int) -> Page:
    """Invoices by a part of id, DocNumber, customer or reason, and of one state; an empty text means all."""
    conditions, values = ["1"], []
    if search:
        columns = ("invoice_id", "doc_number", "customer_name", "customer_id", "reason")
        conditions.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '!'" for column in columns) + ")")
        values += [_containing(search)] * len(columns)
    if state == MISMATCH:
        conditions.append("mismatch = 1")
    elif state:
        conditions.append("state = ?")
        values.append(state)
    source = f"{INVOICE} FROM invoices WHERE {' AND '.join(conditions)}"
    return _page(connection, source, values, SORTS[sort], page, page_rows)


def invoice(connection: sqlite3.Connection, invoice_id: str) -> Row | None:
    rows = _rows(connection, f"SELECT {INVOICE} FROM invoices WHERE invoice_id = ?", invoice_id)  # noqa: S608 - as above
    return rows[0] if rows else None


def state_counts(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(map(tuple, connection.execute("SELECT state, count(*) FROM invoices GROUP BY state")))


def table(connection: sqlite3.Connection, name: str, *, search: str, page: int, page_rows: int) -> Page:
    """Rows of a table whose key or value contains the text."""
    source, values = "* FROM table_rows WHERE name = ?", [name]
    if search:
        source += " AND (key LIKE ? ESCAPE '!' OR value LIKE ? ESCAPE '!')"
        values += [_containing(search)] * 2
    return _page(connection, source, values, "key", page, page_rows)


def dead_letters(connection: sqlite3.Connection, *, page: int, page_rows: int) -> Page:
    """The newest first, each with the invoice that it was about, where that is known."""
    found = _page(connection, "* FROM deadletters", [], "at DESC, address", page, page_rows)
    for row in found.rows:
        original = f"{row['original_topic']}[{row['original_partition']}]@{row['original_offset']}"
        step = connection.execute("SELECT invoice_id FROM steps WHERE address = ?", (original,)).fetchone()
        row["invoice_id"] = step["invoice_id"] if step else None
    return found


def _page(connection: sqlite3.Connection, source: str, values: list[str], order: str, number: int, size: int) -> Page:
    """`source` is what stands between SELECT and ORDER BY: this file's own words; what people type is in `values`."""
    count = _count(connection, f"SELECT count(*) FROM (SELECT {source})", *values)  # noqa: S608
    number = max(1, min(number, PAGE_MAX, -(-count // size)))
    statement = f"SELECT {source} ORDER BY {order} LIMIT ? OFFSET ?"
    return Page(_rows(connection, statement, *values, size, (number - 1) * size), count, number, size)


def _containing(text: str) -> str:
    return "%" + text.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"


def _rows(connection: sqlite3.Connection, statement: str, *values: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(statement, values)]


def _count(connection: sqlite3.Connection, statement: str, *values: Any) -> int:
    count: int = connection.execute(statement, values).fetchone()[0]
    return count
