"""Names, owners and currencies of QuickBooks customers and items: what each policy makes of a name that is there."""

from typing import Any

import pytest

from models.commands import SetCustomerMapping
from models.document import CustomerReference, ItemReference
from models.ledger import CustomerMapping
from models.policy import Policy
from models.quickbooks import tidy_name, with_suffix
from simulators.quickbooks.books import add_customer, add_item
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import (
    CUSTOMER_ID,
    FACTS,
    REALM,
    START,
    CrashAt,
    World,
    a_line,
    a_post,
    an_ensure_customer,
    an_ensure_item,
    fault,
)

SUFFIX = Policy(name_clash="suffix")
PER_CURRENCY = Policy(customer_currency="per-currency")
VENDOR = "Books by Bessie"
OURS = f"Metronome customer {CUSTOMER_ID}"
CRASHES = ["before the write", "after the write", "before the outcome"]


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


def customers(world: World, name: str) -> list[Any]:
    return [each for each in world.books.objects["Customer"].values() if each["DisplayName"].startswith(name)]


def make_inactive(world: World, kind: str, qbo_id: str) -> None:
    name = {"Customer": "DisplayName", "Item": "Name"}[kind]
    former = world.books.objects[kind][qbo_id]
    changes = {"Active": False, name: former[name] + " (deleted)", "SyncToken": "1"}
    world.books.put_entry(kind, {**former, **changes}, former)


def a_need(currency: str, *, qbo_id: str | None = None) -> CustomerReference:
    return CustomerReference(customer_id=CUSTOMER_ID, name="Acme GmbH", qbo_id=qbo_id, currency=currency)


# Whose a customer is


async def test_a_created_customer_says_in_its_notes_whose_it_is(world: World) -> None:
    await world.run(an_ensure_customer("New Ltd"))
    [customer] = customers(world, "New Ltd")
    assert customer["Notes"] == OURS


async def test_a_customer_whose_notes_name_another_metronome_customer_is_not_taken(world: World) -> None:
    add_customer(world.books, "90", "New Ltd", START, extra={"Notes": "VIP\nMetronome customer c-other"})
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}")
    assert "c-other" in (outcome.reason or "")
    assert CUSTOMER_ID in (outcome.reason or "")
    assert world.transport.writes() == []


async def test_a_customer_that_is_mapped_to_another_is_not_taken_even_with_a_suffix_at_hand(world: World) -> None:
    world.policy = SUFFIX
    await world.run(an_ensure_customer("Acme GmbH", "c-first"))
    outcome = await world.run(an_ensure_customer("acme gmbh", "c-second"))
    assert outcome.result == "parked"
    assert "c-first" in (outcome.reason or "")
    assert "c-second" in (outcome.reason or "")


async def test_an_inactive_customer_of_another_leaves_its_name_free(world: World) -> None:
    add_customer(world.books, "90", "New Ltd", START, extra={"Notes": "Metronome customer c-other"})
    make_inactive(world, "Customer", "90")
    assert (await world.run(an_ensure_customer("New Ltd"))).result == "created"


# Matching by name


async def test_exact_matching_takes_none_of_several_customers_of_one_name(world: World) -> None:
    """Sub-customers of two companies can have one name."""
    for number, parent in (("90", "1"), ("91", "2")):
        add_customer(world.books, number, "Branch", START, extra={"ParentRef": {"value": parent}, "Job": True})
    outcome = await world.run(an_ensure_customer("Branch"))
    assert outcome.result == "parked"
    assert "90 'Branch', 91 'Branch'" in (outcome.reason or "")


async def test_ask_parks_with_the_candidates_until_a_person_says_which(world: World) -> None:
    world.policy = Policy(customer_matching="ask")
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, world.transport.writes()) == ("parked", [])
    assert "58 'Acme GmbH'" in (outcome.reason or "")
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="58"))
    assert (await world.run(an_ensure_customer("Acme GmbH"))).qbo_id == "58"


async def test_ask_creates_a_customer_of_a_name_that_nobody_has_and_knows_it_again(world: World) -> None:
    world.policy = Policy(customer_matching="ask")
    world.faults.add(fault("drop", after_commit=True))
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert (outcome.result, len(customers(world, "New Ltd"))) == ("found", 1)


async def test_without_matching_a_customer_of_that_name_is_a_clash(world: World) -> None:
    world.policy = Policy(customer_matching="off")
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, world.transport.writes()) == ("parked", [])
    assert "belongs to QuickBooks customer 58 'Acme GmbH'" in (outcome.reason or "")


