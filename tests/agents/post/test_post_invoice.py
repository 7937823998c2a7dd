"""Posting: one document per invoice, whatever comes twice, whatever changes, whatever QuickBooks says."""

from datetime import date
from decimal import Decimal

import pytest

from models.commands import DeclineInvoice
from models.document import CustomerReference
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import (
    FACTS,
    INVOICE_ID,
    REALM,
    World,
    a_document,
    a_post,
    a_void,
    fault,
    refusal,
)

SAME_EIGHT = "d23458e0-0000-4000-8000-000000000001"


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_time_costs_one_write_and_no_read(world: World) -> None:
    outcome = await world.run(a_post("10.00", "0.07"))
    assert (outcome.result, outcome.total, outcome.currency, outcome.doc_number) == (
        "posted", Decimal("10.07"), "USD", "MTR-D23458E0",
    )  # fmt: skip
    assert (outcome.qbo_id, outcome.sync_token, outcome.attempts, outcome.adopted) == ("1", "0", 1, False)
    assert outcome.intuit_tid
    assert outcome.requestid
    assert (len(world.transport.writes()), len(world.transport.reads())) == (1, 0)
    [document] = world.invoices()
    assert (document["TotalAmt"], document["CustomerRef"]["value"]) == (Decimal("10.07"), "58")


async def test_the_same_command_again_has_the_same_outcome_and_writes_nothing(world: World) -> None:
    first = await world.run(a_post(), offset=3)
    second = await world.run(a_post(), offset=3)
    assert (second.result, second.qbo_id, second.total) == (first.result, first.qbo_id, first.total)
    assert len(world.transport.calls) == 1


async def test_the_same_invoice_by_a_new_command_is_unchanged(world: World) -> None:
    await world.run(a_post())
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.qbo_id) == ("unchanged", "1")
    assert len(world.transport.calls) == 1


async def test_an_unchanged_outcome_is_told_again_as_unchanged(world: World) -> None:
    await world.run(a_post(), offset=3)
    await world.run(a_post(), offset=4)
    assert (await world.run(a_post(), offset=4)).result == "unchanged"


async def test_a_changed_invoice_is_updated_in_place(world: World) -> None:
    await world.run(a_post("10.00"))
    outcome = await world.run(a_post("12.50", "1.00"))
    assert (outcome.result, outcome.qbo_id, outcome.doc_number) == ("updated", "1", "MTR-D23458E0")
    assert (outcome.sync_token, outcome.total) == ("1", Decimal("13.50"))
    assert [document["TotalAmt"] for document in world.invoices()] == [Decimal("13.5")]
    assert len(world.transport.reads()) == 0


async def test_an_invoice_edited_in_quickbooks_is_read_again_and_updated(world: World) -> None:
    """5010: our SyncToken is old."""
    await world.run(a_post("10.00"))
    world.edited_by_a_person("Invoice", "1", CustomerMemo={"value": "thank you"})
    outcome = await world.run(a_post("12.50"))
    assert (outcome.result, outcome.sync_token, outcome.total) == ("updated", "2", Decimal("12.50"))
    assert len(world.invoices()) == 1


async def test_a_credit_memo_is_posted_as_one(world: World) -> None:
    outcome = await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    assert (outcome.result, outcome.kind, outcome.total) == ("posted", "creditmemo", Decimal("5.00"))
    assert world.transport.writes()[0].path.endswith("/creditmemo")
    assert not world.invoices()


async def test_an_invoice_that_turns_into_a_credit_memo_is_parked(world: World) -> None:
    """Also with the very same amounts and dates, when only the kind differs."""
    await world.run(a_post("5.00", due_date=None))
    outcome = await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    assert (outcome.result, outcome.waits_for, outcome.qbo_id) == ("parked", "document/1", "1")
    assert len(world.transport.writes()) == 1
    assert world.entry(INVOICE_ID).state == "posted"


async def test_an_unclear_invoice_that_turns_into_a_credit_memo_is_parked_once_it_is_found(world: World) -> None:
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post("5.00"))).result == "uncertain"
    outcome = await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    assert (outcome.result, outcome.waits_for, outcome.qbo_id) == ("parked", "document/1", "1")
    assert not world.invoices("CreditMemo")


# DocNumbers


