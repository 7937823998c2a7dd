"""Queries that are some seconds behind, or cannot say a name: not found proves nothing, and no twin is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.policy import Policy
from models.quickbooks import QUERY_LAG_SECONDS, name_pattern, same_name
from simulators.quickbooks.books import add_customer
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import (
    CUSTOMER_ID,
    INVOICE_ID,
    START,
    CrashAt,
    World,
    a_post,
    a_void,
    an_ensure_customer,
    an_ensure_item,
    fault,
    refusal,
)

BEHIND_SECONDS = QUERY_LAG_SECONDS - 1
VENDOR = "Books by Bessie"


def behind(memory: float = 0.0, **more: Any) -> World:
    settings = QuickBooksSettings(limits=False, requestid_seconds=memory, query_lag_seconds=BEHIND_SECONDS)
    return World(settings=settings, **more)


def names(world: World, start: str) -> list[str]:
    return [
        each["DisplayName"]
        for each in world.books.objects["Customer"].values()
        if each["DisplayName"].startswith(start)
    ]


# Documents


@pytest.mark.parametrize("run_seconds", [0.0, 100.0, 120.0])
async def test_a_write_that_was_carried_out_at_the_last_moment_is_found_though_queries_are_behind(
    run_seconds: float,
) -> None:
    world = behind(trust_requestids=False)
    core, held = world.transport.core, []

    def late(request: Any) -> Any:
        if request.method == "POST" and not held:
            held.append(request)
            return replace(core(replace(request, path="/nowhere")), ending="drop")
        if held[0] is not None and world.clock.now >= START + run_seconds:
            now, world.clock.now = world.clock.now, START + run_seconds
            core(held[0])
            held[0], world.clock.now = None, now
        return core(request)

    world.transport.core = late
    assert (await world.run(a_post())).result == "posted"
    assert len(world.invoices()) == 1


async def test_a_create_that_is_made_again_right_after_another_command_looks_until_it_would_see() -> None:
    """The ledger says refused; who wrote that may have been a worker that was given up, over its successor's result."""
    world = behind()
    await world.run(a_post())
    posted = world.entry(INVOICE_ID)
    forgotten = posted.replace(state="refused", qbo_id=None, content_hash=None, result="refused")
    world.worker.tables.invoices[posted.key] = forgotten.replace(changed_at=world.clock.moment())
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, len(world.invoices())) == ("posted", True, 1)


# Customers


@pytest.mark.parametrize("memory", [86_400.0, 0.0], ids=["requestids remembered", "requestids forgotten"])
@pytest.mark.parametrize("crash_at", ["before the write", "after the write", "before the outcome"])
@pytest.mark.parametrize("matching", ["exact", "off"])
async def test_a_customer_whose_creation_was_killed_is_made_once_though_a_suffix_is_at_hand(
    memory: float, crash_at: CrashAt, matching: Any
) -> None:
    world = behind(memory, policy=Policy(name_clash="suffix", customer_matching=matching))
    offset = await world.dies(an_ensure_customer("New Ltd"), crash_at)
    outcome = await world.run(an_ensure_customer("New Ltd"), offset=offset)
    assert (outcome.name, names(world, "New Ltd")) == ("New Ltd", ["New Ltd"])


async def test_an_item_whose_creation_was_killed_is_made_once() -> None:
    world = behind(policy=Policy(missing_item="create", income_account_id="1", name_clash="suffix"))
    offset = await world.dies(an_ensure_item("Storage", "p-1"), "after the write")
    outcome = await world.run(an_ensure_item("Storage", "p-1"), offset=offset)
    assert (outcome.result, outcome.name) == ("found", "Storage")


async def test_a_name_that_a_vendor_has_is_known_to_be_taken_at_once() -> None:
    world = behind(policy=Policy(name_clash="suffix"))
    world.clock.now += QUERY_LAG_SECONDS
    assert (await world.run(an_ensure_customer(VENDOR))).name == f"{VENDOR} (Metronome)"
    assert world.clock.now - START < 2 * QUERY_LAG_SECONDS


async def test_a_name_that_nobody_seems_to_have_is_taken_when_it_would_be_seen() -> None:
    """6240 and no entry to be seen anywhere."""
    world = World(policy=Policy(name_clash="suffix"))
    world.faults.add(refusal("6240"))
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert (outcome.name, world.clock.now - START > 120) == ("New Ltd (Metronome)", True)
    impatient = World(policy=Policy(name_clash="suffix"), retry_seconds=10.0)
    impatient.faults.add(refusal("6240"))
    assert (await impatient.run(an_ensure_customer("New Ltd"))).result == "parked"
    assert names(impatient, "New Ltd") == []


# Names that are the same to a person


@pytest.mark.parametrize(
    ("in_quickbooks", "in_metronome"),
    [
        ("Blue  Heron LLC", "Blue  Heron LLC"),
        ("Blue  Heron LLC", "Blue Heron LLC"),
        ("Blue Heron LLC", "Blue \t Heron  LLC "),
        ("Blue\u00a0Heron LLC", "Blue Heron LLC"),
        ("Cafe\u0301 Noir", "Caf\u00e9 Noir"),
        ("Caf\u00e9 Noir", "Cafe\u0301 Noir"),
        ("Łódź Data sp. z o.o.", "Łódź  Data sp. z o.o."),
        ("50% O'Neill_Co", "50%  o'neill_co"),
    ],
)
async def test_a_customer_that_a_person_takes_for_the_same_is_found(in_quickbooks: str, in_metronome: str) -> None:
    world = World()
    add_customer(world.books, "911", in_quickbooks, START)
    outcome = await world.run(an_ensure_customer(in_metronome))
    assert (outcome.result, outcome.qbo_id, world.transport.writes()) == ("found", "911", [])


