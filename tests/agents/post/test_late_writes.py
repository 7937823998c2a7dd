"""A write whose answer was lost may still be carried out, minutes later: nothing is written anew until it cannot be."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.post.circuit_breaker import PROBE_SECONDS, CircuitBreaker
from agents.post.sink import requestid
from simulators import http
from tests.agents.in_process import START, World, a_post, a_void, refusal

LATE_SECONDS = 100.0


class Late:
    """QuickBooks takes the first write, drops its connection, and carries it out `LATE_SECONDS` after."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._core = world.transport.core
        self._held: http.Request | None = None
        self.arrived = False
        world.transport.core = self

    def __call__(self, request: http.Request) -> http.Answer:
        if request.method == "POST" and self._held is None:
            self._held = request
            return http.Answer(200, ending="drop")
        if self._world.clock.now >= START + LATE_SECONDS:
            self.arrive()
        return self._core(request)

    def arrive(self) -> None:
        if not self.arrived and self._held is not None:
            self.arrived = True
            self._core(self._held)


def totals(world: World) -> list[Decimal]:
    return [Decimal(each["TotalAmt"]) for each in world.live()]


async def test_a_changed_document_waits_until_the_write_of_before_cannot_come_any_more() -> None:
    """Its write has another requestid, so QuickBooks could not know the two for one."""
    world = World(retry_seconds=0.1)
    late = Late(world)
    assert (await world.run(a_post("10.00"))).result == "uncertain"
    world.retry_seconds = 600.0
    world.clock.now += 40  # the company was taken to be away; this is the command that finds out
    outcome = await world.run(a_post("20.00"))
    late.arrive()
    assert (outcome.result, totals(world)) == ("updated", [Decimal(20)])


async def test_a_no_to_the_repetition_is_not_believed_while_the_first_may_still_come() -> None:
    world = World()
    late = Late(world)
    world.faults.add(refusal("6000"))
    outcome = await world.run(a_post("10.00"))
    late.arrive()
    assert (outcome.result, outcome.adopted, totals(world)) == ("posted", True, [Decimal(10)])


async def test_what_goes_on_after_a_refused_void_voids_it() -> None:
    """An older command of the invoice must not leave the document standing as if nothing had been said."""
    world = World()
    await world.run(a_post("10.00"))
    world.faults.add(refusal("6000"))
    assert (await world.run(a_void())).result == "refused"
    assert (await world.run(a_post("10.00"))).result == "voided"
    assert world.live() == []


@pytest.mark.parametrize("other", [("2", "invoice/1", "create", b"a"), ("1", "invoice/2", "create", b"a"),
                                   ("1", "invoice/1", "update", b"a"), ("1", "invoice/1", "create", b"b")])  # fmt: skip
def test_another_write_has_another_requestid(other: tuple[str, str, str, bytes]) -> None:
    one = requestid("1", "invoice/1", "create", b"a")
    assert one == requestid("1", "invoice/1", "create", b"a")
    assert one != requestid(*other)
    assert one != requestid("1", "invoice/1", "create", b"a", 1)
    assert len(one) <= 36


def test_a_company_that_answered_others_meanwhile_is_not_away() -> None:
    """One command that always fails holds up nobody; when nobody had an answer, one probes now and then."""
    now = [0.0]
    circuit_breaker = CircuitBreaker(lambda: now[0])
    now[0] = 10.0
    circuit_breaker.record_success("1")
    circuit_breaker.record_timeout("1", "quickbooks", since=5.0)
    assert circuit_breaker.open_cause("1") is None
    circuit_breaker.record_timeout("1", "quickbooks", since=20.0)
    assert circuit_breaker.open_cause("1") == "quickbooks"
    assert [circuit_breaker.try_probe("1"), circuit_breaker.try_probe("1")] == [True, False]
    now[0] += PROBE_SECONDS
    assert circuit_breaker.try_probe("1")
    circuit_breaker.record_success("1")
    assert (circuit_breaker.open_cause("1"), circuit_breaker.take_closed("1"), circuit_breaker.take_closed("1")) == (
        None,
        "quickbooks",
        None,
    )
