"""OAuth 2.0 as Intuit runs it: authorize, exchange, refresh with rotation, revoke (`facts/quickbooks.md` §7)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from stream.sandbox.http import Answer, Json, Request, html_answer, json_answer

AUTHORIZE_PATH = "/connect/oauth2"
TOKEN_PATH = "/oauth2/v1/tokens/bearer"
REVOKE_PATH = "/v2/oauth2/tokens/revoke"
DISCOVERY_PATHS = ("/.well-known/openid_configuration", "/.well-known/openid_sandbox_configuration")
CODE_LIFETIME_SECONDS = 300
REFRESH_TOKEN_LIFETIME_SECONDS = 8_726_400
HARD_LIFETIME_SECONDS = 157_680_000

TokenState = Literal["good", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """`rotate_after_seconds`: a refresh token keeps its value this long; 0 changes it on every refresh, Intuit does so
    after about a day. `reuse_revokes`: showing a former refresh token kills the tokens that replaced it."""

    client_id: str
    client_secret: str
    access_token_seconds: float = 3600
    rotate_after_seconds: float = 0
    reuse_revokes: bool = False


@dataclass(slots=True)
class Grant:
    """One company's consent: the refresh token of now, when it got its value, and the values it had before."""

    realm_id: str
    refresh_token: str
    since: float
    former: set[str] = field(default_factory=set)
    access_tokens: dict[str, float] = field(default_factory=dict)
    revoked: bool = False


