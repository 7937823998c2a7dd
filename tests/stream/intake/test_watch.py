"""A round of watch over a simulated Metronome: whom it asks, how often, where it stops, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.clients.failures import OutcomeUnknown, TokenRefused, Wait
from agents.clients.metronome import MetronomeClient
from agents.translate.translate import translate
from agents.watch import Announced, Horizon, KnownInvoices, announcement_of
from models.document import doc_number, reversal_id
from models.events import Announcement
from models.ledger import LedgerEntry
from models.metronome import ListedInvoice
from models.policy import Policy
from models.subject import FINALIZATION
from simulators.faults import Fault, Faults
from simulators.kafka.embedded import embedded_broker
from simulators.metronome.core import Metronome
from simulators.metronome.settings import MetronomeSettings
from simulators.scene import Scene
from stream.intake.watch import Round, Watch
from stream.operations.replay import Replay, Selection
from stream.web import queries
from stream.web.index import Index, history_of
from stream.web.projection import Projection
from tests import BOUND_SECONDS
from tests.agents.in_process import Clock, InProcess
from tests.builders import an_invoice, json_of
from tests.stream.recorded import invoice_of, recording, settings_of

TOKEN = "metronome-token"
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class World:
    """Metronome in process, a ledger, and a watch between them; `announced` are the ids, in order."""

    settings: MetronomeSettings = field(default_factory=MetronomeSettings)
    page_size: int = 50
    requests_per_second: float = 1000
    retry_seconds: float = 5.0
    announced: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = Clock()
        self.metronome = Metronome(Scene(), TOKEN, clock, self.settings)
        self.faults = Faults()
        self.transport = InProcess(self.faults.around(self.metronome.answer), clock)
        self.stopping = asyncio.Event()
        horizon = Horizon(finalized=35 * DAY, voids=365 * DAY, grace=timedelta(hours=1), repeat_after=DAY)
        self.known = KnownInvoices(400 * DAY, lambda realm: False)
        self.watch = Watch(
            metronome=MetronomeClient(
                self.transport, "https://metronome.example", TOKEN, timeout_seconds=BOUND_SECONDS
            ),
            known=self.known,
            announced=Announced(horizon.repeat_after),
            horizon=horizon,
            requests_per_second=self.requests_per_second,
            page_size=self.page_size,
            retry_seconds=self.retry_seconds,
            backoff_max_seconds=0.01,
            stopping=self.stopping,
            now=lambda: NOW,
        )

    def add(self, customer_id: str = "c-1", *, days: float | None = 1, status: str = "FINALIZED") -> str:
        """Metronome has one more invoice, issued so many days ago."""
        issued_at = None if days is None else (NOW - days * DAY).isoformat()
        invoice = an_invoice(id=str(uuid4()), customer_id=customer_id, status=status, issued_at=issued_at)
        return self.metronome.add_invoice(json_of(invoice))

    def in_ledger(self, invoice_id: str, state: Any = "posted", **changes: Any) -> None:
        fields = {"realm": "1", "invoice_id": invoice_id, "state": state, "qbo_id": "1", "changed_at": NOW - DAY}
        entry = LedgerEntry(**{**fields, **changes})
        self.known.enter(entry)

    async def announce(self, found: Announcement) -> None:
        self.announced.append((found.invoice_id, found.status))

    async def round(self, announce: Callable[[Announcement], Awaitable[None]] | None = None) -> Round:
        self.announced.clear()
        return await self.watch.round(announce or self.announce)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The queries of the requests to a path that ends so."""
        return [dict(each.query) for each in self.transport.calls if each.path.endswith(path)]


async def test_a_round_announces_what_the_ledger_does_not_know_and_counts_what_it_saw() -> None:
    world = World()
    missed, posted, voided = world.add(), world.add("c-2"), world.add("c-2", status="VOID")
    world.in_ledger(posted)
    world.in_ledger(voided)
    done = await world.round()
    assert sorted(world.announced) == sorted([(missed, "FINALIZED"), (voided, "VOID")])
    assert (done.customers, done.invoices, done.announced_finalized, done.announced_voids) == (2, 3, 1, 1)
    assert (done.requests, done.stopped, done.failed_customers) == (len(world.transport.calls), False, 0)


