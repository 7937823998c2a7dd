"""What each answer of QuickBooks means: every code of facts/quickbooks.md §6.2, in every shape of §6.1."""

import json
from pathlib import Path

import pytest

from agents.failures import (
    CompanyUnavailable,
    Doubtful,
    DuplicateName,
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    NotFound,
    PeriodClosed,
    Refused,
    StaleObject,
    TokenRefused,
    Wait,
)
from agents.quickbooks_faults import read, redact
from agents.transport import Answer
from stream.sandbox.quickbooks.errors import throttled, unauthenticated

RECORDINGS = Path(__file__).parent.parent / "fixtures" / "quickbooks"

# The class column of §6.2, by what we do about it.
CODES: dict[type[Failure], tuple[str, ...]] = {
    CompanyUnavailable: ("100", "110", "120", "3100", "6190"),
    Wait: ("130", "140", "150", "3001"),
    Refused: (
        *("500", "1040", "2010", "2020", "2030", "2050", "2130", "2140", "2160", "2170", "2210", "2220", "2250"),
        *("2290", "4000", "4001", "4002", "6000", "6070", "6540", "31415"),
    ),
    DuplicateRequest: ("600",),
    MappingBroken: (
        *("610", "620", "2500", "5000", "5020", "5030", "6100", "6250", "6270", "6420", "6430", "6440", "6450", "6520"),
    ),
    TokenRefused: ("3200", "3202"),
    StaleObject: ("5010",),
    DuplicateNumber: ("6140",),
    PeriodClosed: ("6200", "6210"),
    DuplicateName: ("6240",),
    Doubtful: ("10000", "10100", "10200"),
}
EACH = [(code, failure) for failure, codes in CODES.items() for code in codes]


def fault_of(code: str, **changes: object) -> bytes:
    error = {"Message": "Some message", "Detail": "Some detail", "code": code, **changes}
    return json.dumps({"Fault": {"Error": [error], "type": "ValidationFault"}, "time": "2026"}).encode()


def failure_of(status: int, body: bytes) -> Failure:
    with pytest.raises(Failure) as raised:
        read(Answer(status, {}, body))
    return raised.value


@pytest.mark.parametrize(("code", "failure"), EACH)
def test_each_code_is_the_failure_that_says_what_to_do(code: str, failure: type[Failure]) -> None:
    """Also inside a 200, and with the gateway's lower-case names."""
    lower = json.dumps({"fault": {"error": [{"message": "m", "detail": None, "code": code}], "type": "X"}}).encode()
    for status, body in ((400, fault_of(code)), (200, fault_of(code)), (400, lower)):
        found = failure_of(status, body)
        assert type(found) is failure
        assert (found.facts.code, found.facts.status) == (code, status)


def test_the_failure_tells_message_and_detail() -> None:
    found = failure_of(400, fault_of("6000"))
    assert (found.facts.message, found.facts.detail) == ("Some message", "Some detail")
    assert str(found) == "QuickBooks error 6000: Some message (Some detail)"


def test_of_several_errors_the_first_decides_and_the_others_are_told() -> None:
    errors = [{"Message": "first", "code": "2500"}, {"Message": "second", "code": "6000"}]
    found = failure_of(400, json.dumps({"Fault": {"Error": errors}}).encode())
    assert type(found) is MappingBroken
    assert "6000 second" in found.facts.detail


@pytest.mark.parametrize(("code", "failure"), [("6240", Doubtful), ("2010", Doubtful), ("150", Wait)])
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
        (200, Doubtful),
        (302, Doubtful),
        (400, Refused),
        (401, TokenRefused),
        (403, CompanyUnavailable),
        (404, NotFound),
        (408, Doubtful),
        (429, Wait),
        (500, Doubtful),
        (502, Doubtful),
        (503, Doubtful),
        (504, Doubtful),
    ],
)
def test_a_body_without_a_fault_is_judged_by_its_status(status: int, failure: type[Failure], body: bytes) -> None:
    assert type(failure_of(status, body)) is failure


@pytest.mark.parametrize(
    "body", [b'{"Invoice":{"Id":"1"', b'{"Invoice":{"Id":1e99999999999999999999}}', b"[" * 100_000]
)
def test_a_truncated_or_monstrous_200_is_doubtful(body: bytes) -> None:
    assert type(failure_of(200, body)) is Doubtful


def test_an_unknown_code_in_a_403_concerns_the_company_not_the_invoice() -> None:
    assert type(failure_of(403, fault_of("31415"))) is CompanyUnavailable


def test_a_fault_without_an_error_is_a_fault_all_the_same() -> None:
    assert type(failure_of(200, b'{"Fault":{"type":"SystemFault"}}')) is Refused


def test_a_good_answer_keeps_every_digit() -> None:
    assert str(read(Answer(200, {}, b'{"Invoice":{"TotalAmt":0.10000000000000000001}}'))["Invoice"]["TotalAmt"]) == (
        "0.10000000000000000001"
    )
