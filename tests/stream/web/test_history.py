"""The fold, with records written by hand; no broker."""

from __future__ import annotations

import itertools
import json
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.delivery import ERROR_HEADER
from agents.translate.translate import translate
from models.commands import VoidInvoice
from models.outcomes import Result
from models.policy import Policy
from models.record import Address, Record
from stream.formatting import DEAD_LETTER
from stream.kafka.log import RawRecord
from stream.web.history import Event, event_of, fold, in_order
from tests.builders import INVOICE_ID, RECEIVED_AT, an_invoice, facts_of
from tests.stream.recorded import outcome_of

FACTS = facts_of(an_invoice(), webhook=Address(topic="webhooks", partition=0, offset=0))
POST = translate(FACTS, Address(topic="invoices", partition=1, offset=0), policy=Policy())[-1]
NOTICE = json.dumps(
    {"type": "invoice.finalized", "properties": {"invoice_id": INVOICE_ID, "customer_id": "c"}}
).encode()


def raw(topic: str, value: bytes | Record | None, offset: int = 0, *, ms: int = 1_000_000, **more: Any) -> RawRecord:
    address = Address(topic=topic, partition=0 if topic == "webhooks" else 1, offset=offset)
    return RawRecord(address, ms, None, value.encode() if isinstance(value, Record) else value, **more)


def command(offset: int = 0, ms: int = 1_000_000) -> Event:
    return event_of("commands", raw("commands", POST, offset, ms=ms))


def outcome(result: Result, offset: int = 0, *, of: int = 0, **changes: Any) -> Event:
    at = Address(topic="commands", partition=1, offset=of)
    return event_of("outcomes", raw("outcomes", outcome_of(POST, at, result, **changes), offset))


WEBHOOK = event_of("webhooks", raw("webhooks", NOTICE))
ENRICHED = event_of("invoices", raw("invoices", FACTS))


def test_a_posted_invoice_is_told_from_webhook_to_outcome() -> None:
    steps = [WEBHOOK, ENRICHED, command(), outcome("posted")]
    row = fold(steps)
    assert (row["state"], row["qbo_id"], row["doc_number"]) == ("posted", "145", "MTR-D23458E0")
    assert (row["metronome_total"], row["qbo_total"], row["currency"], row["mismatch"]) == ("10.00", "10.00", "USD", 0)
    assert (row["customer_name"], row["seconds"]) == ("Acme GmbH", 2.0)
    assert [step.cause for step in steps[1:]] == ["webhooks[0]@0", "invoices[1]@0", "commands[1]@0"]


def test_the_order_in_which_topics_are_read_is_no_matter() -> None:
    steps = [WEBHOOK, ENRICHED, command(), outcome("parked", reason="no item"), outcome("posted", 1)]
    rows = [fold(list(order)) for order in itertools.permutations(steps)]
    assert all(row == rows[0] for row in rows)
    assert (rows[0]["state"], rows[0]["reason"]) == ("posted", None)


def test_an_outcome_follows_its_command_though_its_clock_was_behind() -> None:
    late_command = event_of("commands", raw("commands", POST, ms=9_000_000))
    assert fold([late_command, outcome("refused", reason="no")])["state"] == "refused"


def test_the_same_steps_in_any_shuffle_have_one_order() -> None:
    steps = [
        WEBHOOK,
        ENRICHED,
        *(command(each) for each in range(5)),
        *(outcome("unchanged", each, of=each) for each in range(5)),
    ]
    shuffled = random.Random(7).sample(steps, len(steps))
    assert in_order(shuffled) == in_order(steps)


def test_unchanged_tells_no_trouble_and_ends_a_wait() -> None:
    again = [command(1), outcome("unchanged", 1, of=1, reason="the books hold exactly this document already")]
    assert fold([command(), outcome("posted"), *again])["reason"] is None
    assert fold([command(), outcome("parked"), *again])["state"] == "posted"


def test_unchanged_leaves_the_state_as_it_was() -> None:
    settled = [command(), outcome("updated"), command(1), outcome("unchanged", 1, of=1)]
    assert fold(settled)["state"] == "updated"


@pytest.mark.parametrize("result", ["mapped", "found", "created", "resumed"])
def test_what_is_said_of_customers_and_items_moves_no_invoice(result: Result) -> None:
    """Though the record says that it speaks of one: whoever wrote it, the pages go on."""
    told = outcome(result)
    assert (told.what, told.invoice_id, told.state) == (result, None, None)
    assert fold([WEBHOOK, ENRICHED, command(), told, command(1)])["state"] == "commanded"


def test_a_command_that_is_not_answered_yet_is_under_way() -> None:
    assert fold([command(), outcome("posted"), command(1, ms=2_000_000)])["state"] == "commanded"


