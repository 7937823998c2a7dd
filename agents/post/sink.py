"""What the sink works with: the tables, QuickBooks, a clock, and how long to retry."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from agents.clients.ownership import nobody_else
from agents.clients.quickbooks import Leaving
from agents.clients.retry import Retries, RetryPolicy
from models.ledger import CustomerMapping, ItemMapping, LedgerEntry
from models.outcomes import ErrorFacts
from models.policy import Policy
from models.record import Address
from models.subject import QUICKBOOKS, QUOTA, Cause

from .batches import Batches
from .circuit_breaker import CircuitBreaker
from .ledger_age import NOTHING_MISSED, LedgerAge
from .parked import ParkedCommands, Recalled
from .searched_table import SearchedTable
from .unsettled import UnsettledAttempts

REQUESTID_CHARACTERS = 32
"""At most 50, and 36 within a batch (docs/vendors/quickbooks.md §3.2)."""

Row = TypeVar("Row")


class Books(Protocol):
    """QuickBooks, as `agents.clients.quickbooks` offers it."""

    async def query(self, realm: str, statement: str) -> dict[str, Any]: ...
    async def fetch(self, realm: str, entity: str, qbo_id: str) -> dict[str, Any]: ...
    async def write(
        self,
        realm: str,
        entity: str,
        body: bytes,
        *,
        requestid: str,
        operation: str | None = None,
        leaving: Leaving | None = None,
    ) -> tuple[dict[str, Any], str | None]: ...


@dataclass(frozen=True)
class LedgerTables:
    """The sink's tables, by `realm/id`.

    `record_attempt` stores a ledger entry, and returns when the broker has confirmed it and the numbers claimed before.
    """

    customers: SearchedTable[CustomerMapping]
    items: MutableMapping[str, ItemMapping]
    invoices: MutableMapping[str, LedgerEntry]
    doc_numbers: MutableMapping[str, str]
    record_attempt: Callable[[str, LedgerEntry], Awaitable[None]]


@dataclass(frozen=True)
class Sink:
    """`read_commands` reads commands again from where they lie, in order, without those that cannot be read; it never
    raises, and says which are gone.

    `batches` has new documents travel together, if the settings say so. `trust_requestids`: a write whose answer
    was lost is repeated at once with its requestid; otherwise only when QuickBooks cannot be at it any more.
    `make_sure` raises StopWorker when another worker has the company by now.
    """

    books: Books
    tables: LedgerTables
    parked: ParkedCommands
    unsettled: UnsettledAttempts
    circuit_breaker: CircuitBreaker
    read_commands: Callable[[Sequence[Address]], Awaitable[Recalled]]
    policy_of: Callable[[str], Policy]
    retry: RetryPolicy
    now: Callable[[], datetime]
    batches: Batches
    trust_requestids: bool
    make_sure: Callable[[str], Awaitable[None]] = nobody_else
    ledger_age: LedgerAge = NOTHING_MISSED

    def retries(self, realm: str) -> Retries:
        """The attempts at one thing in QuickBooks. Raises Parked while the company is away."""
        cause = self.circuit_breaker.open_cause(realm)
        if cause is None:
            return self.retry.start()
        if not self.circuit_breaker.try_probe(realm):
            raise Parked(AWAY[cause], waits_for=cause, remedy=WHEN_QUICKBOOKS_ANSWERS)
        return self.retry.probe()


AWAY = {
    QUICKBOOKS: "QuickBooks does not answer for this company",
    QUOTA: "QuickBooks has answered 429 for longer than throttling lasts: a quota of the app or company is used up",
}
"""Why a whole company waits."""

WHEN_QUICKBOOKS_ANSWERS = "nothing to do here: it is tried again by itself when QuickBooks answers again"


class Parked(Exception):
    """The command waits for something that a person or another command brings; the message says why."""

    def __init__(self, reason: str, *, waits_for: str, remedy: str, error: ErrorFacts | None = None) -> None:
        super().__init__(reason)
        self.waits_for = Cause(waits_for)
        self.remedy = remedy
        self.error = error


def requestid(realm: str, subject: str, operation: str, body: bytes, refusals: int = 0, numbers_taken: int = 0) -> str:
    """The same write has the same id for ever; a changed body has another, and a write after a definite refusal too.

    Whether QuickBooks answers a repeated requestid with the refusal of before is not published (§3.2). The `body` is
    without its DocNumber, which depends on what came before, and so on what the ledger knows; but one that follows on
    `numbers_taken` others is another write.
    """
    counts = str(refusals) + (f" {numbers_taken}" if numbers_taken else "")
    identity = "\n".join((realm, subject, operation, counts)).encode() + b"\n" + body
    return hashlib.sha256(identity).hexdigest()[:REQUESTID_CHARACTERS]
