"""What became of each command: one outcome per command, however often it was attempted."""

from typing import Literal

from .document import Kind
from .money import Amount
from .record import Address, Moment, Record, Value
from .subject import Cause, Subject

Result = Literal[
    "posted", "updated", "unchanged", "voided", "skipped", "parked", "refused", "uncertain",
    "found", "created", "mapped",
    "resumed",
]  # fmt: skip
"""The first line is about invoices, the second about customers and items, the third about what was parked."""


class ErrorFacts(Value):
    """What QuickBooks said, with secrets removed."""

    status: int | None = None
    code: str | None = None
    message: str = ""
    detail: str = ""


class Outcome(Record):
    """The result of one command, with everything a person needs to believe it.

    `reason` says why in a sentence, `remedy` what to do about it. `total` is what the QuickBooks document says, in
    `currency`. `away`: this is not the company for which the customer's custom field speaks.
    """

    type: Literal["Outcome"] = "Outcome"
    realm: str
    subject: Subject
    command_type: str
    command: Address
    result: Result
    rule: str | None = None
    reason: str | None = None
    remedy: str | None = None
    waits_for: Cause | None = None
    kind: Kind | None = None
    qbo_id: str | None = None
    sync_token: str | None = None
    doc_number: str | None = None
    total: Amount | None = None
    currency: str | None = None
    requestid: str | None = None
    intuit_tid: str | None = None
    adopted: bool = False
    attempts: int = 0
    name: str | None = None
    away: bool = False
    error: ErrorFacts | None = None
    facts: Address | None = None
    received_at: Moment | None = None
    started_at: Moment
    finished_at: Moment
