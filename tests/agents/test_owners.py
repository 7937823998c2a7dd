"""Whose an invoice is: the first company that the routing named, whatever it names later."""

from typing import Any

import orjson
import pytest

from agents.delivery import Forwarded, InvalidRecord
from agents.enrich import FORWARDED_FROM_HEADER, RECEIVED_AT_HEADER, Owners, Routes, read_webhook
from models.events import InvoiceHandedOver
from models.ledger import Owner
from models.subject import RowKey
from tests.agents.enriching import KAFKA_TIME, MetronomeWorld, a_webhook
from tests.builders import CUSTOMER_ID, EUROS, INVOICE_ID, an_invoice, json_of

A, B = Routes("qbo_realm_id", {}, "A"), Routes("qbo_realm_id", {}, "B")
KEY = RowKey.of(CUSTOMER_ID, INVOICE_ID)
OTHER_ID = "0d1c7c45-1111-5d84-a5f0-7be08b339c95"


class Moving(MetronomeWorld):
    """One installation whose routing changes."""

    def routed(self, routes: Routes) -> "Moving":
        self.enricher = self.enricher.__class__(**{**vars(self.enricher), "routes": routes})
        return self


async def test_an_invoice_keeps_the_company_that_the_routing_named_first() -> None:
    world = Moving(routes=A)
    first = await world.facts()
    again = await world.routed(B).facts()
    assert (first.realm, first.routed_to, first.home) == ("A", None, "A")
    assert (again.realm, again.routed_to, again.home) == ("A", "B", "A")


@pytest.mark.parametrize("routes", [B, Routes("qbo_realm_id", {"USD": "B"}, "A")], ids=["default", "currency"])
async def test_every_kind_of_routing_may_change(routes: Routes) -> None:
    world = Moving(routes=A)
    await world.facts()
    assert (await world.routed(routes).facts()).routed_to == "B"


async def test_a_customer_of_another_company_by_now_is_routed_there() -> None:
    world = Moving(routes=A)
    await world.facts()
    world.core.store.set_values("customer", CUSTOMER_ID, {"qbo_realm_id": "9341450000000002"})
    facts = await world.facts()
    assert (facts.realm, facts.routed_to) == ("A", "9341450000000002")


async def test_a_void_goes_where_the_document_may_be() -> None:
    world = Moving(routes=A)
    await world.facts()
    world.core.invoices[INVOICE_ID]["status"] = "VOID"
    facts = await world.routed(B).facts()
    assert (facts.realm, facts.routed_to) == ("A", None)


async def test_a_regenerated_invoice_goes_where_the_one_is_that_it_replaces() -> None:
    world = Moving(routes=A)
    await world.facts()
    world.core.add_invoice(json_of(an_invoice(id=OTHER_ID, regenerated_from_invoice_id=INVOICE_ID)))
    for _ in range(2):
        facts = await world.routed(B).facts(a_webhook(OTHER_ID))
        assert (facts.realm, facts.routed_to) == ("A", None)


async def test_a_new_invoice_goes_where_the_routing_says_and_away_from_the_customers_first_company() -> None:
    world = Moving(routes=A)
    await world.facts()
    world.core.add_invoice(json_of(an_invoice(id=OTHER_ID)))
    facts = await world.routed(B).facts(a_webhook(OTHER_ID))
    assert (facts.realm, facts.routed_to, facts.home) == ("B", None, "A")


async def test_a_routing_that_names_no_company_any_more_changes_nothing_for_an_invoice_that_has_one() -> None:
    world = Moving(routes=A)
    await world.facts()
    assert (await world.routed(Routes("qbo_realm_id", {}, None)).facts()).routed_to is None
    world.core.add_invoice(json_of(an_invoice(id=OTHER_ID)))
    with pytest.raises(InvalidRecord, match=r"routing\.default_realm"):
        await world.facts(a_webhook(OTHER_ID))


async def test_a_customer_who_leaves_quickbooks_keeps_the_invoices_that_a_company_has() -> None:
    world = Moving(routes=A)
    await world.facts()
    world.core.store.set_values("customer", CUSTOMER_ID, {"qbo_realm_id": "none"})
    facts = await world.facts()
    assert (facts.realm, facts.routed_to) == ("A", None)


async def test_a_hand_over_is_learned_once_and_an_older_one_is_not() -> None:
    world = Moving(routes=A)
    await world.facts()
    for realm, epoch in (("B", 1), ("C", 2), ("B", 1)):
        handed = InvoiceHandedOver(realm=realm, invoice_id=INVOICE_ID, customer_id=CUSTOMER_ID, owner_epoch=epoch)
        assert await world.enriched(handed.encode()) == []
    assert world.owners.rows[KEY] == Owner(realm="C", customer_id=CUSTOMER_ID, invoice_id=INVOICE_ID, owner_epoch=2)
    facts = await world.facts()
    assert (facts.realm, facts.owner_epoch, facts.routed_to) == ("C", 2, "A")


async def test_a_webhook_of_another_producers_partition_is_forwarded_as_it_is() -> None:
    """All of a customer lie in one partition, or two workers would choose for one invoice."""
    world = MetronomeWorld()
    world.owners = Owners({}, lambda customer_id: 5)
    raw = orjson.dumps({**orjson.loads(a_webhook()), "more": "of Metronome's"})
    [forwarded] = await world.enriched(raw, {"trace": b"1"})
    assert forwarded == Forwarded(
        CUSTOMER_ID.encode(),
        raw,
        {
            RECEIVED_AT_HEADER: KAFKA_TIME.isoformat().encode(),
            "trace": b"1",
            FORWARDED_FROM_HEADER: b"metronome.webhooks[2]@7",
        },
    )
    assert world.transport.calls == []


def test_our_own_notice_is_no_webhook_of_metronomes() -> None:
    fields: dict[str, Any] = {"realm": "B", "invoice_id": INVOICE_ID, "customer_id": CUSTOMER_ID, "owner_epoch": 1}
    assert read_webhook(InvoiceHandedOver(**fields).encode()) == InvoiceHandedOver(**fields)
    with pytest.raises(InvalidRecord, match="owner_epoch"):
        read_webhook(b'{"type": "InvoiceHandedOver", "realm": "B", "invoice_id": "i", "customer_id": "c"}')


async def test_currencies_of_one_customer_may_have_companies_of_their_own() -> None:
    world = Moving(routes=Routes("qbo_realm_id", {"EUR": "E"}, "A"))
    await world.facts()
    world.core.add_invoice(json_of(an_invoice(id=OTHER_ID, credit_type=EUROS)))
    facts = await world.facts(a_webhook(OTHER_ID))
    assert (facts.realm, facts.home) == ("E", "A")
