"""Intuit's own OAuth client for Python (intuit-oauth), from the page a person clicks to the revoked connection."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError

from simulators.server import Sandbox
from tests import BOUND_SECONDS
from tests.clients.consent import click_connect
from tests.clients.servers import Clock

pytestmark = pytest.mark.clients

REDIRECT_URI = "http://localhost:9/callback"


@pytest.fixture
def auth(sandbox: Sandbox) -> Iterator[AuthClient]:
    """A client that has read our discovery document, which its constructor asks for."""
    addresses = sandbox.addresses
    discovery = addresses.quickbooks_url + "/.well-known/openid_configuration"
    with AuthClient(addresses.client_id, addresses.client_secret, REDIRECT_URI, discovery) as client:
        yield client


def connect(auth: AuthClient) -> str:
    """Walks through the consent page and the exchange; returns the code that was used up."""
    answered = click_connect(auth.get_authorization_url([Scopes.ACCOUNTING], state_token="anything"))
    given = dict(parse_qsl(urlsplit(answered).query))
    assert given["state"] == "anything"
    auth.get_bearer_token(given["code"], realm_id=given["realmId"])
    return given["code"]


def company_info_status(auth: AuthClient, sandbox: Sandbox) -> int:
    url = f"{sandbox.addresses.quickbooks_url}/v3/company/{auth.realm_id}/companyinfo/{auth.realm_id}"
    headers = {"Authorization": f"Bearer {auth.access_token}", "Accept": "application/json"}
    with auth.get(url, headers=headers, timeout=BOUND_SECONDS) as response:
        return int(response.status_code)


def test_the_authorization_url_is_that_of_the_discovery_document(auth: AuthClient, sandbox: Sandbox) -> None:
    url = urlsplit(auth.get_authorization_url([Scopes.ACCOUNTING]))
    assert f"{url.scheme}://{url.netloc}{url.path}" == sandbox.addresses.quickbooks_authorize_url
    assert parse_qs(url.query)["scope"] == ["com.intuit.quickbooks.accounting"]


def test_a_consent_gives_tokens_that_open_the_company(auth: AuthClient, sandbox: Sandbox) -> None:
    connect(auth)
    assert auth.realm_id == sandbox.addresses.realm_id
    assert auth.expires_in == 3600
    assert auth.x_refresh_token_expires_in == pytest.approx(8_726_400, abs=60)
    assert company_info_status(auth, sandbox) == 200


def test_a_code_is_good_for_one_exchange(auth: AuthClient) -> None:
    code = connect(auth)
    with pytest.raises(AuthClientError, match="invalid_grant") as refused:
        auth.get_bearer_token(code)
    assert refused.value.status_code == 400
    assert refused.value.intuit_tid


def test_a_refresh_gives_new_tokens_and_the_former_refresh_token_is_dead(auth: AuthClient, sandbox: Sandbox) -> None:
    connect(auth)
    former = auth.refresh_token
    auth.refresh()
    assert auth.refresh_token != former
    assert company_info_status(auth, sandbox) == 200
    with pytest.raises(AuthClientError, match="invalid_grant"):
        auth.refresh(refresh_token=former)


def test_an_access_token_ends_after_its_hour_and_a_refresh_mends_it(
    auth: AuthClient, sandbox: Sandbox, clock: Clock
) -> None:
    connect(auth)
    with clock.later(auth.expires_in + 1):
        assert company_info_status(auth, sandbox) == 401
        auth.refresh()
        assert company_info_status(auth, sandbox) == 200


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
def test_a_revoked_connection_is_closed_whichever_token_is_shown(
    auth: AuthClient, sandbox: Sandbox, which: str
) -> None:
    connect(auth)
    assert auth.revoke(token=getattr(auth, which)) is True
    assert company_info_status(auth, sandbox) == 401
    with pytest.raises(AuthClientError, match="invalid_grant"):
        auth.refresh()


def test_a_wrong_client_secret_is_refused(auth: AuthClient) -> None:
    auth.client_secret = "wrong"
    with pytest.raises(AuthClientError, match="invalid_client") as refused:
        connect(auth)
    assert refused.value.status_code == 401
