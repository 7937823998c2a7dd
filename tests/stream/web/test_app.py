"""The pages and their JSON twins, over an index that the projection made."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from simulators.kafka.embedded import embedded_broker
from stream.topics import TABLES, changelog
from stream.web.app import create_web
from stream.web.index import Index
from stream.web.projection import Projection
from tests.builders import a_line
from tests.stream.recorded import REALM, Recorder, invoice_id, invoice_of, recording, settings_of

EVIL = '<script>alert("x")</script>'


class Site:
    """The pages over what the recorder wrote."""

    def __init__(self, client: TestClient[Any, Any], recorder: Recorder, projection: Projection) -> None:
        self.client, self.recorder, self.projection = client, recorder, projection

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path)
        assert answer.status == status, await answer.text()
        return await answer.text()

    async def json(self, path: str, status: int = 200) -> Any:
        return json.loads(await self.page(path, status), parse_float=Decimal)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with embedded_broker() as bootstrap:
        settings = settings_of(bootstrap, tmp_path / "i.sqlite", page_rows=2)
        async with recording(settings) as recorder:
            index = Index(settings.web.index)
            async with TestClient(TestServer(create_web(settings, index))) as client:
                yield Site(client, recorder, Projection(settings, index))


async def test_an_invoice_shows_both_totals_its_lines_and_every_step_with_its_address(site: Site) -> None:
    invoice = invoice_of(1, lines=0) | {
        "line_items": [a_line(250000, quantity=50000, unit_price=5), a_line(99)],
        "total": 250099,
    }
    _, _, _, command_at = await site.recorder.story(invoice)
    await site.projection.catch_up()
    page = await site.page(f"/invoices/{invoice['id']}")
    for text in ("2,500.99", "Equal to the cent", "Acme GmbH", "Posted", "MTR-", "50,000", "2,500.00", "MSA-1042"):
        assert text in page
    shown = await site.json(f"/invoices/{invoice['id']}.json")
    assert (shown["invoice"]["metronome_total"], shown["invoice"]["qbo_total"]) == ("2500.99", "2500.99")
    assert [line["amount"] for line in shown["document"]["lines"]] == ["2500.00", "0.99"]
    steps = [(step["what"], step["topic"], step["partition"], step["offset"]) for step in shown["story"]]
    assert steps[2] == ("PostInvoice", command_at.topic, command_at.partition, command_at.offset)
    for _, topic, partition, offset in steps:
        assert f'href="/records/{topic}/{partition}/{offset}"' in page


async def test_a_record_is_read_from_kafka_at_its_offset(site: Site) -> None:
    _, at, _, _ = await site.recorder.story(invoice_of(1))
    page = await site.page(f"/records/{at.topic}/{at.partition}/{at.offset}")
    assert "line_items" in page
    record = await site.json(f"/records/{at.topic}/{at.partition}/{at.offset}.json")
    assert (record["offset"], record["key"]) == (at.offset, REALM)
    assert json.loads(record["value"])["answer"]["data"]["id"] == invoice_id(1)


async def test_tokens_are_masked_in_records_tables_and_connections(site: Site) -> None:
    await site.recorder.connection(company_name="Example", access_token="gAAAAsecret", refresh_token="gAAAAsecret")
    await site.projection.catch_up()
    paths = ["/", "/index.json", "/tables/connections", "/tables/connections.json"]
    row = (await site.json("/tables/connections.json"))["rows"][0]
    paths += [f"/records/{row['topic']}/{row['partition']}/{row['offset']}{end}" for end in ("", ".json")]
    for path in paths:
        text = await site.page(path)
        assert "gAAAAsecret" not in text, path
    assert row["value"]["access_token"] == "•••"


async def test_records_of_other_topics_are_not_shown(site: Site) -> None:
    await site.recorder.send("payroll", b"private")
    assert "private" not in await site.page("/records/payroll/0/0", 404)


@pytest.mark.parametrize(
    "path", ["/records/metronome.invoices/0/0", "/records/metronome.invoices/0/x", "/records/metronome.invoices/99/0"]
)
async def test_an_address_without_a_record_is_a_404(site: Site, path: str) -> None:
    await site.page(path, 404)


@pytest.mark.parametrize("path", ["/invoices/nope", "/tables/nope", "/nope", "/invoices?sort=nope"])
async def test_what_is_not_there_is_a_404_that_says_what_to_do(site: Site, path: str) -> None:
    assert "overview" in await site.page(path, 404)
    base, mark, query = path.partition("?")
    assert (await site.json(f"{base}.json{mark}{query}", 404))["advice"]


async def test_invoices_are_searched_filtered_sorted_and_paged(site: Site) -> None:
    for number in (1, 2, 3):
        await site.recorder.story(invoice_of(number, cents=number * 1000), customer_name=f"Customer {number}")
    await site.recorder.story(invoice_of(4), "parked", changes={"reason": "no item", "waits_for": "item/1"})
    await site.projection.catch_up()

    async def found(query: str) -> list[str]:
        return [row["invoice_id"] for row in (await site.json(f"/invoices.json?{query}"))["rows"]]

    assert await found("q=customer+2") == [invoice_id(2)]
    assert await found(f"q={invoice_id(3)[4:20]}") == [invoice_id(3)]
    assert await found(f"q=MTR-{invoice_id(1)[:8].upper()}") == [invoice_id(1)]
    assert await found("state=parked") == [invoice_id(4)]
    assert await found("sort=total&state=posted") == [invoice_id(3), invoice_id(2)]
    assert await found("sort=total&state=posted&page=2") == [invoice_id(1)]
    assert "Waiting for an item mapping" in await site.page("/invoices?state=parked")
    assert "No invoice fits" in await site.page("/invoices?q=nothing")
    assert "page=2" in await site.page("/invoices?state=posted")


async def test_the_first_page_shows_what_a_person_must_see_to(site: Site) -> None:
    await site.recorder.story(invoice_of(1), changes={"total": Decimal("50.01")})
    parked = {"reason": "no QuickBooks customer", "remedy": "map customer c1", "waits_for": "customer/c1"}
    await site.recorder.story(invoice_of(2), "parked", changes=parked)
    await site.projection.catch_up()
    page = await site.page("/")
    for text in (
        "50.01",
        "Totals that differ",
        "Waiting for a customer mapping",
        "no QuickBooks customer",
        "map customer c1",
    ):
        assert text in page
    shown = await site.json("/index.json")
    assert (shown["mismatches"], shown["mismatched"][0]["qbo_total"]) == (1, "50.01")


async def test_an_empty_installation_has_every_page(site: Site) -> None:
    for path in ("/", "/invoices", "/deadletters", *(f"/tables/{name}" for name in TABLES)):
        assert "<h1>" in await site.page(path)
    assert await site.json("/healthz") == {"status": "ok", "records": 0}


async def test_tables_of_every_kind_show_their_rows(site: Site) -> None:
    rows = {
        "customers": {"name": "Acme", "qbo_id": "58"},
        "items": {"name": "API", "qbo_id": "31"},
        "invoices": {"state": "parked", "waits_for": "item/1", "total": "1234.50"},
        "doc_numbers": invoice_id(1),
        "waiting": {"waits_for": "open period", "tried_at": "2026-11-03T01:02:03Z"},
        "connections": {"company_name": "Example", "access_token_expires_at": "2026-11-02T01:02:03Z"},
    }
    for name, value in rows.items():
        await site.recorder.send(
            changelog(site.recorder.settings, name), json.dumps(value).encode(), f"{REALM}/key".encode()
        )
    await site.projection.catch_up()
    for name, text in zip(rows, ("Acme", "API", "1,234.50", invoice_id(1), "open period", "2 Nov 2026"), strict=True):
        assert text in await site.page(f"/tables/{name}")
        assert (await site.json(f"/tables/{name}.json"))["rows"][0]["value"] == rows[name]


async def test_dead_letters_lead_to_their_original_and_their_invoice(site: Site) -> None:
    at = await site.recorder.webhook(invoice_of(1))
    await site.recorder.dead_letter(at, b"{}", "Metronome has no such invoice")
    await site.projection.catch_up()
    page = await site.page("/deadletters")
    assert f'href="/records/{at.topic}/{at.partition}/{at.offset}"' in page
    assert f'href="/invoices/{invoice_id(1)}"' in page
    assert "Could not be processed" in await site.page(f"/invoices/{invoice_id(1)}")


async def test_text_from_outside_is_never_markup(site: Site) -> None:
    await site.recorder.story(invoice_of(1), "parked", changes={"reason": EVIL, "remedy": EVIL}, customer_name=EVIL)
    await site.recorder.send(
        changelog(site.recorder.settings, "customers"), json.dumps({"name": EVIL}).encode(), EVIL.encode()
    )
    letter = await site.recorder.dead_letter(await site.recorder.webhook(invoice_of(2)), EVIL.encode(), EVIL)
    await site.projection.catch_up()
    record = f"/records/{letter.topic}/{letter.partition}/{letter.offset}"
    for path in ("/", "/invoices", f"/invoices/{invoice_id(1)}", "/tables/customers", "/deadletters", record):
        page = await site.page(path)
        assert "<script" not in page
        assert "&lt;script&gt;" in page
    assert "<script" not in await site.page("/invoices?q=" + EVIL)


async def test_pages_carry_security_headers_and_nothing_from_outside(site: Site) -> None:
    for path in ("/", "/nope", "/static/style.css"):
        answer = await site.client.get(path)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = await site.page("/")
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert " style=" not in page
    assert "<script" not in page


async def test_an_invoice_is_shown_while_kafka_is_away(tmp_path: Path) -> None:
    with embedded_broker() as bootstrap:
        settings = settings_of(bootstrap, tmp_path / "i.sqlite")
        async with recording(settings) as recorder:
            await recorder.story(invoice_of(1))
            index = Index(settings.web.index)
            await Projection(settings, index).catch_up()
    away = settings_of("127.0.0.1:1", tmp_path / "i.sqlite")
    async with TestClient(TestServer(create_web(away, index, read_timeout_seconds=0.5))) as client:
        page = await (await client.get(f"/invoices/{invoice_id(1)}")).text()
        assert "could not be read from Kafka just now" in page
        assert "50.00" in page
        answer = await client.get("/records/metronome.invoices/0/0.json")
        assert answer.status == 503
        assert "Kafka" in (await answer.json())["error"]
