"""A table whose rows can be searched by the bytes of their JSON: decoding each of many would stop everything else."""

from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Generic, TypeVar

from pydantic_core import to_json

Row = TypeVar("Row")


class SearchedTable(MutableMapping[str, Row], Generic[Row]):
    """A table whose rows can be searched without decoding each."""

    @abstractmethod
    def keys_containing(self, *fragments: bytes) -> Iterator[str]:
        """The keys of the rows whose JSON holds any of these bytes; the others are not decoded."""


def saying(field: str, text: str) -> bytes:
    """The bytes in the JSON of a row whose `field` is this text."""
    return b'"%s":%s' % (field.encode(), to_json(str(text)))
