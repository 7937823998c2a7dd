"""Between a worker and the vendors: requests that arrive late or never, and answers that are lost, spoiled or false."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from agents.clients.transport import Answer, AnswerLost, NotSent
from simulators import http
from simulators.metronome.core import Metronome
from simulators.quickbooks.core import QuickBooks

from .loop import VirtualLoop, for_ever
from .oddities import Oddities

METRONOME_URL = "https://metronome.example"
QUICKBOOKS_URL = "https://quickbooks.example"
TOKEN_URL = "https://intuit.example/oauth2/v1/tokens/bearer"

ARRIVES_SECONDS_MAX = 0.2
ANSWERS_SECONDS_MAX = 0.4
RUN_SECONDS_MAX = 119.0
"""QuickBooks may carry out a write this long after it was sent (docs/vendors/quickbooks.md §1.1)."""
THROTTLED_SECONDS = 60.0
"""How long a company must be left alone after a 429 (docs/vendors/quickbooks.md §5)."""
INSTANT_SECONDS = 1e-6

HTML = b"<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
BROKEN = b'{"Fault":{"Error":[{"Message":"System failure","Detail":"try again","code":"10000"}],"type":"SystemFault"}}'
BUSINESS = (
    b'{"Fault":{"Error":[{"Message":"A business validation error has occurred while processing your request",'
    b'"Detail":"Business Validation Error: for once","code":"6000"}],"type":"ValidationFault"},"time":"now"}'
)
FAILS_AGAIN = b'{"Fault":{"Error":[{"Message":"Fails again","Detail":"for good","code":"10100"}],"type":"SystemFault"}}'
PASSING = (
    b'{"Fault":{"Error":[{"Message":"A business validation error has occurred while processing your request","Detail":'
    b'"Business Validation Error: something went wrong. Please try again later. (-10600)","code":"6000"}],'
    b'"type":"ValidationFault"},"time":"now"}'
)
USED_BEFORE = (
    b'{"Fault":{"Error":[{"Message":"Duplicate Request","Detail":"requestid was used before","code":"600"}],'
    b'"type":"ValidationFault"},"time":"now"}'
)
THROTTLED = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><IntuitResponse xmlns="http://schema.intuit.com/finance/v3">'
    b'<Fault type="SERVICE"><Error code="3001"><Message>message=ThrottleExceeded; statusCode=429</Message></Error>'
    b"</Fault></IntuitResponse>"
)
REFUSING: dict[str, tuple[int, bytes]] = {
    "subscription ended": (
        403,
        b'{"Fault":{"Error":[{"Message":"Invalid Company Status","Detail":"Subscription period has ended or canceled '
        b'or there was a billing problem","code":"6190"}],"type":"ValidationFault"},"time":"now"}',
    ),
    "application not authorized": (
        403,
        b'{"warnings":null,"fault":{"error":[{"message":"message=ApplicationAuthorizationFailed; errorCode=003100; '
        b'statusCode=403","detail":"","code":"3100","element":null}],"type":"AUTHORIZATION"},"time":1}',
    ),
    "period closed": (
        400,
        b'{"Fault":{"Error":[{"Message":"Account Period Closed","Detail":"The account period has closed and the '
        b'account books cannot be updated through on or before this date","code":"6200"}],"type":"ValidationFault"},'
        b'"time":"now"}',
    ),
}
"""What a company says for a time, until a person there puts it right."""
OF_WRITES_OF_DOCUMENTS = ("period closed",)
EXPIRED = (
    b'{"warnings":null,"fault":{"error":[{"message":"message=AuthenticationFailed; errorCode=003200; statusCode=401",'
    b'"detail":"Token expired","code":"3200","element":null}],"type":"AUTHENTICATION"},"time":1}'
)

FAULTS: dict[str, tuple[str, ...]] = {
    "quickbooks": (
        *("not sent", "request lost", "answer lost", "slow", "carried out late", "429", "5xx before", "5xx after"),
        *("6000", "600", "html", "truncated", "401", "page before", "page after", "10100 after"),
        *("try again before", "try again after", "odd"),
    ),
    "token": ("not sent", "request lost", "answer lost", "slow", "5xx before", "5xx after", "html"),
    "metronome": (
        *("not sent", "request lost", "answer lost", "slow", "429", "5xx before", "5xx after", "html", "truncated"),
    ),
}
"""By destination; the names are told in the trace."""

SPOILED: dict[str, http.Answer] = {
    "429": http.Answer(429, THROTTLED, {"Content-Type": "application/xml", "Retry-After": "60"}),
    "5xx before": http.Answer(503, BROKEN, {"Content-Type": "application/json"}),
    "5xx after": http.Answer(500, BROKEN, {"Content-Type": "application/json"}),
    "6000": http.Answer(400, BUSINESS, {"Content-Type": "application/json"}),
    "600": http.Answer(400, USED_BEFORE, {"Content-Type": "application/json"}),
    "html": http.Answer(502, HTML, {"Content-Type": "text/html"}),
    "page before": http.Answer(403, HTML, {"Content-Type": "text/html"}),
    "page after": http.Answer(403, HTML, {"Content-Type": "text/html"}),
    "10100 after": http.Answer(400, FAILS_AGAIN, {"Content-Type": "application/json"}),
    "try again before": http.Answer(400, PASSING, {"Content-Type": "application/json"}),
    "try again after": http.Answer(400, PASSING, {"Content-Type": "application/json"}),
    "401": http.Answer(401, EXPIRED, {"Content-Type": "application/json"}),
}
_NAMED = re.compile(rb"Metronome invoice [0-9a-f-]+")
NOT_CARRIED_OUT = ("429", "5xx before", "6000", "401", "page before", "try again before")
CARRIED_OUT = ("5xx after", "600", "html", "page after", "10100 after", "try again after")
_TOTAL = re.compile(rb'"TotalAmt": ?-?[0-9.]+')


NOT_OF_READS = ("6000", "600", "carried out late", "10100 after", "try again before", "try again after")

PAGES = (403, 401, 429, 404, 400, 413)
"""The statuses of a page of something in between, one after the other."""


@dataclass(frozen=True)
class Weather:
    """How bad the network is: the faults that occur, and the share of requests that meet one."""

    kinds: Mapping[str, tuple[str, ...]]
    share: float


FAIR = Weather({}, 0.0)


class Network:
    """Carries requests to the simulators' cores. `weather` may be changed at any time."""

    def __init__(
        self, metronome: Metronome, quickbooks: QuickBooks, loop: VirtualLoop, dice: Random, note: Callable[..., None]
    ) -> None:
        self.weather = FAIR
        self.refusals_remembered = False
        self.oddities: Oddities | None = None
        self.poisoned: str | None = None
        """The invoice for which Metronome answers 5xx whenever it is asked."""
        self.asked_for_poisoned: list[float] = []
        """When it was asked."""
        self.pending = 0
        """Requests on their way, or being carried out."""
        self.throttled: list[tuple[float, str]] = []
        """When QuickBooks itself answered 429, and to which company."""
        self.impatient: list[tuple[float, str]] = []
        """Requests that left for a company before its wait after a 429 was over."""
        self.raced: list[tuple[float, str]] = []
        """Refreshes that left while one of the same company by the same worker was under way."""
        self.token_answers_lost: Counter[str] = Counter()
        """By the refresh token that was shown."""
        self.refreshed: list[tuple[float, float, str, str]] = []
        """When a refresh left, when its answer was there, which worker's it was, and which token was shown."""
        self.renamed: list[tuple[float, str]] = []
        """Writes of a document that were sent again under another requestid, with no definite answer in between."""
        self.overlapping: list[tuple[float, str]] = []
        """Writes of a document that left while the same worker had another write of it under way."""
        self._writing: Counter[tuple[str, tuple[str, bytes]]] = Counter()
        self._requestids: defaultdict[tuple[str, bytes], dict[tuple[str, bytes], str]] = defaultdict(dict)
        self._used_before: set[tuple[str, bytes]] = set()
        """Documents of which a write was answered with 600: once it is sure not to come, it is another request."""
        self.writes: Callable[[str], None] = lambda worker: None
        """Told of each write of a document as it leaves."""
        self.refusing: dict[str, tuple[str, float]] = {}
        """By company, which of `REFUSING` it answers now, and until when."""
        self.leaves: Callable[[str, Literal["a write leaves", "a refresh leaves"]], None] = lambda worker, what: None
        self.awaited: asyncio.Future[None] | None = None
        """Done when the next document is on its way; that is carried out late, whatever the weather."""
        self.injected: Counter[str] = Counter()
        self._metronome = metronome
        self._quickbooks = quickbooks
        self._loop = loop
        self._dice = dice
        self._note = note
        self._refused: dict[tuple[str, str], http.Answer] = {}
        self._carried_out: set[tuple[str, str]] = set()
        self._closed_until: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._cut_off_until: defaultdict[str, float] = defaultdict(float)
        self._refreshing: Counter[tuple[str, str]] = Counter()

    def of(self, worker: str, is_alive: Callable[[], bool]) -> "WorkersNetwork":
        return WorkersNetwork(self, worker, is_alive)

    def refuse(self, which: float, kind: str, until: float) -> None:
        """One of the companies answers so from now on; `which` from 0 to 1."""
        realms = sorted(self._quickbooks.books)
        realm = realms[int(which * len(realms))]
        self._note("quickbooks", kind, realm, f"until {until:.0f}")
        self.refusing[realm] = (kind, until)

    def cut_off(self, worker: str, seconds: float) -> None:
        """Nothing that the worker sends arrives for so long."""
        self._cut_off_until[worker] = self._loop.time() + seconds

    def forget_requestids(self) -> None:
        """A requestid counts the refusals of before, which a lost ledger takes with it."""
        self._requestids.clear()

    async def call(
        self, worker: str, is_alive: Callable[[], bool], request: http.Request, to: str, timeout_seconds: float
    ) -> Answer:
        if not is_alive():
            await for_ever()
        realm = _realm_of(request) if to == "quickbooks" else ""
        refresh = (worker, _refresh_token_of(request)) if to == "token" else None
        self._watch(worker, realm, refresh)
        document, written = _document_of(request), (request.query.get("operation", ""), request.body)
        writes_document = _writes_document(request)
        fault = None
        if writes_document:
            self._writing[worker, document] += 1
            if self._writing[worker, document] > 1:
                self.overlapping.append((self._loop.time(), document[1].decode()))
            requestid = request.query.get("requestid", "")
            if self._loop.time() >= self._cut_off_until[worker]:
                self.writes(worker)
                if self.awaited is not None and not self.awaited.done():
                    fault = self._late()
            former = self._requestids[document].setdefault(written, requestid)
            if former != requestid and document not in self._used_before:
                self.renamed.append((self._loop.time(), realm))
        if writes_document or request.path.endswith("/batch"):
            self.leaves(worker, "a write leaves")
        elif refresh is not None:
            self.leaves(worker, "a refresh leaves")
        if self._loop.time() < self._cut_off_until[worker]:
            fault = "not sent"
        fault = fault or self._fault(to, request)
        self._note(worker, to, request.method, _shown_path(request), fault or "", request.body)
        left_at = self._loop.time()
        try:
            answer = await self._carried(to, request, fault, timeout_seconds)
        except NotSent:
            self._requestids.pop(document, None)
            raise
        except asyncio.CancelledError:
            self._token_answer_lost(to, request)
            raise
        finally:
            if refresh is not None:
                self._refreshing[refresh] -= 1
            if writes_document:
                self._writing[worker, document] -= 1
        if not is_alive():
            self._token_answer_lost(to, request)
            await for_ever()
        if answer is not None and self._is_too_late(left_at + timeout_seconds):
            self._token_answer_lost(to, request)
            answer = None
        if to == "token" and answer is not None:
            self.refreshed.append((left_at, self._loop.time(), worker, _refresh_token_of(request)))
        if answer is None:
            self._note(worker, "answer lost", request.method, _shown_path(request), b"")
            raise AnswerLost(f"{fault} at {request.path}")
        self._note(worker, "answer", answer.status, _shown_path(request), answer.body)
        if 400 <= answer.status < 500 and answer.status != 429:
            self._requestids.pop(document, None)
        if answer.body == USED_BEFORE:
            self._used_before.add(document)
        if to == "quickbooks" and answer.status == 429:
            self._closed_until[worker, realm] = self._loop.time() + THROTTLED_SECONDS
        return Answer(answer.status, {name.lower(): text for name, text in answer.headers.items()}, answer.body)

    def _is_too_late(self, deadline: float) -> bool:
        """A worker that stood still finds the answer and the end of its time for it: either may come first."""
        late = self._loop.time() - deadline
        return late > INSTANT_SECONDS and Random(f"late {late}").random() < 0.5

    def _watch(self, worker: str, realm: str, refresh: tuple[str, str] | None) -> None:
        now = self._loop.time()
        if realm and now < self._closed_until[worker, realm] - INSTANT_SECONDS:
            self.impatient.append((now, realm))
        if refresh is not None:
            self._refreshing[refresh] += 1
            if self._refreshing[refresh] > 1:
                self.raced.append((now, worker))

    def _fault(self, to: str, request: http.Request) -> str | None:
        if to == "metronome" and self.poisoned is not None and request.path.endswith(f"/invoices/{self.poisoned}"):
            self.injected["metronome poison"] += 1
            self.asked_for_poisoned.append(self._loop.time())
            return "5xx before"
        kinds = self.weather.kinds.get(to, ())
        if not kinds or self._dice.random() >= self.weather.share:
            return None
        kind = self._dice.choice(kinds)
        if kind == "6000" and (_realm_of(request), request.query.get("requestid", "")) in self._carried_out:
            return None  # what was done already is remembered or found, never refused as if it were new
        if request.method == "GET" and kind in NOT_OF_READS:
            return None
        self.injected[f"{to} {kind}"] += 1
        return kind

    def _late(self) -> str:
        assert self.awaited is not None
        self.awaited.set_result(None)
        self.injected["quickbooks carried out late"] += 1
        return "carried out late"

    async def _carried(
        self, to: str, request: http.Request, fault: str | None, timeout_seconds: float
    ) -> http.Answer | None:
        """The answer, None when it is lost. Raises NotSent."""
        dice = self._dice
        arrives = dice.uniform(0.005, ARRIVES_SECONDS_MAX)
        answers = arrives + dice.uniform(0.01, ANSWERS_SECONDS_MAX)
        gives_up = dice.choice((answers, answers, timeout_seconds))
        match fault:
            case "not sent":
                await asyncio.sleep(arrives)
                raise NotSent("ClientConnectorError at nowhere")
            case "request lost":
                await asyncio.sleep(gives_up)
                return None
            case "carried out late":
                self._later(dice.uniform(1.0, RUN_SECONDS_MAX), to, request, fault)
                await asyncio.sleep(gives_up)
                return None
            case "slow":
                answers = arrives + dice.uniform(1.0, RUN_SECONDS_MAX)
                arrives = dice.choice((arrives, answers - 0.01))
            case _ if fault in NOT_CARRIED_OUT:
                assert fault is not None
                await asyncio.sleep(answers)
                return self._remembered(request, fault)
        carried_out = self._later(arrives, to, request, fault)
        await asyncio.sleep(min(answers, timeout_seconds))
        if answers >= timeout_seconds:
            self._token_answer_lost(to, request)
            return None
        if fault in ("answer lost", "truncated"):
            self._token_answer_lost(to, request)
            await asyncio.sleep(gives_up - answers)
            return None
        if fault in CARRIED_OUT:
            self._token_answer_lost(to, request)
            if fault == "page after":
                return replace(SPOILED[fault], status=PAGES[self.injected[f"{to} {fault}"] % len(PAGES)])
            return SPOILED[fault]
        if fault == "odd":
            return replace(carried_out.result(), body=_TOTAL.sub(b'"TotalAmt":"ten"', carried_out.result().body))
        if self.oddities is None:
            return carried_out.result()
        return self.oddities.spoiled(to, request, carried_out.result(), odd=self.weather is not FAIR)

    def _later(
        self, seconds: float, to: str, request: http.Request, fault: str | None
    ) -> "asyncio.Future[http.Answer]":
        """The vendor gets the request after so many seconds, whatever became of the worker."""
        carried_out: asyncio.Future[http.Answer] = self._loop.create_future()
        self.pending += 1
        self._carried_out.add((_realm_of(request), request.query.get("requestid", "")))
        late = seconds > ARRIVES_SECONDS_MAX + INSTANT_SECONDS

        def arrive() -> None:
            self.pending -= 1
            carried_out.set_result(self._answered(to, request, late))

        self._loop.call_outside(seconds, arrive)
        return carried_out

    def _answered(self, to: str, request: http.Request, late: bool) -> http.Answer:
        if to == "metronome":
            return self._metronome.answer(request)
        refused = self._refused.get((_realm_of(request), request.query.get("requestid", "")))
        if refused is not None:
            return refused
        if not late and (refusal := self._refusal(request)) is not None:
            return refusal
        core, settings = self._quickbooks, self._quickbooks.settings
        if late:  # it was admitted when it arrived; only its effect comes now
            core.settings = replace(settings, limits=False)
        throttled = core.throttled
        answer = core.answer(request)
        core.settings = settings
        if core.throttled > throttled:
            self.throttled.append((self._loop.time(), _realm_of(request)))
        if late:
            self._note("", "carried out now", request.method, _shown_path(request), request.body)
        return answer

    def _refusal(self, request: http.Request) -> http.Answer | None:
        kind, until = self.refusing.get(_realm_of(request), ("", 0.0))
        if self._loop.time() >= until or (kind in OF_WRITES_OF_DOCUMENTS and not _writes_document(request)):
            return None
        self.injected[f"quickbooks {kind}"] += 1
        status, body = REFUSING[kind]
        return http.Answer(status, body, {"Content-Type": "application/json"})

    def _remembered(self, request: http.Request, fault: str) -> http.Answer:
        answer = SPOILED[fault]
        if fault == "6000" and self.refusals_remembered and request.query.get("requestid"):
            self._refused[_realm_of(request), request.query["requestid"]] = answer
        return answer

    def _token_answer_lost(self, to: str, request: http.Request) -> None:
        if to == "token":
            self.token_answers_lost[_refresh_token_of(request)] += 1


