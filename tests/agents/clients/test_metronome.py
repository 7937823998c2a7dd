"""The client of Metronome against its simulator: paths, bodies, and failures named for what to do."""

from urllib.parse import quote

import pytest

from agents.clients.failures import Failure, NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from simulators import http
from simulators.faults import Fault
from tests.agents.enriching import TOKEN, MetronomeWorld
from tests.builders import CUSTOMER_ID, INVOICE_ID

CONTRACT_ID = "e91a1e81-6f2f-5d84-a5f0-7be08b339c95"


async def test_an_invoice_is_fetched_by_both_ids_with_the_token() -> None:
    world = MetronomeWorld()
    assert (await world.client.invoice(CUSTOMER_ID, INVOICE_ID)).startswith('{"data":')
    [call] = world.transport.calls
    assert (call.method, call.path) == ("GET", f"/v1/customers/{CUSTOMER_ID}/invoices/{INVOICE_ID}")
    assert (call.headers["authorization"], call.headers["accept"]) == (f"Bearer {TOKEN}", "application/json")


async def test_ids_cannot_leave_their_place_in_the_path() -> None:
    world = MetronomeWorld()
    with pytest.raises(NotFound):
        await world.client.invoice("../x", "a/b?c=d")
    assert world.transport.calls[0].path == f"/v1/customers/{quote('../x', safe='')}/invoices/a%2Fb%3Fc%3Dd"


async def test_customer_and_contract_are_read() -> None:
    world = MetronomeWorld()
    customer = await world.client.customer(CUSTOMER_ID)
    contract = await world.client.contract(CUSTOMER_ID, CONTRACT_ID)
    assert (customer.name, customer.custom_fields, contract.id) == ("Acme GmbH", {"qbo_customer_id": "58"}, CONTRACT_ID)


async def test_a_custom_field_is_set_and_setting_it_again_changes_nothing() -> None:
    world = MetronomeWorld()
    for _ in range(2):
        await world.client.set_custom_field("customer", CUSTOMER_ID, "qbo_customer_id", "77")
    assert (await world.client.customer(CUSTOMER_ID)).custom_fields == {"qbo_customer_id": "77"}


async def test_a_custom_field_whose_key_is_unknown_is_refused_in_metronomes_words() -> None:
    with pytest.raises(Refused, match="400: Invalid custom field keys"):
        await MetronomeWorld().client.set_custom_field("customer", CUSTOMER_ID, "no_such_key", "77")


async def test_a_wrong_token_is_refused_and_not_shown() -> None:
    with pytest.raises(TokenRefused, match=r"check metronome\.token") as raised:
        await MetronomeWorld(token="wrong-s3cret").client.customer(CUSTOMER_ID)
    assert "wrong-s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault("status", status=429, headers={"X-Metronome-Rate-Limit-Type": "customer"}), Wait),
        (Fault("status", status=400, body='{"message": "malformed"}'), Refused),
        (Fault("status", status=409, body='{"message": "conflict"}'), Refused),
        (Fault("status", status=403), TokenRefused),
        (Fault("status", status=404), NotFound),
        (Fault("status", status=408), OutcomeUnknown),
        (Fault("status", status=500), OutcomeUnknown),
        (Fault("html", status=503), OutcomeUnknown),
        (Fault("drop"), Wait),
        (Fault("status", status=200, body='["no data"]'), OutcomeUnknown),
        (Fault("status", status=200, body='{"data": null}'), OutcomeUnknown),
        (Fault("status", status=200, body='{"data": []}'), OutcomeUnknown),
        (Fault("status", status=200, body='{"data": 1e99999999999999999999}'), OutcomeUnknown),
    ],
    ids=lambda value: f"{value.status}-{value.kind}" if isinstance(value, Fault) else "",
)
async def test_each_answer_is_named_for_what_to_do(fault: Fault, failure: type[Failure]) -> None:
    world = MetronomeWorld()
    world.faults.add(fault)
    with pytest.raises(failure):
        await world.client.customer(CUSTOMER_ID)


async def test_an_answer_that_is_not_text_is_doubtful() -> None:
    world = MetronomeWorld()
    world.transport.core = lambda request: http.Answer(200, b"\xff\xfe")
    with pytest.raises(OutcomeUnknown, match="UTF-8"):
        await world.client.invoice(CUSTOMER_ID, INVOICE_ID)


async def test_nobody_listening_is_a_wait() -> None:
    world = MetronomeWorld()
    world.transport.refuse_connections = 1
    with pytest.raises(Wait, match="cannot be reached"):
        await world.client.customer(CUSTOMER_ID)