async def test_what_was_announced_is_not_announced_by_the_next_round() -> None:
    world = World()
    world.add()
    assert (await world.round()).announced_finalized == 1
    assert (await world.round()).announced_finalized == 0


async def test_what_could_not_be_announced_is_announced_by_the_next_round() -> None:
    async def away(_: Announcement) -> None:
        raise ConnectionError("no broker")

    world = World()
    world.add()
    with pytest.raises(ConnectionError):
        await world.round(away)
    assert (await world.round()).announced_finalized == 1


async def test_archived_customers_are_asked_too() -> None:
    world = World()
    invoice_id = world.add("c-archived")
    world.metronome.store.change("customer", world.metronome.store.find("customer", "c-archived"), archived_at="now")
    done = await world.round()
    assert (world.announced, done.customers) == ([(invoice_id, "FINALIZED")], 1)
    assert [each.get("only_archived") for each in world.asked("/v1/customers")] == [None, "true"]


async def test_the_order_is_asked_for_and_pages_end_at_the_look_back() -> None:
    """Metronome's own order begins with the oldest, so that a walk of it would see the old ones first."""
    world = World(page_size=2)
    new = [world.add(days=number) for number in (5, 1, 3)]
    for number in range(20):
        world.add(days=100 + number)
    await world.round()
    assert [each for each, _ in world.announced] == [new[1], new[2], new[0]]
    finalized = [each for each in world.asked("/invoices") if each["status"] == "FINALIZED"]
    assert [each["sort"] for each in finalized] == ["date_desc"] * 2
    assert ["next_page" in each for each in finalized] == [False, True]


async def test_all_pages_of_customers_are_walked() -> None:
    world = World(page_size=2)
    ids = {world.add(f"c-{number}") for number in range(5)}
    assert (await world.round()).customers == 5
    assert {each for each, _ in world.announced} == ids


async def test_an_invoice_without_a_date_is_counted_and_left_to_a_person() -> None:
    world = World()
    world.add(days=None)
    done = await world.round()
    assert (done.undated, world.announced) == (1, [])


@pytest.mark.parametrize("days", [1, 100, None])
async def test_the_void_of_a_posted_invoice_is_found_whether_or_not_it_says_when_it_was_issued(
    days: float | None,
) -> None:
    """Behind voids that are too old to be looked at, too."""
    world = World(page_size=2)
    for number in range(7):
        world.add(days=400 + number, status="VOID")
    voided = world.add(days=days, status="VOID")
    world.in_ledger(voided)
    done = await world.round()
    assert (world.announced, done.announced_voids, done.undated) == ([(voided, "VOID")], 1, 0)


async def test_what_was_not_final_when_its_webhook_came_is_announced_when_it_is() -> None:
    world = World()
    early, late = world.add(days=0), world.add(days=0, status="DRAFT")
    for each, state in ((early, "parked"), (late, "skipped")):
        world.in_ledger(each, state, qbo_id=None, waits_for=FINALIZATION)
    await world.round()
    assert world.announced == [(early, "FINALIZED")]
    world.in_ledger(early, qbo_id="1")
    world.watch.announced = Announced(DAY)
    await world.round()
    assert world.announced == []


async def test_a_429_is_waited_for() -> None:
    world = World()
    world.add()
    world.faults.add(Fault("status", method="GET", status=429, count=3))
    done = await world.round()
    assert (done.announced_finalized, done.requests) == (1, len(world.transport.calls))
    assert done.requests == 7  # two lists of customers, two of invoices, and three that were refused


async def test_a_429_that_does_not_end_ends_the_round() -> None:
    world = World(retry_seconds=0.05)
    world.add()
    world.faults.add(Fault("status", method="GET", status=429, count=100_000))
    with pytest.raises(Wait, match="429"):
        await world.round()


