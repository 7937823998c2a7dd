"""Which QuickBooks customer and item: known, found by name, created once, or parked with a reason."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.delivery import Delivery, Event
from agents.post.post import claims
from models.commands import COMMANDS, Command, EnsureItem, SetCustomerMapping, SetItemMapping
from models.document import CustomerReference, ItemReference
from models.outcomes import Outcome
from models.policy import Policy
from models.quickbooks import tidy_name
from models.record import Address
from simulators.quickbooks.books import add_customer, add_item
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import (
    CUSTOMER_ID,
    PRODUCT_ID,
    REALM,
    START,
    CrashAt,
    FreeFlow,
    World,
    a_line,
    a_post,
    an_ensure_customer,
    an_ensure_item,
    fault,
    refusal,
)

CREATE = Policy(missing_item="create", income_account_id="1")
UNMAPPED = CustomerReference(customer_id=CUSTOMER_ID, name="Acme GmbH")
UNKNOWN = ItemReference(name="Storage", product_id="p-storage")


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


def customers(world: World, name: str) -> list[Any]:
    return [each for each in world.books.objects["Customer"].values() if each["DisplayName"].startswith(name)]


# Customers


async def test_a_customer_is_found_by_name_and_its_invoice_posted_to_it(world: World) -> None:
    found = await world.run(an_ensure_customer("Acme GmbH"))
    assert (found.result, found.qbo_id, found.name) == ("found", "58", "Acme GmbH")
    posted = await world.run(a_post(customer=UNMAPPED))
    assert (posted.result, world.invoices()[0]["CustomerRef"]["value"]) == ("posted", "58")
    assert len(world.transport.writes()) == 1


async def test_a_known_customer_costs_no_call(world: World) -> None:
    await world.run(an_ensure_customer("Acme GmbH"))
    before = len(world.transport.calls)
    assert (await world.run(an_ensure_customer("Acme GmbH"))).result == "mapped"
    assert len(world.transport.calls) == before


async def test_an_unknown_customer_is_created_once_with_its_currency(world: World) -> None:
    outcome = await world.run(an_ensure_customer("O'Neil\\Sons: Köln", currency="EUR"))
    assert (outcome.result, outcome.name) == ("created", "O'Neil\\Sons Köln")
    again = await world.run(an_ensure_customer("O'Neil\\Sons: Köln", customer_id="c-2", currency="EUR"))
    assert again.result == "parked"
    assert "already Metronome customer" in (again.reason or "")
    [customer] = customers(world, "O'Neil")
    assert customer["CurrencyRef"]["value"] == "EUR"


@pytest.mark.parametrize("crash_at", ["before the write", "after the write", "before the outcome"])
async def test_a_customer_whose_creation_was_killed_exists_once(world: World, crash_at: CrashAt) -> None:
    offset = await world.dies(an_ensure_customer("New Ltd"), crash_at)
    outcome = await world.run(an_ensure_customer("New Ltd"), offset=offset)
    assert outcome.result in ("created", "found")
    assert [each["Id"] for each in customers(world, "New Ltd")] == [outcome.qbo_id]


async def test_a_customer_whose_answer_was_lost_exists_once(world: World) -> None:
    world.faults.add(fault("drop", after_commit=True))
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert (outcome.result, len(customers(world, "New Ltd"))) == ("found", 1)


async def test_a_name_that_a_vendor_has_parks_the_customer(world: World) -> None:
    """6240 without a customer of that name to be found."""
    outcome = await world.run(an_ensure_customer("Books by Bessie"))
    assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}")
    assert "vendor" in (outcome.reason or "")
    assert (await world.run(a_post(customer=UNMAPPED))).waits_for == f"customer/{CUSTOMER_ID}"


async def test_a_name_that_appears_between_the_look_up_and_the_creation_is_found(world: World) -> None:
    world.faults.add(refusal("6240"))
    command = an_ensure_customer("Late Inc")
    original = world.faults.take

    def late(request: Any) -> Any:
        if request.method == "POST" and not customers(world, "Late Inc"):
            add_customer(world.books, "77", "Late Inc", START)
        return original(request)

    world.faults.take = late  # type: ignore[method-assign]
    outcome = await world.run(command)
    assert (outcome.result, outcome.qbo_id) == ("found", "77")


async def test_an_inactive_customer_parks_instead_of_making_a_twin(world: World) -> None:
    former = world.books.objects["Customer"]["58"]
    renamed = {**former, "Active": False, "DisplayName": "Acme GmbH (deleted)"}
    world.books.put_entry("Customer", renamed, former)
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert outcome.result == "parked"
    assert "inactive" in (outcome.reason or "")
    assert len(customers(world, "Acme GmbH")) == 1


async def test_an_active_customer_is_preferred_to_an_inactive_one_of_its_name(world: World) -> None:
    former = world.books.objects["Customer"]["58"]
    world.books.put_entry("Customer", {**former, "Active": False, "DisplayName": "Acme GmbH (deleted)"}, former)
    add_customer(world.books, "90", "Acme GmbH", START)
    assert (await world.run(an_ensure_customer("Acme GmbH"))).qbo_id == "90"


async def test_a_customer_kept_in_another_currency_parks(world: World) -> None:
    outcome = await world.run(an_ensure_customer("Acme GmbH", currency="EUR"))
    assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}")
    assert "kept in USD" in (outcome.reason or "")


async def test_policy_may_forbid_to_create_customers(world: World) -> None:
    world.policy = Policy(missing_customer="park")
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert (outcome.result, customers(world, "New Ltd")) == ("parked", [])


async def test_an_operators_mapping_goes_before_everything_and_resumes_the_invoice(world: World) -> None:
    add_customer(world.books, "77", "The Right One", START)
    mapping = SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="77", name="The Right One")
    assert (await world.run(mapping)).result == "mapped"
    await world.run(a_post())  # its custom field says 58
    assert world.invoices()[0]["CustomerRef"]["value"] == "77"
    assert (await world.run(an_ensure_customer("Acme GmbH"))).qbo_id == "77"


async def test_a_mapping_that_came_as_a_custom_field_enters_the_table(world: World) -> None:
    await world.run(a_post())
    mapping = world.worker.tables.customers[f"{REALM}/{CUSTOMER_ID}"]
    assert (mapping.qbo_id, mapping.source) == ("58", "custom field")


async def test_two_customers_of_one_name_at_the_same_moment_do_not_share_a_quickbooks_customer(world: World) -> None:
    """Side by side the second would find the customer whose making the first is not sure of yet, and take it."""
    world.faults.add(fault("drop", after_commit=True))
    commands = [an_ensure_customer("Twin AG", customer_id="c-1"), an_ensure_customer("twin: ag", customer_id="c-2")]
    outcomes = await side_by_side(world, commands)
    assert [outcome.result for outcome in outcomes] == ["found", "parked"]
    assert len(customers(world, "Twin AG")) == 1


async def side_by_side(world: World, commands: Sequence[Command]) -> list[Outcome]:
    """What the production delivery makes of commands that arrive together."""
    outcomes: dict[int, Outcome] = {}

    async def publish(records: Any) -> None:
        for record in records:
            outcomes[record.command.offset] = record

    async def handle(delivered: Any) -> Any:
        return [await world.worker.run(delivered.record, delivered.at.offset, None)]

    async def events() -> Any:
        for offset, command in enumerate(commands):
            at = Address(topic="quickbooks.commands", partition=0, offset=offset)
            yield Event(b"k", command.encode(), {}, at, datetime.now(UTC), lambda: None)

    delivery = Delivery(
        "post",
        decode=COMMANDS.validate_json,
        handle=handle,
        claims=claims,
        publish=publish,
        in_flight_max=8,
        unacknowledged_max=100,
        dead_letters_in_a_row_max=3,
        company_of=lambda event: event.key,
        now=world.clock.moment,
    )
    await delivery.run(events(), FreeFlow())
    return [outcomes[offset] for offset in sorted(outcomes)]


async def test_an_invoice_waits_for_its_customer_and_item_that_are_on_their_way(world: World) -> None:
    world.policy = CREATE
    line = a_line("10.00", item=UNKNOWN)
    commands: list[Command] = [
        an_ensure_customer("New Ltd"),
        an_ensure_item("Storage", "p-storage"),
        a_post(customer=UNMAPPED, lines=(line,)),
    ]
    outcomes = await side_by_side(world, commands)
    assert [outcome.result for outcome in outcomes] == ["created", "created", "posted"]


# Items


async def test_an_unknown_product_parks_the_invoice(world: World) -> None:
    outcome = await world.run(a_post(lines=(a_line("10.00", item=UNKNOWN),)))
    assert (outcome.result, outcome.waits_for) == ("parked", "item/p-storage")
    assert "metronome-qbo map item" in (outcome.remedy or "")
    assert world.transport.calls == []


async def test_an_unknown_product_takes_the_default_item_where_policy_says_so(world: World) -> None:
    need = UNKNOWN.replace(default_qbo_id="2")
    await world.run(a_post(lines=(a_line("10.00", item=need),)))
    assert item_of(world) == "2"


async def test_an_unknown_product_is_created_as_an_item_once(world: World) -> None:
    world.policy = CREATE
    outcome = await world.run(an_ensure_item("Storage", "p-storage"))
    assert (outcome.result, outcome.name) == ("created", "Storage")
    await world.run(a_post(lines=(a_line("10.00", item=UNKNOWN),)))
    assert item_of(world) == outcome.qbo_id
    assert (await world.run(an_ensure_item("Storage", "p-storage"))).result == "mapped"
    assert (await world.run(an_ensure_item("Storage", "p-other"))).qbo_id == outcome.qbo_id


async def test_an_item_cannot_be_created_without_an_income_account(world: World) -> None:
    world.policy = Policy(missing_item="create")
    outcome = await world.run(an_ensure_item("Storage", "p-storage"))
    assert (outcome.result, outcome.waits_for) == ("parked", "setting/policy.income_account_id")


async def test_an_operators_item_mapping_resumes_the_invoice(world: World) -> None:
    post = a_post(lines=(a_line("10.00", item=UNKNOWN),))
    assert (await world.run(post)).result == "parked"
    await world.run(SetItemMapping(realm=REALM, product_id="p-storage", qbo_id="3"))
    assert (await world.run(post)).result == "posted"
    assert item_of(world) == "3"


async def test_an_operators_default_item_covers_lines_without_a_product(world: World) -> None:
    await world.run(SetItemMapping(realm=REALM, product_id="*", qbo_id="3"))
    await world.run(a_post(lines=(a_line("10.00", item=ItemReference(name="Conversion")),)))
    assert item_of(world) == "3"


async def test_a_corrected_item_mapping_changes_the_invoice_in_the_books(world: World) -> None:
    await world.run(a_post())
    await world.run(SetItemMapping(realm=REALM, product_id=PRODUCT_ID, qbo_id="3"))
    assert (await world.run(a_post())).result == "updated"
    assert (item_of(world), len(world.invoices())) == ("3", 1)


def item_of(world: World) -> str:
    [document] = world.invoices()
    return str(document["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"])


# Names


@pytest.mark.parametrize(
    ("name", "tidy"),
    [("a:b\tc\nd", "a b c d"), ("  x  ", "x"), ("y" * 600, "y" * 500), ("z" * 499 + " z", "z" * 499)],
)
def test_names_are_made_as_quickbooks_takes_them(name: str, tidy: str) -> None:
    assert tidy_name(name, 500) == tidy


@pytest.mark.parametrize(("said", "result"), [(False, "parked"), (True, "posted")])
async def test_the_item_of_a_prepayment_is_what_a_person_says_and_not_what_was_found(
    world: World, said: bool, result: str
) -> None:
    """An item of that name is one of income, which the product's usage goes to."""
    add_item(world.books, "77", "Prepaid commit", START)
    world.policy = Policy(missing_item="create", income_account_id="1")
    need = ItemReference(name="Prepaid commit", product_id="p-9")
    assert (await world.run(EnsureItem(realm=REALM, item=need))).qbo_id == "77"
    if said:
        await world.run(SetItemMapping(realm=REALM, product_id="p-9", qbo_id="77"))
    line = a_line(item=need.replace(is_prepayment=True))
    assert (await world.run(a_post(lines=(line,)))).result == result
