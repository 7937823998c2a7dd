"""The real transport against a server that misbehaves on loopback: was the request surely not sent, or perhaps?"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from agents.clients.failures import OutcomeUnknown
from agents.clients.quickbooks_errors import read
from agents.clients.transport import AiohttpTransport, Answer, AnswerLost, NotSent
from simulators.kafka.jars import free_port
from tests import BOUND_SECONDS

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    async with aiohttp.ClientSession() as session:
        yield AiohttpTransport(session)


async def asked(transport: AiohttpTransport, serve: Serve, timeout_seconds: float = BOUND_SECONDS) -> Answer:
    """The answer to one POST with a secret in its query."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        url = f"http://127.0.0.1:{port}/v3/invoice?requestid=r-secret"
        return await transport("POST", url, headers={"X-Test": "1"}, body=b"{}", timeout_seconds=timeout_seconds)


def saying(text: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(text)
        await writer.drain()
        writer.close()

    return serve


async def test_a_whole_answer_comes_with_lower_case_headers(transport: AiohttpTransport) -> None:
    answer = await asked(transport, saying(b"HTTP/1.1 400 Bad\r\nIntuit_Tid: 1-a\r\nContent-Length: 2\r\n\r\nno"))
    assert (answer.status, answer.headers["intuit_tid"], answer.body) == (400, "1-a", b"no")


async def test_a_header_that_is_not_utf_8_can_be_recorded(transport: AiohttpTransport) -> None:
    answer = await asked(
        transport, saying(b"HTTP/1.1 200 OK\r\nIntuit_Tid: 1-\xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n")
    )
    assert answer.headers["intuit_tid"] == "1-\N{REPLACEMENT CHARACTER}é"


async def test_nobody_listening_means_not_sent(transport: AiohttpTransport) -> None:
    with pytest.raises(NotSent):
        await transport(
            "POST", f"http://127.0.0.1:{free_port()}/", headers={}, body=b"{}", timeout_seconds=BOUND_SECONDS
        )


async def test_a_connection_that_takes_long_sends_nothing(
    transport: AiohttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes the connection, and never answers its TLS."""
    monkeypatch.setattr("agents.clients.transport.CONNECT_SECONDS_MAX", 0.1)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, asyncio.timeout(BOUND_SECONDS / 2):
        with pytest.raises(NotSent):
            await transport("POST", url, headers={}, body=b"{}", timeout_seconds=BOUND_SECONDS)


@pytest.mark.parametrize(
    "text",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"not HTTP at all\r\n\r\n"],
    ids=["closed without an answer", "closed within the body", "nonsense"],
)
async def test_a_connection_that_ends_early_means_the_answer_is_lost(transport: AiohttpTransport, text: bytes) -> None:
    with pytest.raises(AnswerLost) as raised:
        await asked(transport, saying(text))
    assert "r-secret" not in str(raised.value)


async def test_a_server_that_says_nothing_is_given_up_after_the_bound(transport: AiohttpTransport) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the caller has gone
        writer.close()

    with pytest.raises(AnswerLost, match="Timeout"):
        await asked(transport, silent, timeout_seconds=0.2)


async def test_a_compressed_answer_is_read(transport: AiohttpTransport) -> None:
    packed = gzip.compress(b'{"Invoice":{"Id":"7"}}')
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    assert (await asked(transport, saying(head.encode() + packed))).body == b'{"Invoice":{"Id":"7"}}'


@pytest.mark.parametrize("packed", [b"not packed at all", gzip.compress(b"{}" * 500)[:-20]], ids=["not", "cut"])
async def test_an_answer_that_cannot_be_unpacked_is_lost(transport: AiohttpTransport, packed: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    try:
        answer = await asked(transport, saying(head.encode() + packed))
    except AnswerLost:
        return
    with pytest.raises(OutcomeUnknown):
        read(answer)


async def test_a_redirect_is_not_followed(transport: AiohttpTransport) -> None:
    """A POST that follows one would arrive somewhere as a GET."""
    answer = await asked(transport, saying(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"))
    assert answer.status == 302
