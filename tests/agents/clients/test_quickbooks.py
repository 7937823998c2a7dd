"""The client of QuickBooks: what leaves, token refresh, pace."""

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest

from agents.clients.failures import Failure, OutcomeUnknown, TokenRefused, Wait
from agents.clients.quickbooks import QuickBooksClient, encode
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.transport import Answer, AnswerLost, NotSent
from tests.agents.in_process import Clock

INVOICE = {"Id": "7", "TotalAmt": 10, "CustomerRef": {"value": "58"}}
GOOD = Answer(200, {"intuit_tid": "1-abc"}, json.dumps({"Invoice": INVOICE}).encode())
REJECTED = Answer(401, {}, b'{"fault":{"error":[{"message":"x","detail":"Token expired: old","code":"3200"}]}}')


class Scripted:
    """Answers in order; `sent` holds what left: method, URL, authorization, body."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str, str, bytes | None]] = []

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        self.sent.append((method, url, headers["Authorization"], body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Rotating:
    """`old`, and after each refusal a new token."""

    def __init__(self) -> None:
        self.rejected: list[str] = []

    async def access_token(self, realm: str) -> str:
        return "new" if self.rejected else "old"

    def accept(self, realm: str, token: str) -> None:
        pass

    def reject(self, realm: str, token: str) -> None:
        self.rejected.append(token)


def client_of(transport: Scripted, clock: Clock | None = None) -> tuple[QuickBooksClient, Rotating]:
    clock, tokens = clock or Clock(), Rotating()
    limiter = RateLimiter(RateLimits(10, 500, 10, 60.0), monotonic=clock, sleep=clock.sleep)
    return QuickBooksClient(transport, "https://qbo.example/", tokens, limiter, timeout_seconds=130), tokens


async def test_a_write_carries_requestid_and_minorversion() -> None:
    transport = Scripted(GOOD)
    found, tid = await client_of(transport)[0].write("42", "Invoice", b"{}", requestid="r-1")
    assert (found, tid) == (INVOICE, "1-abc")
    assert transport.sent == [
        ("POST", "https://qbo.example/v3/company/42/invoice?requestid=r-1&minorversion=75", "Bearer old", b"{}")
    ]


async def test_a_void_says_so() -> None:
    transport = Scripted(GOOD)
    await client_of(transport)[0].write("42", "Invoice", b"{}", requestid="r-1", operation="void")
    assert "invoice?requestid=r-1&operation=void&minorversion=75" in transport.sent[0][1]


async def test_a_query_is_encoded_whole() -> None:
    transport = Scripted(Answer(200, {}, b'{"QueryResponse":{}}'))
    assert await client_of(transport)[0].query("42", "SELECT * FROM Customer WHERE DisplayName = 'A&B+ü'") == {}
    assert transport.sent[0][1].endswith("DisplayName+%3D+%27A%26B%2B%C3%BC%27&minorversion=75")


async def test_a_rejected_token_is_refreshed_once_and_the_request_repeated_as_it_was() -> None:
    transport = Scripted(REJECTED, GOOD)
    client, tokens = client_of(transport)
    await client.write("42", "Invoice", b'{"a":1}', requestid="r-1")
    assert tokens.rejected == ["old"]
    (first, again) = transport.sent
    assert (first[:2], first[3]) == (again[:2], again[3])
    assert (first[2], again[2]) == ("Bearer old", "Bearer new")


async def test_a_second_rejection_is_raised() -> None:
    transport = Scripted(REJECTED, REJECTED)
    client, tokens = client_of(transport)
    with pytest.raises(TokenRefused):
        await client.fetch("42", "Invoice", "7")
    assert (len(transport.sent), tokens.rejected) == (2, ["old", "new"])


async def test_a_page_with_a_401_after_a_write_is_doubt_and_another_token_all_the_same() -> None:
    """Whoever wrote the page may stand behind QuickBooks; whether another token can be had does not matter for that."""
    client, tokens = client_of(Scripted(Answer(401, {}, b"<html>Unauthorized</html>")))
    with pytest.raises(OutcomeUnknown):
        await client.write("42", "Invoice", b"{}", requestid="r")
    assert tokens.rejected == ["old"]


async def test_a_page_with_a_401_after_a_refusal_of_the_token_is_doubt_too() -> None:
    client, tokens = client_of(Scripted(REJECTED, Answer(401, {}, b"<html>Unauthorized</html>")))
    with pytest.raises(OutcomeUnknown):
        await client.write("42", "Invoice", b"{}", requestid="r")
    assert tokens.rejected == ["old", "new"]


@pytest.mark.parametrize(
    ("trouble", "failure"),
    [
        (NotSent("nobody there"), Wait),
        (AnswerLost("cut"), OutcomeUnknown),
        (Answer(200, {}, b'{"Invoice":{}}'), OutcomeUnknown),
    ],
)
async def test_trouble_on_the_way_says_whether_it_may_have_been_done(
    trouble: Answer | Exception, failure: type[Failure]
) -> None:
    with pytest.raises(failure):
        await client_of(Scripted(trouble))[0].write("42", "Invoice", b"{}", requestid="r")


async def test_after_a_429_the_company_waits_and_the_caller_does_not_wait_again() -> None:
    clock = Clock()
    start = clock.now
    client, _ = client_of(Scripted(Answer(429, {}, b""), GOOD), clock)
    with pytest.raises(Wait) as raised:
        await client.fetch("42", "Invoice", "7")
    assert (raised.value.seconds, clock.now) == (0.0, start)
    await client.fetch("42", "Invoice", "7")
    assert clock.now == start + 60


async def test_a_write_that_waits_for_its_record_does_not_leave_within_a_pause() -> None:
    """Another request's 429 came after its turn and before it left: it takes its turn again, and is recorded again."""
    clock = Clock()
    start = clock.now
    transport = Scripted(Answer(429, {}, b""), GOOD)
    client, _ = client_of(transport, clock)
    recorded: list[float] = []

    async def leaving() -> None:
        recorded.append(clock.now - start)
        if len(recorded) == 1:
            with pytest.raises(Wait):
                await client.fetch("42", "Invoice", "7")

    await client.write("42", "Invoice", b"{}", requestid="r", leaving=leaving)
    assert [method for method, *_ in transport.sent] == ["GET", "POST"]
    assert (recorded, clock.now - start) == ([0, 60], 60)


