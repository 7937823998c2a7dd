"""Random sequences against the QuickBooks core."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.http import Json, Request
from tests.simulators.companies import REALM, Client, invoice, line
from tests.simulators.fuzz.bodies import RAW_VALUES, places, with_raw
from tests.simulators.fuzz.properties import Watched
from tests.simulators.fuzz.quickbooks import basic_of, requests
from tests.simulators.fuzz.settings import REQUESTS_PER_SEQUENCE, sequences

# A failing sequence is long to print; that must not hide what failed.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

FIRST = Client()
OAUTH = FIRST.oauth.settings
REQUEST = requests(FIRST.token, basic_of(OAUTH.client_id, OAUTH.client_secret))
COMPANIES: list[dict[str, Any]] = [
    {},
    {"custom_txn_numbers": False},
    {"multicurrency": True},
    {"warn_duplicate_doc_numbers": True},
]


@sequences(share=0.5)
@given(
    company=st.sampled_from(COMPANIES),
    asked=st.lists(REQUEST, min_size=REQUESTS_PER_SEQUENCE, max_size=REQUESTS_PER_SEQUENCE),
)
def test_each_answer_has_a_documented_shape_and_the_books_agree(company: dict[str, Any], asked: list[Request]) -> None:
    """Whatever is sent, in whatever order: no exception, no 5xx, no hang, and books that add up."""
    watched = Watched(Client(**company))
    for request in asked:
        watched.send(request)
    watched.check_books()


WRITTEN: dict[str, Json] = {
    "invoice": invoice(
        Line=[line(100, Qty=4, UnitPrice=25), {"DetailType": "DiscountLineDetail", "Amount": 1}],
        DocNumber="A",
        TxnDate="2026-11-01",
        DueDate="2026-12-01",
        ExchangeRate=1,
        PrivateNote="x",
        BillEmail={"Address": "a@example.com"},
        TxnTaxDetail={"TotalTax": 0},
    ),
    "customer": {"DisplayName": "Ada", "BillAddr": {"Line1": "x"}, "Active": True, "PrimaryPhone": {}},
    "item": {"Name": "Cycles", "Type": "Service", "IncomeAccountRef": {"value": "1"}, "UnitPrice": 1.5},
    "exchangerate": {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-11-01", "Rate": 1.1},
    "term": {"Name": "Net 45", "DueDays": 45},
    "batch": {"BatchItemRequest": [{"bId": "1", "operation": "create", "Customer": {"DisplayName": "Ada"}}]},
}


@pytest.mark.parametrize("path", WRITTEN)
def test_each_odd_text_in_each_place_of_a_body(path: str) -> None:
    """One thing wrong at a time, without chance."""
    watched = Watched(Client(multicurrency=True))
    headers = {"authorization": f"Bearer {watched.client.token}", "content-type": "application/json"}
    for place in places(WRITTEN[path]):
        for raw in RAW_VALUES:
            body = with_raw(WRITTEN[path], place, raw)
            watched.send(Request("POST", f"/v3/company/{REALM}/{path}", {}, headers, body))
    watched.check_books()
