"""The simulated OAuth server: connect, refresh with rotation, revoke."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from simulators.http import Answer, Request
from simulators.quickbooks.oauth import OAuthServer
from simulators.server import default_oauth
from tests.simulators.companies import RECORDINGS, Clock

BACK = "http://localhost:9/callback"
APP = {"client_id": default_oauth(1).client_id, "response_type": "code", "redirect_uri": BACK, "state": "s1"}


class App:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = replace(default_oauth(1), **settings)
        self.server = OAuthServer(self.settings, {"111": "One & Co", "222": "Two"}, self.clock, "1")

    def send(self, method: str, path: str, body: bytes = b"", secret: str = "", **query: str) -> Answer:
        basic = base64.b64encode(f"{self.settings.client_id}:{secret or self.settings.client_secret}".encode()).decode()
        answer = self.server.answer(Request(method, path, query, {"authorization": f"Basic {basic}"}, body))
        assert answer is not None
        return answer

    def token(self, secret: str = "", **form: str) -> tuple[int, dict[str, Any]]:
        answer = self.send("POST", "/oauth2/v1/tokens/bearer", urlencode(form).encode(), secret)
        return answer.status, json.loads(answer.body)

    def refresh(self, value: str) -> tuple[int, dict[str, Any]]:
        return self.token(grant_type="refresh_token", refresh_token=value)

    def approve(self, **query: str) -> dict[str, str]:
        answer = self.send("GET", "/connect/oauth2", **{**APP, "approve": "1", **query})
        assert answer.status == 302, answer.body
        assert answer.headers["Location"].startswith(BACK + "?")
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def test_approval_comes_back_with_code_state_and_realm_and_the_code_works_once() -> None:
    app = App()
    back = app.approve(realm_id="222")
    assert (back["state"], back["realmId"]) == ("s1", "222")
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    status, tokens = app.token(**form)
    assert status == 200
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 3600)
    assert app.server.check(tokens["access_token"]) == ("good", "222")
    assert app.token(**form) == (400, {"error": "invalid_grant", "error_description": "Invalid authorization code"})


def test_a_code_is_bound_to_its_address_and_to_five_minutes() -> None:
    app = App()
    form = {"grant_type": "authorization_code", "code": app.approve()["code"], "redirect_uri": "http://elsewhere/"}
    assert app.token(**form)[0] == 400
    form = {"grant_type": "authorization_code", "code": app.approve()["code"], "redirect_uri": BACK}
    app.clock.now += 301
    assert app.token(**form)[0] == 400


def test_without_approval_a_page_offers_each_company() -> None:
    page = App().send("GET", "/connect/oauth2", **APP).body.decode()
    assert "Connect One &amp; Co" in page
    assert "realm_id=222" in page


def test_authorize_refuses_an_unknown_client_company_or_address() -> None:
    app = App()
    for wrong in ({"client_id": "other"}, {"redirect_uri": "javascript:1"}, {"realm_id": "333"}):
        assert app.send("GET", "/connect/oauth2", **{**APP, "approve": "1", **wrong}).status == 400


def test_the_refresh_token_changes_and_its_former_value_dies_at_once() -> None:
    app = App()
    first = app.server.connect("111").refresh_token
    status, tokens = app.refresh(first)
    assert status == 200
    assert tokens["refresh_token"] != first
    status, refused = app.refresh(first)
    assert (status, refused["error"]) == (400, "invalid_grant")
    assert app.refresh(tokens["refresh_token"])[0] == 200
    assert app.server.refreshes == 2


def test_the_refresh_token_may_keep_its_value_for_a_day() -> None:
    app = App(rotate_after_seconds=86_400)
    first = app.server.connect("111").refresh_token
    assert app.refresh(first)[1]["refresh_token"] == first
    app.clock.now += 86_401
    assert app.refresh(first)[1]["refresh_token"] != first


def test_reuse_of_a_former_value_can_revoke_the_grant() -> None:
    app = App(reuse_revokes=True)
    first = app.server.connect("111").refresh_token
    tokens = app.refresh(first)[1]
    app.refresh(first)
    assert app.refresh(tokens["refresh_token"])[0] == 400
    assert app.server.check(tokens["access_token"])[0] == "unknown"


def test_an_access_token_expires_by_the_clock() -> None:
    app = App(access_token_seconds=10)
    token = next(iter(app.server.connect("111").access_tokens))
    assert app.server.check(token)[0] == "good"
    app.clock.now += 10
    assert app.server.check(token)[0] == "expired"


def test_a_wrong_secret_is_invalid_client() -> None:
    assert App().token(secret="wrong", grant_type="refresh_token", refresh_token="x") == (
        401,
        {"error": "invalid_client"},
    )


def test_revoking_either_token_ends_both() -> None:
    for which in ("access", "refresh"):
        app = App()
        grant = app.server.connect("111")
        access = next(iter(grant.access_tokens))
        body = json.dumps({"token": access if which == "access" else grant.refresh_token}).encode()
        assert app.send("POST", "/v2/oauth2/tokens/revoke", body).status == 200
        assert app.server.check(access)[0] == "unknown"
        assert app.refresh(grant.refresh_token)[0] == 400


def test_a_token_may_be_revoked_by_form_and_an_unknown_one_is_refused() -> None:
    app = App()
    grant = app.server.connect("111")
    assert app.send("POST", "/v2/oauth2/tokens/revoke", b"token=nonsense").status == 400
    assert app.send("POST", "/v2/oauth2/tokens/revoke", f"token={grant.refresh_token}".encode()).status == 200
    assert app.server.check(next(iter(grant.access_tokens)))[0] == "unknown"


def test_the_client_may_name_itself_in_the_form() -> None:
    app = App()
    first = app.server.connect("111").refresh_token
    form = {"grant_type": "refresh_token", "refresh_token": first, "client_id": app.settings.client_id}
    for secret, status in (("wrong", 401), (app.settings.client_secret, 200)):
        body = urlencode({**form, "client_secret": secret}).encode()
        answer = app.server.answer(Request("POST", "/oauth2/v1/tokens/bearer", {}, {}, body))
        assert answer is not None
        assert answer.status == status


def test_authorization_that_is_no_base64_is_invalid_client() -> None:
    for shown in ("Basic \u00e9", "Basic !", "Basic", ""):
        request = Request("POST", "/oauth2/v1/tokens/bearer", {}, {"authorization": shown}, b"")
        answer = App().server.answer(request)
        assert answer is not None
        assert answer.status == 401


def test_who_declines_comes_back_with_access_denied() -> None:
    back = App().approve(approve="0")
    assert back == {"error": "access_denied", "state": "s1"}


def test_a_refresh_token_dies_of_age_unless_it_is_renewed() -> None:
    app = App(refresh_token_seconds=100, rotate_after_seconds=0)
    first = app.server.connect("111").refresh_token
    app.clock.now += 99
    second = app.refresh(first)[1]
    assert second["x_refresh_token_expires_in"] == 100
    app.clock.now += 100
    assert app.refresh(second["refresh_token"])[0] == 400


def test_five_years_after_the_consent_every_refresh_fails_and_its_header_foretells_it() -> None:
    app = App(refresh_token_seconds=10**9)
    token = app.server.connect("111").refresh_token
    app.clock.now += 1000
    form = urlencode({"grant_type": "refresh_token", "refresh_token": token}).encode()
    basic = base64.b64encode(f"{app.settings.client_id}:{app.settings.client_secret}".encode()).decode()
    headers = {"authorization": f"Basic {basic}", "x-include-refresh-token-hard-expires-in": "true"}
    answer = app.server.answer(Request("POST", "/oauth2/v1/tokens/bearer", {}, headers, form))
    assert answer is not None
    told = json.loads(answer.body)
    assert told["x_refresh_token_hard_expires_in"] == 157_680_000 - 1000
    app.clock.now += 157_680_000 - 1000
    status, refused = app.refresh(told["refresh_token"])
    assert (status, refused["error"]) == (400, "invalid_grant")


def test_without_its_header_the_hard_expiry_is_not_told() -> None:
    app = App()
    assert "x_refresh_token_hard_expires_in" not in app.refresh(app.server.connect("111").refresh_token)[1]


def test_an_outage_is_invalid_grant_and_spends_nothing() -> None:
    app = App(outage=True)
    token = app.server.connect("111").refresh_token
    assert app.refresh(token)[1]["error"] == "invalid_grant"
    app.server.settings = replace(app.server.settings, outage=False)
    assert app.refresh(token)[0] == 200


def test_access_tokens_can_be_expired_before_their_time() -> None:
    app = App()
    grant = app.server.connect("111")
    token = next(iter(grant.access_tokens))
    app.server.expire_access_tokens("111")
    assert app.server.check(token)[0] == "expired"
    fresh = app.refresh(grant.refresh_token)[1]["access_token"]
    assert app.server.check(fresh)[0] == "good"


def test_codes_and_former_tokens_are_bounded() -> None:
    app = App()
    for _ in range(1100):
        app.approve()
    assert len(app.server._codes) <= 1000
    grant = app.server.connect("111")
    for _ in range(150):
        app.refresh(grant.refresh_token)
    assert len(grant.access_tokens) == 100


def test_discovery_has_the_members_of_intuits_own_document() -> None:
    intuits = json.loads((RECORDINGS / "oauth" / "discovery.json").read_text(encoding="utf-8-sig"))
    for path in ("/.well-known/openid_configuration", "/.well-known/openid_sandbox_configuration"):
        answer = App().server.answer(Request("GET", path, {}, {"host": "localhost:5"}, b""))
        assert answer is not None
        assert json.loads(answer.body).keys() == intuits.keys()


def test_tokens_have_the_members_and_types_of_intuits_own_document() -> None:
    """All but `id_token`, which comes with the scope openid."""
    recorded = json.loads((RECORDINGS / "oauth" / "success_token_response.json").read_text("utf-8-sig"))
    app = App()
    status, tokens = app.token(grant_type="authorization_code", code=app.approve()["code"], redirect_uri=BACK)
    assert status == 200
    assert {name: type(value) for name, value in tokens.items()} == {
        name: type(value) for name, value in recorded.items() if name != "id_token"
    }


def test_discovery_names_this_server() -> None:
    request = Request("GET", "/.well-known/openid_configuration", {}, {"host": "localhost:5"}, b"")
    answer = App().server.answer(request)
    assert answer is not None
    assert json.loads(answer.body)["token_endpoint"] == "http://localhost:5/oauth2/v1/tokens/bearer"
