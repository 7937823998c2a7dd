"""Random sequences against the QuickBooks core."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.sandbox.http import Request
from tests.sandbox.companies import Client
from tests.sandbox.fuzz.properties import Watched
from tests.sandbox.fuzz.quickbooks import basic_of, requests
from tests.sandbox.fuzz.settings import REQUESTS_PER_SEQUENCE, sequences

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