@pytest.mark.parametrize(("asked", "waited"), [("5", 60), ("120", 120), ("100000", 300)])
async def test_retry_after_makes_the_wait_longer_never_shorter_and_not_endless(asked: str, waited: int) -> None:
    clock = Clock()
    start = clock.now
    client, _ = client_of(Scripted(Answer(429, {"retry-after": asked}, b""), GOOD), clock)
    with pytest.raises(Wait):
        await client.fetch("42", "Invoice", "7")
    await client.fetch("42", "Invoice", "7")
    assert clock.now == start + waited


@pytest.mark.parametrize("body", [b'{"time":"2026"}', b'{"BatchItemResponse":{}}', b""])
async def test_an_answer_to_a_batch_without_items_is_doubtful(body: bytes) -> None:
    async def content() -> tuple[str | None, bytes | None]:
        return "r", b"{}"

    with pytest.raises(OutcomeUnknown):
        await client_of(Scripted(Answer(200, {}, body)))[0].batch("42", content)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E+2", "100"),
        ("1E-7", "0.0000001"),
        ("0.10", "0.10"),
        ("-0.005", "-0.005"),
        ("12345678901234567890.12", "12345678901234567890.12"),
        ("0.1000000000000000055", "0.1000000000000000055"),
    ],
)
def test_decimals_leave_as_plain_numbers_with_every_digit(number: str, text: str) -> None:
    body = encode({"Amount": Decimal(number)})
    assert body == f'{{"Amount":{text}}}'.encode()
    assert json.loads(body, parse_float=str, parse_int=str)["Amount"] == text


async def test_another_object_than_was_asked_for_is_doubt() -> None:
    """A write to it would go to somebody else's document."""
    other = b'{"Invoice": {"Id": "8", "SyncToken": "0", "TotalAmt": 10, "CustomerRef": {"value": "58"}}}'
    right = Answer(200, {}, other.replace(b'"8"', b'"7"'))
    client, _ = client_of(Scripted(Answer(200, {}, other), right, right))
    with pytest.raises(OutcomeUnknown, match="asked for Invoice 7 and answered with 8"):
        await client.fetch("42", "Invoice", "7")
    for asked in ("7", "007"):
        assert (await client.fetch("42", "Invoice", asked))["Id"] == "7"