class OAuthServer:
    """Tokens and codes of all companies. `seed` makes their values repeatable."""

    def __init__(
        self, settings: OAuthSettings, companies: Mapping[str, str], clock: Callable[[], float], seed: str
    ) -> None:
        """`companies`: realm id to name."""
        self.settings = settings
        self.refreshes = 0
        self._companies = companies
        self._clock = clock
        self._seed = seed
        self._made = 0
        self._grants: list[Grant] = []
        self._codes: dict[str, tuple[str, str, float]] = {}
        self._access: dict[str, Grant] = {}

    def connect(self, realm_id: str) -> Grant:
        """A new consent with a first access token, as after the authorization-code flow."""
        grant = Grant(realm_id, self._token("refresh"), self._clock())
        self._grants.append(grant)
        self._new_access_token(grant)
        return grant

    def check(self, access_token: str) -> tuple[TokenState, str]:
        """The token's state, and the realm id that it opens."""
        grant = self._access.get(access_token)
        if grant is None or grant.revoked:
            return "unknown", ""
        return ("good" if grant.access_tokens[access_token] > self._clock() else "expired"), grant.realm_id

    def answer(self, request: Request) -> Answer | None:
        """None when the path is not OAuth's."""
        match request.method, request.path:
            case "GET", "/connect/oauth2":
                return self._authorize(request)
            case "POST", "/oauth2/v1/tokens/bearer":
                return self._tokens(request)
            case "POST", "/v2/oauth2/tokens/revoke":
                return self._revoke(request)
            case "GET", path if path in DISCOVERY_PATHS:
                return json_answer(self._discovery(request))
        return None

    def _authorize(self, request: Request) -> Answer:
        """Straight back to the app with `approve=1`, else a page with one link for each company."""
        query = request.query
        redirect_uri = query.get("redirect_uri", "")
        if query.get("client_id") != self.settings.client_id or query.get("response_type") != "code":
            return html_answer("<h1>The client id or the response type is not known here.</h1>", 400)
        if urlsplit(redirect_uri).scheme not in ("http", "https"):
            return html_answer("<h1>The redirect_uri query parameter value is invalid.</h1>", 400)
        if query.get("approve") == "1":
            realm_id = query.get("realm_id") or next(iter(self._companies))
            if realm_id not in self._companies:
                return html_answer("<h1>There is no such company.</h1>", 400)
            code = self._token("code")
            self._codes[code] = (realm_id, redirect_uri, self._clock() + CODE_LIFETIME_SECONDS)
            back = urlencode({"code": code, "state": query.get("state", ""), "realmId": realm_id})
            return Answer(302, b"", {"Location": f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{back}"})
        links = "".join(
            f'<p><a href="?{escape(urlencode({**query, "approve": "1", "realm_id": realm_id}))}">'
            f"Connect {escape(name)}</a> ({escape(realm_id)})</p>"
            for realm_id, name in self._companies.items()
        )
        head = '<meta name="viewport" content="width=device-width"><title>Connect (sandbox)</title>'
        return html_answer(f"<!doctype html><html lang=en>{head}<h1>Connect a company (sandbox)</h1>{links}</html>")

    def _tokens(self, request: Request) -> Answer:
        if not self._client_is_known(request):
            return json_answer({"error": "invalid_client"}, 401)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        match form.get("grant_type"):
            case "authorization_code":
                realm_id, redirect_uri, expires_at = self._codes.pop(form.get("code", ""), ("", "", 0.0))
                if expires_at < self._clock() or redirect_uri != form.get("redirect_uri"):
                    return _invalid_grant("Invalid authorization code")
                grant = self.connect(realm_id)
                return json_answer(self._token_answer(request, grant, next(iter(grant.access_tokens))))
            case "refresh_token":
                return self._refresh(request, form.get("refresh_token", ""))
            case _:
                return json_answer({"error": "unsupported_grant_type"}, 400)

    def _refresh(self, request: Request, shown: str) -> Answer:
        """The former value dies at once when a new one is given out."""
        now = self._clock()
        for grant in self._grants:
            if shown in grant.former and self.settings.reuse_revokes:
                grant.revoked = True
        grant_or_none = next((each for each in self._grants if each.refresh_token == shown), None)
        if grant_or_none is None or grant_or_none.revoked:
            return _invalid_grant("Incorrect or invalid refresh token")
        grant = grant_or_none
        self.refreshes += 1
        if now - grant.since >= self.settings.rotate_after_seconds:
            grant.former.add(grant.refresh_token)
            grant.refresh_token = self._token("refresh")
            grant.since = now
        return json_answer(self._token_answer(request, grant, self._new_access_token(grant)))

    def _token_answer(self, request: Request, grant: Grant, access_token: str) -> Json:
        answer: Json = {
            "token_type": "bearer",
            "access_token": access_token,
            "expires_in": int(self.settings.access_token_seconds),
            "refresh_token": grant.refresh_token,
            "x_refresh_token_expires_in": REFRESH_TOKEN_LIFETIME_SECONDS,
        }
        if request.headers.get("x-include-refresh-token-hard-expires-in") == "true":
            answer["x_refresh_token_hard_expires_in"] = HARD_LIFETIME_SECONDS
        return answer

    def _revoke(self, request: Request) -> Answer:
        if not self._client_is_known(request):
            return json_answer({"error": "invalid_client"}, 401)
        try:
            token = json.loads(request.body)["token"]
        except (ValueError, KeyError, TypeError):
            return json_answer({"error": "invalid_request"}, 400)
        for grant in self._grants:
            if token == grant.refresh_token or token in grant.access_tokens:
                grant.revoked = True
                return Answer(200)
        return json_answer({"error": "invalid_request"}, 400)

    def _client_is_known(self, request: Request) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            shown = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        wanted = f"{self.settings.client_id}:{self.settings.client_secret}".encode()
        return scheme.lower() == "basic" and hmac.compare_digest(shown, wanted)

    def _discovery(self, request: Request) -> Json:
        base = f"http://{request.headers.get('host', '')}"
        return {
            "issuer": "https://oauth.platform.intuit.com/op/v1",
            "authorization_endpoint": base + AUTHORIZE_PATH,
            "token_endpoint": base + TOKEN_PATH,
            "userinfo_endpoint": base + "/v1/openid_connect/userinfo",
            "revocation_endpoint": base + REVOKE_PATH,
            "jwks_uri": base + "/op/v1/jwks",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        }

    def _new_access_token(self, grant: Grant) -> str:
        token = self._token("access")
        grant.access_tokens[token] = self._clock() + self.settings.access_token_seconds
        self._access[token] = grant
        return token

    def _token(self, kind: str) -> str:
        self._made += 1
        return made_secret(f"{self._seed}/{self._made}", kind)


def made_secret(seed: str, kind: str) -> str:
    """A value that depends on the seed only and looks unlike a real secret."""
    return f"sandbox-{kind}-{hashlib.sha256(f'{seed}/{kind}'.encode()).hexdigest()[:24]}"


def _invalid_grant(description: str) -> Answer:
    return json_answer({"error": "invalid_grant", "error_description": description}, 400)
