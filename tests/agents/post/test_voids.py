"""Voids by policy: the document is voided, taken back by another one, or left to a person; and never billed again."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from agents.delivery import Claims
from agents.post.post import claims
from models.commands import NOT_FINALIZED, DeclineInvoice, PostInvoice, VoidInvoice
from models.document import CustomerReference, ItemReference, doc_number, reversal_id
from models.outcomes import Outcome
from models.policy import Policy
from simulators.quickbooks.books import Company, add_customer, add_item
from simulators.quickbooks.settings import QuickBooksSettings
from stream.operations.replay import History, judge
from tests.agents.in_process import FACTS, INVOICE_ID, REALM, START, CrashAt, World, a_line, a_post, a_void, fault
from tests.agents.translate.translating import commands, posted
from tests.builders import a_line as a_metronome_line
from tests.builders import an_invoice

TAKEN_BACK = reversal_id(INVOICE_ID)
CREDIT_MEMO = Policy(voids="credit-memo")
FLAG = Policy(voids="flag")
BY_HAND = "void the document in QuickBooks, or give a credit memo for it"
LATER = datetime(2026, 12, 24, 3, tzinfo=UTC)


def a_reversal(*amounts: str, **changes: Any) -> PostInvoice:
    """Takes back what `a_post` posts, with the same arguments."""
    return a_post(
        *amounts,
        invoice_id=TAKEN_BACK,
        **{"kind": "creditmemo", "due_date": None, "reverses": INVOICE_ID, **changes},
    )


def a_flag() -> VoidInvoice:
    flag: VoidInvoice = a_void().replace(by_hand=BY_HAND)
    return flag


def balance(world: World) -> Decimal:
    """What the customer owes by these documents."""
    sums = {kind: sum((Decimal(each["TotalAmt"]) for each in world.invoices(kind)), Decimal(0)) for kind in KINDS}
    return sums["Invoice"] - sums["CreditMemo"]


KINDS = ("Invoice", "CreditMemo")


# What translate decides


def test_by_default_a_void_voids_the_document() -> None:
    [void] = commands(an_invoice(status="VOID"))
    assert isinstance(void, VoidInvoice)
    assert (void.invoice_id, void.by_hand) == (INVOICE_ID, None)


def test_flagged_it_says_what_is_left_to_a_person() -> None:
    [void] = commands(an_invoice(status="VOID"), FLAG)
    assert isinstance(void, VoidInvoice)
    assert void.by_hand == BY_HAND


def test_a_credit_memo_has_the_lines_and_the_total_of_the_invoice_and_an_identity_of_its_own() -> None:
    lines = [a_metronome_line(1000), a_metronome_line(-250, name="Credit"), a_metronome_line(33)]
    original, memo = posted(an_invoice(lines)), posted(an_invoice(lines, status="VOID"), CREDIT_MEMO)
    assert (original.kind, memo.kind) == ("invoice", "creditmemo")
    assert (memo.lines, memo.total, memo.currency) == (original.lines, original.total, original.currency)
    assert (memo.customer, memo.invoice_id, memo.reverses) == (original.customer, TAKEN_BACK, INVOICE_ID)
    first, second = memo.private_note.splitlines()[:2]
    assert first == f"Metronome invoice {INVOICE_ID}~void"
    assert second == f"Takes back: {original.doc_number}, Metronome invoice {INVOICE_ID}"
    assert memo.doc_number == "MTR-D23458E0V" != original.doc_number
    assert (memo.due_date, memo.replaces, memo.constituents) == (None, None, ())


def test_a_credit_memo_of_metronome_is_taken_back_by_an_invoice() -> None:
    invoice = an_invoice([a_metronome_line(-2000)], status="VOID")
    reversal = posted(invoice, CREDIT_MEMO)
    assert (reversal.kind, reversal.total, reversal.lines[0].amount) == ("invoice", Decimal(20), Decimal(20))


def test_it_is_dated_when_the_void_became_known_and_not_in_a_closed_period() -> None:
    """The original's month is closed: that is why somebody wants credit memos."""
    closed = Policy(voids="credit-memo", books_closed_through=date(2026, 11, 30))
    assert posted(an_invoice(status="VOID"), closed, received_at=LATER).txn_date == date(2026, 12, 24)
    [refused] = commands(an_invoice(status="VOID"), closed)
    assert isinstance(refused, VoidInvoice)
    assert refused.by_hand == BY_HAND
    assert "closed" in refused.reason


