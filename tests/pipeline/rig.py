"""The whole system on one machine: simulators in the test's process, our commands as child processes, a broker.

The simulators are at hand, so a test can spoil their answers and read their books; everything of ours runs as a user
would start it. Each rig has topics and a consumer group of its own, so that many share one broker.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
from aiokafka import AIOKafkaProducer

from agents.delivery import ERROR_HEADER
from models.commands import COMMANDS, Command, PostInvoice
from models.document import is_ours
from models.money import parse_json, quantum, round_half_up, unit_of
from models.outcomes import Outcome
from models.record import Address, Record
from models.subject import Subject
from simulators.faults import Fault
from simulators.http import Request
from simulators.metronome.generator import generate
from simulators.metronome.webhooks import finalized_notice, signed_headers
from simulators.quickbooks.oauth import Grant
from simulators.scene import Scene
from simulators.server import Sandbox, start_sandbox
from stream.demo.demo import environment
from stream.demo.processes import Child, Children
from stream.kafka.log import EventLog, RawRecord
from stream.settings import Kafka, Settings
from stream.topics import TABLES, TopicNames, changelog, prepare_topics, topic_names
from stream.wiring import TokenCipher
from tests import BOUND_SECONDS
from tests.brokers import Broker
from tests.builders import a_line, an_invoice, json_of

POLL_SECONDS = 0.05
CUSTOMER_OF_RIG = "76cbebf3-f36d-5ddc-8b7e-6dd80881c7a6"
"""A Metronome customer that every rig has; it is QuickBooks customer 58."""

Json = dict[str, Any]
T = TypeVar("T")

NO_LIMITS = {
    "QUICKBOOKS__REQUESTS_PER_SECOND": "10000",
    "QUICKBOOKS__REQUESTS_PER_MINUTE": "600000",
    "QUICKBOOKS__IN_FLIGHT_MAX": "64",
}
NO_HURRY = {
    "KAFKA__TIMEOUT_SECONDS": str(BOUND_SECONDS),
    "RECEIVER__PUBLISH_TIMEOUT_SECONDS": str(BOUND_SECONDS),
    "WORKER__SESSION_TIMEOUT_SECONDS": "60",
    "QUICKBOOKS__PARKED_PROBE_SECONDS": "86400",
}
"""On a slow machine nothing of ours gives up early, and nothing is tried that the test has not caused."""

SOON_GIVEN_UP = {"WORKER__SESSION_TIMEOUT_SECONDS": "6"}
"""For tests that kill workers: the group misses them soon. It may then miss a slow one that lives, too."""

SEEN_SOON = ("-m", "tests.pipeline.seen_sooner", "10")
"""`under` which a worker waits for ten seconds, not for two minutes, until what may have been written must be seen.

