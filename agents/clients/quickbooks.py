"""QuickBooks Online's API, as far as we call it: reads, and writes with a requestid (docs/vendors/quickbooks.md §1-§3).

Each method is one logical request at the company's pace; a refused access token is refreshed once and the request
repeated. Everything else that goes wrong is a Failure for the caller.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from models.quickbooks import MINOR_VERSION, plain_number

from .failures import OutcomeUnknown, TokenRefused, Wait
from .quickbooks_errors import checked, read
from .rate_limit import RateLimiter
from .transport import Answer, AnswerLost, NotSent, Transport

Content = Callable[[], Awaitable[tuple[str | None, bytes | None]]]
"""Gives the requestid and the body of a request when its turn has come; asked again, it gives the same again. What it
raises keeps the request from leaving."""


Leaving = Callable[[], Awaitable[None]]


class AccessTokens(Protocol):
    async def access_token(self, realm: str) -> str: ...
    def reject(self, realm: str, token: str) -> None: ...
    def accept(self, realm: str, token: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer: its JSON, and the id by which Intuit's support finds it."""

    body: dict[str, Any]
    intuit_tid: str | None


def encode(body: dict[str, Any]) -> bytes:
    """JSON with Decimals as plain numbers, digit by digit."""
    return orjson.dumps(body, default=lambda number: orjson.Fragment(plain_number(number)))


class QuickBooksClient:
    def __init__(
        self, transport: Transport, base_url: str, tokens: AccessTokens, limiter: RateLimiter, *, timeout_seconds: float
    ) -> None:
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._tokens = tokens
        self._limiter = limiter
        self._timeout_seconds = timeout_seconds

    async def query(self, realm: str, statement: str) -> dict[str, Any]:
        """The `QueryResponse`; a key is missing when nothing was found (§2.4)."""
        reply = await self._request("GET", realm, "query", {"query": statement}, _given())
        response = reply.body.get("QueryResponse")
        if not isinstance(response, dict):
            raise OutcomeUnknown("QuickBooks' answer to a query holds no QueryResponse")
        return response

    async def fetch(self, realm: str, entity: str, qbo_id: str) -> dict[str, Any]:
        """One object by id; `entity` in Intuit's spelling, such as `Invoice`. Raises OutcomeUnknown for another one."""
        reply = await self._request("GET", realm, f"{entity.lower()}/{qbo_id}", {}, _given())
        found = checked(entity, reply.body.get(entity))
        if str(found["Id"]).lstrip("0") != qbo_id.lstrip("0"):  # a person may have written it with zeros before it
            raise OutcomeUnknown(f"QuickBooks was asked for {entity} {qbo_id} and answered with {found['Id']}")
        return found

    async def write(
        self,
        realm: str,
        entity: str,
        body: bytes,
        *,
        requestid: str,
        operation: str | None = None,
        leaving: Leaving | None = None,
    ) -> tuple[dict[str, Any], str | None]:
        """POST an object (create, update, or `operation` void); its new form, and the `intuit_tid`.

        `leaving` is awaited when the request's turn has come; what it raises keeps the request from leaving.
        """
        parameters = {"operation": operation} if operation else {}
        reply = await self._request("POST", realm, entity.lower(), parameters, _given(requestid, body, leaving))
        return checked(entity, reply.body.get(entity)), reply.intuit_tid

    async def batch(self, realm: str, content: Content) -> tuple[list[dict[str, Any]], str | None]:
        """POST a batch, whose `content` is asked for when it may leave; its items' answers, and the `intuit_tid`."""
        reply = await self._request("POST", realm, "batch", {}, content)
        answers = reply.body.get("BatchItemResponse")
        if not isinstance(answers, list):
            raise OutcomeUnknown("QuickBooks' answer to a batch holds no BatchItemResponse")
        return [each for each in answers if isinstance(each, dict)], reply.intuit_tid

    async def _request(self, method: str, realm: str, path: str, parameters: dict[str, str], content: Content) -> Reply:
        try:
            return await self._attempt(method, realm, path, parameters, content)
        except TokenRefused:
            return await self._attempt(method, realm, path, parameters, content)  # with another token

    async def _attempt(self, method: str, realm: str, path: str, parameters: dict[str, str], content: Content) -> Reply:
        token = await self._tokens.access_token(realm)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Content-Type": "application/json"}
        answer = None
        while answer is None:
            async with self._limiter.slot(realm, batch=path == "batch") as leaves:
                requestid, body = await content()
                if self._limiter.pauses(realm):
                    continue  # a 429 came while the content was waited for: it takes its turn again
                named = {"requestid": requestid} if requestid else {}
                leaves()
                query = urlencode({**named, **parameters, "minorversion": str(MINOR_VERSION)})
                answer = await self._sent(method, f"{self._base_url}/v3/company/{realm}/{path}?{query}", headers, body)
        try:
            reply = Reply(read(answer), answer.headers.get("intuit_tid"))
        except (Wait, TokenRefused) as failure:
            if isinstance(failure, TokenRefused):
                self._tokens.reject(realm, token)
            elif answer.status in (403, 429):
                self._limiter.pause(realm, failure.seconds)
                failure.seconds = 0.0  # the limiter holds the whole company back
            if method == "POST" and failure.facts.code is None:
                # A page, not QuickBooks: something in between may say this also after the write was carried out.
                raise OutcomeUnknown(str(failure), failure.facts) from failure
            raise
        self._tokens.accept(realm, token)
        return reply

    async def _sent(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        try:
            return await self._transport(method, url, headers=headers, body=body, timeout_seconds=self._timeout_seconds)
        except NotSent as error:
            raise Wait(f"QuickBooks cannot be reached: {error}") from None
        except AnswerLost as error:
            raise OutcomeUnknown(f"QuickBooks' answer was lost: {error}") from None


def _given(requestid: str | None = None, body: bytes | None = None, leaving: Leaving | None = None) -> Content:
    async def content() -> tuple[str | None, bytes | None]:
        if leaving is not None:
            await leaving()
        return requestid, body

    return content
