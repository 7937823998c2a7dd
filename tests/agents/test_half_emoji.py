"""Half an emoji, and what is no character, in any text of a vendor: nothing ends by it, and nothing is lost."""

import json
from dataclasses import replace

import pytest

from agents.clients.quickbooks_errors import read
from agents.clients.transport import Answer
from agents.delivery import Event, InvalidRecord, dead_letter
from agents.translate.translate import translate
from models.commands import PostInvoice
from models.events import InvoiceEnriched
from models.money import parse_json
from models.policy import Policy
from simulators import http
from simulators.faults import Fault
from tests.agents.enriching import KAFKA_TIME, MetronomeWorld, a_webhook
from tests.agents.in_process import REALM, World, a_post, fault
from tests.agents.translate.translating import posted
from tests.builders import AT, CUSTOMER_ID, INVOICE_ID, a_line, an_invoice

HALF = "\ud83d"
WHOLE = "\U0001f600"


def test_a_vendors_json_holds_no_half_characters() -> None:
    text = r'{"a\ud800": ["x\udc00", "\ud83d\ude00", "\\ud83d", 1.50, {"b": "\uD83D"}]}'
    assert str(parse_json(text)) == str({"a": ["x", WHOLE, r"\ud83d", parse_json("1.50"), {"b": ""}]})


MARK = "\ue000"


def damaging(core: http.Core) -> http.Core:
    """Each mark in an answer is half an emoji on its way to us."""

    def answer(request: http.Request) -> http.Answer:
        whole = core(request)
        return replace(whole, body=whole.body.replace(MARK.encode(), rb"\ud83d"))

    return answer


@pytest.mark.parametrize("mapped", [True, False])
async def test_every_text_of_an_invoice_may_be_damaged_and_it_is_posted(mapped: bool) -> None:
    """From the webhook to the books, through the records between."""
    line = a_line(name=f"Plan {MARK} {WHOLE}", pricing_group_values={f"region{MARK}": f"eu{MARK}"})
    fields = {"qbo_customer_id": "58", "qbo_realm_id": REALM, f"other{MARK}": MARK}
    metronome = MetronomeWorld(
        lines=[line],
        customer_custom_fields=fields if mapped else {**fields, "qbo_customer_id": ""},
        contract_custom_fields={"qbo_memo_ref": f"MSA {MARK}"},
    )
    metronome.core.store.find("customer", CUSTOMER_ID)["name"] = f"Acme {MARK}GmbH"
    metronome.core.store.find("contract", "e91a1e81-6f2f-5d84-a5f0-7be08b339c95")["name"] = f"Enterprise {MARK}"
    metronome.transport.core = damaging(metronome.transport.core)
    facts = await metronome.facts(a_webhook().replace(b'"e-1"', rb'"\ud83d"'))
    assert (facts.customer_name, facts.contract_name, facts.memo_ref) == ("Acme GmbH", "Enterprise ", "MSA ")
    books = World()
    for command in translate(InvoiceEnriched.model_validate_json(facts.encode()), AT, policy=Policy()):
        outcome = await books.run(command)
        assert outcome.result in ("posted", "found"), outcome
    [document] = books.live()
    assert document["CustomerRef"]["value"] == "58"
    assert WHOLE in document["Line"][0]["Description"]


def test_every_answer_of_quickbooks_may_be_damaged_after_the_work() -> None:
    body = json.dumps({"Invoice": {"Id": "7", "SyncToken": "0", "DocNumber": f"MTR-{HALF}", "PrivateNote": HALF}})
    assert read(Answer(200, {}, body.encode()))["Invoice"]["DocNumber"] == "MTR-"


async def test_a_written_documents_damaged_answer_is_recorded() -> None:
    world = World()
    world.transport.core = damaging(world.transport.core)
    outcome = await world.run(a_post(private_note=f"Metronome invoice {INVOICE_ID}\n{MARK}", customer_memo=MARK))
    assert (outcome.result, len(world.live())) == ("posted", 1)


async def test_a_refusal_in_damaged_words_is_told() -> None:
    world = World()
    error = {"Message": f"No {HALF}", "Detail": f"{HALF} why", "code": "2010"}
    world.faults.add(fault(status=400, body=json.dumps({"Fault": {"Error": [error], "type": "ValidationFault"}})))
    outcome = await world.run(a_post())
    assert (outcome.result, outcome.error and outcome.error.detail) == ("refused", " why")


async def test_metronomes_damaged_refusal_becomes_a_dead_letter() -> None:
    world = MetronomeWorld()
    world.faults.add(Fault("status", status=400, body=json.dumps({"message": f"no {HALF}"})))
    with pytest.raises(InvalidRecord) as raised:
        await world.enriched()
    str(raised.value).encode()


def test_whatever_an_error_says_a_dead_letter_can_be_made_of_it() -> None:
    letter = dead_letter(
        Event(None, b"{}", {}, AT, KAFKA_TIME, lambda: None), ValueError(f"no {HALF}"), agent="enrich", stage="TASK_PUT"
    )
    assert letter.headers["__connect.errors.exception.message"] == rb"no \ud83d"


@pytest.mark.parametrize("code", [0xFFFE, 0xFFFF, 0xFDD0, 0x1FFFE, 0x10FFFF, 0x00, 0x0B, 0x1F, 0x7F, 0x9F])
def test_what_xml_cannot_carry_is_not_sent(code: int) -> None:
    odd = chr(code)
    invoice = an_invoice(
        [a_line(name=f"Plan{odd}end")], customer_custom_fields={"qbo_customer_id": "58", "po": f"4{odd}2"}
    )
    document = posted(
        invoice,
        Policy(custom_fields={"1": "po"}, customer_memo_template=f"For {odd}{{{{ customer_name }}}}"),
        customer_name=f"Acme{odd}",
        memo_ref=f"MSA{odd}",
    )
    assert odd not in PostInvoice(realm="1", invoice_id=INVOICE_ID, document=document).model_dump_json()
    assert odd not in str(document)
