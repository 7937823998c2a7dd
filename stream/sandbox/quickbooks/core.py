"""QuickBooks Online's Accounting API as a pure core: request in, answer out, several companies."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from stream.sandbox.http import Answer, Json, Request, json_answer
from stream.sandbox.quickbooks.books import LISTS, SALES, Books, Company, opened
from stream.sandbox.quickbooks.errors import (
    Refusal,
    missing,
    not_found,
    stale,
    throttled,
    unauthenticated,
    unauthorized,
    unsupported,
)
from stream.sandbox.quickbooks.lists import made_entry
from stream.sandbox.quickbooks.oauth import OAuthServer
from stream.sandbox.quickbooks.query import run_query, with_balance
from stream.sandbox.quickbooks.rules import check_id, read_object
from stream.sandbox.quickbooks.sales import check_open, made_sale, voided

ENTITIES = {name.lower(): name for name in (*SALES, *LISTS)}
WRITABLE = ("Invoice", "CreditMemo", "Customer", "Item")
REQUEST_ID_LENGTH_MAX = 50


@dataclass(frozen=True, slots=True)
class QuickBooksSettings:
    """`requestid_seconds`: how long an answer is remembered under its `requestid`; 0 remembers nothing.
    `requestid_keeps_faults`: whether a refusal is replayed too; what Intuit does is not published."""

    limits: bool = True
    requests_per_second_max: int = 10
    requests_per_minute_max: int = 500
    requestid_seconds: float = 86_400
    requestid_keeps_faults: bool = False


class QuickBooks:
    """Books, tokens, memory of request ids and counters of all companies. `clock` gives epoch seconds."""

    def __init__(
        self,
        companies: Sequence[Company],
        oauth: OAuthServer,
        clock: Callable[[], float],
        settings: QuickBooksSettings | None = None,
    ) -> None:
        self.settings = settings or QuickBooksSettings()
        self.oauth = oauth
        self.books = {each.realm_id: opened(each, clock()) for each in companies}
        self.calls: Counter[str] = Counter()
        self.throttled = 0
        self.metered_reads = 0
        self._clock = clock
        self._answered = 0
        self._arrivals: dict[str, deque[float]] = {each.realm_id: deque() for each in companies}
        self._remembered: dict[str, OrderedDict[str, tuple[float, Answer]]] = {
            each.realm_id: OrderedDict() for each in companies
        }

    def answer(self, request: Request) -> Answer:
        """Never raises for a request, whatever it holds."""
        self._answered += 1
        answer = self.oauth.answer(request) or self._api(request)
        tid = f"1-{int(self._clock()):08x}-{self._answered:024x}"
        return Answer(answer.status, answer.body, {**answer.headers, "intuit_tid": tid})

    def _api(self, request: Request) -> Answer:
        now = self._clock()
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        state, token_realm = self.oauth.check(token)
        if state != "good":
            reason = "Token expired" if state == "expired" else "Malformed bearer token"
            return unauthenticated(f"{reason}: {token}", int(now * 1000))
        parts = request.path.strip("/").split("/")
        if parts[:2] != ["v3", "company"] or len(parts) < 4:
            return unsupported(request.path).answer(self.books[token_realm].timestamp(now, "milliseconds"))
        realm, rest = parts[2], parts[3:]
        self.calls[f"{request.method} {rest[0]}"] += 1
        if realm != token_realm:
            return unauthorized(int(now * 1000))
        books = self.books[realm]
        if not self._admitted(realm, now):
            self.throttled += 1
            return throttled(books.timestamp(now, "milliseconds"))
        answer = self._once(request, books, rest, now)
        if answer.status < 300 and (request.method == "GET" or rest[0] == "query"):
            self.metered_reads += 1
        return answer

    def _admitted(self, realm: str, now: float) -> bool:
        """Sliding windows of one second and one minute; a refused request does not count."""
        if not self.settings.limits:
            return True
        arrivals = self._arrivals[realm]
        while arrivals and arrivals[0] <= now - 60:
            arrivals.popleft()
        within_second = 0
        for arrival in reversed(arrivals):
            if arrival <= now - 1:
                break
            within_second += 1
        full = len(arrivals) >= self.settings.requests_per_minute_max
        if full or within_second >= self.settings.requests_per_second_max:
            return False
        arrivals.append(now)
        return True

    def _once(self, request: Request, books: Books, rest: list[str], now: float) -> Answer:
        """Runs the request, or sends the first answer again when its `requestid` is remembered."""
        request_id = request.query.get("requestid", "")
        memory = self._remembered[books.company.realm_id]
        while memory and next(iter(memory.values()))[0] <= now - self.settings.requestid_seconds:
            memory.popitem(last=False)
        if request.method == "POST" and request_id in memory:
            return memory[request_id][1]
        time = books.timestamp(now, "milliseconds")
        try:
            if len(request_id) > REQUEST_ID_LENGTH_MAX:
                raise Refusal("2130", "Invalid Request Id Format", f"Invalid Request Id Format : {request_id}")
            answer = json_answer(
                {**self._run(request, books, rest, now), "time": time},
                headers={"Content-Type": "application/json;charset=utf-8", "QBO-Version": "1988.128"},
            )
        except Refusal as refusal:
            answer = refusal.answer(time)
        keeps = answer.status < 300 or self.settings.requestid_keeps_faults
        if request.method == "POST" and request_id and keeps and self.settings.requestid_seconds > 0:
            memory[request_id] = (now, answer)
        return answer

    def _run(self, request: Request, books: Books, rest: list[str], now: float) -> Json:
        match request.method, rest:
            case "GET", ["query"]:
                return {"QueryResponse": run_query(request.query.get("query", ""), books)}
            case "POST", ["query"]:
                text = request.body.decode("utf-8", "replace") or request.query.get("query", "")
                return {"QueryResponse": run_query(text, books)}
            case "GET", ["preferences"]:
                return {"Preferences": _preferences(books.company)}
            case "GET", ["companyinfo", _]:
                return {"CompanyInfo": _company_info(books.company)}
            case "GET", [name, number] if name in ENTITIES:
                kind = ENTITIES[name]
                check_id(number)
                found = _existing(books, kind, number)
                return {kind: with_balance(found, books) if kind == "Customer" else found}
            case "POST", [name] if ENTITIES.get(name) in WRITABLE:
                return {ENTITIES[name]: _write(ENTITIES[name], request, books, now)}
        raise unsupported(request.path)


def _write(kind: str, request: Request, books: Books, now: float) -> Json:
    """Create, full update, sparse update, void or delete. Returns what the answer shows."""
    written = read_object(request.body)
    number = str(written.get("Id") or "")
    operation = request.query.get("operation", "")
    include = request.query.get("include", "")
    if operation not in ("", "create", "update", "void", "delete"):
        raise unsupported(f"{request.path}?operation={operation}")
    former = _current(books, kind, number, written) if number else None
    if operation in ("void", "delete") or include == "void":
        if former is None:
            raise missing("Id")
        return _void_or_delete(kind, operation, former, books, now)
    if former is not None and written.get("sparse") is True:
        written = {**former, **written}
    if kind in SALES:
        if former is not None:
            check_open(books, date.fromisoformat(former["TxnDate"]), "6200")
        sale = made_sale(kind, written, books, now, former, "allowduplicatedocnum" in include)
        books.put_sale(kind, sale, former)
        return sale
    entry = made_entry(kind, written, books, now, former)
    books.put_entry(kind, entry, former)
    return with_balance(entry, books) if kind == "Customer" else entry


def _void_or_delete(kind: str, operation: str, former: Json, books: Books, now: float) -> Json:
    if kind not in SALES or (kind == "CreditMemo" and operation != "delete"):
        raise unsupported(f"{kind.lower()}?operation={operation}")
    check_open(books, date.fromisoformat(former["TxnDate"]), "6200")
    if operation == "delete":
        books.delete_sale(kind, former)
        return {"domain": "QBO", "status": "Deleted", "Id": former["Id"]}
    sale = voided(former, books, now)
    books.put_sale(kind, sale, former)
    return sale


def _existing(books: Books, kind: str, number: str) -> Json:
    found = books.objects[kind].get(number)
    if found is None:
        raise not_found()
    return found


def _current(books: Books, kind: str, number: str, written: Json) -> Json:
    """The stored object that an update names, if the SyncToken is the one of now."""
    check_id(number)
    former = _existing(books, kind, number)
    token: Any = written.get("SyncToken")
    if token in (None, ""):
        raise missing("SyncToken")
    if str(token) != former["SyncToken"]:
        raise stale()
    return former


def _preferences(company: Company) -> Json:
    return {
        "AccountingInfoPrefs": {
            "UseAccountNumbers": False,
            "TrackDepartments": False,
            "ClassTrackingPerTxn": False,
            "ClassTrackingPerTxnLine": False,
            "FirstMonthOfFiscalYear": "January",
            "CustomerTerminology": "Customers",
        },
        "SalesFormsPrefs": {
            "CustomTxnNumbers": company.custom_txn_numbers,
            "AllowDeposit": False,
            "AllowDiscount": company.allow_discount,
            "AllowEstimates": True,
            "AllowServiceDate": True,
            "AllowShipping": False,
            "DefaultTerms": {"value": "3"},
        },
        "TaxPrefs": {"UsingSalesTax": False, "PartnerTaxEnabled": False},
        "CurrencyPrefs": {
            "MultiCurrencyEnabled": company.multicurrency,
            "HomeCurrency": {"value": company.currency},
        },
        "domain": "QBO",
        "sparse": False,
        "Id": "1",
        "SyncToken": "0",
    }


def _company_info(company: Company) -> Json:
    return {
        "CompanyName": company.name,
        "LegalName": company.name,
        "Country": "US",
        "CompanyAddr": {"Id": "1", "Line1": "123 Sierra Way", "City": "San Pablo", "CountrySubDivisionCode": "CA"},
        "SupportedLanguages": "en",
        "NameValue": [{"Name": "OfferingSku", "Value": "QuickBooks Online Plus"}],
        "domain": "QBO",
        "sparse": False,
        "Id": "1",
        "SyncToken": "0",
    }