async def test_without_matching_and_with_a_suffix_a_new_customer_is_made_beside_it(world: World) -> None:
    world.policy = SUFFIX.model_copy(update={"customer_matching": "off"})
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, outcome.name) == ("created", "Acme GmbH (Metronome)")
    assert len(world.transport.writes()) == 1


@pytest.mark.parametrize("crash_at", CRASHES)
async def test_without_matching_a_creation_that_was_killed_is_known_by_its_notes(
    world: World, crash_at: CrashAt
) -> None:
    world.policy = Policy(customer_matching="off")
    offset = await world.dies(an_ensure_customer("New Ltd"), crash_at)
    outcome = await world.run(an_ensure_customer("New Ltd"), offset=offset)
    assert [each["Id"] for each in customers(world, "New Ltd")] == [outcome.qbo_id]


# A name that is taken


async def test_a_vendors_name_gets_the_suffix(world: World) -> None:
    world.policy = SUFFIX
    outcome = await world.run(an_ensure_customer(VENDOR))
    assert (outcome.result, outcome.name) == ("created", f"{VENDOR} (Metronome)")


@pytest.mark.parametrize("crash_at", CRASHES)
async def test_a_suffixed_customer_is_made_once_also_when_the_vendor_was_renamed_meanwhile(
    world: World, crash_at: CrashAt
) -> None:
    world.policy = SUFFIX
    offset = await world.dies(an_ensure_customer(VENDOR), crash_at)
    if customers(world, VENDOR):
        vendor = world.books.objects["Vendor"]["30"]
        world.books.put_entry("Vendor", {**vendor, "DisplayName": "Bessie's Books"}, vendor)
    outcome = await world.run(an_ensure_customer(VENDOR), offset=offset)
    assert [(each["Id"], each["DisplayName"]) for each in customers(world, VENDOR)] == [(outcome.qbo_id, outcome.name)]


async def test_a_suffix_that_is_taken_too_parks(world: World) -> None:
    world.policy = SUFFIX
    vendor = world.books.objects["Vendor"]["30"]
    world.books.put_entry("Vendor", {**vendor, "Id": "31", "DisplayName": f"{VENDOR} (Metronome)"})
    outcome = await world.run(an_ensure_customer(VENDOR))
    assert (outcome.result, customers(world, VENDOR)) == ("parked", [])
    assert "(Metronome)' belongs to another list entry" in (outcome.reason or "")


# Inactive


async def test_an_inactive_customer_is_made_active_again_under_its_own_name(world: World) -> None:
    world.policy = Policy(inactive="reactivate")
    make_inactive(world, "Customer", "58")
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, outcome.qbo_id, outcome.name) == ("found", "58", "Acme GmbH")
    assert world.books.objects["Customer"]["58"]["Active"] is True
    assert len(world.transport.writes()) == 1


@pytest.mark.parametrize("ending", ["the answer is lost", "after the write", "before the outcome"])
async def test_a_reactivation_that_was_not_heard_of_is_seen_when_it_is_looked_for(world: World, ending: Any) -> None:
    world.policy = Policy(inactive="reactivate")
    make_inactive(world, "Customer", "58")
    offset = None
    if ending == "the answer is lost":
        world.faults.add(fault("drop", after_commit=True))
    else:
        offset = await world.dies(an_ensure_customer("Acme GmbH"), ending)
    outcome = await world.run(an_ensure_customer("Acme GmbH"), offset=offset)
    assert (outcome.result, outcome.qbo_id) == ("found", "58")
    assert world.books.objects["Customer"]["58"]["SyncToken"] == "2"


async def test_an_inactive_customer_whose_name_a_vendor_took_stays_so_and_says_why(world: World) -> None:
    world.policy = Policy(inactive="reactivate", name_clash="suffix")
    add_customer(world.books, "90", VENDOR, START, extra={"DisplayName": f"{VENDOR} (deleted)", "Active": False})
    outcome = await world.run(an_ensure_customer(VENDOR))
    assert outcome.result == "parked"
    assert "another list entry has its name now" in (outcome.reason or "")
    assert len(customers(world, VENDOR)) == 1


async def test_an_inactive_item_is_made_active_by_policy(world: World) -> None:
    world.policy = Policy(missing_item="create", income_account_id="1", inactive="reactivate")
    make_inactive(world, "Item", "31")
    outcome = await world.run(an_ensure_item("API Calls", "p-1"))
    assert (outcome.result, outcome.qbo_id) == ("found", "31")
    assert world.books.objects["Item"]["31"]["Active"] is True


