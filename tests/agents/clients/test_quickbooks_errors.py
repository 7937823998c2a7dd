"""What each answer of QuickBooks means: every code of docs/vendors/quickbooks.md §6.2, in every shape of §6.1."""

import json

import pytest

from agents.clients.failures import (
    CompanyUnavailable,
    DuplicateName,
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    OutcomeUnknown,
    PeriodClosed,
    Refused,
    StaleObject,
    TokenRefused,
    Unrecoverable,
    Wait,
)
from agents.clients.quickbooks_errors import BY_CODE, RETRY_AFTER_SECONDS_MAX, item_failure, read, redact
from agents.clients.transport import Answer
from simulators.quickbooks.errors import throttled, unauthenticated
from tests import FIXTURES

RECORDINGS = FIXTURES / "quickbooks"

# Every row of §6.2, in its order: code, HTTP status (None where the facts give none), and what we make of it.
# The class column: T transient, A authorization, C correct and replay, D dedupe, P permanent, S stop the company.
TABLE: tuple[tuple[str, tuple[int, ...], type[Failure]], ...] = (
    ("100", (400, 403), CompanyUnavailable),  # S/A
    ("110", (400, 403), CompanyUnavailable),
    ("120", (400, 403), CompanyUnavailable),
    ("130", (), Wait),  # T
    ("140", (), Wait),
    ("150", (), Wait),
    ("500", (400,), OutcomeUnknown),  # P when unsupported, else an outage (§12.1)
    ("600", (), DuplicateRequest),  # D
    ("610", (400,), MappingBroken),  # C
    ("620", (), MappingBroken),
    ("1040", (), Refused),  # P for the batch; agents/post/batches.py splits it
    ("2010", (400,), Refused),
    ("2020", (400,), Refused),
    ("2030", (400,), Refused),
    ("2050", (400,), Refused),
    ("2130", (), Refused),
    ("2140", (), Refused),
    ("2160", (), Refused),
    ("2210", (), Refused),
    ("2220", (), Refused),
    ("2250", (), Refused),
    ("2290", (), Refused),
    ("2170", (400,), Refused),
    ("2500", (400,), MappingBroken),  # C
    ("3001", (429, 403), Wait),  # T
    ("3100", (403,), CompanyUnavailable),  # A/S
    ("3200", (401,), TokenRefused),  # A
    ("3202", (), Wait),  # T/A: authentication is ill; see the test of a 401 below
    ("4000", (400,), Refused),  # P
    ("4001", (400,), Refused),
    ("4002", (400,), Refused),
    ("5000", (400, 403), MappingBroken),  # C/P
    ("5020", (400, 403), MappingBroken),
    ("5030", (400, 403), MappingBroken),
    ("5010", (400,), StaleObject),  # re-read, retry
    ("6000", (400,), Refused),  # C/P: its meaning is in the Detail only
    ("6070", (400,), Refused),  # P
    ("6100", (400,), MappingBroken),  # C
    ("6140", (400,), DuplicateNumber),  # D
    ("6190", (400, 403), CompanyUnavailable),  # S
    ("6200", (400,), PeriodClosed),  # C
    ("6210", (400,), PeriodClosed),
    ("6240", (400,), DuplicateName),  # D
    ("6250", (), MappingBroken),  # C
    ("6270", (), MappingBroken),
    ("6420", (), MappingBroken),
    ("6430", (), MappingBroken),  # C/P
    ("6440", (), MappingBroken),
    ("6450", (), MappingBroken),  # C
    ("6520", (400,), MappingBroken),
    ("6540", (400,), Refused),  # P
    ("10000", (500,), OutcomeUnknown),  # T
    ("10100", (500,), Unrecoverable),  # P after 1 try
    ("10200", (500,), Unrecoverable),
)


def fault_of(code: str, **changes: object) -> bytes:
    error = {"Message": "Some message", "Detail": "Some detail", "code": code, **changes}
    return json.dumps({"Fault": {"Error": [error], "type": "ValidationFault"}, "time": "2026"}).encode()


def failure_of(status: int, body: bytes) -> Failure:
    with pytest.raises(Failure) as raised:
        read(Answer(status, {}, body))
    return raised.value