def test_it_asks_for_no_customer_and_no_item() -> None:
    """Whoever was never posted must not come into the books for being voided."""
    invoice = an_invoice([a_metronome_line(product_custom_fields=None)], status="VOID", customer_custom_fields={})
    made = commands(invoice, Policy(voids="credit-memo", missing_item="create", income_account_id="1"))
    assert [each.type for each in made] == ["PostInvoice"]


def test_what_cannot_be_made_a_credit_memo_is_left_to_a_person() -> None:
    [void] = commands(an_invoice(status="VOID", total=999), CREDIT_MEMO)
    assert isinstance(void, VoidInvoice)
    assert void.by_hand == BY_HAND
    assert "nothing takes it back by itself" in void.reason


@pytest.mark.parametrize(("policy", "stays"), [(Policy(), False), (FLAG, True), (CREDIT_MEMO, True)])
def test_a_regenerated_invoice_voids_the_former_one_only_where_voids_are_voids(policy: Policy, stays: bool) -> None:
    void, *_, post = commands(an_invoice(regenerated_from_invoice_id="i-former"), policy)
    assert isinstance(void, VoidInvoice)
    assert isinstance(post, PostInvoice)
    assert (void.invoice_id, void.by_hand is not None) == ("i-former", stays)


@pytest.mark.parametrize("digits", range(8, 18))
def test_its_number_fits_and_is_never_that_of_an_invoice(digits: int) -> None:
    number = doc_number(TAKEN_BACK, digits)
    assert len(number) <= 21
    assert number not in {doc_number(INVOICE_ID, each) for each in range(8, 18)}


def test_a_replay_of_a_void_says_that_the_document_would_be_taken_back() -> None:
    voided = commands(an_invoice(status="VOID"), CREDIT_MEMO)
    document = posted(an_invoice())
    assert judge(voided, History(document=document))[0] == "differs"
    assert judge(voided, History(document=document, voided=True))[0] == "voided"
    assert judge(voided, History())[0] == "same"
    flagged = commands(an_invoice(status="VOID"), FLAG)
    assert judge(flagged, History(document=document))[0] == "declined"


# What the sink does


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


async def test_the_document_stays_and_a_credit_memo_takes_it_back(world: World) -> None:
    await world.run(a_post("10.00", "2.50"))
    outcome = await world.run(a_reversal("10.00", "2.50"))
    assert (outcome.result, outcome.kind, outcome.total) == ("posted", "creditmemo", Decimal("12.50"))
    assert outcome.doc_number == "MTR-D23458E0V"
    assert outcome.reason == "it takes back MTR-D23458E0, since Metronome voided the invoice"
    assert (len(world.invoices()), len(world.invoices("CreditMemo")), balance(world)) == (1, 1, 0)
    original = world.entry(INVOICE_ID)
    assert (original.state, original.reason) == ("voided", "MTR-D23458E0V takes it back")


async def test_an_invoice_takes_back_a_credit_memo(world: World) -> None:
    await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    outcome = await world.run(a_reversal("5.00", kind="invoice"))
    assert (outcome.result, outcome.kind, balance(world)) == ("posted", "invoice", 0)
    assert len(world.invoices()) == len(world.invoices("CreditMemo")) == 1


async def test_after_it_the_original_is_neither_posted_nor_updated_nor_voided(world: World) -> None:
    await world.run(a_post())
    await world.run(a_reversal())
    writes = len(world.transport.writes())
    for command in (a_post("99.00"), a_void(), a_flag()):
        assert (await world.run(command)).result == "unchanged"
    assert (len(world.transport.writes()), balance(world)) == (writes, 0)


