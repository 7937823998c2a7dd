"""Faust's tables as the handlers see them: mappings from text to records, with writes that can be waited for.

`table[key] = value` only queues the changelog record (Faust's own behaviour). `confirmed()` returns when the broker
has every change made so far, which is what makes an *attempted* mark durable before its write leaves.
"""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Generic, TypeVar

import faust
from faust.types.tuples import FutureMessage
from pydantic import BaseModel

Row = TypeVar("Row")
Model = TypeVar("Model", bound=BaseModel)


class ChangelogTable(faust.Table):  # type: ignore[misc]
    """A table that remembers which of its changes the broker has not confirmed yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unconfirmed: set[FutureMessage] = set()

    def send_changelog(self, *args: Any, **kwargs: Any) -> FutureMessage:
        future = super().send_changelog(*args, **kwargs)
        self.unconfirmed.add(future)
        future.add_done_callback(self.unconfirmed.discard)
        return future


class RecordTable(MutableMapping[str, Row], Generic[Row]):
    """A table of records by `realm/id`. Keys and values lie in Kafka as UTF-8 and JSON."""

    def __init__(self, table: ChangelogTable, encode: Callable[[Row], bytes], decode: Callable[[bytes], Row]) -> None:
        self._table = table
        self._encode = encode
        self._decode = decode

    async def confirmed(self) -> None:
        """Returns when the broker has confirmed every change made before; raises what a send raised."""
        if self._table.unconfirmed:
            await asyncio.gather(*self._table.unconfirmed)

    def __getitem__(self, key: str) -> Row:
        return self._decode(self._table[key.encode()])

    def __setitem__(self, key: str, row: Row) -> None:
        self._table[key.encode()] = self._encode(row)

    def __delitem__(self, key: str) -> None:
        del self._table[key.encode()]

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode() in self._table


def record_table(app: faust.App, name: str, model: type[Model], *, partitions: int) -> RecordTable[Model]:
    def encode(row: Model) -> bytes:
        return row.model_dump_json(exclude_none=True).encode()

    return RecordTable(_raw_table(app, name, partitions), encode, model.model_validate_json)


def text_table(app: faust.App, name: str, *, partitions: int) -> RecordTable[str]:
    return RecordTable(_raw_table(app, name, partitions), str.encode, bytes.decode)


def _raw_table(app: faust.App, name: str, partitions: int) -> ChangelogTable:
    table: ChangelogTable = app.Table(name, partitions=partitions, key_type=bytes, value_type=bytes)
    return table
