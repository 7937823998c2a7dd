"""Bugs planted around the product, one at a time, to see the simulation catch them: the proof that it can fail.

Each swaps one function of ours, or one of the harness's wiring, while its runs last. The product knows nothing of it.
"""

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from agents import delivery, enrich
from agents.clients import quickbooks as quickbooks_client
from agents.clients import quickbooks_errors as quickbooks_faults
from agents.clients import rate_limit
from agents.clients.failures import Failure, OutcomeUnknown, Refused
from agents.clients.ownership import Ownership
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.rate_limit import RateLimiter
from agents.clients.retry import FIRST_PAUSE_SECONDS, Retries
from agents.clients.slots import Slot
from agents.connections import Connections
from agents.delivery import Claims, Delivery, Event, TryLater
from agents.pipeline import ChangelogFence, Pipeline
from agents.post import customers, decision, documents, facts, find_or_create, lookup, post, reversal
from agents.post.ledger_age import LedgerAge
from agents.post.reporting import Report
from agents.post.unsettled import UnsettledAttempts
from agents.translate import amounts, eligibility, lines, rounding, translate
from agents.translate.declined import skipped
from models import money
from models.commands import NOT_FINALIZED, SetCustomerMapping
from models.events import ConnectionChanged
from models.ledger import LedgerEntry, Owner, move
from models.metronome import DECIDED
from models.money import EXACT, Unit
from models.outcomes import ErrorFacts
from models.subject import RowKey

from .log import Stored
from .tables import LoggedTable

Swap = tuple[Any, str, Any]
SEEDS_MAX = 300
"""Each bug must be caught within so many seeds."""