async def test_it_is_taken_back_once_however_often_the_void_is_told(world: World) -> None:
    """Another day makes another document; the one of before stands."""
    await world.run(a_post())
    await world.run(a_reversal(), offset=7)
    assert (await world.run(a_reversal(), offset=7)).result == "posted"
    again = await world.run(a_reversal(txn_date=date(2027, 1, 1)), offset=8)
    assert (again.result, again.reason) == ("unchanged", "it is taken back already")
    assert (len(world.transport.writes()), balance(world)) == (2, 0)


async def test_what_was_never_posted_is_not_taken_back_and_never_posted_later(world: World) -> None:
    stranger = CustomerReference(customer_id="c-9", name="Nobody")
    assert (await world.run(a_post(customer=stranger))).result == "parked"
    for outcome in (await world.run(a_reversal(), offset=7), await world.run(a_reversal(), offset=7)):
        assert (outcome.result, outcome.rule) == ("skipped", "never posted")
    late = await world.run(a_post())
    assert (late.result, late.rule) == ("unchanged", "voided")
    assert world.transport.calls == []


@pytest.mark.parametrize(
    "crash_at", ["before the attempt is recorded", "before the write", "after the write", "before the outcome"]
)
@pytest.mark.parametrize("flushed", [0, 1, 2, 100])
async def test_a_worker_that_is_killed_takes_it_back_exactly_once(
    world: World, crash_at: CrashAt, flushed: int
) -> None:
    world.flushed = lambda queued: flushed
    await world.run(a_post())
    offset = await world.dies(a_reversal(), crash_at)
    assert (await world.run(a_post(), offset=0)).result in ("posted", "unchanged")
    assert (await world.run(a_reversal(), offset=offset)).result in ("posted", "unchanged")
    assert (len(world.invoices()), len(world.invoices("CreditMemo")), balance(world)) == (1, 1, 0)
    assert world.entry(INVOICE_ID).state == "voided"
    assert (await world.run(a_post("99.00"))).result == "unchanged"


@pytest.mark.parametrize("flushed", [0, 1, 2, 100])
async def test_a_worker_that_is_killed_when_it_has_found_its_credit_memo_closes_the_original_later(
    world: World, flushed: int
) -> None:
    """With one change flushed, the ledger knows of the credit memo and not that it is all that was to be done."""
    await world.run(a_post())
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_reversal())).result == "uncertain"
    world.retry_seconds, world.flushed = 600.0, lambda queued: flushed
    offset = await world.dies(a_reversal(), "before the outcome")
    assert (await world.run(a_reversal(), offset=offset)).result in ("posted", "unchanged")
    assert (world.entry(INVOICE_ID).state, balance(world)) == ("voided", 0)


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_lost_answer_is_settled_by_looking(world: World, arrived: bool) -> None:
    await world.run(a_post())
    world.faults.add(fault("drop", after_commit=arrived))
    assert (await world.run(a_reversal())).result == "posted"
    assert (len(world.invoices("CreditMemo")), balance(world)) == (1, 0)


async def test_an_unclear_original_is_looked_up_first(world: World) -> None:
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post())).result == "uncertain"
    world.retry_seconds = 600.0
    assert (await world.run(a_reversal())).result == "posted"
    assert balance(world) == 0


async def test_what_a_person_has_voided_meanwhile_is_not_credited_too(world: World) -> None:
    await world.run(a_post())
    world.edited_by_a_person("Invoice", "1", PrivateNote=f"Voided - Metronome invoice {INVOICE_ID}", TotalAmt=0)
    outcome = await world.run(a_reversal())
    assert (outcome.result, outcome.rule) == ("skipped", "never posted")
    assert (world.invoices("CreditMemo"), world.entry(INVOICE_ID).state) == ([], "voided")


async def test_a_credit_memo_that_did_not_arrive_is_not_made_after_a_person_voided_the_original(world: World) -> None:
    await world.run(a_post())
    world.retry_seconds = 0.1
    world.faults.add(fault("drop"))
    assert (await world.run(a_reversal())).result == "uncertain"
    world.retry_seconds = 600.0
    world.edited_by_a_person("Invoice", "1", PrivateNote=f"Voided - Metronome invoice {INVOICE_ID}", TotalAmt=0)
    assert (await world.run(a_reversal())).result == "skipped"
    assert world.invoices("CreditMemo") == []


