"""Metronome's API, as far as we call it (docs/vendors/metronome.md §2, §4).

Each method is one attempt, except the lists `every_…`, which walk through all pages and retry each by the policy given.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from models.metronome import Contract, Customer, ListedInvoice
from models.money import parse_json
from models.outcomes import ErrorFacts

from .failures import Failure, NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from .retry import RetryPolicy
from .transport import Answer, AnswerLost, NotSent, Transport

MESSAGE_CHARACTERS_MAX = 500
CONFLICT = 409
PAGE_SIZE = 100
"""The most that Metronome gives (§4.4)."""
PAGES_MAX = 1000

Json = dict[str, Any]

M = TypeVar("M", Customer, ListedInvoice)
One = TypeVar("One", Customer, Contract)


@dataclass(frozen=True)
class Listed(Generic[M]):
    """One page of a list, and the cursor of the next; None at the end (§4.4)."""

    rows: list[M]
    next_page: str | None


class MetronomeClient:
    """Raises Wait (429, trouble on the way), OutcomeUnknown (5xx), TokenRefused (401, 403), NotFound and Refused."""

    def __init__(self, transport: Transport, base_url: str, token: str, *, timeout_seconds: float) -> None:
        self._transport = transport
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout_seconds = timeout_seconds

    async def invoice(self, customer_id: str, invoice_id: str) -> str:
        """The body of Metronome's answer, verbatim: `{"data": {…}}`."""
        path = f"/v1/customers/{quote(customer_id, safe='')}/invoices/{quote(invoice_id, safe='')}"
        answer = await self._call("GET", path)
        try:
            return answer.body.decode()
        except UnicodeDecodeError:
            raise OutcomeUnknown("Metronome's answer is not UTF-8", ErrorFacts(status=answer.status)) from None

    async def customer(self, customer_id: str) -> Customer:
        answer = await self._call("GET", f"/v1/customers/{quote(customer_id, safe='')}")
        return _read(answer, Customer)

    async def contract(self, customer_id: str, contract_id: str) -> Contract:
        body = {"customer_id": customer_id, "contract_id": contract_id}
        return _read(await self._call("POST", "/v2/contracts/get", body), Contract)

    async def customers(self, *, archived: bool, limit: int, next_page: str | None) -> Listed[Customer]:
        """The active customers, or the archived ones: no list holds both (§7)."""
        query = {"limit": str(limit)} | ({"only_archived": "true"} if archived else {})
        return await self._page("/v1/customers", query, next_page, Customer)

    async def invoices(
        self, customer_id: str, *, status: str, limit: int, next_page: str | None
    ) -> Listed[ListedInvoice]:
        """A customer's invoices of one status, the last issued first; by default nobody knows how they come (§2)."""
        query = {"limit": str(limit), "sort": "date_desc", "status": status}
        path = f"/v1/customers/{quote(customer_id, safe='')}/invoices"
        return await self._page(path, query, next_page, ListedInvoice)

    async def _page(self, path: str, query: dict[str, str], next_page: str | None, model: type[M]) -> Listed[M]:
        """Raises OutcomeUnknown too for a page that cannot be read, and for a cursor that leads nowhere."""
        body = await self._list("GET", path, query, next_page)
        try:
            return Listed([model.model_validate(each) for each in body["data"]], body.get("next_page") or None)
        except ValidationError:
            raise OutcomeUnknown(f"Metronome's list at {path} cannot be read") from None

    async def _list(
        self, method: str, path: str, query: dict[str, str], next_page: str | None, body: Json | None = None
    ) -> Json:
        if next_page is not None:
            query = query | {"next_page": next_page}
        answer = await self._call(method, f"{path}?{urlencode(query)}" if query else path, body)
        try:
            page = parse_json(answer.body)
            assert isinstance(page["data"], list)
        except (ValueError, KeyError, TypeError, AssertionError):
            reason = f"Metronome's list at {path} cannot be read: is metronome.url right?"
            raise OutcomeUnknown(reason, ErrorFacts(status=answer.status)) from None
        if next_page is not None and page.get("next_page") == next_page:
            raise OutcomeUnknown(f"Metronome's list at {path} does not end", ErrorFacts(status=answer.status))
        return dict(page)

    # Whole lists, page by page. Each page is retried by `retry`; then the failure that outlasted it is raised.

    async def every_customer(self, retry: RetryPolicy, *, archived: bool) -> AsyncIterator[Json]:
        """All that are active, and then the archived ones if they are wanted: no list holds both (§7)."""
        for only_archived in (False, True) if archived else (False,):
            query = {"limit": str(PAGE_SIZE)} | ({"only_archived": "true"} if only_archived else {})
            async for each in self._every(retry, "GET", "/v1/customers", query):
                yield each

    def every_invoice(self, retry: RetryPolicy, customer_id: str) -> AsyncIterator[Json]:
        """A customer's, oldest first, the voided ones and drafts too."""
        query = {"limit": str(PAGE_SIZE), "sort": "date_asc"}
        return self._every(retry, "GET", f"/v1/customers/{quote(customer_id, safe='')}/invoices", query)

    def every_product(self, retry: RetryPolicy) -> AsyncIterator[Json]:
        """All that are not archived."""
        query, body = {"limit": str(PAGE_SIZE)}, {"archive_filter": "NOT_ARCHIVED"}
        return self._every(retry, "POST", "/v1/contract-pricing/products/list", query, body)

    def every_pricing_unit(self, retry: RetryPolicy) -> AsyncIterator[Json]:
        return self._every(retry, "GET", "/v1/credit-types/list", {"limit": str(PAGE_SIZE)})

    def every_custom_field_key(self, retry: RetryPolicy) -> AsyncIterator[Json]:
        return self._every(retry, "POST", "/v1/customFields/listKeys", {}, {})

    async def _every(
        self, retry: RetryPolicy, method: str, path: str, query: dict[str, str], body: Json | None = None
    ) -> AsyncIterator[Json]:
        next_page: str | None = None
        for _ in range(PAGES_MAX):
            page = await self._retried(retry, method, path, query, next_page, body)
            for each in page["data"]:
                yield each
            if not (next_page := page.get("next_page") or None):
                return
        raise Refused(f"Metronome lists more than {PAGES_MAX} pages of {path}")

    async def _retried(
        self,
        retry: RetryPolicy,
        method: str,
        path: str,
        query: dict[str, str],
        next_page: str | None,
        body: Json | None,
    ) -> Json:
        retries = retry.start()
        while True:
            try:
                return await self._list(method, path, query, next_page, body)
            except (Wait, OutcomeUnknown) as failure:
                await retries.wait(failure)

    # Custom fields

    async def add_custom_field_key(self, entity: str, key: str) -> None:
        """Makes a key known; that it is known already is no failure (§2)."""
        try:
            body = {"entity": entity, "key": key, "enforce_uniqueness": False}
            await self._call("POST", "/v1/customFields/addKey", body)
        except Refused as failure:
            if failure.facts.status != CONFLICT:
                raise

    async def set_custom_field(self, entity: str, entity_id: str, key: str, value: str) -> None:
        """Overwrites one custom field; naturally repeatable (§4.5). The key must exist (`metronome-qbo setup`)."""
        body = {"entity": entity, "entity_id": entity_id, "custom_fields": {key: value}}
        await self._call("POST", "/v1/customFields/setValues", body)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        headers, content = self._headers, None
        if body is not None:
            headers, content = {**headers, "Content-Type": "application/json"}, json.dumps(body).encode()
        try:
            answer = await self._transport(
                method, self._base_url + path, headers=headers, body=content, timeout_seconds=self._timeout_seconds
            )
        except (NotSent, AnswerLost) as error:
            raise Wait(f"Metronome cannot be reached: {error}") from None
        if answer.status < 300:
            return answer
        raise _failure(answer)


