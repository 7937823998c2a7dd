"""Faust's tables as the handlers see them: mappings from text to records, with writes that can be waited for.

`table[key] = value` only queues the changelog record (Faust's own behaviour). `confirmed()` returns when the broker
has every change made so far, which is what makes an *attempted* mark durable before its write leaves.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import faust
from faust.types.tuples import FutureMessage

from agents.delivery import StopWorker
from agents.pipeline import ChangelogFence, Table
from models.record import Record

Row = TypeVar("Row")


class ChangelogTable(faust.Table):  # type: ignore[misc]
    """A table that remembers which of its changes the broker has not confirmed yet, and where the others lie."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unconfirmed: set[FutureMessage] = set()
        self.fence = ChangelogFence(self.name)
        self.failure: BaseException | None = None
        self.on_recover(self._recovered)

    def send_changelog(self, partition: int, *args: Any, **kwargs: Any) -> FutureMessage:
        expected = self.fence.expect(partition)
        future = super().send_changelog(partition, *args, **kwargs)
        self.unconfirmed.add(future)
        future.add_done_callback(partial(self._acknowledged, expected))
        return future

    def _acknowledged(self, expected: int | None, future: FutureMessage) -> None:
        self.unconfirmed.discard(future)
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self.failure = self.failure or error
        else:
            written = future.result()
            self.fence.acknowledged(written.partition, expected, written.offset)

    async def _recovered(self) -> None:
        recovery = self.app.tables.recovery
        changelogs = recovery.actives_for_table[self]
        self.fence.recovered({tp.partition: recovery.active_highwaters[tp] + 1 for tp in changelogs})


class FaustTable(Table[Row]):
    """A table of records by `realm/id`. Keys and values lie in Kafka as UTF-8 and JSON."""

    def __init__(self, table: ChangelogTable, encode: Callable[[Row], bytes], decode: Callable[[bytes], Row]) -> None:
        self._table = table
        self._encode = encode
        self._decode = decode

    async def confirmed(self) -> None:
        if self._table.unconfirmed:
            await asyncio.wait(self._table.unconfirmed)
        if self._table.failure is not None:
            raise StopWorker(f"a change of table {self._table.name} was not confirmed") from self._table.failure
        self._table.fence.check()

    def __getitem__(self, key: str) -> Row:
        return self._decode(self._table[key.encode()])

    def __setitem__(self, key: str, row: Row) -> None:
        of_table, encoded = key.encode(), self._encode(row)
        with self._no_fault_of_the_record():
            self._table[of_table] = encoded

    def __delitem__(self, key: str) -> None:
        with self._no_fault_of_the_record():
            del self._table[key.encode()]

    @contextmanager
    def _no_fault_of_the_record(self) -> Iterator[None]:
        """What goes wrong between a table and its changelog (partitions that differ, a producer that stopped) ends the
        worker."""
        try:
            yield
        except KeyError:
            raise
        except Exception as error:
            raise StopWorker(f"table {self._table.name} could not be changed: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._table)

    def __len__(self) -> int:
        return len(self._table)

    def keys_containing(self, *fragments: bytes) -> Iterator[str]:
        return (key.decode() for key, value in self._table.items() if any(each in value for each in fragments))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode() in self._table


def table_of(app: faust.App, name: str, row: type[Record] | type[str], partitions: int) -> FaustTable[Any]:
    """The table of that name, of records or of texts."""
    table: ChangelogTable = app.Table(name, partitions=partitions, key_type=bytes, value_type=bytes)
    if issubclass(row, str):
        return FaustTable[str](table, str.encode, bytes.decode)
    return FaustTable[Record](table, lambda record: record.encode(), row.model_validate_json)
