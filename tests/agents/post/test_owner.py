"""Whose a QuickBooks customer is, is known without reading every row of a large table."""

from typing import Any

from models.ledger import CustomerMapping
from models.record import Address
from tests.agents.in_process import REALM, World, an_ensure_customer

AT = Address(topic="quickbooks.commands", partition=0, offset=0)
ROWS = 20_000


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
    decoded: list[str] = []
    read = type(customers).__getitem__

    class Counted(type(customers)):  # type: ignore[misc]
        def __getitem__(self, key: str) -> Any:
            decoded.append(key)
            return read(self, key)

    customers.__class__ = Counted
    outcome = await world.run(an_ensure_customer("Acme GmbH"))
    assert (outcome.result, "c-7" in str(outcome.reason)) == ("parked", True)
    assert len(decoded) < 10