For tests in which QuickBooks carries out nothing late.
"""

RETRY_SECONDS = 290
AWAY_FOR_LONG = {"Retry-After": "300"}
"""A command that may be tried for `RETRY_SECONDS` and is asked to wait for longer is given up at once."""


@dataclass(slots=True)
class Closing(Fault):
    """Lets the first `open_for` requests pass, and strikes all others until it is cleared.

    So whatever is killed is in the middle of its work, however late the test comes to it.
    """

    open_for: int = 0

    def strikes(self, request: Request) -> bool:
        if self.open_for and self.path_contains in request.path and self.method == request.method:
            self.open_for -= 1
            return False
        return Fault.strikes(self, request)


def closing(open_for: int) -> Closing:
    """QuickBooks takes so many writes of invoices, and asks for patience at all further ones."""
    return Closing("status", "/invoice", "POST", count=1_000_000, body=fault_body("140"), open_for=open_for)


@dataclass
class Rig:
    """Everything that a test touches; made by `running_rig`."""

    sandbox: Sandbox
    children: Children
    settings: Settings
    outcomes: list[Outcome] = field(default_factory=list)
    webhook_url: str = ""
    _follower: asyncio.Task[None] | None = None

    @property
    def names(self) -> TopicNames:
        return topic_names(self.settings)

    @property
    def bootstrap(self) -> str:
        return str(self.settings.kafka.bootstrap_servers)

    @property
    def realm(self) -> str:
        return self.sandbox.addresses.realm_id

    # Our processes

    async def start_worker(self, *, under: Sequence[str] = (), **also: str) -> Child:
        """A worker that is ready; `also` changes its settings, as in WORKER__IN_FLIGHT_MAX="1", `under` is Python's."""
        child = await self.children.start(
            "worker", ready_within_seconds=BOUND_SECONDS, also=_variables(also), under=under
        )
        if self.settings.worker.hosts_receiver:
            self.webhook_url = _url_in(child.ready_line)
        return child

    async def start_receiver(self, **also: str) -> Child:
        child = await self.children.start("receive", ready_within_seconds=BOUND_SECONDS, also=_variables(also))
        self.webhook_url = _url_in(child.ready_line)
        return child

    async def connect(self, grant: Grant | None = None) -> None:
        """Let us into the company of `grant` (the first company's first one), by the command."""
        grant = grant or self.sandbox.grants[self.realm]
        await self.children.run(
            *("connect", "--realm", grant.realm_id, "--refresh-token", "-"),
            within_seconds=BOUND_SECONDS,
            stdin=grant.refresh_token + "\n",
        )

    # Metronome's side

    def new_invoice(self, total: int | Decimal = 1000, **changes: Any) -> str:
        """Metronome has one more finalized invoice, of a customer and a product that QuickBooks knows; its id."""
        changes = {"id": str(uuid4()), "customer_id": CUSTOMER_OF_RIG} | changes
        lines = changes.pop("lines", None)
        invoice = an_invoice(lines) if lines is not None else an_invoice([a_line(total)])
        return self.sandbox.metronome.add_invoice(json_of(invoice | changes))

    async def deliver(self, *invoice_ids: str) -> None:
        """Metronome finalizes the invoices and sends their signed webhooks, again until each is accepted."""
        async with asyncio.timeout(BOUND_SECONDS):
            deliveries = await self.sandbox.send_finalized(self.webhook_url, list(invoice_ids))
        assert all(each.accepted for each in deliveries), [each for each in deliveries if not each.accepted]

    def webhook_of(self, invoice_id: str) -> bytes:
        """The body of the invoice's webhook, without finalizing anything."""
        return finalized_notice(self.sandbox.metronome.invoices[invoice_id], time.time())

    async def post_webhook(self, body: bytes, **headers: str) -> int:
        """Send any body to the receiver, signed as Metronome would; `headers` go over those. The HTTP status."""
        signed = signed_headers(self.sandbox.webhook_secret, time.time(), body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session,
            session.post(self.webhook_url, data=BytesIO(body), headers=signed | named) as response,
        ):
            return response.status

    # Kafka

    async def publish(
        self, topic: str, *values: bytes, key: bytes | None = None, partition: int | None = None, **headers: bytes
    ) -> list[Address]:
        """Write records as any producer may; where they lie."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            sent = [
                await producer.send_and_wait(topic, value, key=key, partition=partition, headers=list(headers.items()))
                for value in values
            ]
        finally:
            await producer.stop()
        return [Address(topic=each.topic, partition=each.partition, offset=each.offset) for each in sent]

    async def publish_webhooks(self, *invoice_ids: str) -> None:
        """Put bare webhooks on the topic, past the receiver."""
        await self.publish(self.names.webhooks, *(self.webhook_of(each) for each in invoice_ids))

    async def publish_command(self, command: Record) -> Address:
        realm: str = command.realm  # type: ignore[attr-defined]
        [address] = await self.publish(self.names.commands, command.encode(), key=realm.encode())
        return address

    async def records(self, topic: str) -> list[RawRecord]:
        return [each async for each in EventLog(self.bootstrap, BOUND_SECONDS).read_range(topic)]

    async def commands(self) -> list[Command]:
        return [COMMANDS.validate_json(each.value or b"") for each in await self.records(self.names.commands)]

    async def post_command_of(self, invoice_id: str) -> PostInvoice:
        """The last command to post this invoice."""
        posts = [each for each in await self.commands() if isinstance(each, PostInvoice)]
        return next(each for each in reversed(posts) if each.invoice_id == invoice_id)

    async def table(self, name: str) -> dict[str, bytes]:
        """The rows of a table, as its changelog tells them."""
        rows: dict[str, bytes] = {}
        for each in await self.records(changelog(self.settings, name)):
            assert each.key is not None
            if each.value is None:
                rows.pop(each.key.decode(), None)
            else:
                rows[each.key.decode()] = each.value
        return rows

    async def dead_letters_of(self, value: bytes, count: int = 1) -> list[RawRecord]:
        """The dead letters with these bytes, once there are `count`."""

        async def found() -> list[RawRecord] | None:
            letters = [each for each in await self.records(self.names.deadletters) if each.value == value]
            return letters if len(letters) >= count else None

        letters: list[RawRecord] = await until_async(found, f"{count} dead letters with {value[:60]!r}")
        return letters

    def every_topic(self) -> list[str]:
        return [*self.names.all(), *(changelog(self.settings, table) for table in TABLES)]

    # Outcomes and books

    async def follow_outcomes(self) -> None:
        """Keep `outcomes` up to date from here on."""
        self._follower = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async with aclosing(EventLog(self.bootstrap, BOUND_SECONDS).follow([self.names.outcomes])) as followed:
            async for batch in followed:
                for record in batch.records:
                    if (outcome := record.decoded(Outcome.model_validate_json)) is not None:
                        self.outcomes.append(outcome)

    def outcomes_of(self, invoice_id: str) -> list[Outcome]:
        return [each for each in self.outcomes if each.subject == Subject.invoice(invoice_id)]

    async def outcome(self, invoice_id: str, nth: int = 1) -> Outcome:
        """The nth outcome of an invoice, waited for."""
        await self.until(lambda: len(self.outcomes_of(invoice_id)) >= nth, f"outcome {nth} of {invoice_id}")
        return self.outcomes_of(invoice_id)[nth - 1]

    async def until(self, reached: Callable[[], object], what: str) -> None:
        """Wait for a state of the books, the simulators or the outcomes."""
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                while not reached():
                    if self._follower is not None and self._follower.done():
                        self._follower.result()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {BOUND_SECONDS} s: {what}\n{self.logs()[-6000:]}") from None

    async def posts_a_valid_invoice(self) -> None:
        """Nothing is blocked: one more invoice goes the whole way."""
        invoice_id = self.new_invoice()
        await self.deliver(invoice_id)
        outcome = await self.outcome(invoice_id)
        assert (outcome.result, outcome.total) == ("posted", Decimal(10)), outcome
        assert len(self.documents_of(invoice_id)) == 1

    def generated(self) -> list[str]:
        """The invoices of the scene."""
        return [each["id"] for each in self.sandbox.scene.invoices]

    def done(self) -> set[str]:
        """Invoices that have an outcome."""
        return {each.subject for each in self.outcomes if each.subject.startswith("invoice/")}

    async def posts_everything_once(self) -> None:
        """Whatever happened: each invoice of the scene ends in the books once, to the cent."""
        wanted = self.generated()
        await self.until(lambda: len(self.done()) == len(wanted), "an outcome for each invoice")
        # A repeated command may tell its outcome again; it may not tell another one, or write again.
        results = {each.result for each in self.outcomes if each.subject.startswith("invoice/")}
        assert results <= {"posted", "unchanged"}, results
        first = {each: self.outcomes_of(each)[0] for each in wanted}
        assert {each.result for each in first.values()} == {"posted"}
        self.assert_books_match(wanted)
        assert {each: outcome.total for each, outcome in first.items()} == {each: self.billed(each) for each in wanted}

    def documents_of(self, invoice_id: str) -> list[Json]:
        """The QuickBooks documents of an invoice, in all companies."""
        return [each for each in self._documents() if is_ours(each, invoice_id)]

    def _documents(self) -> Iterator[Json]:
        for books in self.sandbox.quickbooks.books.values():
            yield from books.objects["Invoice"].values()
            yield from books.objects["CreditMemo"].values()

    def assert_books_match(self, invoice_ids: list[str]) -> None:
        """Each invoice stands in the books exactly once, with Metronome's total to the cent, and nothing else does."""
        held: dict[str, list[Decimal]] = {}
        for document in self._documents():
            note = str(document["PrivateNote"]).partition("\n")[0]
            held.setdefault(note.removeprefix("Metronome invoice "), []).append(Decimal(str(document["TotalAmt"])))
        assert held == {each: [self.billed(each)] for each in invoice_ids}

    def billed(self, invoice_id: str) -> Decimal:
        """Metronome's total in whole units, to the cent, without its sign."""
        invoice = self.sandbox.metronome.invoices[invoice_id]
        unit = unit_of(invoice["credit_type"]["name"])
        return round_half_up(unit.major(Decimal(invoice["total"])), quantum(unit.currency)).copy_abs()

    def logs(self) -> str:
        """What our processes logged, all of them."""
        return "\n".join(each.read_text(errors="replace") for each in sorted(self.children.directory.glob("*.log")))

    @property
    def cipher(self) -> TokenCipher:
        return TokenCipher(self.settings.encryption_keys)

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await self.children.stop()
        await self.sandbox.stop()


