"""A clock that is hours off is said at start, and holds up nobody."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest
from structlog.testing import capture_logs

from agents.clients.transport import Answer, NotSent
from stream.engine.clock import say_if_clock_is_wrong

VENDORS = ("https://one.example", "https://two.example")


@pytest.mark.parametrize(("hours", "said"), [(2, True), (-2, True), (0, False)])
async def test_a_clock_that_is_hours_off_is_said(hours: int, said: bool) -> None:
    async def answers(*_: Any, **__: Any) -> Answer:
        return Answer(404, {"date": formatdate(time.time() - hours * 3600, usegmt=True)}, b"")

    with capture_logs() as logged:
        ahead = await say_if_clock_is_wrong(answers, VENDORS)
    assert ahead is not None
    assert round(ahead / 3600) == hours
    assert [each["event"] for each in logged] == ["clock_is_wrong"] * said


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
async def test_who_does_not_say_the_time_is_passed_over(headers: dict[str, str]) -> None:
    async def answers(method: str, url: str, **_: Any) -> Answer:
        if url == VENDORS[0]:
            raise NotSent("nobody there")
        return Answer(200, headers, b"")

    assert await say_if_clock_is_wrong(answers, VENDORS) is None