def test_a_repeated_webhook_does_not_take_a_posted_invoice_back() -> None:
    again = event_of("webhooks", raw("webhooks", NOTICE, 1, ms=2_000_000))
    facts_again = event_of("invoices", raw("invoices", FACTS, 1, ms=2_000_000))
    assert fold([WEBHOOK, ENRICHED, command(), outcome("posted"), again, facts_again])["state"] == "posted"


def test_uncertain_is_not_left_by_another_command() -> None:
    row = fold([command(), outcome("uncertain", reason="no answer came"), command(1, ms=2_000_000)])
    assert (row["state"], row["reason"]) == ("uncertain", "no answer came")


def test_a_parked_invoice_says_what_it_waits_for_and_the_remedy() -> None:
    row = fold([command(), outcome("parked", reason="no customer", remedy="map it", waits_for="customer/c1")])
    assert (row["state"], row["reason"], row["remedy"], row["waits_for"]) == (
        "parked",
        "no customer",
        "map it",
        "customer/c1",
    )
    assert "seconds" not in row


def test_another_total_in_the_books_is_a_mismatch() -> None:
    assert fold([command(), outcome("posted", total=Decimal("10.01"))])["mismatch"] == 1
    assert fold([command(), outcome("posted", total=Decimal("10.0"))])["mismatch"] == 0
    assert fold([command(), outcome("posted", currency="EUR")])["mismatch"] == 1


def test_a_voided_invoice_is_no_mismatch() -> None:
    void = VoidInvoice(realm=FACTS.realm, invoice_id=INVOICE_ID, reason="voided in Metronome")
    at = Address(topic="commands", partition=1, offset=1)
    steps = [
        command(),
        outcome("posted"),
        event_of("commands", raw("commands", void, 1)),
        event_of("outcomes", raw("outcomes", outcome_of(void, at, "voided", total=Decimal(0)), 1)),
    ]
    row = fold(steps)
    assert (row["state"], row["mismatch"]) == ("voided", 0)


def test_seconds_count_to_the_first_outcome_only() -> None:
    late = outcome("updated", 1, of=1, finished_at=RECEIVED_AT + timedelta(days=90))
    assert fold([command(), outcome("posted"), command(1), late])["seconds"] == 2.0


def test_a_declined_invoice_still_shows_what_metronome_billed() -> None:
    assert fold([WEBHOOK, ENRICHED])["metronome_total"] == "10"


def dead(offset: int = 0, ms: int = 1_000_000) -> Event:
    headers = [("topic", b"webhooks"), ("partition", b"0"), ("offset", b"0"), ("exception.message", b"404")]
    named = tuple((ERROR_HEADER + name, value) for name, value in headers)
    return event_of("deadletters", raw("deadletters", b"{}", offset, ms=ms, headers=named))


def test_a_dead_letter_ends_an_invoice_until_its_webhook_comes_again() -> None:
    row = fold([WEBHOOK, dead()])
    assert (row["state"], row["reason"]) == (DEAD_LETTER, "404")
    again = event_of("webhooks", raw("webhooks", NOTICE, 1, ms=2_000_000))
    assert fold([WEBHOOK, dead(), again])["state"] == "received"


def test_a_dead_letter_does_not_undo_a_posted_invoice() -> None:
    assert fold([WEBHOOK, ENRICHED, command(), outcome("posted"), dead(ms=2_000_000)])["state"] == "posted"


def test_a_webhook_about_something_else_is_no_invoice() -> None:
    step = event_of("webhooks", raw("webhooks", b'{"type": "alerts.spend_threshold_reached"}'))
    assert (step.what, step.invoice_id, step.state) == ("other webhook", None, None)


GARBAGE = [
    None,
    b"",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'{"type":"invoice.finalized"}',
    b"[" * 100_000,
    b'{"type":"x\\ud800"}',
]


@pytest.mark.parametrize("role", ["webhooks", "invoices", "commands", "outcomes"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_on_any_topic_is_a_step_that_cannot_be_read(role: Any, garbage: bytes | None) -> None:
    damaged = (role, garbage) == ("webhooks", GARBAGE[-1])  # half a character is left out of what a vendor says
    assert event_of(role, raw(role, garbage)).what == ("other webhook" if damaged else "unreadable")


def test_facts_whose_answer_is_garbage_are_still_a_step() -> None:
    for answer in ("", "[" * 100_000, '{"data": {}}', '{"data": {"total": 1e999999999}}'):
        step = event_of("invoices", raw("invoices", FACTS.replace(answer=answer)))
        assert (step.what, "metronome_total" in step.sets) == ("InvoiceEnriched", False)


def test_a_dead_letter_without_headers_is_a_step() -> None:
    assert event_of("deadletters", raw("deadletters", None)).what == DEAD_LETTER


def test_a_long_reason_is_cut_in_the_summary() -> None:
    assert len(outcome("refused", reason="x" * 5000).summary) <= 500
