"""Invoices as Metronome gives them, and what an accountant expects in the books: `tests/fixtures/accounting`."""

import json
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models.commands import DeclineInvoice, PostInvoice
from models.document import Document
from models.money import parse_json
from models.policy import Policy
from tests.agents.translate.translating import commands

CASES = sorted((Path(__file__).parents[2] / "fixtures" / "accounting").glob("*.json"))
DECISIONS = {"skipped": "skip", "refused": "refuse", "parked": "park"}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_an_accountant_expects(path: Path) -> None:
    case = parse_json(path.read_bytes())
    policy = Policy.model_validate_json(json.dumps(case["given"].get("policy") or {}))
    last = commands(case["given"]["invoice"], policy)[-1]
    expect = dict(case["expect"])
    if isinstance(last, DeclineInvoice):
        assert expect == {"outcome": DECISIONS[last.decision]}
        return
    assert isinstance(last, PostInvoice)
    assert expect.pop("outcome") == "post"
    expect.pop("sum_by_item_off_by_max", None)  # none is off at all
    assert expect == {name: _found(last.document, name, wanted) for name, wanted in expect.items()}, case["why"]


def _found(document: Document, name: str, wanted: Any) -> Any:
    """What the document says, in the words of the cases; `wanted` where that is contained, or holds."""
    lines = document.lines
    match name:
        case "TxnDate":
            return str(document.txn_date)
        case "DueDate":
            return str(document.due_date)
        case "DueDate_not_before":
            return wanted if document.due_date is not None and str(document.due_date) >= wanted else document.due_date
        case "total":
            return str(document.total)
        case "lines":
            return [str(line.amount) for line in lines]
        case "line_count":
            return len(lines)
        case "items":
            return [line.item.qbo_id for line in lines]
        case "sum_by_item":
            sums: dict[str | None, Decimal] = defaultdict(Decimal)
            for line in lines:
                sums[line.item.qbo_id] += line.amount
            return {item: str(amount) for item, amount in sums.items()}
        case "every_line_has":
            assert wanted == "TaxCodeRef"
            return wanted if all(line.tax_code for line in lines) else [line.tax_code for line in lines]
        case "kind":
            return document.kind
        case "tax_codes":
            return [line.tax_code for line in lines]
        case "memo_contains":
            return wanted if wanted in document.customer_memo else document.customer_memo
        case "descriptions_differ":
            return len({line.description for line in lines}) == len(lines)
        case "description_matches_not":
            return next((line.description for line in lines if re.search(wanted, line.description)), wanted)
        case "scale_is_said":
            return all("per 1,000" in line.description for line in lines)
        case "item_waits":
            return all(line.item.qbo_id is None and line.item.default_qbo_id is None for line in lines)
        case _:
            raise AssertionError(f"no such expectation: {name}")