# Items


async def test_an_item_is_never_a_category(world: World) -> None:
    """A line cannot name one."""
    add_item(world.books, "40", "Storage", START)
    category = world.books.objects["Item"]["40"]
    world.books.put_entry("Item", {**category, "Type": "Category"}, category)
    world.policy = Policy(missing_item="create", income_account_id="1")
    outcome = await world.run(an_ensure_item("Storage", "p-storage"))
    assert outcome.result == "parked"
    assert "category" in (outcome.reason or "")
    world.policy = world.policy.model_copy(update={"name_clash": "suffix"})
    outcome = await world.run(an_ensure_item("Storage", "p-storage"))
    assert (outcome.result, outcome.name) == ("created", "Storage (Metronome)")


async def test_none_of_several_items_of_one_name_is_taken(world: World) -> None:
    world.policy = Policy(missing_item="create", income_account_id="1")
    for number, place in (("40", "EU:Storage"), ("41", "US:Storage")):
        add_item(world.books, number, "Storage", START)
        item = world.books.objects["Item"][number]
        world.books.put_entry("Item", {**item, "FullyQualifiedName": place}, item)
    outcome = await world.run(an_ensure_item("Storage", "p-storage"))
    assert outcome.result == "parked"
    assert "40 'EU:Storage', 41 'US:Storage'" in (outcome.reason or "")


# Currencies


async def test_a_further_currency_gets_a_customer_of_its_own(world: World) -> None:
    world.policy = PER_CURRENCY
    first = await world.run(an_ensure_customer("Acme GmbH"))
    second = await world.run(an_ensure_customer("Acme GmbH", currency="EUR"))
    assert (first.result, first.qbo_id, second.result, second.name) == ("found", "58", "mapped", "Acme GmbH (EUR)")
    [euro] = customers(world, "Acme GmbH (EUR)")
    assert (euro["CurrencyRef"]["value"], euro["Notes"]) == ("EUR", OURS)
    for currency, expected in (("USD", "58"), ("EUR", second.qbo_id)):
        number = f"d23458e0-c9a0-5538-9c3b-0a5a3f1e7{currency.lower()}"
        posted = await world.run(a_post(invoice_id=number, currency=currency, customer=a_need(currency)))
        assert posted.result == "posted", posted.reason
        assert world.invoices()[-1]["CustomerRef"]["value"] == expected
    calls = len(world.transport.calls)
    await world.run(an_ensure_customer("Acme GmbH", currency="EUR"))
    assert len(world.transport.calls) == calls


@pytest.mark.parametrize("crash_at", CRASHES)
async def test_the_customer_of_a_further_currency_is_made_once(world: World, crash_at: CrashAt) -> None:
    world.policy = PER_CURRENCY
    offset = await world.dies(an_ensure_customer("Acme GmbH", currency="EUR"), crash_at)
    outcome = await world.run(an_ensure_customer("Acme GmbH", currency="EUR"), offset=offset)
    assert [each["Id"] for each in customers(world, "Acme GmbH (EUR)")] == [outcome.qbo_id]


async def test_a_custom_fields_customer_of_another_currency_has_its_currency_asked_for_once(world: World) -> None:
    world.policy = PER_CURRENCY
    ensure = an_ensure_customer("Acme GmbH", currency="EUR").replace(customer=a_need("EUR", qbo_id="58"))
    outcome = await world.run(ensure)
    assert (outcome.result, outcome.name) == ("mapped", "Acme GmbH (EUR)")
    posted = await world.run(a_post(currency="EUR", customer=a_need("EUR", qbo_id="58")))
    assert (posted.result, world.invoices()[0]["CustomerRef"]["value"]) == ("posted", outcome.qbo_id)
    row = world.worker.tables.customers[f"{REALM}/{CUSTOMER_ID}"]
    assert isinstance(row, CustomerMapping)
    assert (row.qbo_id, row.currency, row.source) == ("58", "USD", "custom field")