async def test_the_customer_of_exactly_that_name_goes_before_one_that_looks_like_it() -> None:
    world = World()
    add_customer(world.books, "911", "Blue  Heron LLC", START)
    add_customer(world.books, "912", "Blue Heron LLC", START)
    assert (await world.run(an_ensure_customer("blue heron LLC"))).qbo_id == "912"


async def test_two_that_only_look_like_it_are_for_a_person_to_tell_apart() -> None:
    world = World()
    add_customer(world.books, "911", "Blue  Heron LLC", START)
    add_customer(world.books, "912", "Blue   Heron LLC", START)
    assert (await world.run(an_ensure_customer("Blue Heron LLC"))).result == "parked"


async def test_all_pages_of_what_fits_are_looked_through() -> None:
    world = World()
    for number in range(1001):
        add_customer(world.books, f"{2000 + number}", f"株式会社 {number}", START)
    add_customer(world.books, "911", "株式会社", START)
    world.quickbooks.settings = replace(world.quickbooks.settings, query_beyond_latin1="refuse")
    assert (await world.run(an_ensure_customer("株式会社"))).qbo_id == "911"


def test_a_pattern_holds_plain_characters_only() -> None:
    assert name_pattern("Acme") == "Acme"
    assert name_pattern("Łódź  Data") == "%d%Data%"
    assert name_pattern("株式会社") == "%"
    assert same_name("Acme  GmbH (deleted)", "ACME GMBH")
    assert not same_name("Acme GmbH", "Acme-GmbH")


# Queries that QuickBooks cannot answer


def refused_query(code: str = "4000", count: int = 50) -> Any:
    refused = refusal(code)
    refused.method, refused.path_contains, refused.count = "GET", "/query", count
    return refused


async def test_a_name_beyond_latin1_that_no_query_can_say_is_found_or_made_all_the_same() -> None:
    settings = QuickBooksSettings(limits=False, query_beyond_latin1="refuse")
    world = World(settings=settings)
    add_customer(world.books, "911", "Łódź Data", START)
    assert (await world.run(an_ensure_customer("Łódź Data"))).qbo_id == "911"
    assert (await world.run(an_ensure_customer("Žižkov Ltd", "c-2"))).result == "created"


@pytest.mark.parametrize("code", ["4000", "4001", "4002"])
async def test_when_no_query_is_answered_the_customer_is_created(code: str) -> None:
    world = World()
    world.faults.add(refused_query(code))
    assert (await world.run(an_ensure_customer("Łódź Data"))).result == "created"
    assert len(world.transport.reads()) == 2


async def test_what_cannot_be_looked_for_is_parked_by_that_reason_and_never_suffixed() -> None:
    world = World(policy=Policy(name_clash="suffix"))
    add_customer(world.books, "911", "Łódź Data", START)
    world.faults.add(refused_query())
    outcome = await world.run(an_ensure_customer("Łódź Data"))
    assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}")
    assert outcome.error is not None
    assert outcome.error.code == "4000"
    assert names(world, "Łódź") == ["Łódź Data"]


async def test_policy_that_creates_nothing_says_that_nothing_could_be_looked_for() -> None:
    world = World(policy=Policy(missing_customer="park"))
    world.faults.add(refused_query())
    outcome = await world.run(an_ensure_customer("Łódź Data"))
    assert (outcome.result, outcome.error and outcome.error.code) == ("parked", "4000")
    assert "cannot be asked for a customer" in str(outcome.reason)


# Which document of ours is taken


@pytest.mark.parametrize("first", ["voided", "live"])
async def test_a_live_document_of_ours_goes_before_a_voided_one(first: str) -> None:
    """A person voided ours and somebody posted it again: what stands is what counts."""
    world = World(settings=QuickBooksSettings(limits=False, requestid_seconds=0), retry_seconds=0.1)
    world.faults.add(fault("drop", after_commit=True))
    assert (await world.run(a_post())).result == "uncertain"
    original = world.books.objects["Invoice"]["1"]
    voided = {"PrivateNote": f"Voided - Metronome invoice {INVOICE_ID}", "TotalAmt": 0, "Balance": 0}
    other = {**original, "Id": world.books.new_id("Invoice")}
    if first == "voided":
        world.books.put_sale("Invoice", other)
        world.edited_by_a_person("Invoice", "1", **voided)
    else:
        world.books.put_sale("Invoice", {**other, **voided})
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.qbo_id) == ("posted", "2" if first == "voided" else "1")


async def test_a_void_takes_the_live_one_of_two() -> None:
    world = World(retry_seconds=0.1)
    world.faults.add(fault("drop", after_commit=True))
    await world.run(a_post())
    voided = {"PrivateNote": f"Voided - Metronome invoice {INVOICE_ID}", "TotalAmt": 0, "Balance": 0}
    original = world.books.objects["Invoice"]["1"]
    world.books.put_sale("Invoice", {**original, "Id": world.books.new_id("Invoice")})
    world.edited_by_a_person("Invoice", "1", **voided)
    assert (await world.run(a_void())).qbo_id == "2"
    assert world.live() == []
