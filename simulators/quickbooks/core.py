"""QuickBooks Online's Accounting API as a pure core: request in, answer out, several companies."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from simulators.http import BODY_MAX_BYTES, Answer, Json, Request, dump
from simulators.quickbooks.batch import batch_items, bids_of, run_batch
from simulators.quickbooks.books import SALES, Books, Company
from simulators.quickbooks.changes import run_cdc
from simulators.quickbooks.company import company_info, preferences, write_preferences
from simulators.quickbooks.errors import (
    Refusal,
    bad_text,
    throttled,
    unauthenticated,
    unauthorized,
    unsupported,
)
from simulators.quickbooks.meters import Meters, month_of
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.operations import ENTITIES
from simulators.quickbooks.query import run_query
from simulators.quickbooks.rates import read_rate, write_rate
from simulators.quickbooks.requestids import RequestIds, digest_of, key_of
from simulators.quickbooks.rules import read_object
from simulators.quickbooks.sample import opened
from simulators.quickbooks.settings import QuickBooksSettings

from . import operations, state, xml

RESOURCES = frozenset((*ENTITIES, "query", "batch", "cdc", "preferences", "companyinfo"))
METHODS = ("GET", "POST")
GZIP_FORMAT = 31
JSON_HEADERS = {"Content-Type": "application/json;charset=utf-8", "QBO-Version": "1988.128"}
XML_HEADERS = {"Content-Type": "application/xml;charset=UTF-8", "QBO-Version": "1988.128"}


class QuickBooks:
    """Books, tokens, memory of request ids and counters of all companies. `clock` gives epoch seconds.

    `answer` runs one request after the other and is not to be called by two threads. With `track` on, `touched` holds
    the keys of the rows that changed until someone clears it.
    """

    def __init__(
        self,
        companies: Sequence[Company],
        oauth: OAuthServer,
        clock: Callable[[], float],
        settings: QuickBooksSettings | None = None,
    ) -> None:
        self.settings = settings or QuickBooksSettings()
        self.oauth = oauth
        self.answered = 0
        self.books = {each.realm_id: opened(each, clock(), oauth.changes) for each in companies}
        self.meters = {each.realm_id: Meters() for each in companies}
        self.remembered = {each.realm_id: RequestIds(each.realm_id, oauth.changes) for each in companies}
        self._clock = clock

    def answer(self, request: Request) -> Answer:
        """Never raises for a request, whatever it holds."""
        self.answered += 1
        self.oauth.changes.mark(state.SERVICE, "counters")
        answer = self.oauth.answer(request) or self._api(request)
        tid = f"1-{int(self._clock()):08x}-{self.answered:024x}"
        return replace(answer, headers={**answer.headers, "intuit_tid": tid})

    @property
    def calls(self) -> Counter[str]:
        """Of all companies, by method and first part of the path."""
        return sum((each.calls for each in self.meters.values()), Counter())

    @property
    def throttled(self) -> int:
        return sum(each.throttled for each in self.meters.values())

    @property
    def metered_reads(self) -> int:
        return sum(each.metered_reads for each in self.meters.values())

    @property
    def track(self) -> bool:
        return self.oauth.changes.track

    @track.setter
    def track(self, on: bool) -> None:
        self.oauth.changes.track = on

    @property
    def touched(self) -> set[str]:
        return self.oauth.changes.keys

    def row(self, key: str) -> Json | None:
        """The JSON value of one row, None when it is gone; `state.py` lists the keys."""
        return state.row(self, key)

    def rows(self) -> Iterator[tuple[str, Json]]:
        return state.rows(self)

    def restore(self, rows: Iterable[tuple[str, Json]]) -> None:
        """Replaces everything by what `rows` say; what is answered from now on is what their origin would answer."""
        state.restore(self, rows)

    def _api(self, request: Request) -> Answer:
        now = self._clock()
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        token_state, token_realm = self.oauth.check(token)
        if token_state != "good":
            reason = "Token expired" if token_state == "expired" else "Malformed bearer token"
            return unauthenticated(f"{reason}: {_characters(token)}", int(now * 1000))
        parts = request.path.strip("/").split("/")
        if parts[:2] != ["v3", "company"] or len(parts) < 4:
            return self._refused(unsupported(_characters(request.path)), request, self.books[token_realm], now)
        realm, rest = parts[2], parts[3:]
        if realm != token_realm:
            return unauthorized(int(now * 1000))
        books, meters = self.books[realm], self.meters[realm]
        resource = rest[0] if rest[0] in RESOURCES else "other"
        meters.calls[f"{request.method if request.method in METHODS else 'other'} {resource}"] += 1
        self.oauth.changes.mark(realm, "meters")
        reads = request.method == "GET" or resource in ("query", "batch")
        time = books.timestamp(now, "milliseconds")
        if self.settings.limits and not meters.admits(now, resource == "batch", self.settings):
            return throttled(time, self.settings.throttle_body, self.settings.throttle_retry_after_seconds)
        if self._quota_is_used_up(reads, now):
            return throttled(time, self.settings.quota_body)
        try:
            answer, metered = self._once(request, books, rest, now)
        except Refusal as refusal:
            return self._refused(refusal, request, books, now)
        if answer.status < 300:
            meters.meter(metered if reads else 0, now)
        return answer

    def _quota_is_used_up(self, reads: bool, now: float) -> bool:
        quota = self.settings.metered_reads_max
        if not quota or not (reads or self.settings.quota_blocks == "everything"):
            return False
        month = month_of(now)
        return sum(each.metered_this_month for each in self.meters.values() if each.month == month) >= quota

    def _once(self, request: Request, books: Books, rest: list[str], now: float) -> tuple[Answer, int]:
        """Runs the request, or gives the first answer again when its `requestid` is remembered; with the metered
        calls that it is. Reads have no memory, whatever `requestid` they carry. Raises Refusal."""
        body = _plain_body(request)
        items = None
        if request.method == "POST" and rest == ["batch"]:
            items = batch_items(_object("Batch", request, body))
        metered = len(items) if items is not None and self.settings.batch_metered_as == "items" else 1
        request_id = request.query.get("requestid", "")
        if request.method != "POST" or rest == ["query"] or not request_id:
            return self._run(request, body, items, books, rest, now), metered
        key = key_of(_characters(request_id), None if items is None else bids_of(items))
        digest = digest_of(request, body)
        memory = self.remembered[books.company.realm_id]
        answer = memory.read_commands(key, digest, now, self.settings)
        if answer is None:
            try:
                answer = self._run(request, body, items, books, rest, now)
            except Refusal as refusal:
                answer = self._refused(refusal, request, books, now)
            memory.keep(key, digest, now, answer, self.settings)
        return answer, metered

    def _run(
        self, request: Request, body: bytes, items: list[Json] | None, books: Books, rest: list[str], now: float
    ) -> Answer:
        match request.method, rest:
            case "GET", [name, number, "pdf"] if ENTITIES.get(name) in SALES:
                return Answer(200, operations.pdf(ENTITIES[name], number, books), {"Content-Type": "application/pdf"})
            case "GET", _:
                envelope = self._read(request, books, rest, now)
            case "POST", ["query"]:
                text = _text(body) or request.query.get("query", "")
                envelope = {"QueryResponse": run_query(_characters(text), books, now, self.settings)}
            case "POST", ["batch"] if items is not None:
                envelope = {"BatchItemResponse": run_batch(items, books, now, self.settings)}
            case "POST", _:
                envelope = _written(request, body, books, rest, now)
            case _:
                raise unsupported(_characters(request.path))
        return self._encoded({**envelope, "time": books.timestamp(now, "milliseconds")}, request)

    def _read(self, request: Request, books: Books, rest: list[str], now: float) -> Json:
        query = request.query
        match rest:
            case ["query"]:
                return {"QueryResponse": run_query(_characters(query.get("query", "")), books, now, self.settings)}
            case ["cdc"]:
                entities, since = _characters(query.get("entities", "")), _characters(query.get("changedSince", ""))
                return {"CDCResponse": run_cdc(entities, since, books, now, self.settings)}
            case ["preferences"]:
                return {"Preferences": preferences(books)}
            case ["companyinfo", _]:
                return {"CompanyInfo": company_info(books)}
            case ["exchangerate"]:
                currency, day = query.get("sourcecurrencycode", ""), query.get("asofdate", "")
                return {"ExchangeRate": read_rate(books, _characters(currency), _characters(day), now)}
            case [name, number] if name in ENTITIES:
                found = operations.read(ENTITIES[name], _characters(number), books, query.get("include", ""))
                return {ENTITIES[name]: found}
        raise unsupported(_characters(request.path))

    def _refused(self, refusal: Refusal, request: Request, books: Books, now: float) -> Answer:
        envelope: Json = {"Fault": refusal.fault}
        if refusal.error["code"] != "2030":  # recorded without a time: error/500_1
            envelope["time"] = books.timestamp(now, "milliseconds")
        answer = self._encoded(envelope, request, 400)
        return replace(answer, headers={"Content-Type": answer.headers["Content-Type"].partition(";")[0]})

    def _encoded(self, envelope: Json, request: Request, status: int = 200) -> Answer:
        """JSON, or XML for a caller that asks for it."""
        accept = request.headers.get("accept", "*/*")
        if xml.wants_xml(request.headers) or (self.settings.default_xml and accept in ("", "*/*")):
            return Answer(status, xml.to_xml(envelope), XML_HEADERS)
        return Answer(status, dump(envelope), JSON_HEADERS)


def _written(request: Request, body: bytes, books: Books, rest: list[str], now: float) -> Json:
    query = request.query
    match rest:
        case ["preferences"]:
            return {"Preferences": write_preferences(_object("Preferences", request, body), books)}
        case ["exchangerate"]:
            return {"ExchangeRate": write_rate(_object("ExchangeRate", request, body), books, now)}
        case [name, number, "send"] if ENTITIES.get(name) in SALES:
            kind, send_to = ENTITIES[name], _characters(query.get("sendTo", ""))
            return {kind: operations.send(kind, _characters(number), books, now, send_to)}
        case [name] if ENTITIES.get(name) in operations.WRITABLE:
            kind = ENTITIES[name]
            written = _object(kind, request, body)
            operation, include = _characters(query.get("operation", "")), query.get("include", "")
            return {kind: operations.write(kind, written, books, now, operation, include)}
    raise unsupported(_characters(request.path))


def _object(kind: str, request: Request, body: bytes) -> Json:
    return xml.from_xml(kind, body) if xml.sends_xml(request.headers) else read_object(body)


def _plain_body(request: Request) -> bytes:
    """The body unpacked, if it is still packed and not larger than bodies may be. Raises Refusal."""
    body = request.body
    if request.headers.get("content-encoding", "").lower() != "gzip" or not body.startswith(b"\x1f\x8b"):
        return body
    unpacking = zlib.decompressobj(GZIP_FORMAT)
    try:
        plain = unpacking.decompress(body, BODY_MAX_BYTES)
    except zlib.error:
        raise bad_text() from None
    if not unpacking.eof:
        raise bad_text()
    return plain


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise bad_text() from None


def _characters(text: str) -> str:
    """The text without halves of surrogate pairs, which no answer could hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