async def test_two_invoices_of_ours_with_the_same_eight_digits_get_different_numbers(world: World) -> None:
    await world.run(a_post())
    outcome = await world.run(a_post(invoice_id=SAME_EIGHT))
    assert (outcome.result, outcome.doc_number) == ("posted", "MTR-D23458E00")
    assert len(world.transport.calls) == 2


async def test_a_number_that_a_stranger_has_is_made_longer() -> None:
    """6140, where the company warns of duplicate numbers: two digits more here, since both shorter ones are taken."""
    world = World(company=Company(REALM, warn_duplicate_doc_numbers=True))
    for number in ("MTR-D23458E0", "MTR-D23458E0C"):
        world.books.put_sale("Invoice", {**(await _foreign(number)), "Id": world.books.new_id("Invoice")})
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.doc_number, outcome.adopted) == ("posted", "MTR-D23458E0C9", False)
    assert len(world.invoices()) == 3
    assert all(len(write.query["requestid"]) <= 36 for write in world.transport.writes())


async def _foreign(number: str) -> dict[str, object]:
    """A document with our number that says nothing of our invoice."""
    elsewhere = World()
    await elsewhere.run(a_post())
    return {**elsewhere.invoices()[0], "DocNumber": number, "PrivateNote": "typed in by hand"}


async def test_a_number_without_a_duplicate_warning_is_not_taken_for_ours() -> None:
    """The same DocNumber is no proof: only the full id in the note is."""
    world = World(settings=QuickBooksSettings(limits=False, requestid_seconds=0))
    world.books.put_sale("Invoice", {**(await _foreign("MTR-D23458E0")), "Id": world.books.new_id("Invoice")})
    world.faults.add(fault("drop"))
    outcome = await world.run(a_post("12.00"))
    assert (outcome.result, outcome.adopted, outcome.total, outcome.qbo_id) == ("posted", False, Decimal("12.00"), "2")


async def test_when_every_number_is_taken_the_invoice_is_refused() -> None:
    world = World(company=Company(REALM, warn_duplicate_doc_numbers=True))
    for digits in range(8, 18):
        number = "MTR-" + INVOICE_ID.replace("-", "")[:digits].upper()
        world.books.put_sale("Invoice", {**(await _foreign(number)), "Id": world.books.new_id("Invoice")})
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.rule) == ("refused", "quickbooks")
    assert outcome.error is not None
    assert outcome.error.code == "6140"
    assert len(world.invoices()) == 10


async def test_an_update_whose_number_is_taken_meanwhile_is_refused_not_uncertain() -> None:
    world = World(company=Company(REALM, warn_duplicate_doc_numbers=True))
    await world.run(a_post("10.00"))
    world.books.put_sale("Invoice", {**(await _foreign("MTR-D23458E0")), "Id": world.books.new_id("Invoice")})
    outcome = await world.run(a_post("11.00"))
    assert (outcome.result, outcome.error and outcome.error.code) == ("refused", "6140")
    assert (world.entry(INVOICE_ID).state, world.entry(INVOICE_ID).attempt) == ("posted", None)


# The requestid


async def test_the_requestid_is_stable_short_and_follows_the_body(world: World) -> None:
    other = World()
    await world.run(a_post("10.00"))
    await other.run(a_post("10.00"))
    await other.run(a_post("10.01"))
    first, same, changed = (call.query["requestid"] for call in world.transport.writes() + other.transport.writes())
    assert first == same != changed
    assert len(first) <= 36


# What QuickBooks refuses


@pytest.mark.parametrize("code", ["6070", "2050", "2020", "6000", "2010", "9999"])
async def test_a_broken_rule_refuses_the_invoice_and_leaves_the_books_alone(world: World, code: str) -> None:
    world.faults.add(refusal(code))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.rule) == ("refused", "quickbooks")
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.message, outcome.error.status) == (code, f"No {code}", 400)
    assert (world.live(), len(world.transport.writes())) == ([], 1)
    assert world.entry(INVOICE_ID).attempt is None


@pytest.mark.parametrize(
    ("code", "waits_for"),
    [
        ("6200", "open period"),
        ("6210", "open period"),
        ("610", "mapping"),
        ("2500", "mapping"),
        ("3100", "connection"),
        ("6190", "connection"),
    ],
)
async def test_what_a_person_can_mend_parks_the_invoice_and_a_redrive_posts_it(
    world: World, code: str, waits_for: str
) -> None:
    world.faults.add(refusal(code))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", waits_for)
    assert outcome.remedy
    assert world.live() == []
    assert (await world.run(a_post())).result == "posted"
    assert len(world.live()) == 1