async def test_the_pace_is_kept() -> None:
    world = World(requests_per_second=50)
    for number in range(10):
        world.add(f"c-{number}")
    done = await world.round()
    assert done.requests == 22
    assert done.seconds >= 21 / 50 * 0.95


async def test_a_customer_whose_invoices_cannot_be_had_is_counted_and_the_others_go_on() -> None:
    world = World(MetronomeSettings(forbidden_customers=frozenset({"c-1"})))
    world.add("c-1")
    missed = world.add("c-2")
    done = await world.round()
    assert (done.failed_customers, world.announced) == (1, [(missed, "FINALIZED")])


async def test_a_token_that_is_refused_ends_the_round() -> None:
    world = World()
    world.add()
    world.faults.add(Fault("status", method="GET", status=401, count=100_000))
    with pytest.raises(TokenRefused):
        await world.round()


async def test_when_one_customer_after_the_other_gets_no_answer_the_round_ends() -> None:
    world = World(retry_seconds=0.05)
    for number in range(9):
        world.add(f"c-{number}")
    world.faults.add(Fault("status", method="GET", path_contains="/invoices", status=500, count=100_000))
    with pytest.raises(OutcomeUnknown):
        await world.round()
    assert len({each.path for each in world.transport.calls if each.path.endswith("/invoices")}) == 3


async def test_it_ends_between_two_requests_when_asked_to() -> None:
    world = World()
    for number in range(9):
        world.add(f"c-{number}")

    async def announce_and_stop(found: Announcement) -> None:
        await world.announce(found)
        world.stopping.set()

    done = await world.round(announce_and_stop)
    assert (done.stopped, len(world.announced), done.customers) == (True, 1, 1)


async def test_it_does_not_sit_out_a_pause_when_asked_to_end() -> None:
    world = World(requests_per_second=0.001)
    world.add()
    walking = asyncio.create_task(world.round())
    while not world.transport.calls:
        await asyncio.sleep(0)
    world.stopping.set()
    async with asyncio.timeout(BOUND_SECONDS):
        assert (await walking).stopped


# What the pages tell of it


async def test_the_story_of_an_invoice_says_that_watch_found_it_and_what_took_its_document_back(tmp_path: Path) -> None:
    """One story and one row: the credit memo is a step of the invoice's, not an invoice beside it."""
    invoice = invoice_of(1)
    with embedded_broker() as bootstrap:
        settings = settings_of(bootstrap, tmp_path / "i.sqlite", policy=Policy(voids="credit-memo"))
        async with recording(settings) as recorder:
            await recorder.story(invoice)
            listed = ListedInvoice(id=invoice["id"], customer_id=invoice["customer_id"], status="VOID")
            at = await recorder.send(
                recorder.names.webhooks, announcement_of(listed).encode(), headers=[("source", b"watch")]
            )
            facts, facts_at = await recorder.facts(invoice | {"status": "VOID"}, webhook=at)
            [command] = translate(facts, facts_at, policy=settings.policy)
            [place] = await recorder.commands([command])
            await recorder.outcome(
                command, place, "posted", reason="it takes back MTR-1", kind="creditmemo", qbo_id="9"
            )
        index = Index(settings.web.index)
        await Projection(settings, index).catch_up()
        replayed = await Replay(settings, Selection(0, 10**6), translate).run()
    assert [each.kind for each in replayed] == ["voided"]
    with index.reading() as connection:
        assert queries.invoice(connection, reversal_id(invoice["id"])) is None
        row, steps = queries.invoice(connection, invoice["id"]), history_of(connection, invoice["id"])
    assert row is not None
    assert (row["state"], row["kind"], row["qbo_id"], row["mismatch"]) == ("voided", "invoice", "145", 0)
    assert row["reason"] == "it takes back MTR-1"
    summaries = "\n".join(each.summary for each in steps)
    for told in (
        "Metronome says that the invoice is final",
        "Found by watch in Metronome, where no webhook had told of it",
        f"To be taken back in QuickBooks by credit memo {doc_number(reversal_id(invoice['id']))}: 50.00 USD on 1 line",
        "Taken back in QuickBooks by credit memo 9 (",
    ):
        assert told in summaries