@pytest.mark.parametrize(("code", "statuses", "failure"), TABLE)
def test_each_code_is_the_failure_that_says_what_to_do(
    code: str, statuses: tuple[int, ...], failure: type[Failure]
) -> None:
    """With its own status, inside a 200 and a 400, with the gateway's lower-case names, in XML, and in a batch."""
    lower = json.dumps({"fault": {"error": [{"message": "m", "detail": None, "code": code}], "type": "X"}}).encode()
    xml = f'<Fault type="ValidationFault"><Error code="{code}"><Message>m</Message></Error></Fault>'.encode()
    for status in {*statuses, 200, 400}:
        for body in (fault_of(code), lower, xml, b"<IntuitResponse>" + xml + b"</IntuitResponse>"):
            found = failure_of(status, body)
            assert type(found) is failure
            assert (found.facts.code, found.facts.status) == (code, status)
    in_a_batch = item_failure(json.loads(fault_of(code)) | {"bId": "1"})
    assert type(in_a_batch) is failure


def test_the_table_misses_no_code_that_we_know() -> None:
    assert set(BY_CODE) <= {code for code, _, _ in TABLE}
    assert len({code for code, _, _ in TABLE}) == len(TABLE)


def test_a_code_that_nobody_told_us_of_is_about_the_payload() -> None:
    assert type(failure_of(400, fault_of("31415"))) is Refused


def test_an_item_of_a_batch_that_was_written_has_no_failure() -> None:
    assert item_failure({"Invoice": {"Id": "7"}, "bId": "1"}) is None


def test_a_401_that_blames_authentication_itself_renews_the_token_once() -> None:
    assert type(failure_of(401, fault_of("3202"))) is TokenRefused


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "86400"}, RETRY_AFTER_SECONDS_MAX),
        ({"retry-after": "9" * 9}, RETRY_AFTER_SECONDS_MAX),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
@pytest.mark.parametrize("body", [b"", fault_of("3001"), throttled("2026").body], ids=["empty", "JSON", "XML"])
def test_a_wait_is_as_long_as_it_was_asked_for_within_a_bound(
    given: dict[str, str], seconds: float | None, body: bytes
) -> None:
    with pytest.raises(Wait) as raised:
        read(Answer(429, given, body))
    assert raised.value.seconds == seconds


def test_the_failure_tells_message_and_detail() -> None:
    found = failure_of(400, fault_of("6000"))
    assert (found.facts.message, found.facts.detail) == ("Some message", "Some detail")
    assert str(found) == "QuickBooks error 6000: Some message (Some detail)"


def test_of_several_errors_the_first_decides_and_the_others_are_told() -> None:
    errors = [{"Message": "first", "code": "2500"}, {"Message": "second", "code": "6000"}]
    found = failure_of(400, json.dumps({"Fault": {"Error": errors}}).encode())
    assert type(found) is MappingBroken
    assert "6000 second" in found.facts.detail


@pytest.mark.parametrize(
    ("code", "failure"), [("6240", OutcomeUnknown), ("2010", OutcomeUnknown), ("150", Wait), ("10100", Unrecoverable)]
)
def test_a_5xx_is_doubtful_whatever_it_says_unless_it_asks_to_wait(code: str, failure: type[Failure]) -> None:
    assert type(failure_of(500, fault_of(code))) is failure


def test_429_in_xml_is_a_wait() -> None:
    answer = throttled("2026-11-22T00:00:00-07:00")
    found = failure_of(answer.status, answer.body)
    assert (type(found), found.facts.code) == (Wait, "3001")
    assert "ThrottleExceeded" in found.facts.message


def test_the_same_xml_with_403_is_a_wait_too() -> None:
    assert type(failure_of(403, throttled("2026").body.replace(b"429", b"403"))) is Wait


@pytest.mark.parametrize(
    ("recording", "failure", "code"),
    [
        ("error__401_0", TokenRefused, "3200"),
        ("error__400_1", Refused, "4001"),
        ("error__400_json_0", Refused, "2010"),
        ("error__500_0", Refused, "500"),
        ("error__validation_0", DuplicateName, "6240"),
    ],
)
def test_recorded_refusals_are_understood(recording: str, failure: type[Failure], code: str) -> None:
    response = json.loads((RECORDINGS / f"{recording}.json").read_text())["response"]
    found = failure_of(response["status"]["code"], json.dumps(response["body"]).encode())
    assert (type(found), found.facts.code) == (failure, code)


@pytest.mark.parametrize(
    ("recording", "status", "failure", "code"),
    [
        ("throttle_exceeded_error", 403, Wait, "3001"),
        ("throttle_exceeded_error", 200, Wait, "3001"),
        ("too_many_requests_error", 429, Wait, "3001"),
        ("generic_error", 500, OutcomeUnknown, "10000"),
        ("fault", 400, Refused, "2050"),
        ("customer_duplicate_error", 400, DuplicateName, "6240"),
        ("query_validation_error", 400, Refused, "4001"),
    ],
)
def test_recorded_xml_is_understood(recording: str, status: int, failure: type[Failure], code: str) -> None:
    found = failure_of(status, (RECORDINGS / "xml" / f"{recording}.xml").read_bytes())
    assert (type(found), found.facts.code) == (failure, code)


