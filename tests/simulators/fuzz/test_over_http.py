"""The same random sequences over HTTP: nothing between socket and core fails or hangs either."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.http import Answer, Request
from tests.simulators.companies import Client
from tests.simulators.fuzz.properties import Watched, check_metronome_answer, check_quickbooks_answer
from tests.simulators.fuzz.serving import event_loop, send, served
from tests.simulators.fuzz.settings import REQUESTS_PER_SEQUENCE, sequences
from tests.simulators.fuzz.test_quickbooks import FIRST, REQUEST
from tests.simulators.metronome_api import TOKEN

from . import metronome

# A failing sequence is long to print; that must not hide what failed.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

SANDBOX_PAGE = "/"
"""The sandbox's own; everything else that is asked here is a vendor's."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with event_loop() as running:
        yield running


def refused_by_http(answer: Answer) -> bool:
    """What HTTP itself refuses, before a vendor's API would see it: too much, or not what the headers say it is."""
    return answer.status in (400, 413) and answer.headers["Content-Type"].startswith("text/plain")


@sequences(share=0.15)
@given(asked=st.lists(REQUEST, min_size=REQUESTS_PER_SEQUENCE, max_size=REQUESTS_PER_SEQUENCE))
def test_quickbooks_over_http(loop: asyncio.AbstractEventLoop, asked: list[Request]) -> None:
    with served(loop) as sandbox:
        assert sandbox.addresses.access_token == FIRST.token
        client = Client()
        client.core, client.oauth = sandbox.quickbooks, sandbox.oauth
        watched = Watched(client)
        for request in asked:
            answer = send(sandbox.addresses.quickbooks_url, request)
            assert answer.status < 500, (request, answer)
            if request.method != "HEAD" and request.path != SANDBOX_PAGE and not refused_by_http(answer):
                check_quickbooks_answer(request, answer)
        watched.check_books()


@sequences(share=0.1)
@given(asked=st.lists(metronome.requests(), min_size=REQUESTS_PER_SEQUENCE, max_size=REQUESTS_PER_SEQUENCE))
def test_metronome_over_http(loop: asyncio.AbstractEventLoop, asked: list[Request]) -> None:
    with served(loop) as sandbox:
        for request in asked:
            shown = request.headers["authorization"].replace(TOKEN, sandbox.metronome_token)
            answer = send(
                sandbox.addresses.metronome_url, replace(request, headers={**request.headers, "authorization": shown})
            )
            assert answer.status < 500, (request, answer)
            if request.path != SANDBOX_PAGE and not refused_by_http(answer):
                check_metronome_answer(request, answer)
