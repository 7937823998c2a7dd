"""A simulated QuickBooks company without sockets, on a clock that the test moves."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from simulators.http import Answer, Request, dump
from simulators.quickbooks.books import Company
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import default_oauth
from tests import FIXTURES

RECORDINGS = FIXTURES / "quickbooks"
REALM = "111"


def recording(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def shape(value: Any) -> Any:
    """The same structure with types for values: what two answers have in common when only their data differ."""
    if isinstance(value, dict):
        return {name: shape(child) for name, child in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return (
        "number" if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else type(value).__name__
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Speaks to one company of the core as an app would."""

    def __init__(self, settings: QuickBooksSettings | None = None, **company: Any) -> None:
        self.clock = Clock()
        companies = [Company(REALM, **{"multicurrency": False, **company})]
        self.oauth = OAuthServer(default_oauth(1), {REALM: "One"}, self.clock, "1")
        self.core = QuickBooks(companies, self.oauth, self.clock, settings or QuickBooksSettings(limits=False))
        self.token = next(iter(self.oauth.connect(REALM).access_tokens))

    def send(self, method: str, path: str, body: bytes = b"", realm: str = REALM, **query: str) -> Answer:
        headers = {"authorization": f"Bearer {self.token}"}
        return self.core.answer(Request(method, f"/v3/company/{realm}/{path}", query, headers, body))

    def post(self, path: str, value: object, **query: str) -> Answer:
        return self.send("POST", path, dump(value), **query)

    def query(self, text: str) -> dict[str, Any]:
        return read(self.send("GET", "query", query=text))["QueryResponse"]

    def made(self, kind: str, value: object, **query: str) -> dict[str, Any]:
        answer = self.post(kind.lower(), value, **query)
        assert answer.status == 200, answer.body
        return read(answer)[kind]

    def invoice(self, **changes: object) -> dict[str, Any]:
        return self.made("Invoice", invoice(**changes))


def read(answer: Answer) -> Any:
    return json.loads(answer.body, parse_float=Decimal)


def code_of(answer: Answer) -> str:
    assert answer.status == 400, answer.body
    return read(answer)["Fault"]["Error"][0]["code"]


def line(amount: object = 100, **detail: object) -> dict[str, Any]:
    sold = {"ItemRef": {"value": "1"}, **detail}
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": sold}


def invoice(**changes: object) -> dict[str, Any]:
    return {"CustomerRef": {"value": "1"}, "Line": [line()], **changes}
