"""The life of a company's tokens: expired, rotated, lost with a worker, revoked; and never to be seen anywhere.

On the embedded broker. The simulators' clock can be moved, so that nobody waits for a token to expire.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from models.events import ConnectionChanged
from simulators.faults import Fault
from simulators.quickbooks.oauth import Grant
from simulators.server import default_oauth
from tests.brokers import Broker

from .rig import SOON_GIVEN_UP, Rig, ended, killed, running_rig, until_async

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_SECONDS = 3600
SEED = 1
SETTINGS = SOON_GIVEN_UP | {
    "LOGGING__LEVEL": "debug",  # the more is logged, the more could leak
    "POLICY__DEFAULT_ITEM_ID": "1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(embedded_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    oauth = replace(default_oauth(SEED), reuse_revokes=True)  # showing a former refresh token would end everything
    broker, directory = Broker("embedded", embedded_bootstrap), tmp_path_factory.mktemp("oauth")
    async with running_rig(broker, directory, SETTINGS, oauth=oauth, seed=SEED) as rig:
        await rig.start_worker()
        yield rig


async def test_an_access_token_that_expires_in_the_middle_is_refreshed_once(rig: Rig) -> None:
    """Many writes find out at the same time; one asks Intuit, and the new refresh token is recorded."""
    await posted(rig, 1)
    refreshes, before = rig.sandbox.oauth.refreshes, await newest_connection(rig)
    expire(rig)
    await posted(rig, 12)
    after = await newest_connection(rig)
    assert rig.sandbox.oauth.refreshes == refreshes + 1
    assert after.changed_at > before.changed_at
    assert refresh_token_in(rig, after) == grant_of(rig).refresh_token != refresh_token_in(rig, before)


async def test_a_token_about_to_expire_is_refreshed_before_anyone_is_refused(rig: Rig) -> None:
    """Intuit says that it lives for less than `quickbooks.refresh_before_seconds`."""
    await connect_for_a_minute(rig)
    refreshes = rig.sandbox.oauth.refreshes
    await posted(rig, 12)
    assert rig.sandbox.oauth.refreshes == refreshes + 1


async def test_after_a_crash_the_newest_refresh_token_is_used(rig: Rig) -> None:
    """Former ones would revoke the grant here; the table alone tells the new worker which it is."""
    expire(rig)
    await posted(rig, 1)
    await killed(rig.children.running[-1])
    expire(rig)
    await rig.start_worker()
    await posted(rig, 2)
    assert refresh_token_in(rig, await newest_connection(rig)) == grant_of(rig).refresh_token
    assert not grant_of(rig).revoked


async def test_a_worker_that_is_asked_to_end_records_the_tokens_that_are_on_their_way(rig: Rig) -> None:
    """Its time is up before Intuit answers; the former refresh token is dead by then."""
    await killed(rig.children.running[-1])
    worker = await rig.start_worker(WORKER__SHUTDOWN_TIMEOUT_SECONDS="1")
    await connect_for_a_minute(rig)
    refreshes = rig.sandbox.oauth.refreshes
    rig.sandbox.quickbooks_faults.add(Fault("delay", "/tokens/", delay_seconds=4))
    await rig.publish_webhooks(rig.new_invoice())
    await rig.until(lambda: rig.sandbox.oauth.refreshes > refreshes, "a refresh under way")
    worker.process.send_signal(signal.SIGTERM)
    assert await ended(worker) == 0
    assert refresh_token_in(rig, await newest_connection(rig)) == grant_of(rig).refresh_token
    await rig.start_worker()
    await posted(rig, 1)


async def test_a_revoked_grant_parks_invoices_until_the_company_is_connected_again(rig: Rig) -> None:
    grant_of(rig).revoked = True
    invoice_ids = [rig.new_invoice() for _ in range(3)]
    await rig.publish_webhooks(*invoice_ids)
    for invoice_id in invoice_ids:
        outcome = await rig.outcome(invoice_id)
        assert (outcome.result, outcome.waits_for) == ("parked", "connection"), outcome
        assert f"metronome-qbo connect --realm {rig.realm}" in (outcome.remedy or "")
        assert rig.documents_of(invoice_id) == []
    assert (await newest_connection(rig)).state == "reconnect needed"

    await connect(rig, rig.sandbox.oauth.connect(rig.realm))
    assert (await newest_connection(rig)).state == "connected"
    for invoice_id in invoice_ids:
        assert (await rig.outcome(invoice_id, 2)).result == "posted"
        assert len(rig.documents_of(invoice_id)) == 1


async def test_no_secret_is_in_any_log_or_topic(rig: Rig) -> None:
    """Every token that ever was, the client secret, Metronome's token, the webhook secret and the encryption key."""
    await posted(rig, 1)
    written = {"logs": rig.logs().encode()}
    for topic in rig.every_topic():
        written[topic] = b"\n".join(
            part
            for record in await rig.records(topic)
            for part in (record.key or b"", record.value or b"", *(value for _, value in record.headers))
        )
    realm = rig.realm.encode()
    for place in ("logs", rig.names.connections, rig.names.commands):
        assert realm in written[place], f"the scan of {place} reads nothing"
    secrets = every_secret(rig)
    assert len(secrets) > 10
    assert {place: kind for place, text in written.items() for secret, kind in secrets.items() if secret in text} == {}


