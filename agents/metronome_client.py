"""Metronome's API, as far as we call it (facts/metronome.md §2, §4). Each method is one attempt."""

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from models.metronome import Contract, Customer, ListedInvoice
from models.money import parse_json
from models.outcomes import ErrorFacts

from .failures import Doubtful, Failure, NotFound, Refused, TokenRefused, Wait
from .transport import Answer, AnswerLost, NotSent, Transport

MESSAGE_CHARACTERS_MAX = 500

M = TypeVar("M", Customer, ListedInvoice)


@dataclass(frozen=True)
class Listed(Generic[M]):
    """One page of a list, and the cursor of the next; None at the end (§4.4)."""

    rows: list[M]
    next_page: str | None


class MetronomeClient:
    """Raises Wait (429, trouble on the way), Doubtful (5xx), TokenRefused (401, 403), NotFound and Refused."""

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
            raise Doubtful("Metronome's answer is not UTF-8", ErrorFacts(status=answer.status)) from None

    async def customer(self, customer_id: str) -> Customer:
        answer = await self._call("GET", f"/v1/customers/{quote(customer_id, safe='')}")
        return Customer.model_validate(_data(answer))

    async def contract(self, customer_id: str, contract_id: str) -> Contract:
        body = {"customer_id": customer_id, "contract_id": contract_id}
        return Contract.model_validate(_data(await self._call("POST", "/v2/contracts/get", body)))

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
        """Raises Doubtful too for a page that cannot be read, and for a cursor that leads nowhere."""
        if next_page is not None:
            query = query | {"next_page": next_page}
        answer = await self._call("GET", f"{path}?{urlencode(query)}")
        try:
            body = parse_json(answer.body)
            page = Listed([model.model_validate(each) for each in body["data"]], body.get("next_page") or None)
        except (ValidationError, ValueError, KeyError, TypeError, AttributeError):
            raise Doubtful(f"Metronome's list at {path} cannot be read", ErrorFacts(status=answer.status)) from None
        if next_page is not None and page.next_page == next_page:
            raise Doubtful(f"Metronome's list at {path} does not end", ErrorFacts(status=answer.status))
        return page

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
            return Doubtful(what, facts)
        case _:
            return Refused(what, facts)


def _message(answer: Answer) -> str:
    """Every 4xx says `{"message": …}` (§4.2); anything else is cut down to its beginning."""
    try:
        return str(json.loads(answer.body)["message"])[:MESSAGE_CHARACTERS_MAX]
    except (ValueError, KeyError, TypeError):
        return answer.body[:MESSAGE_CHARACTERS_MAX].decode(errors="replace")


def _data(answer: Answer) -> Any:
    try:
        return parse_json(answer.body)["data"]
    except (ValueError, KeyError, TypeError):
        raise Doubtful("Metronome's answer has no `data`", ErrorFacts(status=answer.status)) from None
