"""Answers that are well formed and make no sense, or differ from what was sent: doubt, and never silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from agents.clients.failures import OutcomeUnknown
from agents.clients.quickbooks_errors import checked, listed
from models.commands import COMMANDS, PostInvoice
from models.document import Document
from models.policy import Policy
from simulators import http
from simulators.quickbooks.settings import QuickBooksSettings
from tests.agents.in_process import (
    INVOICE_ID,
    World,
    a_document,
    a_line,
    a_post,
    a_void,
    an_ensure_customer,
    an_ensure_item,
)

Json = dict[str, Any]
SALE: Json = {"Id": "1", "SyncToken": "0", "TotalAmt": 10, "CustomerRef": {"value": "58"}, "PrivateNote": "x"}
ENTRY: Json = {"Id": "58", "SyncToken": "0", "DisplayName": "Acme GmbH", "Active": True}


class Spoils:
    """Changes the object in the next answers to writes, after the work was done."""

    def __init__(self, world: World, change: Callable[[Json], Any], *, count: int = 1, method: str = "POST") -> None:
        self._core, self._change, self._count, self._method = world.transport.core, change, count, method
        world.transport.core = self

    def __call__(self, request: http.Request) -> http.Answer:
        answer = self._core(request)
        if request.method != self._method or self._count == 0 or answer.status != 200:
            return answer
        self._count -= 1
        body = json.loads(answer.body)
        [name] = [key for key in body if key != "time"]
        return http.Answer(200, json.dumps({**body, name: self._change(body[name])}).encode(), answer.headers)


@pytest.fixture(params=[86_400, 0], ids=["requestids remembered", "requestids forgotten"])
def world(request: pytest.FixtureRequest) -> World:
    return World(settings=QuickBooksSettings(limits=False, requestid_seconds=request.param))


@pytest.mark.parametrize(
    "wrong",
    [
        {"TotalAmt": "ten"},
        {"TotalAmt": None},
        {"TotalAmt": True},
        {"TotalAmt": []},
        {"Id": ""},
        {"Id": ["1"]},
        {"SyncToken": {}},
        {"DocNumber": ["MTR-1"]},
        {"PrivateNote": 7},
        {"PrivateNote": "Metronome invoice another"},
        {"CurrencyRef": "USD"},
        {"TxnTaxDetail": []},
        {"Line": "none"},
    ],
    ids=str,
)
async def test_an_odd_answer_to_a_create_is_doubt_and_the_document_is_found(world: World, wrong: Json) -> None:
    Spoils(world, lambda found: {**found, **wrong})
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, outcome.total, len(world.invoices())) == ("posted", True, 10, 1)


@pytest.mark.parametrize("wrong", ["text", [], None, 7], ids=str)
async def test_an_answer_that_holds_no_object_is_doubt(world: World, wrong: object) -> None:
    Spoils(world, lambda found: wrong)
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.adopted, len(world.invoices())) == ("posted", True, 1)


async def test_odd_answers_without_an_end_leave_it_uncertain(world: World) -> None:
    Spoils(world, lambda found: {**found, "TotalAmt": "ten"}, count=1)
    Spoils(world, lambda found: [], count=10_000, method="GET")
    assert (await world.run(a_post())).result == "uncertain"


async def test_an_answer_to_an_update_that_speaks_of_another_document_is_doubt(world: World) -> None:
    await world.run(a_post("10.00"))
    Spoils(world, lambda found: {**found, "Id": "99"})
    outcome = await world.run(a_post("12.00"))
    assert (outcome.result, outcome.qbo_id, outcome.total) == ("updated", "1", 12)


async def test_an_answer_to_a_void_that_has_a_total_still_is_doubt(world: World) -> None:
    await world.run(a_post("10.00"))
    Spoils(world, lambda found: {**found, "TotalAmt": 10})
    outcome = await world.run(a_void())
    assert (outcome.result, outcome.adopted, world.live()) == ("voided", True, [])


async def test_another_total_than_was_sent_is_told_and_written_again(world: World) -> None:
    """A discount of the company, say: the document stands, and does not say what Metronome says."""
    Spoils(world, lambda found: {**found, "TotalAmt": 9.5})
    outcome = await world.run(a_post("10.00"))
    assert (outcome.result, outcome.waits_for, outcome.qbo_id) == ("parked", "document/1", "1")
    assert outcome.reason == "the total of MTR-D23458E0 is 9.5 in QuickBooks, and 10.00 in Metronome"
    assert (world.entry(INVOICE_ID).state, world.entry(INVOICE_ID).attempt) == ("posted", None)
    again = await world.run(a_post("10.00"))
    assert (again.result, again.total, len(world.invoices())) == ("updated", Decimal(10), 1)


async def test_another_total_than_was_sent_by_an_update_is_told(world: World) -> None:
    await world.run(a_post("10.00"))
    Spoils(world, lambda found: {**found, "TotalAmt": 10})
    outcome = await world.run(a_post("12.00"))
    assert (outcome.result, outcome.waits_for, len(world.invoices())) == ("parked", "document/1", 1)


@pytest.mark.parametrize("wrong", [{"DisplayName": 7}, {"Active": "no"}, {"CurrencyRef": "USD"}, {"Id": None}], ids=str)
async def test_an_odd_answer_about_a_customer_is_doubt(world: World, wrong: Json) -> None:
    Spoils(world, lambda found: {**found, **wrong})
    outcome = await world.run(an_ensure_customer("New Ltd"))
    assert outcome.result in ("found", "created")
    assert len([each for each in world.books.objects["Customer"].values() if each["DisplayName"] == "New Ltd"]) == 1


def test_what_is_read_of_an_object_must_be_there_in_its_type() -> None:
    assert checked("Invoice", SALE) == SALE
    assert checked("Customer", ENTRY) == ENTRY
    assert checked("Item", {"Id": 31, "Name": "API Calls"})
    with pytest.raises(OutcomeUnknown, match="Invoice 1 whose TotalAmt is odd"):
        checked("Invoice", {**SALE, "TotalAmt": "ten"})
    with pytest.raises(OutcomeUnknown, match="no Invoice with an Id"):
        checked("Invoice", None)


def test_a_query_answers_with_a_list_or_not_at_all() -> None:
    assert listed("Invoice", {}) == []
    assert listed("Invoice", {"Invoice": [SALE]}) == [SALE]
    for odd in (SALE, [SALE, None], "none"):
        with pytest.raises(OutcomeUnknown):
            listed("Invoice", {"Invoice": odd})


# A document checks itself


def test_a_command_whose_lines_do_not_add_up_is_none() -> None:
    command = a_post("10.00").encode().replace(b'"total":"10.00"', b'"total":"11.00"')
    with pytest.raises(ValueError, match=r"total is 11\.00, the amounts of its lines add up to 10\.00"):
        COMMANDS.validate_json(command)


def test_a_document_that_no_look_up_would_find_is_none() -> None:
    with pytest.raises(ValueError, match="private_note does not begin with the line"):
        a_document(private_note="Metronome invoice another")


def test_a_command_about_another_invoice_than_its_document_is_none() -> None:
    with pytest.raises(ValueError, match="invoice_id another"):
        PostInvoice(realm="1", invoice_id="another", document=a_document())


def test_lines_are_added_without_rounding() -> None:
    many = tuple(a_line("0.01") for _ in range(1000))
    assert isinstance(a_document(lines=many, total=Decimal("10.00")), Document)


@pytest.mark.parametrize("field", ["Id", "SyncToken", "DocNumber", "TotalAmt"])
def test_a_number_that_takes_minutes_to_write_out_is_odd(field: str) -> None:
    with pytest.raises(OutcomeUnknown, match=f"{field}.* is odd"):
        checked("Invoice", {**SALE, field: Decimal("1E+5000000")})


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_ids_that_are_numbers_are_the_same_ids(world: World, method: str) -> None:
    """Of a customer, an item and a document, and of what a document refers to."""

    def with_numbers(found: Json) -> Json:
        if "Id" not in found:
            lists = {name: list(map(with_numbers, rows)) for name, rows in found.items() if isinstance(rows, list)}
            return found | lists
        refs = {"CustomerRef": {"value": int(found["CustomerRef"]["value"])}} if "CustomerRef" in found else {}
        return found | {name: int(found[name]) for name in ("Id", "SyncToken")} | refs

    world.policy = Policy(missing_item="create", income_account_id="1")
    Spoils(world, with_numbers, count=100, method=method)
    customer = await world.run(an_ensure_customer("New Ltd"))
    item = await world.run(an_ensure_item("Tokens"))
    assert (customer.result, item.result) == ("created", "created")
    assert (await world.run(a_post("10.00"))).qbo_id == "1"
    assert (await world.run(a_post("12.00"))).result == "updated"
    assert (await world.run(a_void())).result == "voided"


def test_what_a_document_refers_to_is_told_in_texts() -> None:
    line = {"SalesItemLineDetail": {"ItemRef": {"value": 31}}}
    found = checked("Invoice", SALE | {"Id": 1, "DocNumber": 1001, "CustomerRef": {"value": 58}, "Line": [line, {}]})
    assert (found["Id"], found["DocNumber"], found["CustomerRef"]) == ("1", "1001", {"value": "58"})
    assert found["Line"] == [{"SalesItemLineDetail": {"ItemRef": {"value": "31"}}}, {}]
