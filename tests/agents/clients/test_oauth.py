"""The token client, against a small server that behaves like Intuit's token endpoint."""

import asyncio
from base64 import b64encode

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.clients.oauth import ClientRefused, IntuitOAuth, InvalidGrant, Tokens, TokenServerTrouble
from agents.clients.transport import AiohttpTransport
from tests import BOUND_SECONDS

GOOD = {
    "token_type": "bearer",
    "access_token": "access-1",
    "expires_in": 3600,
    "refresh_token": "refresh-2",
    "x_refresh_token_expires_in": 8_726_400,
}


class TokenServer:
    """Answers every request with `answer`, and remembers what it was asked."""

    def __init__(self):
        self.answer = lambda: web.json_response(GOOD)
        self.asked = []
        self.hangs = False

    async def handle(self, request):
        self.asked.append((dict(request.headers), dict(await request.post())))
        if self.hangs:
            await asyncio.Event().wait()
        return self.answer()


@pytest.fixture
async def server():
    behaviour = TokenServer()
    app = web.Application()
    app.router.add_post("/tokens", behaviour.handle)
    async with TestServer(app) as running:
        behaviour.url = str(running.make_url("/tokens"))
        yield behaviour


@pytest.fixture
async def oauth(server):
    async with aiohttp.ClientSession() as session:
        yield IntuitOAuth(
            AiohttpTransport(session), server.url, "the-client", "the-secret", timeout_seconds=BOUND_SECONDS
        )


async def test_a_code_becomes_tokens(server, oauth):
    tokens = await oauth.exchange("the code", "http://localhost:8585/callback")
    assert tokens == Tokens("access-1", 3600, "refresh-2", 8_726_400)
    headers, form = server.asked[0]
    assert form == {
        "grant_type": "authorization_code",
        "code": "the code",
        "redirect_uri": "http://localhost:8585/callback",
    }
    assert headers["Authorization"] == "Basic " + b64encode(b"the-client:the-secret").decode()
    assert headers["Accept"] == "application/json"


async def test_a_refresh_sends_the_refresh_token_and_nothing_more(server, oauth):
    await oauth.refresh("refresh-1")
    assert server.asked[0][1] == {"grant_type": "refresh_token", "refresh_token": "refresh-1"}


async def test_unknown_fields_are_ignored(server, oauth):
    server.answer = lambda: web.json_response({**GOOD, "id_token": "x", "x_refresh_token_hard_expires_in": 1})
    assert (await oauth.refresh("refresh-1")).access_token == "access-1"


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (400, {"error": "invalid_grant", "error_description": "Incorrect token refresh-1"}, InvalidGrant),
        (400, {"error": "invalid_client"}, ClientRefused),
        (401, {"error": "invalid_client"}, ClientRefused),
        (400, {"error": "invalid_request"}, TokenServerTrouble),
        (400, ["refresh-1"], TokenServerTrouble),
        (429, {}, TokenServerTrouble),
        (500, {"error": "refresh-1"}, TokenServerTrouble),
        (503, "<html>refresh-1</html>", TokenServerTrouble),
        (302, {}, TokenServerTrouble),
        (200, {"access_token": "access-1"}, TokenServerTrouble),
        (200, {**GOOD, "expires_in": "soon"}, TokenServerTrouble),
        (200, {**GOOD, "access_token": ""}, TokenServerTrouble),
        (200, "refresh-1", TokenServerTrouble),
    ],
)
async def test_every_bad_answer_has_a_failure_that_holds_no_secret(server, oauth, status, body, failure):
    server.answer = lambda: web.json_response(body, status=status)
    with pytest.raises(failure) as caught:
        await oauth.refresh("refresh-1")
    assert type(caught.value) is failure
    for secret in ("refresh-1", "access-1", "the-secret"):
        assert secret not in repr(caught.value) + str(caught.value.facts) + repr(caught.value.__cause__)


async def test_a_server_that_does_not_answer_is_trouble_in_time(server):
    server.hangs = True
    async with aiohttp.ClientSession() as session:
        oauth = IntuitOAuth(AiohttpTransport(session), server.url, "a", "b", timeout_seconds=0.5)
        with pytest.raises(TokenServerTrouble, match="Timeout"):
            await oauth.refresh("refresh-1")


async def test_a_server_that_is_not_there_is_trouble(unused_tcp_port):
    async with aiohttp.ClientSession() as session:
        oauth = IntuitOAuth(AiohttpTransport(session), f"http://127.0.0.1:{unused_tcp_port}/", "a", "b", 0.5)
        with pytest.raises(TokenServerTrouble):
            await oauth.refresh("refresh-1")


def test_tokens_do_not_show_themselves():
    tokens = Tokens("access-1", 3600, "refresh-2", 8_726_400)
    assert "access-1" not in repr(tokens) + str(tokens)
    assert "refresh-2" not in repr(tokens) + str(tokens)
    assert "3600" in repr(tokens)
