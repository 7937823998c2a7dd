"""Random sequences against the Metronome core."""

from __future__ import annotations

import json
from decimal import Decimal
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.http import Request, dump
from simulators.metronome.core import Metronome
from tests.simulators.fuzz.metronome import SCENE, requests
from tests.simulators.fuzz.properties import ANSWER_SECONDS_MAX, check_metronome_answer
from tests.simulators.fuzz.settings import REQUESTS_PER_SEQUENCE, sequences
from tests.simulators.metronome_api import TOKEN, Api

# A failing sequence is long to print; that must not hide what failed.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@sequences(share=0.25)
@given(asked=st.lists(requests(), min_size=REQUESTS_PER_SEQUENCE, max_size=REQUESTS_PER_SEQUENCE))
def test_each_answer_has_a_documented_shape(asked: list[Request]) -> None:
    """No exception, no 5xx, no hang; invoices move only forward; a server made of the rows is the same server."""
    api = Api(SCENE)
    status = {key: each["status"] for key, each in api.core.invoices.items()}
    for request in asked:
        begun = perf_counter()
        answer = api.core.answer(request)
        assert perf_counter() - begun < ANSWER_SECONDS_MAX, request
        check_metronome_answer(request, answer)
        for key, each in api.core.invoices.items():
            former = status.get(key, each["status"])
            assert (former, each["status"]) in MOVES, (request, former, each["status"])
            status[key] = each["status"]
    twin = Metronome(SCENE, TOKEN, api.clock)
    twin.restore(json.loads(dump(list(api.core.rows())), parse_float=Decimal))
    assert list(twin.rows()) == list(api.core.rows())


MOVES = {("DRAFT", "DRAFT"), ("FINALIZED", "FINALIZED"), ("FINALIZED", "VOID"), ("VOID", "VOID")}
