"""What commands, outcomes and causes speak of, by kind and id; and the keys of table rows."""

from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class _Text(str):
    """A text with a form of its own; in JSON it is a string."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class Subject(_Text):
    """`invoice/<id>`, `customer/<id>`, `customer/<id>/<currency>`, `item/<id>` (Metronome's ids), `parked/<cause>`."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        return self.partition("/")[0]

    @property
    def id(self) -> str:
        """All behind the kind; empty when there is nothing."""
        return self.partition("/")[2]

    @classmethod
    def invoice(cls, invoice_id: str) -> "Subject":
        return cls(f"invoice/{invoice_id}")

    @classmethod
    def customer(cls, customer_id: str, currency: str | None = None) -> "Subject":
        """With `currency`: the further QuickBooks customer that is kept in it."""
        return cls("/".join(filter(None, ("customer", customer_id, currency))))

    @classmethod
    def item(cls, product_id: str) -> "Subject":
        return cls(f"item/{product_id}")

    @classmethod
    def parked(cls, cause: str | None) -> "Subject":
        """What waits for `cause`; None: what waits for anything."""
        return cls(f"parked/{cause or 'any'}")


class Cause(Subject):
    """What a parked command waits for: a subject that is to come, `document/<QuickBooks id>`, `setting/<name>`, or one
    of the words below."""

    __slots__ = ()

    @classmethod
    def document(cls, qbo_id: str | None) -> "Cause":
        return cls(f"document/{qbo_id}")

    @classmethod
    def setting(cls, name: str) -> "Cause":
        return cls(f"setting/{name}")


CONNECTION = Cause("connection")
MAPPING = Cause("mapping")
OPEN_PERIOD = Cause("open period")
FINALIZATION = Cause("finalization")
QUICKBOOKS = Cause("quickbooks")
QUOTA = Cause("quota")
ROUTING = Cause("routing")


CLAIM = "claim"
"""What the key of a row is about that is put and taken away at once, by which a worker finds out whether a company is
its own (`agents/clients/ownership.py`)."""


class RowKey(_Text):
    """The key of a table's row: `<realm>/<what the row is about>`."""

    __slots__ = ()

    @classmethod
    def of(cls, realm: str, *parts: str | None) -> "RowKey":
        """Parts that are None are left out."""
        return cls("/".join((realm, *(part for part in parts if part is not None))))

    @property
    def realm(self) -> str:
        return self.partition("/")[0]

    @property
    def rest(self) -> str:
        return self.partition("/")[2]

    @property
    def is_claim(self) -> bool:
        return self.rest == CLAIM
