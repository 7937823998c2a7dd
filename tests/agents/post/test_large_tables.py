"""Large tables: whose a customer is, and who waits for something, is known without decoding every row."""

from typing import Any

from models.ledger import CustomerMapping, Waiting
from models.record import Address
from tests.agents.in_process import REALM, World, a_post, a_void, an_ensure_customer

AT = Address(topic="quickbooks.commands", partition=0, offset=0)
ROWS = 20_000
OTHER = "86824bf6-56e7-5185-8ce7-f972748ac9e9"


def counting(table: Any) -> list[str]:
    """The keys of the rows that are decoded from now on."""
    decoded: list[str] = []
    read = type(table).__getitem__

    class Counted(type(table)):  # type: ignore[misc]
        def __getitem__(self, key: str) -> Any:
            decoded.append(key)
            return read(self, key)

    table.__class__ = Counted
    return decoded


async def test_only_the_rows_of_that_customer_are_decoded() -> None:
    world = World()
    customers: Any = world.worker.tables.customers
    for number in range(ROWS):
        row = CustomerMapping(
            realm=REALM, customer_id=f"c-{number}", qbo_id=f"{number + 100}", name="x", source="created", since=AT
        )
        customers._rows[f"{REALM}/c-{number}"] = row
    taken = customers._rows[f"{REALM}/c-7"].replace(qbo_id="58")
    customers._rows[f"{REALM}/c-7"] = taken
    decoded = counting(customers)
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, "c-7" in str(outcome.reason)) == ("parked", True)
    assert len(decoded) < 10


async def test_what_a_void_lets_go_on_is_found_among_many_that_wait() -> None:
    world = World()
    waiting: Any = world.worker.tables_of("waiting")
    for number in range(ROWS):
        row = Waiting(
            realm=REALM,
            subject=f"invoice/i-{number}",
            waits_for="customer/c",
            command=AT,
            tried_at=world.clock.moment(),
        )
        waiting._rows[f"{REALM}/invoice/i-{number}"] = row
    await world.run(a_post(invoice_id=OTHER))
    regenerated = a_post(replaces=OTHER)
    assert (await world.run(regenerated)).result == "parked"
    decoded = counting(waiting)
    await world.run(a_void(OTHER))
    assert regenerated in world.resumed
    assert len(decoded) < 10