@dataclass(frozen=True)
class Bug:
    """What was done wrong, in a few words, and where."""

    name: str
    swaps: tuple[Swap, ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, wrong in self.swaps:
                stack.callback(setattr, owner, name, owner.__dict__[name])
                setattr(owner, name, wrong)
            yield


# The attempt


async def _attempt_not_recorded(entry: LedgerEntry, attempt: Any, sink: Any) -> LedgerEntry:
    return move(entry, "attempting", attempt=attempt, attempts=entry.attempts + 1, kind=attempt.kind)


async def _attempt_not_awaited(self: Pipeline, key: str, entry: LedgerEntry) -> None:
    self.tables.invoices[key] = entry


async def _leaves_however_old(self: Any) -> None:
    self.left_at = self.sink.retry.monotonic()


def _other_requestid(*_: Any) -> str:
    return uuid.uuid4().hex


async def _no_look_up(entry: LedgerEntry, *_: Any, **__: Any) -> LedgerEntry:
    settled: LedgerEntry = entry.replace(attempt=None)
    return settled


# The books


async def _nothing_is_found(self: UnsettledAttempts) -> None:
    return None


def _foreign_records_do_not_matter(self: ChangelogFence) -> None:
    return None


async def _it_is_still_ours(self: Any, realm: str, **_: Any) -> None:
    return None


def _any_document_is_ours(found: dict[str, Any], invoice_id: str) -> bool:
    return True


def _any_customer_of_that_name(entries: list[dict[str, Any]], **_: Any) -> dict[str, Any] | None:
    return entries[0] if entries else None


def _no_claims(command: Any) -> Claims:
    return Claims()


def _the_custom_field_goes_first(row: Any, need: Any) -> bool:
    return row is not None and row.qbo_id == need.qbo_id


def _whoever_was_first(command: Any, at: Any, sink: Any) -> Any:
    rows = sink.tables.customers if isinstance(command, SetCustomerMapping) else sink.tables.items
    named = command.customer_id if isinstance(command, SetCustomerMapping) else command.product_id
    known = rows.get(RowKey.of(command.realm, named))
    return _set(command, at, sink) if known is None else Report("mapped", mapping=known)


_set = post._set_mapping

# The answers

_read = quickbooks_faults.read
_written = QuickBooksClient.write


def _5xx_means_refused(answer: Any) -> dict[str, Any]:
    if answer.status >= 500:
        raise Refused(f"QuickBooks answered {answer.status}")
    return _read(answer)


def _a_page_means_refused(answer: Any) -> dict[str, Any]:
    if 400 <= answer.status < 500 and answer.body.startswith(b"<html"):
        raise Refused(f"QuickBooks answered {answer.status}", ErrorFacts(status=answer.status))
    return _read(answer)


async def _lost_means_done(self: QuickBooksClient, realm: str, entity: str, body: bytes, **more: Any) -> Any:
    try:
        return await _written(self, realm, entity, body, **more)
    except OutcomeUnknown:
        return {"Id": "1", "SyncToken": "0"}, None


async def _lost_means_refused(self: QuickBooksClient, realm: str, entity: str, body: bytes, **more: Any) -> Any:
    try:
        return await _written(self, realm, entity, body, **more)
    except OutcomeUnknown as failure:
        raise Refused(str(failure)) from None


async def _trouble_is_dropped(delivered: Any, *, sink: Any) -> Sequence[Any]:
    outcomes = await _handled(delivered, sink=sink)
    return [each for each in outcomes if getattr(each, "result", None) not in ("uncertain", "parked")]


_handled = post.post


# Odd answers


def _halves_are_kept(parsed: Any) -> Any:
    return parsed


def _ids_as_they_come(found: dict[str, Any]) -> dict[str, Any]:
    return found


def _whoever_answers(*_: Any) -> None:
    return None


# Voids


async def _a_void_that_fails_is_none(entry: LedgerEntry, *more: Any) -> Any:
    try:
        return await _voided(entry, *more)
    except Failure:
        return None


def _all_are_voided(invoice_id: str, reason: str, facts: Any, at: Any, by_hand: str | None = None) -> Any:
    return _void_command(invoice_id, reason, facts, at)


def _not_closed(*_: Any) -> None:
    return None


_voided, _void_command = documents.void_document, translate._void

# What Metronome has not decided


def _early_is_decided(status: str) -> None:
    if status not in DECIDED:
        raise skipped(NOT_FINALIZED, f"the invoice's status is {status}")


def _any_answer_will_do(entity: str, found: Any) -> Any:
    return found


# What the ledger cannot know


def _nothing_is_missed(self: LedgerAge, *_: Any) -> bool:
    return False


_dated_to = LedgerAge._dated_to


def _told_in_vain(self: LedgerAge) -> Any:
    return None if self.ledger_since is None else _dated_to(self)


def _seen_at_once(self: LedgerAge, now: Any) -> float:
    return 0.0


def _of_this_log(self: LedgerAge, changed_at: Any) -> bool:
    return True


_by_age = facts._has_older_facts


def _by_offset_alone(command: Any, entry: LedgerEntry, since: Any) -> bool:
    return _by_age(command, entry, None)


# Everything is read again


# The limits


def _no_wait_after_429(self: RateLimiter, realm: str, *_: Any) -> None:
    return None


def _no_pace(self: Any, now: float) -> float:
    return now


# Whose an invoice is


def _wherever_the_routing_says(self: Any, invoice: Any, routes: Any) -> Any:
    owner = Owner(realm=routes.realm_of(invoice), customer_id=invoice.customer_id, invoice_id=invoice.id)
    return owner, None


_never_attempted = property(lambda entry: False)


# Delivery

_started = Delivery.start


def _acknowledged_first(self: Delivery[Any], event: Event) -> None:
    event.ack()
    _started(self, event)


async def _sent_and_forgotten(self: Pipeline, records: Sequence[Any]) -> None:
    await self._sent(records)


async def _tables_not_awaited(self: Pipeline, records: Sequence[Any]) -> None:
    await self.publish(records)


@asynccontextmanager
async def _kept(self: Slot) -> AsyncIterator[None]:
    yield


async def _nothing_is_drained(self: Pipeline, *_: Any) -> None:
    return None


def _all_but_the_last(records: list[Stored]) -> list[Stored]:
    return records[:-2]


async def _a_moment(self: Retries, failure: Failure) -> None:
    await self.policy.sleep(FIRST_PAUSE_SECONDS)


async def _given_up(delivered: Any, *, enricher: Any, owners: Any) -> Sequence[Any]:
    try:
        return await _enriched(delivered, enricher=enricher, owners=owners)
    except TryLater:
        return []


_enriched = enrich.enrich

# Tokens


async def _token_not_recorded(self: Pipeline, change: ConnectionChanged) -> None:
    rows = self.tables.connections._rows  # type: ignore[attr-defined]
    rows[change.realm] = change.model_dump_json(exclude_none=True).encode()


async def _refreshed_by_all(self: Connections, realm: str) -> str:
    connection = self._connection(realm)
    if not self._is_fresh(connection):
        connection = await self._refreshed(connection)
    return self._access_token_of(connection)


# Money


def _half_even(amount: Decimal, step: Decimal) -> Decimal:
    return amount.quantize(step, rounding=ROUND_HALF_EVEN, context=EXACT)


def _by_float(self: Unit, amount: Decimal) -> Decimal:
    return Decimal(float(amount) / self.per_major)


BUGS: tuple[Bug, ...] = (
    Bug("a company is believed to be ours", ((Ownership, "make_sure", _it_is_still_ours),)),
    Bug("the attempt is not recorded", ((documents, "_record_attempt", _attempt_not_recorded),)),
    Bug("the attempt's record is not awaited", ((Pipeline, "record_attempt", _attempt_not_awaited),)),
    Bug("a retry has another requestid", ((decision, "requestid", _other_requestid),)),
    Bug("no look-up after a doubtful answer", ((documents, "look_up", _no_look_up),)),
    Bug("attempts of nobody's are not looked up", ((UnsettledAttempts, "find", _nothing_is_found),)),
    Bug("changelogs are not fenced", ((ChangelogFence, "check", _foreign_records_do_not_matter),)),
    Bug("an equal DocNumber is enough", ((lookup, "is_ours", _any_document_is_ours),)),
    Bug("adopt any customer of that name", ((customers, "_choose", _any_customer_of_that_name),)),
    Bug("a mapping set by a person gives way to a match", ((post, "_set_mapping", _whoever_was_first),)),
    Bug("the custom field goes before what a person says", ((customers, "_speaks_for", _the_custom_field_goes_first),)),
    Bug("claims are forgotten", ((post, "claims", _no_claims),)),
    Bug("a page without a Fault is taken as a refusal", ((quickbooks_client, "read", _a_page_means_refused),)),
    Bug("a lost answer is taken as success", ((QuickBooksClient, "write", _lost_means_done),)),
    Bug("a lost answer is taken as a refusal", ((QuickBooksClient, "write", _lost_means_refused),)),
    Bug("not found is believed at once", ((decision, "SEEN_SECONDS_MAX", 0.0), (documents, "SEEN_SECONDS_MAX", 0.0))),
    Bug("a name that is not seen is another's", ((find_or_create, "SEEN_SECONDS_MAX", 0.0),)),
    Bug("a deleted document is a wrong mapping", ((decision, "NOT_FOUND_CODE", ""),)),
    Bug("odd answers are believed", ((quickbooks_client, "checked", _any_answer_will_do),)),
    Bug("half an emoji is kept", ((money, "_without_surrogates", _halves_are_kept),)),
    Bug("an id that is a number is another id", ((quickbooks_faults, "_with_ids_as_texts", _ids_as_they_come),)),
    Bug("an answer about another document is believed", ((documents, "require_ours", _whoever_answers),)),
    Bug("trouble is dropped", ((post, "post", _trouble_is_dropped),)),
    Bug("an early webhook is decided", ((eligibility, "check_final", _early_is_decided),)),
    Bug("a refused void is forgotten", ((documents, "void_document", _a_void_that_fails_is_none),)),
    Bug("a void that is left to a person is carried out", ((translate, "_void", _all_are_voided),)),
    Bug("what was taken back stays open", ((reversal, "close", _not_closed),)),
    Bug("429 is ignored", ((RateLimiter, "pause", _no_wait_after_429),)),
    Bug("an invoice goes where the routing says", ((enrich.Owners, "of", _wherever_the_routing_says),)),
    Bug("an invoice that was attempted is handed over", ((LedgerEntry, "ever_attempted", _never_attempted),)),
    Bug("a new ledger looks nothing up", ((LedgerAge, "misses", _nothing_is_missed),)),
    Bug("what a lost ledger knew better is posted", ((LedgerAge, "has_forgotten", _nothing_is_missed),)),
    Bug("a new ledger believes at once that nothing is there", ((LedgerAge, "unseen_seconds", _seen_at_once),)),
    Bug("a restored ledger looks nothing up", ((LedgerAge, "_dated_to", _told_in_vain),)),
    Bug("a new log is taken for the former one", ((LedgerAge, "is_of_this_log", _of_this_log),)),
    Bug("facts of a new topic are older", ((facts, "_has_older_facts", _by_offset_alone),)),
    Bug("requests are not paced", ((rate_limit._Window, "free_at", _no_pace),)),
    Bug("acknowledged before it is done", ((Delivery, "start", _acknowledged_first),)),
    Bug("records are sent and not awaited", ((Pipeline, "publish", _sent_and_forgotten),)),
    Bug("tables are not awaited", ((Pipeline, "publish_with_tables", _tables_not_awaited),)),
    Bug("what rests keeps its slot", ((Slot, "lent", _kept),)),
    Bug("nothing is drained before a rebalance", ((Pipeline, "revoke", _nothing_is_drained),)),
    Bug("what is to be tried later is given up", ((enrich, "enrich", _given_up),)),
    Bug("what was postponed is tried at once", ((delivery, "POSTPONED_SECONDS_MAX", 0.0),)),
    Bug("the pauses between attempts do not grow", ((Retries, "wait", _a_moment),)),
    Bug("recovery misses the last records", ((LoggedTable, "recorded", staticmethod(_all_but_the_last)),)),
    Bug("a refreshed token is not recorded", ((Pipeline, "record_connection", _token_not_recorded),)),
    Bug("all refresh at a time", ((Connections, "access_token", _refreshed_by_all),)),
    Bug(
        "halves are rounded to even",
        tuple((module, "round_half_up", _half_even) for module in (translate, amounts, lines, rounding)),
    ),
    Bug("money is a float", ((Unit, "major", _by_float),)),
)

SELDOM: tuple[tuple[Bug, int], ...] = (
    (Bug("5xx is taken as a refusal", ((quickbooks_client, "read", _5xx_means_refused),)), 490),
    (Bug("an attempt leaves however old it is", ((documents._Departure, "__call__", _leaves_however_old),)), 578),
)
"""Not caught within so few seeds, and a seed that does: a worker must stand still at one moment;
and a create that is taken as refused is looked up before the next one all the same."""
