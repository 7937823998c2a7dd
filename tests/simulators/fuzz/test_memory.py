"""A server that is asked for ever holds no more than what was created in it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from simulators.http import Request, dump
from tests.simulators.companies import REALM, Client
from tests.simulators.fuzz.metronome import SCENE
from tests.simulators.metronome_api import TOKEN, Api

ROUNDS = 4
PER_ROUND = 400
GROWTH_BYTES_MAX = 40 * PER_ROUND
"""Fewer bytes than any record of a request would take."""

# Requests that create nothing, each unlike the one before it, so that whatever remembers them grows.
QUICKBOOKS: dict[str, Callable[[Client, int], Request]] = {
    "unknown paths": lambda client, n: to(client, "GET", f"banana{n}/{n}"),
    "unknown companies": lambda client, n: Request("GET", f"/v3/company/{n}/invoice/1", {}, bearer(client.token)),
    "unknown tokens": lambda client, n: Request("GET", f"/v3/company/{REALM}/invoice/1", {}, bearer(f"no{n}")),
    "missing objects": lambda client, n: to(client, "GET", f"invoice/{n + 1000}"),
    "refused writes": lambda client, n: to(client, "POST", "invoice", {"DocNumber": f"D{n}", "Line": []}),
    "refused writes with a requestid": lambda client, n: to(client, "POST", "invoice", {}, requestid=f"r{n}"),
    "reads with a requestid": lambda client, n: to(client, "GET", "customer/1", requestid=f"r{n}"),
    "queries": lambda client, n: to(client, "GET", "query", query=f"select * from Invoice where DocNumber = 'D{n}'"),
    "refused logins": lambda client, n: Request("POST", "/oauth2/v1/tokens/bearer", {}, {}, f"code={n}".encode()),
    "unknown methods": lambda client, n: to(client, f"BANANA{n}", "customer/1"),
}
METRONOME: dict[str, Callable[[int], Request]] = {
    "unknown paths": lambda n: Request("GET", f"/v1/banana{n}", {}, bearer(TOKEN)),
    "unknown customers": lambda n: Request("GET", f"/v1/customers/{n}", {}, bearer(TOKEN)),
    "unknown tokens": lambda n: Request("GET", "/v1/customers", {}, bearer(f"no{n}")),
    "pages": lambda n: Request("GET", "/v1/customers", {"limit": "1", "next_page": str(n)}, bearer(TOKEN)),
    "unset values": lambda n: Request(
        "POST",
        "/v1/customFields/deleteValues",
        {},
        bearer(TOKEN),
        dump({"entity": "customer", "entity_id": f"no{n}", "keys": ["a"]}),
    ),
}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "accept": "application/json", "content-type": "application/json"}


def to(client: Client, method: str, path: str, body: object = None, **query: str) -> Request:
    content = b"" if body is None else dump(body)
    return Request(method, f"/v3/company/{REALM}/{path}", query, bearer(client.token), content)


def growth(send: Callable[[int], object]) -> int:
    """Bytes that each of three rounds of requests leaves behind, after one that fills the caches: a leak leaves some
    in every round, an allocator's slack only in one or the other."""
    left: list[int] = []
    gc.collect()
    gc.freeze()  # what is there already need not be looked through again
    for each in range(ROUNDS):
        gc.collect()
        tracemalloc.start()
        try:
            for n in range(each * PER_ROUND, (each + 1) * PER_ROUND):
                send(n)
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    gc.unfreeze()
    return min(left[1:])


@pytest.mark.parametrize("what", QUICKBOOKS)
def test_quickbooks_remembers_no_requests(what: str) -> None:
    client = Client()
    client.clock.now += 1
    assert growth(lambda n: client.core.answer(QUICKBOOKS[what](client, n))) < GROWTH_BYTES_MAX


@pytest.mark.parametrize("what", METRONOME)
def test_metronome_remembers_no_requests(what: str) -> None:
    api = Api(SCENE)
    assert growth(lambda n: api.core.answer(METRONOME[what](n))) < GROWTH_BYTES_MAX
