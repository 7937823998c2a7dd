"""Nothing is billed twice: a consolidated or regenerated invoice waits while what it stands for is in the books."""

from decimal import Decimal

import pytest

from agents.post.post import claims
from models.document import Line
from simulators.quickbooks.books import Company
from tests.agents.in_process import REALM, World, a_line, a_post, a_void, fault, refusal

OTHER = "86824bf6-56e7-5185-8ce7-f972748ac9e9"


@pytest.mark.parametrize("relation", [{"constituents": ("unknown", OTHER)}, {"replaces": OTHER}])
async def test_it_is_parked_with_both_ids_while_the_other_stands_and_posted_when_that_is_voided(
    relation: dict[str, object],
) -> None:
    world, invoice = World(), a_post(**relation)
    await world.run(a_post(invoice_id=OTHER))
    outcome = await world.run(invoice)
    assert (outcome.result, outcome.waits_for) == ("parked", f"invoice/{OTHER}")
    assert OTHER in str(outcome.reason)
    assert invoice.invoice_id in str(outcome.reason)
    assert "MTR-86824BF6" in str(outcome.remedy)
    assert len(world.transport.writes()) == 1
    await world.run(a_void(OTHER))
    assert (await world.run(invoice)).result == "posted"


async def test_one_that_may_be_in_the_books_counts_as_standing_there() -> None:
    world = World(retry_seconds=1)
    world.faults.add(*(fault("drop", method=method) for method in ("POST", "GET") for _ in range(50)))
    assert (await world.run(a_post(invoice_id=OTHER))).result == "uncertain"
    assert (await world.run(a_post(replaces=OTHER))).waits_for == f"invoice/{OTHER}"


async def test_one_that_never_was_posted_is_no_hindrance() -> None:
    world = World()
    assert (await world.run(a_void(OTHER))).result == "skipped"
    assert (await world.run(a_post(replaces=OTHER, constituents=("unknown",)))).result == "posted"


def test_the_new_one_waits_for_commands_in_flight_about_the_old() -> None:
    assert (REALM, f"invoice/{OTHER}") in claims(a_void(OTHER)).establishes
    assert (REALM, f"invoice/{OTHER}") in claims(a_post(replaces=OTHER)).establishes
    assert (REALM, "invoice/child") in claims(a_post(constituents=("child",))).establishes
    assert len(claims(a_post()).establishes) == 1


async def test_a_document_on_which_quickbooks_put_tax_is_adopted_by_its_total_without_tax() -> None:
    world = World(company=Company(REALM, tax_mode="us-automated"))
    taxed: Line = a_line("100.00").replace(tax_code="TAX")
    world.faults.add(fault("drop", after_commit=True))
    outcome = await world.run(a_post(lines=(taxed,)))
    [document] = world.invoices()
    assert document["TotalAmt"] > Decimal("100.00")
    assert (outcome.result, outcome.adopted, len(world.transport.writes())) == ("posted", True, 1)


# Constituents that come after their consolidated invoice

PARENT = "0f5c3f1e-7b11-4a5a-9c3b-d23458e0c9a0"


async def test_a_constituent_that_comes_after_its_consolidated_invoice_is_not_billed_again() -> None:
    world = World()
    await world.run(a_post(invoice_id=PARENT, constituents=(OTHER, "unknown")))
    outcome = await world.run(a_post(invoice_id=OTHER))
    assert (outcome.result, outcome.rule, len(world.live())) == ("skipped", "billed on the consolidated invoice", 1)
    assert PARENT in str(outcome.reason)
    assert "MTR-0F5C3F1E" in str(outcome.reason)
    assert (await world.run(a_post(invoice_id=OTHER))).result == "skipped"


async def test_it_is_remembered_with_the_attempt_of_the_consolidated_one() -> None:
    world = World()
    await world.dies(a_post(invoice_id=PARENT, constituents=(OTHER,)), "after the write")
    assert (await world.run(a_post(invoice_id=OTHER))).result == "skipped"
    assert len(world.live()) == 1


async def test_a_constituent_whose_consolidated_invoice_does_not_stand_is_billed() -> None:
    world = World()
    await world.run(a_post(invoice_id=PARENT, constituents=(OTHER,)))
    await world.run(a_void(PARENT))
    assert (await world.run(a_post(invoice_id=OTHER))).result == "posted"
    refused = World()
    refused.faults.add(refusal("6000"))
    assert (await refused.run(a_post(invoice_id=PARENT, constituents=(OTHER,)))).result == "refused"
    assert (await refused.run(a_post(invoice_id=OTHER))).result == "posted"


async def test_a_constituent_that_stands_itself_is_updated() -> None:
    """Its consolidated invoice waits until it does not."""
    world = World()
    await world.run(a_post("10.00", invoice_id=OTHER))
    assert (await world.run(a_post(invoice_id=PARENT, constituents=(OTHER,)))).result == "parked"
    assert (await world.run(a_post("12.00", invoice_id=OTHER))).result == "updated"
