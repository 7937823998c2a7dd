"""Intuit's token endpoint: a code or a refresh token in, a pair of tokens out (docs/vendors/quickbooks.md §7)."""

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .failures import Failure, Wait
from .transport import Answer, AnswerLost, NotSent, Transport


class InvalidGrant(Failure):
    """Intuit did not accept the code or refresh token: used up, revoked, replaced by a newer one, or Intuit is ill."""


class TokenServerTrouble(Wait):
    """Intuit's token server gave no usable answer; the stored tokens are unchanged."""


class ClientRefused(TokenServerTrouble):
    """Intuit does not accept our client id and secret; a person must correct the settings, then it works again."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What Intuit gave. Neither repr nor str shows a token.

    `hard_expires_in_seconds`: after that a person has to consent again, however often the tokens were refreshed; None
    when Intuit does not say so.
    """

    access_token: str = field(repr=False)
    expires_in_seconds: int
    refresh_token: str = field(repr=False)
    refresh_expires_in_seconds: int
    hard_expires_in_seconds: int | None = None


HARD_EXPIRY_HEADER = "x-include-refresh-token-hard-expires-in"
"""Without it Intuit does not tell how long the consent lives (docs/vendors/quickbooks.md §7)."""


class IntuitOAuth:
    """Asks the token endpoint. Its failures never hold a token, a code or the client secret."""

    def __init__(
        self, transport: Transport, token_url: str, client_id: str, client_secret: str, timeout_seconds: float
    ) -> None:
        self._transport = transport
        self._token_url = token_url
        self._authorization = "Basic " + b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._timeout_seconds = timeout_seconds

    async def exchange(self, code: str, redirect_uri: str) -> Tokens:
        """The first tokens, for the authorization code of a callback. Raises InvalidGrant, TokenServerTrouble."""
        return await self._ask({"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri})

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens; the given one may be dead from now on. One call at a time per realm, or Intuit revokes both.

        Raises InvalidGrant, TokenServerTrouble.
        """
        return await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def _ask(self, form: dict[str, str]) -> Tokens:
        headers = {
            "Authorization": self._authorization,
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            HARD_EXPIRY_HEADER: "true",
        }
        try:
            answer = await self._transport(
                "POST",
                self._token_url,
                headers=headers,
                body=urlencode(form).encode(),
                timeout_seconds=self._timeout_seconds,
            )
        except (NotSent, AnswerLost) as error:
            raise TokenServerTrouble(f"Intuit's token server: {error}") from None
        return _tokens(answer)


class _TokenAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str = Field(min_length=1)
    expires_in: int = Field(gt=0)
    refresh_token: str = Field(min_length=1)
    x_refresh_token_expires_in: int = Field(gt=0)
    x_refresh_token_hard_expires_in: int | None = None


class _ErrorAnswer(BaseModel):
    error: str


def _tokens(answer: Answer) -> Tokens:
    if answer.status != 200:
        raise _failure(answer)
    try:
        given = _TokenAnswer.model_validate_json(answer.body)
    except ValidationError:
        raise TokenServerTrouble("Intuit's token server answered 200 with a body that holds no tokens") from None
    return Tokens(
        access_token=given.access_token,
        expires_in_seconds=given.expires_in,
        refresh_token=given.refresh_token,
        refresh_expires_in_seconds=given.x_refresh_token_expires_in,
        hard_expires_in_seconds=given.x_refresh_token_hard_expires_in,
    )


def _failure(answer: Answer) -> Failure:
    try:
        code = _ErrorAnswer.model_validate_json(answer.body).error
    except ValidationError:
        code = ""
    if code == "invalid_grant":
        return InvalidGrant("Intuit does not accept the code or refresh token (invalid_grant)")
    if answer.status == 401 or code in ("invalid_client", "unauthorized_client"):
        return ClientRefused(
            "Intuit does not accept the client id and secret: compare quickbooks.client_id and "
            "quickbooks.client_secret with the keys of the app at developer.intuit.com"
        )
    return TokenServerTrouble(f"Intuit's token server answered {answer.status}")
