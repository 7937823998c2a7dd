"""A server that counts every arrival and answers 429 to the first too many: it never has to, near its full rate."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping

import pytest

from agents.clients.quickbooks import QuickBooksClient, encode
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.transport import Answer
from simulators.quickbooks.books import Company, add_customer, add_item
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import default_oauth
from tests.agents.in_process import START, InProcess
from tests.agents.post.batching import LoopClock, a_strict_world, lived, posts, run_backlog, seconds_of

REALMS = [f"934145000000000{number}" for number in range(1, 4)]
WRITES = 2_000
SHARE_OF_THE_RATE = 0.98


class Wire(InProcess):
    """As `InProcess`, and each request is some time on its way before it arrives."""

    def __init__(self, quickbooks: QuickBooks, clock: LoopClock, seed: int) -> None:
        super().__init__(quickbooks.answer, clock)
        self._dice = random.Random(seed)
        self._loop_clock = clock
        self.arrivals: defaultdict[str, list[float]] = defaultdict(list)

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        await asyncio.sleep(self._dice.choice((0.005, self._dice.uniform(0.005, 0.24))))
        self.arrivals[url.split("/")[5]].append(self._loop_clock.now - START)
        return await super().__call__(method, url, headers=headers, body=body, timeout_seconds=timeout_seconds)


class TokenOfEach:
    def __init__(self, oauth: OAuthServer) -> None:
        self._tokens = {realm: next(iter(oauth.connect(realm).access_tokens)) for realm in REALMS}

    async def access_token(self, realm: str) -> str:
        return self._tokens[realm]

    def accept(self, realm: str, token: str) -> None:
        pass

    def reject(self, realm: str, token: str) -> None:
        raise AssertionError("no token expires here")


@pytest.mark.parametrize(
    ("per_second", "per_minute"), [(10, 500), (10, 200)], ids=["the whole limit", "a share, as other apps come too"]
)
def test_three_companies_and_two_thousand_writes_each_meet_no_429(per_second: int, per_minute: int) -> None:
    """With a lower share the server is as strict about that share."""

    async def story() -> None:
        clock = LoopClock()
        oauth = OAuthServer(default_oauth(3), {realm: realm for realm in REALMS}, clock, "1")
        settings = QuickBooksSettings(requests_per_second_max=per_second, requests_per_minute_max=per_minute)
        quickbooks = QuickBooks([Company(realm) for realm in REALMS], oauth, clock, settings)
        for books in quickbooks.books.values():
            add_customer(books, "58", "Acme GmbH", START)
            add_item(books, "31", "API Calls", START)
        limiter = RateLimiter(RateLimits(per_second, per_minute, 10, 60.0), monotonic=clock, sleep=clock.sleep)
        tokens = TokenOfEach(oauth)
        wire = Wire(quickbooks, clock, 1)
        client = QuickBooksClient(wire, "https://qbo.example", tokens, limiter, timeout_seconds=130)
        line = {
            "Amount": 1,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {"ItemRef": {"value": "31"}},
        }
        body = encode({"CustomerRef": {"value": "58"}, "Line": [line]})
        async with asyncio.TaskGroup() as group:
            for number in range(WRITES):
                for realm in REALMS:
                    group.create_task(client.write(realm, "Invoice", body, requestid=f"r-{number}"))
        assert quickbooks.throttled == 0
        assert {len(books.objects["Invoice"]) for books in quickbooks.books.values()} == {WRITES}
        minutes = WRITES // per_minute - 1
        for realm in REALMS:
            seconds = sorted(wire.arrivals[realm])[minutes * per_minute]
            assert minutes * 60 / seconds >= SHARE_OF_THE_RATE

    lived(story)


def test_a_backlog_in_batches_meets_no_429_and_is_as_fast_as_batches_may_be() -> None:
    async def story() -> None:
        world, count = a_strict_world(batch_size=30), 3_600
        outcomes = await run_backlog(world, posts(count), in_flight_max=300)
        assert {each.result for each in outcomes} == {"posted"}
        assert (world.quickbooks.throttled, len(world.invoices())) == (0, count)
        assert count / (seconds_of(world) / 60) > 1_200 * SHARE_OF_THE_RATE

    lived(story)
