"""`enrich` against the Metronome simulator without sockets, on a clock that only sleeping moves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cachetools import TTLCache

from agents.clients.metronome import MetronomeClient
from agents.clients.retry import RetryPolicy
from agents.delivery import Delivered
from agents.enrich import Enricher, Owners, Routes, enrich, read_webhook
from models.events import InvoiceEnriched
from models.record import Address, Record
from simulators.faults import Faults
from simulators.metronome.core import Metronome
from simulators.scene import Scene
from tests.agents.in_process import Clock, InProcess
from tests.builders import CUSTOMER_ID, INVOICE_ID, an_invoice, json_of

TOKEN = "metronome-token"
WEBHOOKS = "metronome.webhooks"
KAFKA_TIME = datetime(2026, 11, 3, tzinfo=UTC)
CACHE_SECONDS = 300.0
PARTITION = 2


class MetronomeWorld:
    """Metronome with one invoice, and an enricher that talks to it."""

    def __init__(self, *, token: str = TOKEN, routes: Routes | None = None, **invoice: Any) -> None:
        self.clock = Clock()
        scene = Scene(custom_field_keys=(("contract", "qbo_memo_ref"), ("customer", "qbo_realm_id")))
        self.core = Metronome(scene, TOKEN, self.clock)
        self.core.add_invoice(json_of(an_invoice(**invoice)))
        self.core.store.find("customer", CUSTOMER_ID)["name"] = "Acme GmbH"
        self.faults = Faults()
        self.transport = InProcess(self.faults.around(self.core.answer), self.clock)
        self.client = MetronomeClient(self.transport, "https://metronome.example/", token, timeout_seconds=30)
        self.enricher = Enricher(
            metronome=self.client,
            routes=routes or Routes("qbo_realm_id", {}, "default-realm"),
            retry=RetryPolicy(21_600, 60, self.clock, self.clock.sleep),
            customers=TTLCache(10, CACHE_SECONDS, self.clock),
            contracts=TTLCache(10, CACHE_SECONDS, self.clock),
            now=self.clock.moment,
        )
        self.owners = Owners({}, lambda customer_id: PARTITION)

    async def enriched(self, value: bytes | None = None, headers: Mapping[str, bytes] | None = None) -> list[Record]:
        raw = value or a_webhook()
        webhook = read_webhook(raw)
        at = Address(topic=WEBHOOKS, partition=PARTITION, offset=7)
        delivered = Delivered(webhook, at, dict(headers or {}), KAFKA_TIME, raw)
        return list(await enrich(delivered, enricher=self.enricher, owners=self.owners))

    async def facts(self, value: bytes | None = None, headers: Mapping[str, bytes] | None = None) -> InvoiceEnriched:
        [record] = await self.enriched(value, headers)
        assert isinstance(record, InvoiceEnriched)
        return InvoiceEnriched.model_validate_json(record.encode())

    def asked(self, what: str) -> int:
        return sum(what in call.path for call in self.transport.calls)


def a_webhook(invoice_id: str = INVOICE_ID, customer_id: str = CUSTOMER_ID, **changes: Any) -> bytes:
    properties = {
        "invoice_id": invoice_id,
        "customer_id": customer_id,
        "invoice_finalized_date": "2026-11-02T01:00:00Z",
    }
    return orjson.dumps({"id": "e-1", "type": "invoice.finalized", "properties": properties, **changes})