def grant_of(rig: Rig) -> Grant:
    """The company's last grant, the one in use."""
    return rig.sandbox.oauth._grants[-1]


def expire(rig: Rig) -> None:
    """Two hours pass at Intuit, and nobody tells us."""
    rig.sandbox.clock.advance(2 * HOUR_SECONDS)


async def connect(rig: Rig, grant: Grant) -> None:
    """By the command; returns when the worker knows of it."""
    await rig.connect(grant)
    wanted = (await newest_connection(rig)).changed_at

    async def known() -> bool | None:
        row = (await rig.table("connections"))[rig.realm]
        return ConnectionChanged.model_validate_json(row).changed_at >= wanted or None

    await until_async(known, "the new connection in the worker's table")


async def connect_for_a_minute(rig: Rig) -> None:
    """With an access token that is to be refreshed before it is used."""
    usual = rig.sandbox.oauth.settings
    rig.sandbox.oauth.settings = replace(usual, access_token_seconds=60)
    await connect(rig, grant_of(rig))
    rig.sandbox.oauth.settings = usual


async def posted(rig: Rig, count: int) -> None:
    """New invoices go the whole way. Past the receiver, since the simulators' date is not ours."""
    invoice_ids = [rig.new_invoice() for _ in range(count)]
    await rig.publish_webhooks(*invoice_ids)
    for invoice_id in invoice_ids:
        assert (await rig.outcome(invoice_id)).result == "posted"


async def newest_connection(rig: Rig) -> ConnectionChanged:
    records = await rig.records(rig.names.connections)
    return max((ConnectionChanged.model_validate_json(e.value or b"") for e in records), key=lambda e: e.changed_at)


def refresh_token_in(rig: Rig, connection: ConnectionChanged) -> str:
    assert connection.refresh_token is not None
    return rig.cipher.decrypt(connection.refresh_token)


def every_secret(rig: Rig) -> dict[bytes, str]:
    ours = {
        rig.sandbox.addresses.client_secret: "client secret",
        rig.sandbox.metronome_token: "Metronome token",
        rig.sandbox.webhook_secret: "webhook secret",
    }
    ours |= {key.get_secret_value(): "encryption key" for key in rig.settings.encryption_keys}
    for grant in rig.sandbox.oauth._grants:
        ours |= dict.fromkeys(grant.access_tokens, "access token")
        ours |= dict.fromkeys((grant.refresh_token, *grant.former), "refresh token")
    return {secret.encode(): kind for secret, kind in ours.items()}
