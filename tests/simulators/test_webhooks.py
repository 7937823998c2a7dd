"""Metronome's webhooks as the simulator sends them: the recorded vector, both shapes, and the schedule of retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulators.metronome.generator import generate
from simulators.metronome.notices import FLAT, NESTED, finalized, notice
from simulators.metronome.webhooks import AT_ONCE_MAX, Schedule, send, send_finalized, sign
from tests.simulators.companies import Clock
from tests.simulators.metronome_api import NOW

SECRET = "correct-horse-battery-staple"
# The body of Metronome's documentation, 216 bytes (`docs/vendors/metronome.md` §3.3).
DOCUMENTED = b"""{
  "id": "b2c9e307-624e-4e7d-a5a4-1b74107d78c4",
  "type": "widget_created",
  "properties": {
    "customer_id": "5f794d50-085a-4db6-8d15-286e518b7225",
    "widget_id": "0891458d-b6f0-4fdd-a41e-380aae1a1e38"
  }
}"""


class Receiver:
    """Refuses each notice `refusals` times with `status`; its clock goes on by a minute with each attempt."""

    def __init__(self) -> None:
        self.refusals, self.status, self.headers = 0, 503, {}
        self.clock = Clock()
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.at_once = self.at_once_most = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        body = await request.read()
        await asyncio.sleep(0)
        self.seen.append((dict(request.headers), body))
        self.clock.now += 60
        self.at_once -= 1
        refused = sum(each == body for _, each in self.seen) <= self.refusals
        return web.Response(status=self.status if refused else 200, headers=self.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


def test_the_signature_is_that_of_the_documentation() -> None:
    assert len(DOCUMENTED) == 216
    signature = sign(SECRET, "Mon, 02 Jan 2006 22:04:05 GMT", DOCUMENTED)
    assert signature == "b82652fa2246cf1d8a27e591f155c865f68b46c19b9213fd9c052f2419b4742b"


def test_the_documented_schedule_reaches_a_quarter_of_an_hour_and_ends_after_two_days() -> None:
    delays = list(Schedule.documented().delays())
    assert delays[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert set(delays[10:]) == {900}
    assert 48 * 3600 - 900 <= sum(delays) <= 48 * 3600
    fast = list(Schedule.documented(compress=1000).delays())
    assert fast == [each / 1000 for each in delays]


async def test_two_days_of_retries_pass_in_a_moment_and_end(receiver: Receiver) -> None:
    receiver.refusals = 1000
    invoice = generate(1, 1, now=NOW).invoices[0]
    schedule = Schedule.documented(compress=10_000_000)
    [delivery] = await send_finalized(receiver.url, [invoice], SECRET, receiver.clock, schedule)
    assert (delivery.accepted, delivery.status, delivery.attempts) == (False, 503, 201)
    assert len(receiver.seen) == 201


@pytest.mark.parametrize("redated", [True, False])
async def test_each_attempt_is_the_same_notice_dated_and_signed_anew_unless_switched_off(
    receiver: Receiver, redated: bool
) -> None:
    receiver.refusals = 3
    invoice = generate(1, 1, now=NOW).invoices[0]
    schedule = Schedule.documented(compress=1000, redated=redated)
    [delivery] = await send_finalized(receiver.url, [invoice], SECRET, receiver.clock, schedule)
    assert (delivery.invoice_id, delivery.accepted, delivery.attempts) == (invoice["id"], True, 4)
    assert len({body for _, body in receiver.seen}) == 1
    for headers, body in receiver.seen:
        assert headers["Metronome-Webhook-Signature"] == sign(SECRET, headers["X-Metronome-Date"], body)
        assert headers["Date"] == headers["X-Metronome-Date"]
    dates = [parsedate_to_datetime(headers["X-Metronome-Date"]).timestamp() for headers, _ in receiver.seen]
    assert [each - dates[0] for each in dates] == ([0, 60, 120, 180] if redated else [0, 0, 0, 0])


async def test_a_redirect_is_a_refusal_and_is_not_followed(receiver: Receiver) -> None:
    receiver.refusals, receiver.status, receiver.headers = 5, 302, {"Location": receiver.url}
    [delivery] = await send_finalized(
        receiver.url, generate(1, 1, now=NOW).invoices, SECRET, receiver.clock, Schedule(0.001, 0.001, attempts_max=2)
    )
    assert (delivery.accepted, delivery.status, len(receiver.seen)) == (False, 302, 2)


async def test_only_so_many_are_sent_at_once(receiver: Receiver) -> None:
    invoices = generate(1, 40, now=NOW).invoices
    deliveries = await send_finalized(receiver.url, invoices, SECRET, receiver.clock, Schedule(0.001))
    assert all(each.accepted for each in deliveries)
    assert 1 < receiver.at_once_most <= AT_ONCE_MAX


async def test_every_documented_kind_can_be_sent(receiver: Receiver) -> None:
    kinds = {**NESTED, **FLAT}
    notices = [notice(kind, "subject", 0.0, dict.fromkeys(fields, "value")) for kind, fields in kinds.items()]
    deliveries = await send(receiver.url, notices, SECRET, receiver.clock, Schedule(0.001))
    assert all(each.accepted for each in deliveries)
    bodies: list[dict[str, Any]] = [json.loads(body) for _, body in receiver.seen]
    assert {each["type"] for each in bodies} == set(kinds)
    assert len({each["id"] for each in bodies}) == len(kinds)
    for body in bodies:
        if body["type"] in NESTED:
            assert set(body) == {"id", "type", "properties"}
        else:
            assert set(body) == {"id", "type", "timestamp", "environment_type", *FLAT[body["type"]]}
            assert body["timestamp"] == "1970-01-01T00:00:00.000Z"


def test_a_repeat_has_the_same_id_and_another_object_another_one() -> None:
    first, other = generate(1, 2, now=NOW).invoices
    ids = [json.loads(finalized(each, at).body)["id"] for each, at in ((first, 0.0), (first, 1e9), (other, 0.0))]
    assert ids[0] == ids[1] != ids[2]
    fields = dict.fromkeys(FLAT["contract.start"], "value")
    starts = [notice("contract.start", each, at, fields) for each, at in (("1", 0.0), ("1", 1e9), ("2", 0.0))]
    ids = [json.loads(each.body)["id"] for each in starts]
    assert ids[0] == ids[1] != ids[2]


def test_what_is_not_documented_is_not_sent() -> None:
    with pytest.raises(ValueError, match=r"unknown kind of webhook: invoice\.voided"):
        notice("invoice.voided", "subject", 0.0, {"invoice_id": "i"})
    with pytest.raises(ValueError, match=r"contract\.start has the fields customer_id, contract_id"):
        notice("contract.start", "subject", 0.0, {"customer_id": "c"})
