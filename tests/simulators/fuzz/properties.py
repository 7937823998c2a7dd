"""What always holds, whatever is asked: the shape of each answer, and the books that a sequence leaves behind."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from decimal import Decimal
from time import perf_counter
from typing import Any

from simulators.http import Answer, Json, Request, dump
from tests.qbo_schema import answer_faults, xml_faults
from tests.simulators.companies import REALM, Client, invoice, line

ANSWER_SECONDS_MAX = 120.0
"""A hang, not slowness: the machine may be busy."""
LIST_KINDS = ("Customer", "Vendor", "Employee", "Item", "Account", "Term", "Class", "Department", "PaymentMethod")
SALES = ("Invoice", "CreditMemo")
GATEWAY_KEYS = {"warnings", "intuitObject", "fault", "report", "queryResponse", "batchItemResponse"} | {
    "attachableResponse", "syncErrorResponse", "requestId", "time", "status", "cdcresponse",
}  # fmt: skip


def check_quickbooks_answer(request: Request, answer: Answer) -> None:
    """A documented status and shape; nothing that could break the line it travels on."""
    assert 200 <= answer.status < 500, (request, answer)
    assert not any(each in value for value in answer.headers.values() for each in "\r\n"), (request, answer.headers)
    content_type = answer.headers.get("Content-Type", "")
    if request.path.startswith(("/oauth2/", "/v2/oauth2/", "/connect/", "/.well-known/")):
        check_oauth_answer(request, answer, content_type)
    elif content_type.startswith("application/pdf"):
        assert answer.body.startswith(b"%PDF-")
        assert answer.body.rstrip().endswith(b"%%EOF")
    elif "xml" in content_type:
        assert xml_faults(answer.body) == [], (request, answer)
    else:
        assert content_type.startswith("application/json"), (request, answer)
        body = read(answer)
        if "fault" in body:
            assert body.keys() == GATEWAY_KEYS
            assert answer.status in (401, 403)
        else:
            assert ("Fault" in body) == (answer.status >= 400), (request, answer)
            assert answer_faults(body) == [], (request, answer)


def check_oauth_answer(request: Request, answer: Answer, content_type: str) -> None:
    if content_type.startswith("application/json"):
        assert ("error" in read(answer)) == (answer.status >= 400), (request, answer)
    else:
        # The page that a browser sees, the redirect back to the app, and a revocation have no JSON.
        assert content_type.startswith("text/html") or answer.status in (200, 302), (request, answer)


def check_metronome_answer(request: Request, answer: Answer) -> None:
    """JSON with `data`, nothing at all, a PDF, or an error with its one documented key."""
    assert 200 <= answer.status < 500, (request, answer)
    assert not any(each in value for value in answer.headers.values() for each in "\r\n"), (request, answer.headers)
    if answer.status >= 400:
        body = read(answer)
        assert body.keys() == {"message"}, (request, answer)
        assert isinstance(body["message"], str)
    elif answer.headers.get("Content-Type", "").startswith("application/pdf"):
        assert answer.body.startswith(b"%PDF-")
    elif answer.body:
        assert isinstance(read(answer), dict), (request, answer)


def read(answer: Answer) -> Any:
    return json.loads(answer.body, parse_float=Decimal)


def number(value: Any) -> Decimal:
    return Decimal(value)


class Watched:
    """One simulated company, with a few sales, under a sequence of requests; the clock moves a second with each."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent = 0
        self.tokens: dict[tuple[str, str], int] = {}
        self.born: dict[tuple[str, str], str] = {}
        for number in range(1, 6):
            client.invoice(DocNumber=f"No {number}", Line=[line(number), line(100)])
        for number in range(6, 8):
            client.made("CreditMemo", invoice(DocNumber=f"No {number}", CustomerRef={"value": "2"}))

    def send(self, request: Request) -> Answer:
        self.client.clock.now += 1
        begun = perf_counter()
        answer = self.client.core.answer(request)
        assert perf_counter() - begun < ANSWER_SECONDS_MAX, request
        self.sent += 1
        check_quickbooks_answer(request, answer)
        if answer.status == 200 and request.method == "POST" and not request.query.get("requestid"):
            self.remember(request, answer)
        return answer

    def remember(self, request: Request, answer: Answer) -> None:
        """SyncTokens never fall, and an Id never comes back as another object. A replay shows old tokens: left out."""
        if not answer.headers.get("Content-Type", "").startswith("application/json"):
            return
        for kind, shown in read(answer).items():
            if kind not in (*LIST_KINDS, *SALES) or "SyncToken" not in shown:
                continue
            key = kind, shown["Id"]
            assert int(shown["SyncToken"]) >= self.tokens.get(key, 0), (request, answer)
            self.tokens[key] = int(shown["SyncToken"])
            assert self.born.setdefault(key, shown["MetaData"]["CreateTime"]) == shown["MetaData"]["CreateTime"]

    def check_books(self) -> None:
        """What the API shows of the books agrees with itself, and with books made anew from their own rows."""
        self.client.token = next(iter(self.client.oauth.connect(REALM).access_tokens))
        shown = {kind: everything(self.client, kind) for kind in (*SALES, *LIST_KINDS)}
        for kind in SALES:
            for sale in shown[kind]:
                check_sale(kind, sale)
                assert self.client.send("GET", f"{kind.lower()}/{sale['Id']}").status == 200
            check_numbers(self.client, kind, shown[kind])
        check_balances(shown)
        check_names(shown)
        for kind, found in shown.items():
            ids = [each["Id"] for each in found]
            assert len(ids) == len(set(ids)), kind
        # A server made anew from the rows builds its indexes from nothing: it must say the same.
        rows = json.loads(dump(list(self.client.core.rows())), parse_float=Decimal)
        twin = Client()
        twin.clock.now = self.client.clock.now
        twin.core.restore(rows)
        twin.token = self.client.token
        assert {kind: everything(twin, kind) for kind in shown} == shown
        kept, rebuilt = self.client.core.books[REALM], twin.core.books[REALM]
        assert kept.doc_numbers == rebuilt.doc_numbers
        assert kept.names == rebuilt.names
        assert {key: owed for key, owed in kept.balances.items() if owed} == {
            key: owed for key, owed in rebuilt.balances.items() if owed
        }


