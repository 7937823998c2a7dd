"""Faults: which requests they strike, what they do, and how they are written down."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from simulators.fault_options import PlannedFaults, fault_of_text, faults_of_file
from simulators.faults import Fault, Faults, WrongFault
from simulators.http import BODY_MAX_BYTES, Answer, Request, Shell
from simulators.server import Sandbox, start_sandbox
from tests import BOUND_SECONDS
from tests.simulators.companies import invoice


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = await start_sandbox(invoices=3, limits=False)
    yield sandbox
    await sandbox.stop()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sandbox.addresses.access_token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=BOUND_SECONDS)) as session:
        yield session


def company(sandbox: Sandbox) -> str:
    return f"{sandbox.addresses.quickbooks_url}/v3/company/{sandbox.addresses.realm_id}"


def struck(faults: Faults, requests: int, path: str = "/invoice") -> list[bool]:
    core = faults.around(lambda request: Answer(200))
    return [core(Request("POST", path)).status != 200 for _ in range(requests)]


def test_a_probability_strikes_its_share_and_the_same_seed_strikes_the_same_requests() -> None:
    first, again, other = (struck(Faults([Fault("status", probability=0.2, seed=seed)]), 1000) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert 150 < sum(first) < 250


def test_a_probability_is_drawn_for_matching_requests_only() -> None:
    alone = struck(Faults([Fault("status", path_contains="/invoice", probability=0.3, seed=1)]), 50)
    fault = Fault("status", path_contains="/invoice", probability=0.3, seed=1)
    core = Faults([fault]).around(lambda request: Answer(200))
    among: list[bool] = []
    for _ in range(50):
        core(Request("POST", "/customer"))
        among.append(core(Request("POST", "/invoice")).status != 200)
    assert among == alone
    assert fault.hits == sum(alone)


def test_a_count_ends_a_fault_with_and_without_a_probability() -> None:
    assert struck(Faults([Fault("status")]), 3) == [True, False, False]
    assert struck(Faults([Fault("status", count=2)]), 3) == [True, True, False]
    assert sum(struck(Faults([Fault("status", probability=0.5, count=4)]), 200)) == 4


def test_the_answer_tells_which_fault_struck() -> None:
    core = Faults([Fault("delay", delay_seconds=0.5)]).around(lambda request: Answer(200, b"whole"))
    assert core(Request("GET", "/")) == Answer(200, b"whole", delay_seconds=0.5, fault="delay")
    assert core(Request("GET", "/")).fault == ""


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "kind"),
        ({"kind": "melt"}, "kind"),
        ({"kind": "drop", "often": 1}, "often"),
        ({"kind": "drop", "hits": 1}, "hits"),
        ({"kind": "drop", "count": 0}, "count"),
        ({"kind": "drop", "count": True}, "count"),
        ({"kind": "drop", "path_contains": 7}, "path_contains"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "status", "status": "500"}, "status"),
        ({"kind": "status", "headers": {"X": "a\nb"}}, "headers"),
        ({"kind": "status", "headers": ["X"]}, "headers"),
        ({"kind": "delay", "delay_seconds": -1}, "delay_seconds"),
        ({"kind": "delay", "delay_seconds": float("nan")}, "delay_seconds"),
        ({"kind": "drop", "probability": 1.5}, "probability"),
        ({"kind": "drop", "after_commit": "yes"}, "after_commit"),
        ({"kind": "drop", "seed": "seven"}, "seed"),
        ([], "object"),
    ],
)
def test_what_is_wrong_with_a_fault_is_said_by_the_name_of_the_field(wrong: Any, named: str) -> None:
    with pytest.raises(WrongFault, match=named):
        Fault.from_json(wrong)


def test_one_line_and_a_file_say_the_same(tmp_path: Path) -> None:
    line = fault_of_text("quickbooks:drop,path=/invoice,probability=0.05,seed=7,after_commit")
    file = tmp_path / "faults.json"
    fault = {"kind": "drop", "path_contains": "/invoice", "probability": 0.05, "seed": 7, "after_commit": True}
    file.write_text(json.dumps({"quickbooks": [fault]}))
    assert faults_of_file(file) == line == PlannedFaults(quickbooks=[Fault.from_json(fault)])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("drop,path=/invoice", "quickbooks:"),
        ("stripe:drop", "quickbooks:"),
        ("metronome:melt", "kind"),
        ("metronome:drop,path", "path needs a value"),
        ("metronome:status,status=many", "status"),
        ("metronome:drop,probability=2", "probability"),
        ("metronome:drop,after_commit=true", "after_commit"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_its_field(text: str, named: str) -> None:
    with pytest.raises(WrongFault, match=named):
        fault_of_text(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not JSON"),
        ("[]", "an object"),
        ('{"stripe": []}', "quickbooks and metronome"),
        ('{"quickbooks": {}}', "quickbooks is dict"),
        ('{"metronome": [{"kind": "drop"}, {"kind": "drop", "count": -1}]}', r"metronome\[1\]: count"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    with pytest.raises(WrongFault, match=named):
        faults_of_file(file)


async def test_what_is_pending_is_listed_with_its_hits(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = sandbox.addresses.quickbooks_url + "/_sandbox/faults"
    async with http.post(url, json=[{"kind": "status", "path_contains": "/item", "count": 3}]) as response:
        assert await response.json() == {"pending": 1}
    async with http.get(company(sandbox) + "/item/1") as response:
        assert response.status == 503
    async with http.get(url) as response:
        fault = {"kind": "status", "path_contains": "/item", "count": 2, "hits": 1}
        assert await response.json() == {"pending": 1, "faults": [fault]}


async def test_of_a_list_with_one_wrong_fault_none_is_taken(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = sandbox.addresses.quickbooks_url + "/_sandbox/faults"
    async with http.post(url, json=[{"kind": "drop"}, {"kind": "drop", "count": -1}]) as response:
        assert response.status == 400
        assert "[1]: count" in (await response.json())["message"]
    assert sandbox.quickbooks_faults.pending == []


async def test_429_without_a_body_is_the_vendors_own(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.quickbooks_faults.add(Fault("status", status=429))
    async with http.get(company(sandbox) + "/item/1") as response:
        assert response.status == 429
        assert response.content_type == "application/xml"
        assert "errorCode=003001" in await response.text()
    sandbox.metronome_faults.add(Fault("status", status=429))
    bearer = {"Authorization": f"Bearer {sandbox.metronome_token}"}
    async with http.get(sandbox.addresses.metronome_url + "/v1/customers", headers=bearer) as response:
        assert (response.status, response.headers["X-Metronome-Rate-Limit-Type"]) == (429, "client")
        assert set(await response.json()) == {"message"}


async def test_429_after_the_commit_leaves_its_document(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.quickbooks_faults.add(Fault("status", status=429, after_commit=True))
    async with http.post(company(sandbox) + "/invoice", json=invoice()) as response:
        assert response.status == 429
    assert len(sandbox.quickbooks.books[sandbox.addresses.realm_id].objects["Invoice"]) == 1


@pytest.mark.parametrize(("after_commit", "statuses"), [(False, [401, 401]), (True, [200, 401])])
async def test_tokens_expire_before_or_after_the_work_until_they_are_refreshed(
    sandbox: Sandbox, http: aiohttp.ClientSession, after_commit: bool, statuses: list[int]
) -> None:
    sandbox.quickbooks_faults.add(Fault("expire-token", path_contains="/item", after_commit=after_commit))
    seen = []
    for _ in statuses:
        async with http.get(company(sandbox) + "/item/1") as response:
            seen.append(response.status)
    assert seen == statuses
    addresses = sandbox.addresses
    client = base64.b64encode(f"{addresses.client_id}:{addresses.client_secret}".encode()).decode()
    form = {"grant_type": "refresh_token", "refresh_token": addresses.refresh_token}
    url = addresses.quickbooks_token_url
    async with http.post(url, data=form, headers={"Authorization": f"Basic {client}"}) as response:
        token = (await response.json())["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    async with http.get(company(sandbox) + "/item/1", headers=bearer) as response:
        assert response.status == 200


async def test_metronomes_token_does_not_expire(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = sandbox.addresses.metronome_url + "/_sandbox/faults"
    async with http.post(url, json={"kind": "expire-token"}) as response:
        assert response.status == 400
        assert "kind" in (await response.json())["message"]


async def test_a_sandbox_may_start_with_faults() -> None:
    planned = fault_of_text("metronome:status,status=500")
    sandbox = await start_sandbox(invoices=1, faults=planned)
    try:
        assert sandbox.metronome_faults.pending == planned.metronome
        assert sandbox.quickbooks_faults.pending == []
    finally:
        await sandbox.stop()


class NoControls:
    def owns(self, path: str) -> bool:
        return False

    async def answer(self, request: Request) -> Answer:
        raise AssertionError("there are no controls")


async def test_a_compressed_body_arrives_decompressed_and_is_not_called_compressed(
    http: aiohttp.ClientSession,
) -> None:
    seen: list[Request] = []

    def core(request: Request) -> Answer:
        seen.append(request)
        return Answer(200)

    shell = Shell(core, NoControls())
    await shell.start("127.0.0.1", 0)
    try:
        headers = {"Content-Encoding": "gzip"}
        async with http.post(shell.url + "/v3", data=gzip.compress(b'{"Id": "1"}'), headers=headers) as response:
            assert response.status == 200
    finally:
        await shell.stop()
    assert seen[0].body == b'{"Id": "1"}'
    assert "content-encoding" not in seen[0].headers


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_too_large_after_decompression_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, compressed: bool
) -> None:
    body = b" " * (BODY_MAX_BYTES + 1)
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    data = io.BytesIO(gzip.compress(body) if compressed else body)
    try:
        async with http.post(company(sandbox) + "/invoice", data=data, headers=headers) as response:
            assert response.status == 413
    except aiohttp.ClientOSError:
        assert not compressed  # the connection may be closed while the rest is still being sent


async def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with http.post(company(sandbox) + "/invoice", data=b"not gzip", headers=headers) as response:
        assert response.status == 400


async def test_a_body_that_never_becomes_what_its_encoding_says_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after its headers: aiohttp forgets then to tell whoever reads it that it is no deflate stream."""
    monkeypatch.setattr("simulators.http.BODY_SECONDS_MAX", 0.5)
    parts = urlsplit(company(sandbox))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path}/invoice HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\nContent-Length: 1\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.write(b"x")
    async with asyncio.timeout(BOUND_SECONDS):
        assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    await writer.wait_closed()
