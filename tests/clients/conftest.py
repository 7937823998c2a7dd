"""The books that each client gets for itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulators.server import Sandbox
from tests.clients.servers import Clock, narrow_sandbox, open_sandbox


@pytest.fixture(scope="session", autouse=True)
def plain_http_is_allowed() -> Iterator[None]:
    """oauthlib, below python-quickbooks, insists on https otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        yield


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with open_sandbox(clock) as running:
        yield running


@pytest.fixture(scope="module")
def narrow() -> Iterator[Sandbox]:
    """Takes one request a minute."""
    with narrow_sandbox() as running:
        yield running
