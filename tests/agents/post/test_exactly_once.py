"""Seeded runs of everything at once: faults at any call, kills at any point, redelivery in order.

Afterwards the faults stop, what is still open is driven again, and the books must hold every invoice exactly once.
A failing run is repeated by its seed: `run_of(seed)`.
"""

import random
from decimal import Decimal

import pytest

from models.commands import Command, PostInvoice
from models.document import CustomerReference
from models.outcomes import Outcome
from simulators.faults import Fault, Kind
from simulators.quickbooks.books import Company
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import REALM, Alive, CrashAt, World, a_post, a_void, an_ensure_customer, refusal

SEEDS = range(300)
INVOICES = 5
DONE = ("posted", "updated", "unchanged", "voided", "skipped")
CRASHES: tuple[CrashAt, ...] = (
    "before the attempt is recorded",
    "before the write",
    "after the write",
    "before the outcome",
)


@pytest.mark.parametrize("first", range(0, len(SEEDS), 50))
async def test_every_invoice_is_in_the_books_exactly_once(first: int) -> None:
    for seed in SEEDS[first : first + 50]:
        try:
            await run_of(seed)
        except Exception as problem:
            raise AssertionError(f"seed {seed}: {problem!r}") from problem


async def run_of(seed: int) -> None:
    chance = random.Random(seed)
    world = World(
        settings=QuickBooksSettings(
            limits=False,
            requestid_seconds=chance.choice([0, 86_400]),
            requestid_keeps_faults=chance.random() < 0.5,
        ),
        company=Company(REALM, warn_duplicate_doc_numbers=chance.random() < 0.5),
        retry_seconds=chance.choice([2.0, 20.0, 600.0]),
        flushed=lambda queued: chance.randint(0, queued),
    )
    commands = commands_of(chance)
    wanted = await disturbed(world, commands, chance)
    await calm(world, commands)
    check(world, wanted)


def commands_of(chance: random.Random) -> list[Command]:
    """Customers before their invoices; some invoices change, some are voided, some share their first eight digits."""
    customers = [CustomerReference(customer_id=f"c-{number}", name=f"Customer {number}") for number in range(3)]
    commands: list[Command] = []
    for number in range(INVOICES):
        customer = chance.choice(customers[: chance.randint(1, 3)])
        prefix = "d23458e0" if chance.random() < 0.3 else f"{chance.getrandbits(32):08x}"
        invoice_id = f"{prefix}-0000-4000-8000-{number:012d}"
        commands.append(an_ensure_customer(customer.name, customer.customer_id))
        for _ in range(chance.randint(1, 3)):
            amounts = [f"{chance.randint(1, 99_999) / 100:.2f}" for _ in range(chance.randint(1, 3))]
            commands.append(a_post(*amounts, invoice_id=invoice_id, customer=customer))
        if chance.random() < 0.3:
            commands.append(a_void(invoice_id))
    return commands


async def disturbed(world: World, commands: list[Command], chance: random.Random) -> dict[str, Decimal | None]:
    """Runs the commands under faults and kills; a kill takes the reader back to any earlier command."""
    wanted: dict[str, Decimal | None] = {}
    offset, kills = 0, 0
    while offset < len(commands):
        command = commands[offset]
        if isinstance(command, PostInvoice):
            wanted[command.invoice_id] = command.document.total
        elif hasattr(command, "invoice_id"):
            wanted[command.invoice_id] = None
        world.faults.add(*(a_fault(chance) for _ in range(chance.choice([0, 0, 0, 1, 2]))))
        if kills < 8 and chance.random() < 0.3:
            try:
                await world.dies(command, chance.choice(CRASHES), offset=offset)
            except Alive:
                offset += 1
                continue
            kills += 1
            offset = max(0, offset - chance.choice([0, 0, 1, 3]))
        else:
            await world.run(command, offset=offset)
            offset += 1
    return wanted


def a_fault(chance: random.Random) -> Fault:
    if chance.random() < 0.15:
        return refusal(chance.choice(["6000", "6200", "2500", "3100", "10000"]))
    status = chance.choice([429, 500, 502, 503, 504])
    kinds: list[Kind] = ["drop", "drop", "truncated", "html", "status", "hang"]
    return Fault(
        chance.choice(kinds),
        method=chance.choice(["", "POST", "GET"]),
        count=chance.choice([1, 1, 2, 6]),
        status=status,
        after_commit=status != 429 and chance.random() < 0.5,  # a throttled request is never carried out
    )


async def calm(world: World, commands: list[Command]) -> None:
    """The faults are over; the newest command of each thing is driven again until it is done."""
    world.faults.clear()
    world.retry_seconds = 600.0
    world.offsets = len(commands)
    for command in commands:
        world.clock.now += 60
        await world.run(command)
    for command in newest(commands):
        outcome = await world.run(command)
        assert outcome.result in (*DONE, "mapped"), outcome


def newest(commands: list[Command]) -> list[Command]:
    last: dict[str, Command] = {getattr(each, "invoice_id", each.type): each for each in commands}
    return list(last.values())


def check(world: World, wanted: dict[str, Decimal | None]) -> None:
    for invoice_id, total in wanted.items():
        documents = [each for each in world.invoices() if f"Metronome invoice {invoice_id}" in each["PrivateNote"]]
        live = [each for each in documents if not each["PrivateNote"].startswith("Voided")]
        entry = world.entry(invoice_id)
        assert entry.attempt is None
        if total is None:
            assert (live, entry.state) == ([], "voided")
            assert len(documents) <= 1
            continue
        assert len(documents) == len(live) == 1, f"{invoice_id} stands {len(documents)} times in the books"
        assert Decimal(live[0]["TotalAmt"]) == total
        assert (entry.qbo_id, entry.sync_token, entry.total, entry.doc_number) == (
            live[0]["Id"], live[0]["SyncToken"], total, live[0]["DocNumber"],
        )  # fmt: skip
        assert entry.in_books
    numbers = [each["DocNumber"] for each in world.invoices()]
    assert len(numbers) == len(set(numbers)), numbers
    names = [each["DisplayName"] for each in world.books.objects["Customer"].values()]
    assert len(names) == len(set(names))
    check_outcomes(world.outcomes)


def check_outcomes(outcomes: list[Outcome]) -> None:
    """A command that was told to be done is never told to be anything undone afterwards."""
    done: dict[int, str] = {}
    for outcome in outcomes:
        offset = outcome.command.offset
        if offset in done and outcome.subject.startswith("invoice/"):
            assert outcome.result in (done[offset], "unchanged"), (done[offset], outcome)
        if outcome.result in DONE:
            done.setdefault(offset, outcome.result)