async def test_a_person_who_takes_our_credit_memo_back_has_the_last_word(world: World) -> None:
    await world.run(a_post())
    world.retry_seconds = 0.1
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_reversal())).result == "uncertain"
    world.retry_seconds = 600.0
    note = f"Voided - Metronome invoice {TAKEN_BACK}"
    world.edited_by_a_person("CreditMemo", "2", PrivateNote=note, TotalAmt=0)
    outcome = await world.run(a_reversal())
    assert (outcome.result, outcome.rule, len(world.invoices("CreditMemo"))) == ("voided", "voided", 1)


@pytest.mark.parametrize(
    ("differs", "changes"),
    [
        ("total", {"lines": (a_line("9.00"),), "total": Decimal("9.00")}),
        ("items", {"lines": (a_line(item=ItemReference(name="Other", qbo_id="32")),)}),
        ("customer", {"customer": CustomerReference(customer_id="c-9", name="Other Inc", qbo_id="59")}),
        ("kind", {"kind": "invoice"}),
    ],
)
async def test_a_document_that_is_not_what_would_be_taken_back_waits_for_a_person(
    differs: str, changes: dict[str, Any]
) -> None:
    world = World()
    add_customer(world.books, "59", "Other Inc", START)
    add_item(world.books, "32", "Other", START)
    await world.run(a_post())
    outcome = await world.run(a_reversal(**changes))
    assert (outcome.result, outcome.waits_for) == ("parked", "document/1")
    assert (outcome.reason or "").endswith(f"another {differs}")
    assert "by hand" in (outcome.remedy or "")
    assert (world.entry(INVOICE_ID).state, world.invoices("CreditMemo")) == ("posted", [])


def test_nothing_else_touches_the_original_while_it_is_taken_back() -> None:
    both = claims(a_reversal())
    assert {(REALM, f"invoice/{INVOICE_ID}"), (REALM, f"invoice/{TAKEN_BACK}")} <= both.establishes
    assert isinstance(both, Claims)


async def test_a_flagged_document_stays_and_says_so_once_more_when_it_is_told_again(world: World) -> None:
    await world.run(a_post())
    first, again = await world.run(a_flag(), offset=7), await world.run(a_flag(), offset=7)
    for outcome in (first, again):
        assert (outcome.result, outcome.rule, outcome.doc_number) == ("skipped", "void: flag only", "MTR-D23458E0")
        assert outcome.reason == "Metronome voided the invoice; MTR-D23458E0 stays in QuickBooks"
    assert first.remedy == BY_HAND
    assert (world.entry(INVOICE_ID).state, balance(world)) == ("posted", 10)
    assert len(world.transport.writes()) == 1


async def test_a_flagged_invoice_that_was_never_posted_never_is(world: World) -> None:
    outcome = await world.run(a_flag())
    assert (outcome.result, outcome.rule) == ("skipped", "never posted")
    assert (await world.run(a_post())).result == "unchanged"
    assert world.transport.calls == []


async def test_a_flagged_document_that_a_person_has_voided_is_done_with(world: World) -> None:
    await world.run(a_post())
    await world.run(a_flag())
    world.edited_by_a_person("Invoice", "1", PrivateNote=f"Voided - Metronome invoice {INVOICE_ID}", TotalAmt=0)
    outcome = await world.run(a_flag())
    assert (outcome.result, outcome.adopted, world.entry(INVOICE_ID).state) == ("voided", True, "voided")


async def test_a_regenerated_invoice_waits_until_the_former_one_is_taken_back(world: World) -> None:
    later = "e1111111-c9a0-5538-9c3b-0a5a3f1e7b11"
    await world.run(a_post())
    await world.run(a_flag())
    assert (await world.run(a_post(invoice_id=later, replaces=INVOICE_ID))).result == "parked"
    await world.run(a_reversal())
    assert (await world.run(a_post(invoice_id=later, replaces=INVOICE_ID))).result == "posted"
    assert balance(world) == 10