def everything(client: Client, kind: str) -> list[Json]:
    inactive = " where Active IN (true, false)" if kind in LIST_KINDS else ""
    found: list[Json] = client.query(f"select * from {kind}{inactive} maxresults 1000").get(kind, [])
    counted = client.query(f"select count(*) from {kind}{inactive}")["totalCount"]
    assert counted == len(found), kind
    return found


def check_sale(kind: str, sale: Json) -> None:
    """The lines make the total: what is sold, less discounts, plus tax; and no more is owed than that."""
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for each in sale["Line"]:
        amounts[each["DetailType"]] += number(each.get("Amount", 0))
    tax = number(sale["TxnTaxDetail"]["TotalTax"])
    assert amounts["SalesItemLineDetail"] == amounts["SubTotalLineDetail"], sale
    assert amounts["SalesItemLineDetail"] - amounts["DiscountLineDetail"] + tax == sale["TotalAmt"], sale
    assert 0 <= number(sale["Balance"]) <= number(sale["TotalAmt"]), (kind, sale)
    assert re.fullmatch(r"\d+", sale["SyncToken"])


def check_numbers(client: Client, kind: str, sales: list[Json]) -> None:
    """The index over DocNumber finds exactly the sales that carry one."""
    held: dict[str, set[str]] = defaultdict(set)
    for sale in sales:
        held[sale.get("DocNumber", "")].add(sale["Id"])
    held.pop("", None)
    for doc_number, ids in held.items():
        quoted = doc_number.replace("\\", "\\\\").replace("'", "\\'")
        found = client.query(f"select * from {kind} where DocNumber = '{quoted}' maxresults 1000")[kind]
        assert {each["Id"] for each in found} == ids, doc_number


def check_balances(shown: dict[str, list[Json]]) -> None:
    """A customer owes what its invoices leave open, less what its credit memos do."""
    owed: dict[str, Decimal] = defaultdict(Decimal)
    for kind, sign in (("Invoice", 1), ("CreditMemo", -1)):
        for sale in shown[kind]:
            owed[sale["CustomerRef"]["value"]] += sign * number(sale["Balance"])
    for customer in shown["Customer"]:
        assert number(customer["Balance"]) == owed[customer["Id"]], customer


def check_names(shown: dict[str, list[Json]]) -> None:
    """No two active customers, vendors or employees have one name, and no two items."""
    people = [each for kind in ("Customer", "Vendor", "Employee") for each in shown[kind] if each["Active"]]
    names = [each.get("FullyQualifiedName", each["DisplayName"]).casefold() for each in people]
    assert len(names) == len(set(names)), names
    items = [each["FullyQualifiedName"].casefold() for each in shown["Item"] if each["Active"]]
    assert len(items) == len(set(items)), items
