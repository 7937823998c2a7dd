"""What watch announces: finalized invoices that the ledger does not know, and voids that it has not dealt with."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.enrich import read_webhook
from agents.watch import Announced, Horizon, KnownInvoices, announcement_of, is_past, to_announce
from models.document import reversal_id
from models.ledger import Attempt, LedgerEntry
from models.metronome import InvoiceFinalized, ListedInvoice
from models.subject import FINALIZATION
from stream.intake.receiver import webhook_key

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
REALM = "9341450000000001"
INVOICE_ID = "d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11"
HORIZON = Horizon(finalized=35 * DAY, voids=365 * DAY, grace=timedelta(hours=1), repeat_after=DAY)


def listed(status: str = "FINALIZED", *, age: timedelta | None = DAY, invoice_id: str = INVOICE_ID) -> ListedInvoice:
    issued_at = None if age is None else NOW - age
    return ListedInvoice(id=invoice_id, customer_id="c-1", status=status, issued_at=issued_at)


def an_entry(state: Any, **changes: Any) -> LedgerEntry:
    fields = {"realm": REALM, "invoice_id": INVOICE_ID, "state": state, "changed_at": NOW - DAY}
    return LedgerEntry(**{**fields, **changes})


def known(*entries: LedgerEntry, flags: bool = False, keep: timedelta = 400 * DAY) -> KnownInvoices:
    memory = KnownInvoices(keep, lambda realm: flags)
    for each in entries:
        memory.enter(each)
    return memory


def test_a_final_invoice_that_nobody_knows_is_announced() -> None:
    assert to_announce(listed(), known(), HORIZON, NOW) == "FINALIZED"


@pytest.mark.parametrize("state", ["posted", "updated", "skipped", "refused", "parked", "uncertain", "voided"])
def test_a_final_invoice_in_the_ledger_is_not(state: str) -> None:
    assert to_announce(listed(), known(an_entry(state)), HORIZON, NOW) is None


@pytest.mark.parametrize(
    ("age", "announced"),
    [
        (timedelta(minutes=59), False),
        (timedelta(hours=1), True),
        (35 * DAY, True),
        (35 * DAY + timedelta(seconds=1), False),
    ],
)
def test_between_grace_and_look_back(age: timedelta, announced: bool) -> None:
    assert (to_announce(listed(age=age), known(), HORIZON, NOW) is not None) is announced


@pytest.mark.parametrize("state", ["posted", "updated", "skipped", "refused", "parked", "uncertain"])
def test_a_void_of_an_invoice_that_is_not_voided_in_the_ledger_is_announced(state: str) -> None:
    entry = an_entry(state, qbo_id="1")
    assert to_announce(listed("VOID", age=200 * DAY), known(entry), HORIZON, NOW) == "VOID"


def test_a_void_that_was_dealt_with_is_not() -> None:
    assert to_announce(listed("VOID"), known(an_entry("voided", qbo_id="1")), HORIZON, NOW) is None


def test_a_void_of_an_invoice_that_never_came_here_is_not() -> None:
    assert to_announce(listed("VOID"), known(), HORIZON, NOW) is None


def test_a_void_whose_write_is_not_settled_is_announced_again() -> None:
    attempt = Attempt(requestid="r", operation="void", kind="invoice", content_hash="", doc_number="MTR-1", at=NOW)
    assert to_announce(listed("VOID"), known(an_entry("voided", attempt=attempt)), HORIZON, NOW) == "VOID"


@pytest.mark.parametrize(("flags", "announced"), [(True, None), (False, "VOID")])
def test_a_void_that_was_left_to_a_person_is_told_once(flags: bool, announced: str | None) -> None:
    """Under another policy it is still to be done."""
    entry = an_entry("posted", qbo_id="1", result="skipped")
    assert to_announce(listed("VOID"), known(entry, flags=flags), HORIZON, NOW) == announced


def test_the_newest_row_counts() -> None:
    memory = known(an_entry("voided"), an_entry("posted", qbo_id="1"))
    assert to_announce(listed("VOID"), memory, HORIZON, NOW) == "VOID"


@pytest.mark.parametrize("status", ["DRAFT", "SOMETHING NEW"])
def test_other_states_are_none_of_ours(status: str) -> None:
    assert to_announce(listed(status), known(an_entry("posted", qbo_id="1")), HORIZON, NOW) is None


def test_an_invoice_without_a_date_is_left_out_unless_it_is_known() -> None:
    """Nobody can say how old an unknown one is; a void of one that we know is to be dealt with."""
    assert to_announce(listed(age=None), known(), HORIZON, NOW) is None
    assert to_announce(listed("VOID", age=None), known(), HORIZON, NOW) is None
    assert to_announce(listed("VOID", age=None), known(an_entry("posted", qbo_id="1")), HORIZON, NOW) == "VOID"
    assert to_announce(listed("VOID", age=None), known(an_entry("voided")), HORIZON, NOW) is None


@pytest.mark.parametrize("age", [None, timedelta(0), DAY, 100 * DAY])
@pytest.mark.parametrize("state", ["parked", "skipped"])
def test_what_was_not_final_when_its_webhook_came_is_announced_as_soon_as_it_is(
    state: str, age: timedelta | None
) -> None:
    """Also when it is not asked for any more."""
    early = known(an_entry(state, waits_for=FINALIZATION))
    assert to_announce(listed(age=age), early, HORIZON, NOW) == "FINALIZED"
    assert to_announce(listed("DRAFT", age=age), early, HORIZON, NOW) is None
    decided = known(an_entry(state, waits_for=FINALIZATION), an_entry("refused"))
    assert to_announce(listed(age=age), decided, HORIZON, NOW) is None


@pytest.mark.parametrize(
    ("status", "days", "past"), [("FINALIZED", 36, True), ("VOID", 36, False), ("VOID", 366, True)]
)
def test_voids_are_looked_at_further_back(status: str, days: int, past: bool) -> None:
    assert is_past(listed(status, age=days * DAY), HORIZON, NOW) is past


def test_the_document_that_takes_another_back_is_no_invoice_of_metronome() -> None:
    assert len(known(an_entry("posted", invoice_id=reversal_id(INVOICE_ID)))) == 0


def test_what_is_older_than_any_look_back_is_forgotten() -> None:
    memory = known(an_entry("voided"), an_entry("posted", invoice_id="i-2", changed_at=NOW), keep=DAY / 2)
    memory.forget_old(NOW)
    assert (INVOICE_ID in memory, memory.closed(INVOICE_ID), "i-2" in memory) == (False, False, True)


def test_what_was_announced_may_be_announced_again_after_a_while() -> None:
    announced, found = Announced(DAY), announcement_of(listed()).id
    announced.add(found, NOW)
    announced.forget_old(NOW + DAY / 2)
    assert found in announced
    announced.forget_old(NOW + DAY)
    assert found not in announced


def test_an_announcement_is_read_like_a_webhook() -> None:
    body = announcement_of(listed()).encode()
    webhook = read_webhook(body)
    assert isinstance(webhook, InvoiceFinalized)
    assert (webhook.properties.invoice_id, webhook.properties.customer_id) == (INVOICE_ID, "c-1")
    assert webhook_key(body) == b"c-1"


def test_its_id_is_the_same_for_the_same_invoice_and_status_and_no_other() -> None:
    assert announcement_of(listed()).encode() == announcement_of(listed()).encode()
    others = (listed(), listed("VOID"), listed(invoice_id="i-2"))
    assert len({announcement_of(each).id for each in others}) == 3