@asynccontextmanager
async def running_rig(
    broker: Broker,
    directory: Path,
    changes: Mapping[str, str] | None = None,
    *,
    invoices: int = 4,
    scene: Scene | None = None,
    **simulator: Any,
) -> AsyncIterator[Rig]:
    """A connected company and prepared topics, with no worker yet. `changes` are settings, `simulator` is for
    `start_sandbox`."""
    sandbox = await start_sandbox(invoices=invoices, scene=scene, **{"limits": False, **simulator})
    kafka = Kafka(bootstrap_servers=None if broker.kind == "embedded" else broker.bootstrap_servers)
    kafka = kafka.model_copy(update={"company_partitions": 4, "webhook_partitions": 4})
    variables = environment(kafka, broker.bootstrap_servers, asdict(sandbox.addresses))
    variables |= _variables(NO_LIMITS | NO_HURRY)
    variables |= _variables(changes or {})
    rig = Rig(sandbox, Children(directory, variables), settings_of(variables))
    try:
        await prepare_topics(rig.settings)
        for grant in sandbox.grants.values():
            await rig.connect(grant)
        await rig.follow_outcomes()
        yield rig
    finally:
        await rig.stop()


def settings_of(variables: Mapping[str, str]) -> Settings:
    """The settings that a child reads from its environment."""
    nested: Json = {}
    for name, text in variables.items():
        *path, last = name.removeprefix("METRONOME_QBO_").lower().split("__")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = json.loads(text) if text[:1] in "[{" else text
    return Settings(**nested)