@pytest.mark.parametrize("reason", ["Token expired", "Malformed bearer token"])
def test_the_rejected_token_in_a_401_is_redacted(reason: str) -> None:
    answer = unauthenticated(f"{reason}: eyJlbmMiOiJB.secret-123", 1_601_391_072_830)
    found = failure_of(answer.status, answer.body)
    assert type(found) is TokenRefused
    for text in (str(found), found.facts.model_dump_json()):
        assert "secret-123" not in text
        assert reason in text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cret",
        '{"access_token":"s3cret"}',
        "token=s3cret&x=1",
        "bearer token s3cret",
        "TOKEN : s3cret",
    ],
)
def test_tokens_are_taken_out_of_any_text(text: str) -> None:
    assert "s3cret" not in redact(text)


def test_a_token_in_an_unreadable_body_is_redacted() -> None:
    assert "s3cret" not in str(failure_of(404, b"no such page, Authorization: Bearer s3cret").facts)


@pytest.mark.parametrize(
    "body", [b"", b"nothing readable", b"<html><h1>502</h1></html>", b"<html><br>", b"[1]", b'"x"']
)
@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, OutcomeUnknown),
        (302, OutcomeUnknown),
        (400, OutcomeUnknown),
        (401, TokenRefused),
        (402, OutcomeUnknown),
        (403, OutcomeUnknown),
        (404, OutcomeUnknown),
        (409, OutcomeUnknown),
        (413, OutcomeUnknown),
        (421, OutcomeUnknown),
        (451, OutcomeUnknown),
        (499, OutcomeUnknown),
        (408, OutcomeUnknown),
        (429, Wait),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
def test_an_answer_without_a_fault_is_no_no(status: int, failure: type[Failure], body: bytes) -> None:
    assert type(failure_of(status, body)) is failure


@pytest.mark.parametrize(
    "body", [b'{"Invoice":{"Id":"1"', b'{"Invoice":{"Id":1e99999999999999999999}}', b"[" * 100_000]
)
def test_a_truncated_or_monstrous_200_is_doubtful(body: bytes) -> None:
    assert type(failure_of(200, body)) is OutcomeUnknown


def test_an_unknown_code_in_a_403_concerns_the_company_not_the_invoice() -> None:
    assert type(failure_of(403, fault_of("31415"))) is CompanyUnavailable


@pytest.mark.parametrize(
    "fault",
    [
        '{"type":"ValidationFault"}',
        '{"Error":[{"Message":"no number"}],"type":"ValidationFault"}',
        '{"Error":[{"Message":"a gateway\'s","code":"ServiceUnavailable"}]}',
    ],
)
def test_a_fault_without_a_number_of_quickbooks_own_is_no_no(fault: str) -> None:
    assert type(failure_of(200, f'{{"Fault":{fault}}}'.encode())) is OutcomeUnknown


@pytest.mark.parametrize("kind", ["SERVICE", "SystemFault"])
def test_a_fault_of_the_service_itself_is_no_no(kind: str) -> None:
    body = json.dumps({"Fault": {"Error": [{"Message": "x", "code": "31415"}], "type": kind}}).encode()
    assert type(failure_of(400, body)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("code", "detail", "failure"),
    [
        ("6000", "Business Validation Error: amounts differ", Refused),
        ("6000", "An unexpected error occurred (-10600), please try again later", OutcomeUnknown),
        ("6000", "An internal error has occurred", OutcomeUnknown),
        ("6000", "Internal Server Error -30003", OutcomeUnknown),
        ("6000", "Something went wrong on our end", OutcomeUnknown),
        ("6000", "The service is temporarily down", OutcomeUnknown),
        ("6000", "Request timed out", OutcomeUnknown),
        ("6000", "Enter a transaction amount that is 0 or greater and try again", Refused),
        ("6000", "The amount -300001 is too low", Refused),
        ("500", "Operation Void for CreditMemo is not supported.", Refused),
        ("500", "System failure", OutcomeUnknown),
    ],
)
def test_passing_trouble_is_told_from_a_no_by_its_words(code: str, detail: str, failure: type[Failure]) -> None:
    assert type(failure_of(400, fault_of(code, Detail=detail))) is failure


def test_a_good_answer_keeps_every_digit() -> None:
    assert str(read(Answer(200, {}, b'{"Invoice":{"TotalAmt":0.10000000000000000001}}'))["Invoice"]["TotalAmt"]) == (
        "0.10000000000000000001"
    )
