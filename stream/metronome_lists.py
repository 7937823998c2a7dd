"""Metronome's lists, page by page: customers, their invoices, products, pricing units, custom-field keys."""

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

from agents.failures import Doubtful, Refused, Wait
from agents.metronome_client import MetronomeClient
from agents.persistence import Patience
from agents.transport import Transport
from models.money import parse_json

from .settings import Settings

PAGE_SIZE = 100
"""The most that Metronome gives (facts/metronome.md §4.4)."""
PAGES_MAX = 1000

Json = dict[str, Any]


class MetronomeLists(MetronomeClient):
    """Each list goes on while Metronome throttles or is away, within `patience_seconds` for each page.

    Raises TokenRefused, NotFound and Refused, and Wait or Doubtful when its patience ends.
    """

    def __init__(self, settings: Settings, transport: Transport, patience_seconds: float) -> None:
        metronome = settings.metronome
        assert metronome.token is not None
        super().__init__(
            transport, metronome.url, metronome.token.get_secret_value(), timeout_seconds=metronome.timeout_seconds
        )
        self.patience = Patience(patience_seconds, metronome.backoff_max_seconds, time.monotonic)

    async def every_customer(self, *, archived: bool) -> AsyncIterator[Json]:
        """All that are active, and then the archived ones if they are wanted: no list holds both (§7)."""
        for only_archived in (False, True) if archived else (False,):
            query = {"limit": str(PAGE_SIZE)} | ({"only_archived": "true"} if only_archived else {})
            async for each in self._every("GET", "/v1/customers", query):
                yield each

    def every_invoice(self, customer_id: str) -> AsyncIterator[Json]:
        """A customer's, oldest first, the voided ones and drafts too."""
        query = {"limit": str(PAGE_SIZE), "sort": "date_asc"}
        return self._every("GET", f"/v1/customers/{quote(customer_id, safe='')}/invoices", query)

    def every_product(self) -> AsyncIterator[Json]:
        """All that are not archived."""
        query, body = {"limit": str(PAGE_SIZE)}, {"archive_filter": "NOT_ARCHIVED"}
        return self._every("POST", "/v1/contract-pricing/products/list", query, body)

    def every_pricing_unit(self) -> AsyncIterator[Json]:
        return self._every("GET", "/v1/credit-types/list", {"limit": str(PAGE_SIZE)})

    def every_custom_field_key(self) -> AsyncIterator[Json]:
        return self._every("POST", "/v1/customFields/listKeys", {}, {})

    async def _every(
        self, method: str, path: str, query: dict[str, str], body: Json | None = None
    ) -> AsyncIterator[Json]:
        for _ in range(PAGES_MAX):
            answer = await self._listed(method, f"{path}?{urlencode(query)}" if query else path, body)
            for each in answer["data"]:
                yield each
            if not answer.get("next_page"):
                return
            query = {**query, "next_page": answer["next_page"]}
        raise Refused(f"Metronome lists more than {PAGES_MAX} pages of {path}")

    async def _listed(self, method: str, path: str, body: Json | None) -> Json:
        tries = self.patience.begin()
        while True:
            try:
                answer = await self._call(method, path, body)
                break
            except (Wait, Doubtful) as failure:
                await tries.pause(failure)
        try:
            parsed = parse_json(answer.body)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("data"), list):
            raise Refused(f"Metronome's answer to {path.split('?')[0]} is no list: is metronome.url right?")
        return parsed
