"""The vendors' answers: QuickBooks, Metronome and the token server say something odd after doing what was asked."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from agents.clients.failures import Failure, OutcomeUnknown
from agents.clients.quickbooks_errors import checked, item_failure, listed, read
from agents.clients.transport import Answer, AnswerLost
from simulators import http
from simulators.quickbooks.books import SALES
from tests.chaos.network import Network

from .odd import spoiled

STATUSES = (200, 200, 200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 418)
MORE_STATUSES = (422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 520, 599, 999)
HEADERS = {
    "retry-after": ("", "0", "-1", "1.5", "60", "99999", "9" * 30, "²", "Sun, 22 Nov 2026 10:00:00 GMT", "\x00", "NaN"),
    "content-type": ("", "text/html", "application/json; charset=utf-16", "application/xml", "image/png", ";;;"),
    "intuit_tid": ("", "x" * 5_000, "\x00", "é", "1-5f-ö", "<b>"),
    "x-metronome-rate-limit-type": ("", "?" * 300, "\n"),
    "content-length": ("0", "-1", "9" * 20),
    "location": ("/", "https://elsewhere.example/"),
}
_ID = re.compile(r"[0-9a-f-]*[0-9][0-9a-f-]*")
_TOTAL = re.compile(rb'("TotalAmt": ?)([0-9.]+)')
LOST_SHARE = 0.05
FOUND_BY = ("Id", "DocNumber", "PrivateNote", "TotalAmt", "SyncToken")
FORMER_MAX = 50


class LyingNetwork(Network):
    """A network over which `share` of the answers are lies; `told` counts them by the vendor, or its token server."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.share = 0.0
        self.told = Counter[str]()
        self._former: defaultdict[str, list[bytes]] = defaultdict(list)

    async def call(
        self, worker: str, is_alive: Callable[[], bool], request: http.Request, to: str, timeout_seconds: float
    ) -> Answer:
        honest = await super().call(worker, is_alive, request, to, timeout_seconds)
        if self._dice.random() >= self.share:
            return honest
        if self._dice.random() < LOST_SHARE:
            self.told[to] += 1
            raise AnswerLost(f"a lie at {request.path}")
        lie = self._lie(honest, self._former[request.method + _ID.sub("#", request.path)])
        if to == "quickbooks" and believable(request, honest, lie):
            return honest
        self.told[to] += 1
        self._note(worker, "lie", lie.status, request.path, lie.body)
        return lie

    def _lie(self, honest: Answer, former: list[bytes]) -> Answer:
        dice = self._dice
        status, headers, body = honest.status, dict(honest.headers), honest.body
        if dice.random() < 0.4:
            status = dice.choice((*STATUSES, *MORE_STATUSES))
        if dice.random() < 0.3:
            name = dice.choice(tuple(HEADERS))
            headers[name] = dice.choice(HEADERS[name])
        if dice.random() < 0.2 and former:
            body = dice.choice(former)  # the answer to another question of the kind
        elif dice.random() < 0.2:
            body = _TOTAL.sub(rb"\g<1>1\2", body)  # another number
        elif dice.random() < 0.8:
            body = spoiled(dice, body, former)
        if len(former) < FORMER_MAX:
            former.append(honest.body)
        return Answer(status, headers, body)


def believable(request: http.Request, honest: Answer, lie: Answer) -> bool:
    """Whether nobody could know that it is one, and believing it would do harm: a business Fault about a write that was
    carried out, a false id of what was made, and well-formed news about which documents there are.
    """
    said, truth = _said(lie), _said(honest)
    if said is None or isinstance(truth, Failure | None):
        return False
    if request.method == "POST":
        return isinstance(said, Failure) or _refused_items(said) > _refused_items(truth) or _has_false_id(said, truth)
    return isinstance(said, dict) and "QueryResponse" in truth and _documents(said) not in (None, _documents(truth))


def _said(answer: Answer) -> Any:
    """What QuickBooks says with it: an object, its judgement, or None when that is open."""
    try:
        return read(answer)
    except OutcomeUnknown:
        return None
    except Failure as failure:
        return failure


def _has_false_id(said: dict[str, Any], truth: dict[str, Any]) -> bool:
    """Whether a document is called by an id that it has not, and all else of it is right."""
    ids = dict(_noted_ids(truth))
    return any(each.isdecimal() and ids.get(note, each) != each for note, each in _noted_ids(said))


def _noted_ids(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the documents in the answer to a write, by the first line of their notes."""
    items = said.get("BatchItemResponse", [said])
    made = [
        each[kind]
        for each in (items if isinstance(items, list) else [])
        for kind in SALES
        if isinstance(each, dict) and isinstance(each.get(kind), dict)
    ]
    return [(str(each.get("PrivateNote")).partition("\n")[0], str(each.get("Id"))) for each in made]


def _refused_items(said: dict[str, Any]) -> int:
    items = said.get("BatchItemResponse")
    failures = [item_failure(each) for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    return sum(failure is not None and not isinstance(failure, OutcomeUnknown) for failure in failures)


def _documents(said: dict[str, Any]) -> list[Any] | None:
    """By what each document of the answer to a query is found; None when that is not all there in its type."""
    try:
        return [
            (kind, *(each.get(name) for name in FOUND_BY))
            for kind in SALES
            for each in listed(kind, said["QueryResponse"])
            if checked(kind, each)
        ]
    except (OutcomeUnknown, KeyError, AttributeError):
        return None
