"""Faust's tables as the simulation has them: rows of the partitions owned, and a changelog in the log.

As in `stream/engine/tables.py`, a change is only queued for the changelog; `confirmed()` returns when the broker has
it.
"""

import asyncio
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel

from agents.pipeline import ChangelogFence, Table
from models.subject import RowKey

from .log import CHANGELOG, CHANGES, Log, Producer, Stored, partition_of

Row = TypeVar("Row", bound=BaseModel | str)


OF_MANY = ("batches",)
"""Tables whose changes belong to no single record."""

TOMBSTONE = b""
"""The value of a row that was deleted."""


def changelog(name: str) -> str:
    return name + CHANGELOG


class LoggedTable(Table[Row]):
    """Rows by `realm/id` (or `customer/id`); a row lies in the partition of what comes first, as its events do."""

    def __init__(self, name: str, model: type[Row], log: Log, producer: Producer, partitions: int) -> None:
        self.name = name
        self._model = model
        self._log = log
        self._producer = producer
        self._partitions = partitions
        self._rows: dict[str, bytes] = {}
        self._read: dict[bytes, Row] = {}
        """Rows that were decoded, by their bytes: they are frozen, and reading them again gives the same."""
        self._unconfirmed: dict[asyncio.Future[int], tuple[int, int | None]] = {}
        self._fence = ChangelogFence(name)

    def recover(self, partitions: list[int]) -> None:
        """Reads the changelog of these partitions. Rows of others stay as they were, as in Faust's memory store."""
        for partition in partitions:
            for stored in self.recorded(self._log.partitions[changelog(self.name), partition]):
                assert stored.key is not None
                if stored.value == TOMBSTONE:
                    self._rows.pop(stored.key.decode(), None)
                else:
                    self._rows[stored.key.decode()] = stored.value
        ends = {each: len(self._log.partitions[changelog(self.name), each]) for each in partitions}
        self._fence.recovered(ends)

    @staticmethod
    def recorded(records: list[Stored]) -> list[Stored]:
        """The records that recovery sees."""
        return records

    async def confirmed(self) -> None:
        for sent, (partition, expected) in list(self._unconfirmed.items()):
            # Not left to the callback: a shuffled loop may run that after this, which asyncio's never does.
            self._fence.acknowledged(partition, expected, await sent)
        self._fence.check()

    def keys_containing(self, *fragments: bytes) -> Iterator[str]:
        return iter([key for key, value in self._rows.items() if any(each in value for each in fragments)])

    def __getitem__(self, key: str) -> Row:
        return self._decoded(self._rows[key])

    def __setitem__(self, key: str, row: Row) -> None:
        value = row.encode() if isinstance(row, str) else row.model_dump_json(exclude_none=True).encode()
        self._rows[key] = value
        self._log_change(key, value)

    def __delitem__(self, key: str) -> None:
        del self._rows[key]
        self._log_change(key, TOMBSTONE)

    def _log_change(self, key: str, value: bytes) -> None:
        partition = partition_of(RowKey(key).realm, self._partitions)
        expected = self._fence.expect(partition)
        sent = self._producer.send(changelog(self.name), partition, key.encode(), value)
        self._unconfirmed[sent] = (partition, expected)
        if self.name not in OF_MANY and (changes := CHANGES.get()) is not None:
            changes.append(sent)
        sent.add_done_callback(lambda done: self._acknowledged(partition, expected, done))

    def _acknowledged(self, partition: int, expected: int | None, sent: "asyncio.Future[int]") -> None:
        self._unconfirmed.pop(sent, None)
        if not sent.cancelled():
            self._fence.acknowledged(partition, expected, sent.result())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def _decoded(self, value: bytes) -> Row:
        if issubclass(self._model, str):
            return self._model(value.decode())
        row = self._read.get(value)
        if row is None:
            row = self._read[value] = self._model.model_validate_json(value)
        return row
