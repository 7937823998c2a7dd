"""What the facts hold of account hierarchies: who pays, and where the contract stands."""

from typing import Any

import pytest

from agents.delivery import InvalidRecord
from models.events import ContractHierarchy
from tests.agents.enriching import MetronomeWorld
from tests.builders import CUSTOMER_ID, an_invoice, json_of

CONTRACT_ID = "e91a1e81-6f2f-5d84-a5f0-7be08b339c95"
PARENT_ID = "33fb6be1-abb3-52e1-a55c-75d6355236c8"

AS_CHILD = {
    "parent": {"contract_id": "k", "customer_id": PARENT_ID},
    "payer": "PARENT",
    "usage_statement_behavior": "CONSOLIDATE",
}
AS_PARENT = {
    "children": [{"contract_id": "k", "customer_id": CUSTOMER_ID}],
    "parent_behavior": {"invoice_consolidation_type": "CONCATENATE"},
}


@pytest.mark.parametrize(
    ("configuration", "known"),
    [
        (None, None),
        (
            AS_CHILD,
            ContractHierarchy(parent_customer_id=PARENT_ID, payer="PARENT", usage_statement_behavior="CONSOLIDATE"),
        ),
        (AS_PARENT, ContractHierarchy(invoice_consolidation_type="CONCATENATE")),
        ({"children": []}, ContractHierarchy()),
    ],
)
async def test_the_contracts_hierarchy_is_among_the_facts(
    configuration: dict[str, Any] | None, known: ContractHierarchy | None
) -> None:
    world = MetronomeWorld()
    world.core.store.find("contract", CONTRACT_ID)["hierarchy_configuration"] = configuration
    assert (await world.facts()).hierarchy == known


async def test_the_payers_name_and_custom_fields_are_among_the_facts() -> None:
    world = MetronomeWorld(payer={"customer_id": PARENT_ID, "contract_id": "k"})
    own = an_invoice(id="parents-own", customer_id=PARENT_ID, customer_custom_fields={"qbo_customer_id": "60"})
    world.core.add_invoice(json_of(own))
    world.core.store.find("customer", PARENT_ID)["name"] = "Acme Holding"
    facts = await world.facts()
    assert (facts.payer_name, facts.payer_custom_fields) == ("Acme Holding", {"qbo_customer_id": "60"})
    assert facts.customer_name == "Acme GmbH"


async def test_a_customer_who_pays_for_itself_is_asked_for_once() -> None:
    world = MetronomeWorld(payer={"customer_id": CUSTOMER_ID, "contract_id": CONTRACT_ID})
    facts = await world.facts()
    assert (facts.payer_name, facts.payer_custom_fields) == (None, None)
    assert len(world.transport.calls) == 3


async def test_a_payer_that_metronome_does_not_know_makes_a_dead_letter() -> None:
    with pytest.raises(InvalidRecord, match="does not know"):
        await MetronomeWorld(payer={"customer_id": PARENT_ID, "contract_id": "k"}).facts()


async def test_a_consolidated_invoice_knows_the_names_of_those_whose_it_repeats() -> None:
    """One that Metronome has no more costs its name, not the invoice."""
    constituents = [
        {"invoice_id": f"i-{number}", "customer_id": customer_id}
        for number, customer_id in enumerate((PARENT_ID, CUSTOMER_ID, "00000000-0000-4000-8000-000000000000"))
    ]
    world = MetronomeWorld(type="USAGE_CONSOLIDATED", constituent_invoices=constituents)
    own = an_invoice(id="childs-own", customer_id=PARENT_ID, customer_custom_fields={})
    world.core.add_invoice(json_of(own))
    world.core.store.find("customer", PARENT_ID)["name"] = "Child GmbH"
    assert (await world.facts()).constituent_names == {PARENT_ID: "Child GmbH"}
