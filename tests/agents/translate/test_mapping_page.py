"""docs/mapping.md is true: its examples are run, and every rule and template name of the code stands there."""

import re
from typing import Any

import pytest

from agents.translate.templates import DOCUMENT_NAMES, LINE_NAMES
from models.commands import NOT_FINALIZED, PostInvoice
from models.events import ContractHierarchy
from models.money import parse_json
from models.policy import Policy
from tests import ROOT
from tests.agents.translate.translating import commands, fact, summary
from tests.builders import CENTS, a_line, an_invoice

PAGE = (ROOT / "docs" / "mapping.md").read_text()
EXAMPLES = [parse_json(body) for body in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 30


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["becomes"])
def test_an_example_of_the_page_is_true(example: dict[str, Any]) -> None:
    facts = dict(example.pop("facts", {}))
    if "hierarchy" in facts:
        facts["hierarchy"] = ContractHierarchy(**facts["hierarchy"])
    policy, invoice = Policy.model_validate(example.pop("policy", {})), invoice_of(**example.pop("invoice", {}))
    made = commands(invoice, policy, **facts)
    assert summary(made) == example.pop("becomes")
    if example:
        [document] = [command.document for command in made if isinstance(command, PostInvoice)]
        shown = document.model_dump(mode="json")
        assert {name: fact(document, shown, name, wanted) for name, wanted in example.items()} == example


def invoice_of(unit: str | None = None, lines: list[Any] | None = None, **changes: Any) -> Any:
    money = CENTS if unit is None else {"id": unit, "name": unit}
    made = [a_line(**line, credit_type=money) for line in lines or [{}]]
    return an_invoice(made, credit_type=money, **changes)


def test_every_rule_by_which_an_invoice_is_declined_is_on_the_page() -> None:
    code = "".join(path.read_text() for path in (ROOT / "agents").rglob("*.py"))
    rules = set(re.findall(r'raise (?:refused|skipped)\(\s*"([^"]+)"', code))
    listed = set(re.findall(r"^\| `([^`]+)` \| (?:refused|skipped|parked) \|", PAGE, re.MULTILINE))
    assert listed == rules | {"unreadable answer", "another invoice", NOT_FINALIZED}


def test_every_name_that_a_template_may_use_is_on_the_page() -> None:
    [document] = re.findall(r"^\| PrivateNote, CustomerMemo \|(.*)\|$", PAGE, re.MULTILINE)
    [line] = re.findall(r"^\| Description \| (`default.*)\|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", document)) == DOCUMENT_NAMES
    assert set(re.findall(r"`(\w+)`", line)) == LINE_NAMES