def _failure(answer: Answer) -> Failure:
    facts = ErrorFacts(status=answer.status, message=_message(answer))
    what = f"Metronome answered {answer.status}: {facts.message}"
    match answer.status:
        case 429:
            kind = answer.headers.get("x-metronome-rate-limit-type", "unnamed")
            return Wait(f"Metronome answered 429 ({kind} limit)", facts)
        case 401 | 403:
            return TokenRefused(f"{what} (check metronome.token)", facts)
        case 404:
            return NotFound(what, facts)
        case status if status >= 500 or status == 408:
            return OutcomeUnknown(what, facts)
        case _:
            return Refused(what, facts)


def _message(answer: Answer) -> str:
    """Every 4xx says `{"message": …}` (§4.2); anything else is cut down to its beginning."""
    try:
        return str(parse_json(answer.body)["message"])[:MESSAGE_CHARACTERS_MAX]
    except (ValueError, KeyError, TypeError):
        return answer.body[:MESSAGE_CHARACTERS_MAX].decode(errors="replace")


def _read(answer: Answer, model: type[One]) -> One:
    """Raises Refused, naming the fields, for an object that cannot be read; OutcomeUnknown for none at all."""
    facts = ErrorFacts(status=answer.status)
    try:
        data = parse_json(answer.body)["data"]
    except (ValueError, KeyError, TypeError):
        data = None
    if data is None or isinstance(data, list):
        raise OutcomeUnknown("Metronome's answer has no object in `data`", facts)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise Refused(f"Metronome's {model.__name__.lower()} cannot be read: {fields}", facts) from None