class WorkersNetwork:
    """The network as one worker's clients have it: an `agents.clients.transport.Transport`."""

    def __init__(self, network: Network, worker: str, is_alive: Callable[[], bool]) -> None:
        self._network = network
        self._worker = worker
        self._is_alive = is_alive

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        parts = urlsplit(url)
        lower = {name.lower(): value for name, value in headers.items()}
        request = http.Request(method, parts.path, dict(parse_qsl(parts.query)), lower, body or b"")
        to = "metronome" if url.startswith(METRONOME_URL) else "token" if url == TOKEN_URL else "quickbooks"
        return await self._network.call(self._worker, self._is_alive, request, to, timeout_seconds)


def _realm_of(request: http.Request) -> str:
    parts = request.path.split("/")
    return parts[3] if len(parts) > 3 and parts[2] == "company" else ""


def _writes_document(request: http.Request) -> bool:
    return request.path.endswith(("/invoice", "/creditmemo"))


def _document_of(request: http.Request) -> tuple[str, bytes]:
    """A document by its company and the invoice that its note names, else by its whole body."""
    named = _NAMED.search(request.body)
    return request.path, named[0] if named else request.body


def _refresh_token_of(request: http.Request) -> str:
    return dict(parse_qsl(request.body.decode())).get("refresh_token", "")


def _shown_path(request: http.Request) -> str:
    query = request.query.get("query") or request.query.get("requestid", "")
    operation = request.query.get("operation", "")
    return " ".join(filter(None, (request.path, operation, query)))
