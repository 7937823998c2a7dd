"""OAuth 2.0 as Intuit runs it: authorize, exchange, refresh with rotation, revoke (`docs/vendors/quickbooks.md` §7)."""

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

from simulators.http import Answer, Json, Request, html_answer, json_answer
from simulators.quickbooks.books import Changes

AUTHORIZE_PATH = "/connect/oauth2"
TOKEN_PATH = "/oauth2/v1/tokens/bearer"
REVOKE_PATH = "/v2/oauth2/tokens/revoke"
DISCOVERY_PATHS = ("/.well-known/openid_configuration", "/.well-known/openid_sandbox_configuration")
CODE_LIFETIME_SECONDS = 300
REFRESH_TOKEN_LIFETIME_SECONDS = 8_726_400
HARD_LIFETIME_SECONDS = 157_680_000
CODES_MAX = 1000
GRANTS_MAX = 10_000
FORMER_TOKENS_MAX = 1000
ACCESS_TOKENS_MAX = 100

TokenState = Literal["good", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """`rotate_after_seconds`: a refresh token keeps its value this long; 0 changes it on every refresh, Intuit does so
    after about a day. `reuse_revokes`: showing a former refresh token kills the tokens that replaced it; Intuit "may"
    do so. `outage`: every refresh is `invalid_grant` and changes nothing, as in outages of Intuit's."""

    client_id: str
    client_secret: str
    access_token_seconds: float = 3600
    refresh_token_seconds: float = REFRESH_TOKEN_LIFETIME_SECONDS
    rotate_after_seconds: float = 0
    reuse_revokes: bool = False
    outage: bool = False


@dataclass(slots=True)
class Grant:
    """One company's consent: the refresh token of now, when it got its value, and the values it had before."""

    realm_id: str
    refresh_token: str
    since: float
    number: int = 0
    consented_at: float = 0.0
    former: dict[str, None] = field(default_factory=dict)
    access_tokens: dict[str, float] = field(default_factory=dict)
    """Token -> when it expires, epoch seconds."""
    revoked: bool = False


class OAuthServer:
    """Tokens and codes of all companies. `seed` makes their values repeatable."""

    def __init__(
        self, settings: OAuthSettings, companies: Mapping[str, str], clock: Callable[[], float], seed: str
    ) -> None:
        """`companies`: realm id to name."""
        self.settings = settings
        self.refreshes = 0
        self.changes = Changes()
        self._companies = companies
        self._clock = clock
        self._seed = seed
        self._made = 0
        self._grants: list[Grant] = []
        self._grants_made = 0
        self._codes: dict[str, tuple[str, str, float]] = {}
        self._access: dict[str, Grant] = {}

    def connect(self, realm_id: str) -> Grant:
        """A new consent with a first access token, as after the authorization-code flow."""
        now = self._clock()
        self._grants_made += 1
        grant = Grant(realm_id, self._token("refresh"), now, self._grants_made, now)
        self._grants.append(grant)
        self._new_access_token(grant)
        if len(self._grants) > GRANTS_MAX:
            self._forget(self._grants.pop(0))
        return grant

    def check(self, access_token: str) -> tuple[TokenState, str]:
        """The token's state, and the realm id that it opens."""
        grant = self._access.get(access_token)
        if grant is None or grant.revoked:
            return "unknown", ""
        return ("good" if grant.access_tokens[access_token] > self._clock() else "expired"), grant.realm_id

    def expire_access_tokens(self, realm_id: str) -> None:
        """All access tokens of the company are expired from now on; its refresh tokens stay."""
        now = self._clock()
        for grant in self._grants:
            if grant.realm_id == realm_id:
                grant.access_tokens = {token: min(at, now) for token, at in grant.access_tokens.items()}
                self._changed(grant)

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
        """Straight back to the app with `approve` 1 or 0, else a page with one link for each company."""
        query = request.query
        redirect_uri = query.get("redirect_uri", "")
        if query.get("client_id") != self.settings.client_id or query.get("response_type") != "code":
            return html_answer("<h1>The client id or the response type is not known here.</h1>", 400)
        if not _is_web_address(redirect_uri):
            return html_answer("<h1>The redirect_uri query parameter value is invalid.</h1>", 400)
        if query.get("approve") == "0":
            return _back(redirect_uri, {"error": "access_denied", "state": query.get("state", "")})
        if query.get("approve") == "1":
            realm_id = query.get("realm_id") or next(iter(self._companies))
            if realm_id not in self._companies:
                return html_answer("<h1>There is no such company.</h1>", 400)
            code = self._new_code(realm_id, redirect_uri)
            return _back(redirect_uri, {"code": code, "state": query.get("state", ""), "realmId": realm_id})
        return html_answer(self._consent_page(query))

    def _consent_page(self, query: Mapping[str, str]) -> str:
        def link(text: str, **more: str) -> str:
            return f'<a href="?{escape(urlencode({**query, **more}, errors="replace"))}">{escape(text)}</a>'

        links = "".join(
            f"<p>{link(f'Connect {name}', approve='1', realm_id=realm_id)} ({escape(realm_id)})</p>"
            for realm_id, name in self._companies.items()
        )
        head = '<meta name="viewport" content="width=device-width"><title>Connect (sandbox)</title>'
        title = "<h1>Connect a company (sandbox)</h1>"
        return f"<!doctype html><html lang=en>{head}{title}{links}<p>{link('No, thanks', approve='0')}</p></html>"

    def _new_code(self, realm_id: str, redirect_uri: str) -> str:
        now = self._clock()
        for code, (_, _, expires_at) in list(self._codes.items()):
            if expires_at < now or len(self._codes) >= CODES_MAX:
                del self._codes[code]
                self.changes.mark("oauth", "code", code)
        code = self._token("code")
        self._codes[code] = (realm_id, redirect_uri, now + CODE_LIFETIME_SECONDS)
        self.changes.mark("oauth", "code", code)
        return code

    def _tokens(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        if not self._client_is_known(request, form):
            return json_answer({"error": "invalid_client"}, 401)
        match form.get("grant_type"):
            case "authorization_code":
                code = form.get("code", "")
                if code in self._codes:
                    self.changes.mark("oauth", "code", code)
                realm_id, redirect_uri, expires_at = self._codes.pop(code, ("", "", 0.0))
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
        if self.settings.outage:
            return _invalid_grant("Incorrect or invalid refresh token")
        for each in self._grants:
            if shown in each.former and self.settings.reuse_revokes:
                each.revoked = True
                self._changed(each)
        grant = next((each for each in self._grants if each.refresh_token == shown), None)
        if grant is None or grant.revoked or self._seconds_left(grant, now) <= 0:
            return _invalid_grant("Incorrect or invalid refresh token")
        self.refreshes += 1
        if now - grant.since >= self.settings.rotate_after_seconds:
            grant.former[grant.refresh_token] = None
            if len(grant.former) > FORMER_TOKENS_MAX:
                del grant.former[next(iter(grant.former))]
            grant.refresh_token = self._token("refresh")
            grant.since = now
        return json_answer(self._token_answer(request, grant, self._new_access_token(grant)))

    def _seconds_left(self, grant: Grant, now: float) -> float:
        """Until the refresh token's value dies: of its own age, or of that of the consent."""
        own = grant.since + self.settings.refresh_token_seconds
        return min(own, grant.consented_at + HARD_LIFETIME_SECONDS) - now

    def _token_answer(self, request: Request, grant: Grant, access_token: str) -> Json:
        now = self._clock()
        answer: Json = {
            "token_type": "bearer",
            "access_token": access_token,
            "expires_in": int(self.settings.access_token_seconds),
            "refresh_token": grant.refresh_token,
            "x_refresh_token_expires_in": int(self._seconds_left(grant, now)),
        }
        if request.headers.get("x-include-refresh-token-hard-expires-in", "").lower() == "true":
            answer["x_refresh_token_hard_expires_in"] = int(grant.consented_at + HARD_LIFETIME_SECONDS - now)
        return answer

    def _revoke(self, request: Request) -> Answer:
        """The token comes as JSON, or as a form."""
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        if not self._client_is_known(request, form):
            return json_answer({"error": "invalid_client"}, 401)
        try:
            token = json.loads(request.body)["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = form.get("token")
        for grant in self._grants:
            if isinstance(token, str) and (token == grant.refresh_token or token in grant.access_tokens):
                grant.revoked = True
                self._changed(grant)
                return Answer(200)
        return json_answer({"error": "invalid_request"}, 400)

    def _client_is_known(self, request: Request, form: Mapping[str, str]) -> bool:
        """By Basic authorization, or by the form's own client id and secret."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                shown = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                return False
        else:
            shown = f"{form.get('client_id', '')}:{form.get('client_secret', '')}".encode("utf-8", "replace")
        wanted = f"{self.settings.client_id}:{self.settings.client_secret}".encode()
        return hmac.compare_digest(shown, wanted)

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
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile", "address", "phone"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "claims_supported": ["aud", "exp", "iat", "iss", "realmid", "sub"],
        }

    def _new_access_token(self, grant: Grant) -> str:
        token = self._token("access")
        grant.access_tokens[token] = self._clock() + self.settings.access_token_seconds
        self._access[token] = grant
        if len(grant.access_tokens) > ACCESS_TOKENS_MAX:
            oldest = next(iter(grant.access_tokens))
            del grant.access_tokens[oldest], self._access[oldest]
        self._changed(grant)
        return token

    def _forget(self, grant: Grant) -> None:
        for token in grant.access_tokens:
            del self._access[token]
        self._changed(grant)

    def _changed(self, grant: Grant) -> None:
        self.changes.mark("oauth", "grant", str(grant.number))
        self.changes.mark("oauth", "counters")

    def _token(self, kind: str) -> str:
        self._made += 1
        self.changes.mark("oauth", "counters")
        return made_secret(f"{self._seed}/{self._made}", kind)

    def row_keys(self) -> list[str]:
        """Of the rows that `row` knows: `counters`, `grant/<number>`, `code/<code>`."""
        return [
            "counters",
            *(f"grant/{each.number}" for each in self._grants),
            *(f"code/{each}" for each in self._codes),
        ]

    def row(self, key: str) -> Json | None:
        kind, _, which = key.partition("/")
        if kind == "counters":
            return {"made": self._made, "grants_made": self._grants_made, "refreshes": self.refreshes}
        if kind == "code" and which in self._codes:
            return dict(zip(("realm_id", "redirect_uri", "expires_at"), self._codes[which], strict=True))
        grant = next((each for each in self._grants if kind == "grant" and str(each.number) == which), None)
        if grant is None:
            return None
        return {
            "realm_id": grant.realm_id,
            "refresh_token": grant.refresh_token,
            "since": grant.since,
            "consented_at": grant.consented_at,
            "former": list(grant.former),
            "access_tokens": [[token, at] for token, at in grant.access_tokens.items()],
            "revoked": grant.revoked,
        }

    def restore(self, rows: Mapping[str, Json], companies: Mapping[str, str]) -> None:
        """Replaces all grants and codes by those of the rows."""
        counters = rows.get("counters", {})
        self._made, self._grants_made = counters.get("made", 0), counters.get("grants_made", 0)
        self.refreshes = counters.get("refreshes", 0)
        self._companies = companies
        self._codes = {
            key.removeprefix("code/"): (value["realm_id"], value["redirect_uri"], float(value["expires_at"]))
            for key, value in rows.items()
            if key.startswith("code/")
        }
        grants = [_grant(key, value) for key, value in rows.items() if key.startswith("grant/")]
        self._grants = sorted(grants, key=lambda each: each.number)
        self._access = {token: grant for grant in self._grants for token in grant.access_tokens}


def _grant(key: str, value: Json) -> Grant:
    return Grant(
        value["realm_id"],
        value["refresh_token"],
        float(value["since"]),
        int(key.removeprefix("grant/")),
        float(value["consented_at"]),
        dict.fromkeys(value["former"]),
        {token: float(at) for token, at in value["access_tokens"]},
        value["revoked"],
    )


def _is_web_address(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https") and text.isprintable()
    except ValueError:
        return False


def _back(redirect_uri: str, values: Mapping[str, str]) -> Answer:
    query = urlencode(values, errors="replace")
    return Answer(302, b"", {"Location": f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"})


def made_secret(seed: str, kind: str) -> str:
    """A value that depends on the seed only and looks unlike a real secret."""
    return f"sandbox-{kind}-{hashlib.sha256(f'{seed}/{kind}'.encode()).hexdigest()[:24]}"


def _invalid_grant(description: str) -> Answer:
    return json_answer({"error": "invalid_grant", "error_description": description}, 400)
