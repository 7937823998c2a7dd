"""What a write does next, case by case: what is known of it on the left, the one step on the right."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.clients.failures import (
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    OutcomeUnknown,
    Refused,
    StaleObject,
    Unrecoverable,
    Wait,
)
from agents.post.decision import (
    NEVER,
    Done,
    Goal,
    HaveDocument,
    HaveNone,
    LookUp,
    Park,
    Refuse,
    Send,
    Step,
    WaitUntil,
    WriteState,
    after_failure,
    after_look_up,
    is_tried_again,
    next_step,
)
from agents.post.resolve import Resolved
from models.document import doc_number
from models.ledger import Attempt, LedgerEntry
from models.outcomes import ErrorFacts
from models.quickbooks import QUERY_LAG_SECONDS, SEEN_SECONDS_MAX
from tests.agents.in_process import INVOICE_ID, REALM, a_document

NOW = 1000.0
MOMENT = datetime(2026, 11, 2, tzinfo=UTC)
NUMBER = doc_number(INVOICE_ID)
GOAL = HaveDocument(REALM, Resolved("58", ("31",), True, a_document(), "wanted"), {})
NO = Refused("no", ErrorFacts(status=400, code="6070"))


def an_entry(**fields: Any) -> LedgerEntry:
    return LedgerEntry(realm=REALM, invoice_id=INVOICE_ID, changed_at=MOMENT, **{"state": "commanded", **fields})


def standing(**fields: Any) -> LedgerEntry:
    """Our document is in the books, with other content than wanted."""
    found = {"state": "posted", "kind": "invoice", "qbo_id": "7", "sync_token": "2", "doc_number": NUMBER}
    return an_entry(**{**found, "content_hash": "other", **fields})


def the_write(entry: LedgerEntry, goal: Goal = GOAL) -> Send:
    write = goal.write(entry, {})
    assert isinstance(write, Send)
    return write


def attempting(entry: LedgerEntry, requestid: str | None = None, operation: Any = "create") -> LedgerEntry:
    """A write of this entry left, and its result is not known."""
    attempt = Attempt(
        requestid=requestid or the_write(entry).requestid,
        operation=operation,
        kind="invoice",
        content_hash="wanted",
        doc_number=NUMBER,
        at=MOMENT,
    )
    attempted: LedgerEntry = entry.replace(state="attempting", attempt=attempt)
    return attempted


NEW, SENT = an_entry(), attempting(an_entry())
CREATE = the_write(NEW)
UPDATE = the_write(standing())
ENDS, SEEN = NOW + 60, NOW + QUERY_LAG_SECONDS
"""When QuickBooks cannot be at an earlier write any more, and when a query sees one that was made."""

POSTING: list[tuple[str, WriteState, Step]] = [
    ("nothing was ever sent", WriteState(NEW), CREATE),
    ("other content stands", WriteState(standing()), UPDATE),
    ("the wanted content stands", WriteState(standing(content_hash="wanted")), Done("posted")),
    ("it was voided", WriteState(standing(state="voided")), Done("voided")),
    ("an attempt is unknown", WriteState(SENT, run_ends_at=ENDS), LookUp(ENDS)),
    (
        "not there, may still come: the same again, and no is no no",
        WriteState(SENT, run_ends_at=ENDS, looked_up_at=NOW),
        replace(CREATE, certain=False),
    ),
    (
        "not there, may still come: another write must wait",
        WriteState(attempting(NEW, "another"), run_ends_at=ENDS, looked_up_at=NOW),
        WaitUntil(ENDS),
    ),
    (
        "not there, may still come, refused: wait for the last word",
        WriteState(SENT, run_ends_at=ENDS, looked_up_at=NOW, refusal=NO),
        WaitUntil(ENDS),
    ),
    (
        "not there, may still come, and QuickBooks has had this very request: it would only say so again",
        WriteState(SENT, run_ends_at=ENDS, looked_up_at=NOW, requestid_used=True),
        WaitUntil(ENDS),
    ),
    (
        "not there, and it was too early to say: look again when it cannot come any more",
        WriteState(SENT, run_ends_at=NOW, looked_up_at=NOW - 60),
        LookUp(NOW),
    ),
    ("surely not carried out, refused", WriteState(NEW, refusal=NO), Refuse(NO)),
    ("attempted before, settled, and not looked for since", WriteState(an_entry(attempts=1)), LookUp(NEVER, CREATE)),
    ("attempted before, and seen not to be there", WriteState(an_entry(attempts=1), is_absent=True), CREATE),
    ("attempted before, and there", WriteState(standing(attempts=1)), UPDATE),
    ("refused, but found", WriteState(standing(content_hash="wanted"), refusal=NO), Done("posted")),
]


@pytest.mark.parametrize(("state", "step"), [case[1:] for case in POSTING], ids=[case[0] for case in POSTING])
def test_the_next_step_of_a_document_that_is_to_be_posted(state: WriteState, step: Step) -> None:
    assert next_step(state, GOAL, NOW, trust_requestids=True) == step


def test_without_trust_in_requestids_nothing_is_sent_before_the_earlier_write_cannot_come_any_more() -> None:
    state = WriteState(SENT, run_ends_at=ENDS, looked_up_at=NOW)
    assert next_step(state, GOAL, NOW, trust_requestids=False) == WaitUntil(ENDS)
    assert next_step(state, GOAL, ENDS, trust_requestids=False) == LookUp(ENDS)


VOIDING: list[tuple[str, WriteState, Step]] = [
    ("nothing was ever posted", WriteState(NEW), Done("nothing there")),
    ("it is voided already", WriteState(standing(state="voided")), Done("voided")),
    ("a document stands", WriteState(standing()), the_write(standing(), HaveNone())),
    ("a create is unknown", WriteState(SENT, run_ends_at=ENDS), LookUp(ENDS)),
    ("a create may still come", WriteState(SENT, run_ends_at=ENDS, looked_up_at=NOW), WaitUntil(ENDS)),
    ("the void was refused", WriteState(standing(), refusal=NO), Refuse(NO)),
]


@pytest.mark.parametrize(("state", "step"), [case[1:] for case in VOIDING], ids=[case[0] for case in VOIDING])
def test_the_next_step_of_a_document_that_is_to_be_voided(state: WriteState, step: Step) -> None:
    assert next_step(state, HaveNone(), NOW, trust_requestids=True) == step


def test_a_document_of_the_other_kind_is_left_to_a_person() -> None:
    step = next_step(WriteState(standing(kind="creditmemo")), GOAL, NOW, trust_requestids=True)
    assert isinstance(step, Park)
    assert step.parked.waits_for == "document/7"


def test_a_taken_number_gives_a_longer_one_until_there_is_none() -> None:
    taken: dict[str, DuplicateNumber] = {}
    numbers = []
    while isinstance(step := next_step(WriteState(NEW, numbers_taken=taken), GOAL, NOW, trust_requestids=True), Send):
        numbers.append(step.number)
        taken[step.number] = DuplicateNumber("taken")
    assert numbers == [doc_number(INVOICE_ID, digits) for digits in range(8, 18)]
    assert isinstance(step, Refuse)


FAILED: list[tuple[str, Failure, bool, dict[str, Any]]] = [
    ("nothing was done", Wait("throttled"), True, {"attempt": None}),
    ("nothing was done now, but by an earlier one perhaps", Wait("throttled"), False, {"looked_up_at": None}),
    ("it may have been done", OutcomeUnknown("lost"), True, {"run_ends_at": NOW + SEEN_SECONDS_MAX}),
    (
        "it may have been done, and will fail again",
        Unrecoverable("ill"),
        True,
        {"refusal": "ill", "run_ends_at": NOW + SEEN_SECONDS_MAX},
    ),
    ("a no", NO, True, {"attempt": None, "refusal": "no"}),
    ("a no, but an earlier one may be a yes", NO, False, {"refusal": "no", "looked_up_at": NOW}),
    ("the requestid is known", DuplicateRequest("used"), True, {"run_ends_at": NOW + SEEN_SECONDS_MAX}),
    ("it changed meanwhile", StaleObject("stale"), True, {"looked_up_at": None}),
    (
        "the number is taken",
        DuplicateNumber("taken"),
        True,
        {"numbers": {NUMBER}, "run_ends_at": SEEN},
    ),
]


@pytest.mark.parametrize(
    ("failure", "certain", "known"), [case[1:] for case in FAILED], ids=[each[0] for each in FAILED]
)
def test_what_is_known_after_a_failure(failure: Failure, certain: bool, known: dict[str, Any]) -> None:
    """All that the case does not name is as before; the attempt stays unless it was surely not carried out."""
    before = WriteState(SENT, run_ends_at=NEVER if certain else ENDS, looked_up_at=NOW - 1, sent=1)
    state = after_failure(before, replace(CREATE, certain=certain), failure, NOW)
    assert (state.entry.attempt is None) is (known.get("attempt", SENT.attempt) is None)
    assert str(state.refusal or "") == known.get("refusal", "")
    assert set(state.numbers_taken) == known.get("numbers", set())
    assert state.run_ends_at == known.get("run_ends_at", before.run_ends_at)
    if "looked_up_at" in known:
        assert state.looked_up_at == known["looked_up_at"]


def test_only_passing_trouble_is_tried_again() -> None:
    again = (Wait("x"), OutcomeUnknown("x"), DuplicateRequest("x"), StaleObject("x"))
    assert all(map(is_tried_again, again))
    assert not any(map(is_tried_again, (Unrecoverable("x"), NO, DuplicateNumber("x"))))


def test_a_run_of_failures_never_sends_another_create_while_the_first_may_come() -> None:
    """Whatever follows a lost answer: until the run time is over only the very same write leaves, or none."""
    state = after_failure(WriteState(SENT, sent=1), CREATE, OutcomeUnknown("lost"), NOW)
    for failure in (Wait("throttled"), OutcomeUnknown("lost"), NO):
        state = replace(state, looked_up_at=NOW + 1)
        step = next_step(state, GOAL, NOW + 1, trust_requestids=True)
        if not isinstance(step, Send):
            assert step == WaitUntil(state.run_ends_at)
            continue
        assert (step.requestid, step.certain) == (CREATE.requestid, False)
        state = after_failure(state, step, failure, NOW + 1)
        assert state.entry.attempt is not None


def test_a_used_requestid_whose_document_is_not_there_is_not_used_again() -> None:
    state = after_failure(WriteState(SENT, sent=1), CREATE, DuplicateRequest("used"), NOW)
    absent = after_look_up(state, an_entry(attempts=1))
    write = next_step(absent, GOAL, state.run_ends_at, trust_requestids=True)
    assert isinstance(write, Send)
    assert write.requestid != CREATE.requestid