async def test_a_closed_period_that_is_opened_lets_the_invoice_through_even_if_refusals_are_remembered() -> None:
    """Whether QuickBooks replays a refusal under its requestid is not published (docs/vendors/quickbooks.md §3.2)."""
    settings = QuickBooksSettings(limits=False, requestid_keeps_faults=True)
    world = World(settings=settings, company=Company(REALM, book_close_date=date(2026, 12, 31)))
    assert (await world.run(a_post())).waits_for == "open period"
    world.books.company = Company(REALM)
    assert (await world.run(a_post())).result == "posted"


async def test_a_company_that_is_not_connected_parks_the_invoice(world: World) -> None:
    world.tokens.connected = False
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.waits_for) == ("parked", "connection")
    assert f"connect --realm {REALM}" in (outcome.remedy or "")
    world.tokens.connected = True
    assert (await world.run(a_post())).result == "posted"


async def test_a_refused_update_leaves_the_document_of_before_and_says_so(world: World) -> None:
    await world.run(a_post("10.00"))
    world.faults.add(refusal("6000"))
    outcome = await world.run(a_post("11.00"))
    assert (outcome.result, outcome.qbo_id, outcome.total) == ("refused", "1", Decimal("10.00"))
    assert world.entry(INVOICE_ID).in_books


async def test_a_parked_update_that_comes_again_is_carried_out_not_called_posted(world: World) -> None:
    """A kill between the table and the outcome: the old document must not pass for the new one."""
    await world.run(a_post("10.00"))
    world.faults.add(refusal("6200"))
    world.flushed = lambda queued: queued
    offset = await world.dies(a_post("11.00"), "before the outcome")
    outcome = await world.run(a_post("11.00"), offset=offset)
    assert (outcome.result, outcome.total) == ("updated", Decimal("11.00"))


async def test_a_declined_invoice_writes_nothing_and_can_be_posted_later(world: World) -> None:
    declined = DeclineInvoice(
        realm=REALM, facts=FACTS, invoice_id=INVOICE_ID, decision="skipped", rule="zero total", reason="it is zero"
    )
    outcome = await world.run(declined, offset=0)
    assert (outcome.result, outcome.rule, outcome.reason) == ("skipped", "zero total", "it is zero")
    again = await world.run(declined, offset=0)
    assert (again.result, again.rule, again.reason) == (outcome.result, outcome.rule, outcome.reason)
    assert world.transport.calls == []
    assert (await world.run(a_post(), offset=1)).result == "posted"
    late = await world.run(declined, offset=2)
    assert (late.result, late.qbo_id) == ("skipped", "1")
    assert "left as it is" in (late.reason or "")


async def test_an_unknown_customer_and_an_unknown_item_park_the_invoice(world: World) -> None:
    stranger = CustomerReference(customer_id="c-9", name="Nobody")
    outcome = await world.run(a_post(customer=stranger))
    assert (outcome.result, outcome.waits_for) == ("parked", "customer/c-9")
    assert world.transport.calls == []


async def test_a_long_list_of_lines_keeps_every_cent(world: World) -> None:
    amounts = [f"0.{cents:02d}" for cents in range(1, 100)]
    outcome = await world.run(a_post(*amounts))
    assert outcome.total == a_document(*amounts).total == Decimal("49.50")


async def test_an_older_command_after_a_later_one_changes_nothing(world: World) -> None:
    await world.run(a_post("10.00"), offset=3)
    await world.run(a_post("12.00"), offset=4)
    outcome = await world.run(a_post("10.00"), offset=3)
    assert (outcome.result, outcome.total) == ("unchanged", Decimal("12.00"))
    assert len(world.transport.writes()) == 2


async def test_voiding_and_posting_do_not_disturb_another_invoice(world: World) -> None:
    other = "a0000000-0000-4000-8000-000000000002"
    await world.run(a_post("1.00"))
    await world.run(a_post("2.00", invoice_id=other))
    await world.run(a_void())
    assert [(document["DocNumber"], document["TotalAmt"]) for document in world.live()] == [("MTR-A0000000", 2)]