def a_scene(invoices: int, **options: Any) -> Scene:
    """Generated invoices with dates of the moment."""
    return generate(1, invoices, now=datetime.now(UTC), **options)


def fault_body(code: str, message: str = "Refused", detail: str = "for this test") -> str:
    """QuickBooks' error body in its usual shape (docs/vendors/quickbooks.md §6.1)."""
    error = {"Message": message, "Detail": detail, "code": code, "element": ""}
    return json.dumps({"Fault": {"Error": [error], "type": "ValidationFault"}, "time": "2026-11-02T00:00:00.000-07:00"})


async def until_async(poll: Callable[[], Any], what: str) -> Any:
    """What `poll` gives when it is no longer None."""
    deadline = time.monotonic() + BOUND_SECONDS
    while (found := await poll()) is None:
        assert time.monotonic() < deadline, f"not within {BOUND_SECONDS} s: {what}"
        await asyncio.sleep(POLL_SECONDS)
    return found


async def ended(child: Child) -> int:
    """The exit code of a child, which ends by itself."""
    async with asyncio.timeout(BOUND_SECONDS):
        return await child.process.wait()


async def killed(child: Child) -> None:
    """-9: no time for anything."""
    child.process.kill()
    await child.process.wait()


def header(record: RawRecord, name: str) -> str:
    """An error header of a dead letter, without its prefix in the name."""
    return dict(record.headers)[ERROR_HEADER + name].decode()


def read_samples(path: Path) -> dict[str, Json]:
    """The fixture invoices by name."""
    return {each["name"]: each["invoice"] for each in parse_json(path.read_text())["samples"]}


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"METRONOME_QBO_{name}": value for name, value in settings.items()}


def _url_in(ready_line: str) -> str:
    """The webhook endpoint, the last address of the line."""
    return next(word for word in reversed(ready_line.split()) if word.startswith("http"))