@pytest.mark.parametrize("kept", [True, False], ids=["numbers kept", "own numbers"])
async def test_what_took_it_back_on_another_day_is_found_under_an_overwritten_row(kept: bool) -> None:
    """A credit memo has the date on which the void became known, which is another one when it is told again."""
    numbers = Company(REALM, custom_txn_numbers=kept, default_doc_number_kept=False)
    world = World(settings=QuickBooksSettings(limits=False, requestid_seconds=0), company=numbers)
    await world.run(a_post())
    stranger = CustomerReference(customer_id="c-9", name="Nobody")
    assert (await world.run(a_reversal(customer=stranger))).result == "parked"
    parked, original = world.entry(TAKEN_BACK), world.entry(INVOICE_ID)
    assert (await world.run(a_reversal(txn_date=date(2026, 11, 30)))).result == "posted"
    for row in (parked, original):
        world.worker.tables.invoices[row.key] = row.replace(changed_at=world.clock.moment())
    outcome = await world.run(a_reversal(txn_date=date(2026, 12, 1)))
    assert (outcome.result, outcome.adopted, len(world.invoices("CreditMemo"))) == ("posted", True, 1)


async def test_a_draft_that_was_voided_waits_no_more(world: World) -> None:
    """What it waited for, its own command, never comes: Metronome tells only of the void from now on."""
    declined = DeclineInvoice(
        realm=REALM,
        facts=FACTS,
        invoice_id=INVOICE_ID,
        decision="parked",
        rule=NOT_FINALIZED,
        reason="the invoice's status is DRAFT",
    )
    assert (await world.run(declined)).result == "parked"
    assert world.waiting
    assert (await world.run(a_reversal())).result == "skipped"
    told = next(each for each in world.outcomes if each.subject == f"invoice/{INVOICE_ID}" and each.result != "parked")
    assert (told.result, told.rule) == ("skipped", "never posted")
    assert world.waiting == {}


async def test_an_older_command_of_what_was_taken_back_while_it_waited_waits_no_more(world: World) -> None:
    """Its row spoke of a command that had been parked, for a cause that it had no more."""
    unknown = {"customer": CustomerReference(customer_id="c-9", name="Nobody")}
    older, newer = FACTS, FACTS.replace(offset=FACTS.offset + 1)
    assert (await world.run(a_post(**unknown).replace(facts=newer))).result == "parked"
    await world.run(a_reversal(**unknown).replace(facts=newer.replace(offset=newer.offset + 1)))
    late = await world.run(a_post(**unknown).replace(facts=older))
    assert (late.result, late.waits_for, len(world.waiting)) == ("unchanged", None, 0)


async def test_that_an_invoice_is_taken_back_is_told_of_itself_too(world: World) -> None:
    await world.run(a_post())
    await world.run(a_reversal())
    told = next(each for each in world.outcomes if each.subject == f"invoice/{INVOICE_ID}" and each.result != "posted")
    assert (told.result, told.doc_number, told.reason) == ("voided", "MTR-D23458E0", "MTR-D23458E0V takes it back")


async def test_a_void_of_a_credit_memo_that_quickbooks_refuses_names_the_policy_that_helps(world: World) -> None:
    await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    outcome: Outcome = await world.run(a_void())
    assert (outcome.result, outcome.rule) == ("refused", "quickbooks")
    assert 'voids = "credit-memo"' in (outcome.remedy or "")
    assert (await world.run(a_reversal("5.00", kind="invoice"))).result == "posted"
    assert balance(world) == 0


async def test_a_declined_invoice_has_no_such_remedy(world: World) -> None:
    """The remedy is for voids alone."""
    facts = {"rule": "unbillable", "reason": "Metronome marks the invoice as unbillable"}
    await world.run(a_post("5.00", kind="creditmemo", due_date=None))
    outcome = await world.run(DeclineInvoice(realm=REALM, invoice_id=INVOICE_ID, decision="refused", **facts))
    assert outcome.remedy is None
