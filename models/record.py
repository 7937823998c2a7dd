"""The base of everything we write to our own topics and tables, and the one way to encode and decode it.

JSON with `type` and a schema `version`; Decimals travel as JSON strings, because JSON numbers pass through doubles
in most parsers. Readers accept older versions for ever, since the log is kept for ever.
"""

from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone, such as 2026-11-02T00:00:00Z")
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError(f"the year {moment.year} leaves no room for time zones and pauses")
    return moment


TopicRole = Literal["webhooks", "invoices", "commands", "outcomes", "connections", "deadletters"]
"""What each of our topics is for; its name is a matter of the settings."""

Moment = Annotated[datetime, AfterValidator(_aware)]


class Value(BaseModel):
    """A part of a record: frozen, and an unknown field is an error, since only we write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: Any) -> "Any":
        """A copy with `changes`, validated like a new value."""
        return type(self).model_validate({**dict(self), **changes})


class Record(Value):
    """A record of one of our topics or tables. Subclasses add `type: Literal[...]`."""

    version: int = 1

    def encode(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()


class Address(Value):
    """Where a record lies in Kafka, and so how to read it again."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; one without a zone is in UTC already, as all of Metronome's are. Raises OverflowError."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