async def test_what_a_person_says_while_a_document_is_written_stays(world: World) -> None:
    """The document was made out to the custom field's customer before."""

    core = world.transport.core

    def says(request: Any) -> Any:
        if request.path.endswith("/invoice") and request.method == "POST":
            said = CustomerMapping(
                realm=REALM, customer_id=CUSTOMER_ID, qbo_id="77", name="", source="operator", since=FACTS
            )
            world.worker.tables.customers[f"{REALM}/{CUSTOMER_ID}"] = said
        return core(request)

    world.transport.core = says
    outcome = await world.run(a_post(customer=a_need("USD", qbo_id="58")))
    assert outcome.result == "posted"
    row = world.worker.tables.customers[f"{REALM}/{CUSTOMER_ID}"]
    assert isinstance(row, CustomerMapping)
    assert (row.qbo_id, row.source) == ("77", "operator")


@pytest.mark.parametrize(("again", "stands"), [(3, "92"), (9, "91")])
async def test_what_a_person_said_before_does_not_go_over_what_they_said_later(
    world: World, again: int, stands: str
) -> None:
    """A command that is read again after a crash lies where it lay; said again it is the newest."""
    first, second = (SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id=each) for each in ("91", "92"))
    await world.run(first, offset=3)
    await world.run(second, offset=4)
    assert (await world.run(first, offset=again)).result == "mapped"
    row = world.worker.tables.customers[f"{REALM}/{CUSTOMER_ID}"]
    assert isinstance(row, CustomerMapping)
    assert row.qbo_id == stands


async def test_an_operators_customer_has_its_currency_asked_for_where_it_matters(world: World) -> None:
    await world.run(SetCustomerMapping(realm=REALM, customer_id=CUSTOMER_ID, qbo_id="58"))
    world.policy = PER_CURRENCY
    assert (await world.run(an_ensure_customer("Acme GmbH", currency="EUR"))).name == "Acme GmbH (EUR)"


async def test_a_known_currency_stops_the_invoice_before_quickbooks_does(world: World) -> None:
    await world.run(an_ensure_customer("Acme GmbH"))
    calls = len(world.transport.calls)
    for command in (
        an_ensure_customer("Acme GmbH", currency="EUR"),
        a_post(currency="EUR", customer=a_need("EUR")),
    ):
        outcome = await world.run(command)
        assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}/EUR")
        assert "kept in USD, the invoice is in EUR" in (outcome.reason or "")
    assert len(world.transport.calls) == calls


async def test_an_operator_maps_one_currency_of_a_customer_and_what_waited_goes_on(world: World) -> None:
    add_customer(world.books, "91", "Acme Europe", START, currency="EUR")
    await world.run(an_ensure_customer("Acme GmbH"))
    post = a_post(currency="EUR", customer=a_need("EUR"))
    await world.run(post)
    await world.run(SetCustomerMapping(realm=REALM, customer_id=f"{CUSTOMER_ID}/EUR", qbo_id="91"))
    assert post in world.resumed
    assert (await world.run(post)).result == "posted"
    assert world.invoices()[0]["CustomerRef"]["value"] == "91"


async def test_a_custom_field_that_was_changed_goes_before_the_row_that_the_old_one_left(world: World) -> None:
    await world.run(a_post())
    add_customer(world.books, "77", "The Right One", START)
    customer = CustomerReference(customer_id=CUSTOMER_ID, name="Acme GmbH", qbo_id="77", currency="USD")
    await world.run(a_post(customer=customer))
    assert world.invoices()[0]["CustomerRef"]["value"] == "77"


# Names


def test_a_name_is_cut_between_characters_as_quickbooks_counts_them() -> None:
    """An emoji counts twice."""
    assert tidy_name("x" + "😀" * 60, 100) == "x" + "😀" * 49


def test_a_suffix_always_fits() -> None:
    name = with_suffix("y" * 100, " (Metronome)", 100)
    assert (len(name), name[-13:]) == (100, "y (Metronome)")
    assert with_suffix("a", " (x:y)", 100) == "a (x y)"


async def test_a_name_of_nothing_that_quickbooks_takes_parks(world: World) -> None:
    outcome = await world.run(an_ensure_customer(":\t "))
    assert (outcome.result, outcome.waits_for) == ("parked", f"customer/{CUSTOMER_ID}")
    assert "no name" in (outcome.reason or "")


async def test_an_item_name_is_cut_to_a_hundred(world: World) -> None:
    world.policy = Policy(missing_item="create", income_account_id="1")
    outcome = await world.run(an_ensure_item("z" * 300, "p-long"))
    assert (outcome.result, outcome.name) == ("created", "z" * 100)
    line = a_line("10.00", item=ItemReference(name="z" * 300, product_id="p-long"))
    assert (await world.run(a_post(lines=(line,)))).result == "posted"
