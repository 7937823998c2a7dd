"""Metronome's API as a pure core: request in, answer out (`docs/vendors/metronome.md` §1, §2, §4)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal

from simulators.http import Answer, Json, Request, json_answer
from simulators.metronome.adopt import adopt
from simulators.metronome.limits import RateLimits, StoredAnswers
from simulators.metronome.reading import Call, Refusal, Result, json_object
from simulators.metronome.settings import MetronomeSettings
from simulators.metronome.store import Store
from simulators.scene import Scene

from . import audit, breakdowns, contracts, custom_fields, customers, invoices

__all__ = ["Metronome", "Refusal"]

Handler = Callable[[Store, Call], Result]

ROUTES: dict[str, Handler] = {
    "GET /v1/customers": customers.list_customers,
    "POST /v1/customers": customers.create,
    "GET /v1/customers/{id}": customers.get,
    "POST /v1/customers/archive": customers.archive,
    "POST /v1/customers/{id}/setName": customers.set_name,
    "POST /v1/customers/{id}/setIngestAliases": customers.set_ingest_aliases,
    "GET /v1/customers/{id}/invoices": invoices.list_invoices,
    "GET /v1/customers/{id}/invoices/breakdowns": breakdowns.list_breakdowns,
    "GET /v1/customers/{id}/invoices/{id}": invoices.get,
    "GET /v1/customers/{id}/invoices/{id}/pdf": invoices.pdf,
    "POST /v1/invoices/void": invoices.void,
    "POST /v1/invoices/regenerate": invoices.regenerate,
    "POST /v1/contracts/get": contracts.get_v1,
    "POST /v1/contracts/list": contracts.list_v1,
    "POST /v2/contracts/get": contracts.get_v2,
    "POST /v2/contracts/list": contracts.list_v2,
    "POST /v1/contracts/customerCommits/list": contracts.list_commits,
    "POST /v1/contracts/customerCredits/list": contracts.list_credits,
    "POST /v1/contract-pricing/products/get": contracts.get_product,
    "POST /v1/contract-pricing/products/list": contracts.list_products,
    "POST /v1/contract-pricing/products/archive": contracts.archive_product,
    "GET /v1/credit-types/list": contracts.list_credit_types,
    "POST /v1/customFields/addKey": custom_fields.add_key,
    "POST /v1/customFields/removeKey": custom_fields.remove_key,
    "POST /v1/customFields/listKeys": custom_fields.list_keys,
    "POST /v1/customFields/setValues": custom_fields.set_values,
    "POST /v1/customFields/deleteValues": custom_fields.delete_values,
    "GET /v1/auditLogs": audit.list_records,
}
UNKNOWN = "unknown endpoint"
# POSTs that read: a token without the right to write may send them.
READS = ("get", "list", "listKeys")


class Metronome:
    """Everything behind one bearer token. `calls` counts requests by endpoint.

    State as rows: `rows` gives all of them, `row` one by its key, `restore` puts them back; with `track`, `touched`
    collects the keys of what changed since it was last emptied with `touched.clear()`.
    """

    def __init__(
        self,
        scene: Scene,
        token: str,
        clock: Callable[[], float],
        settings: MetronomeSettings | None = None,
        *,
        track: bool = False,
    ) -> None:
        self.settings = settings or MetronomeSettings()
        self.store = Store(clock, track)
        self.calls: Counter[str] = Counter()
        self._token = token
        self._clock = clock
        self._limits = RateLimits(self.settings.limits)
        self._answers = StoredAnswers(self.store, self.settings)
        self._take(scene)

    def _take(self, scene: Scene) -> None:
        for entity, key in scene.custom_field_keys:
            self.store.set_key(entity, key, unique=False)
        for kind, objects in (
            ("credit_type", scene.credit_types),
            ("customer", scene.customers),
            ("contract", scene.contracts),
            ("contract_product", scene.products),
        ):
            for each in objects:
                self.store.add(kind, each)
        for each in scene.commits:
            self.store.add("contract_credit" if each["type"] == "CREDIT" else "commit", each)
        for each in scene.invoices:
            adopt(self.store, each)
            self.store.add("invoice", each)

    @property
    def invoices(self) -> dict[str, Json]:
        return self.store.objects["invoice"]

    @property
    def touched(self) -> set[str]:
        return self.store.touched

    def row(self, key: str) -> Json | None:
        """The value of one row as it is now; None when it is gone."""
        return self.store.row(key)

    def rows(self) -> Iterator[tuple[str, Json]]:
        """All rows, in an order in which they can be restored; numbers are int or Decimal."""
        return self.store.rows()

    def restore(self, rows: Iterable[tuple[str, Json]]) -> None:
        """Forgets everything and takes `rows`. Raises KeyError or ValueError for a row that is none of ours."""
        self.store.restore(rows)

    def add_invoice(self, text: str | bytes) -> str:
        """Takes an invoice as JSON text, its numbers digit for digit, and returns its id. The custom fields that it
        shows become the values of itself, its customer, contract, products and commits, made up when unknown."""
        invoice: Json = json.loads(text, parse_float=Decimal)
        adopt(self.store, invoice)
        self.store.add("invoice", invoice)
        return str(invoice["id"])

    def finalize(self, invoice_id: str) -> Json:
        """Makes a draft final and returns the invoice. Raises Refusal 404."""
        return invoices.finalize(self.store, invoice_id)

    def shown_invoice(self, invoice: Json, query: Mapping[str, str] | None = None) -> Json:
        """The invoice as the API shows it at this moment."""
        return invoices.shown(self.store, invoice, query or {})

    def answer(self, request: Request) -> Answer:
        """Never raises for a request, whatever it holds."""
        endpoint, ids = _route(request)
        self.calls[endpoint] += 1
        try:
            self._authorize(request, endpoint)
            return self._limited(request, endpoint, ids)
        except Refusal as refusal:
            return json_answer({"message": str(refusal)}, refusal.status)

    def keep_answer(self, request: Request, answer: Answer) -> None:
        """Stores an answer that something else gave in place of this core, so that the request's `Idempotency-Key`
        replays it: a server error put there on purpose (`docs/vendors/metronome.md` §4.5). Nothing without such a
        key.
        """
        self._answers.keep(request, answer)

    def _authorize(self, request: Request, endpoint: str) -> None:
        authorization = request.headers.get("authorization")
        if self.settings.read_only_token and authorization == f"Bearer {self.settings.read_only_token}":
            if request.method != "GET" and endpoint.rpartition("/")[2] not in READS:
                raise Refusal(401, "The token has no right for this call")
        elif authorization != f"Bearer {self._token}":
            raise Refusal(401, "Unauthorized")

    def _limited(self, request: Request, endpoint: str, ids: list[str]) -> Answer:
        call = Call(request, ids, json_object(request.body) if request.method == "POST" else {}, self.settings)
        customer_id = str(call.body.get("customer_id") or (ids[0] if ids else ""))
        if customer_id in self.settings.forbidden_customers:
            raise Refusal(403, "No access to this resource")
        refused = self._limits.refusal(endpoint, customer_id, self._clock())
        if refused:
            return refused
        if endpoint == UNKNOWN:
            raise Refusal(404, "Not Found")
        stored = self._answers.find(request)
        if stored:
            return stored
        try:
            result = ROUTES[endpoint](self.store, call)
            answer = result if isinstance(result, Answer) else json_answer(result) if result else Answer(200)
        except Refusal as refusal:
            answer = json_answer({"message": str(refusal)}, refusal.status)
        self._answers.keep(request, answer)
        return answer


def _by_length() -> dict[tuple[str, int], list[tuple[str, list[str]]]]:
    """Endpoints by method and number of parts; those with fewer ids first, so that `archive` is no customer's id."""
    found: dict[tuple[str, int], list[tuple[str, list[str]]]] = {}
    for endpoint in sorted(ROUTES, key=lambda each: each.count("{id}")):
        method, _, path = endpoint.partition(" ")
        parts = path.strip("/").split("/")
        found.setdefault((method, len(parts)), []).append((endpoint, parts))
    return found


_ENDPOINTS = _by_length()


def _route(request: Request) -> tuple[str, list[str]]:
    parts = request.path.strip("/").split("/")
    for endpoint, wanted in _ENDPOINTS.get((request.method, len(parts)), ()):
        if all(name in ("{id}", part) for name, part in zip(wanted, parts, strict=True)):
            return endpoint, [part for name, part in zip(wanted, parts, strict=True) if name == "{id}"]
    return UNKNOWN, []
