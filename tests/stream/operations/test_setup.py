"""Setup against both simulators: what is missing is created, running it again changes nothing, refusals are clear."""

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.fernet import Fernet

from agents.clients.oauth import Tokens
from agents.clients.transport import AiohttpTransport
from agents.connections import connected
from models.metronome import CUSTOM_FIELDS
from simulators.faults import Fault
from simulators.server import start_sandbox
from stream.kafka.admin import create_by_asking, declare_topics
from stream.operations.connection_log import ConnectionLog
from stream.operations.setup import DefaultItem, SetupFailed, choose_default_item, create_custom_fields
from stream.settings import Settings
from stream.topics import topic_names, topic_specs
from stream.wiring import TokenCipher
from tests import BOUND_SECONDS


@pytest.fixture
async def sandbox():
    running = await start_sandbox(invoices=1, limits=False)
    yield running
    await running.stop()


@pytest.fixture
def settings(sandbox, embedded_bootstrap):
    addresses = sandbox.addresses
    return Settings(
        kafka={
            "bootstrap_servers": embedded_bootstrap,
            "topic_prefix": f"setup{time.time_ns()}.",
            "timeout_seconds": BOUND_SECONDS,
        },
        encryption_keys=[Fernet.generate_key().decode()],
        metronome={"url": addresses.metronome_url, "token": addresses.metronome_token},
        quickbooks={
            "url": addresses.quickbooks_url,
            "token_url": addresses.quickbooks_token_url,
            "client_id": addresses.client_id,
            "client_secret": addresses.client_secret,
        },
    )


@pytest.fixture
async def transport():
    async with aiohttp.ClientSession() as session:
        yield AiohttpTransport(session)


@pytest.fixture
async def log(settings):
    await create_by_asking(
        settings.kafka.bootstrap_servers, [topic_names(settings).connections], timeout_seconds=BOUND_SECONDS
    )
    return ConnectionLog(settings)


def connection(settings, sandbox, *, expired=False):
    addresses = sandbox.addresses
    now = datetime.now(UTC) - timedelta(hours=2 if expired else 0)
    tokens = Tokens(addresses.access_token, 3600, addresses.refresh_token, 8_726_400)
    return connected(addresses.realm_id, tokens, TokenCipher(settings.encryption_keys), now, previous=None)


@pytest.fixture
async def realm(settings, log, sandbox):
    """A connected company."""
    await log.record(connection(settings, sandbox))
    return sandbox.addresses.realm_id


async def remove_keys(sandbox):
    """A Metronome that nobody has set up."""
    headers = {"Authorization": f"Bearer {sandbox.addresses.metronome_token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for entity, key in CUSTOM_FIELDS:
            body = {"entity": entity, "key": key}
            async with session.post(f"{sandbox.addresses.metronome_url}/v1/customFields/removeKey", json=body):
                pass


async def test_custom_fields_are_created_once(settings, transport, sandbox):
    await remove_keys(sandbox)
    names = ["contract_product.qbo_item_id", "customer.qbo_customer_id", "contract.qbo_memo_ref"]
    for done in ("created", "exists"):
        steps = await create_custom_fields(settings, transport)
        assert [(step.name, step.done) for step in steps] == [(name, done) for name in names]
    assert all(sandbox.metronome.store.keys[field] is False for field in CUSTOM_FIELDS)


async def test_only_what_is_missing_is_created(settings, transport, sandbox):
    await remove_keys(sandbox)
    await create_custom_fields(settings, transport)
    del sandbox.metronome.store.keys["contract", "qbo_memo_ref"]
    assert [step.done for step in await create_custom_fields(settings, transport)] == ["exists", "exists", "created"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Fault("status", status=401), r"metronome\.token"),
        (Fault("status", status=500), "run setup again"),
        (Fault("html", status=200), r"metronome\.url"),
        (Fault("status", status=200, body="[]"), r"metronome\.url"),
        (Fault("status", status=200, body='{"data": 1}'), r"metronome\.url"),
        (Fault("drop"), r"metronome\.url"),
    ],
)
async def test_trouble_at_metronome_names_a_remedy(settings, transport, sandbox, fault, problem):
    sandbox.metronome_faults.add(fault)
    with pytest.raises(SetupFailed, match=problem) as caught:
        await create_custom_fields(settings, transport, retry_seconds=0.1)
    assert sandbox.addresses.metronome_token not in str(caught.value)


async def choose(settings, transport, realm, name="Usage", income_account=None):
    return await choose_default_item(settings, transport, realm, name=name, income_account=income_account)


async def test_the_default_item_is_created_once_on_the_first_income_account(settings, transport, realm, sandbox):
    created = await choose(settings, transport, realm)
    assert created.done == "created"
    assert await choose(settings, transport, realm) == DefaultItem(created.item_id, "Usage", "exists")
    items = sandbox.quickbooks.books[realm].objects["Item"]
    (item,) = [item for item in items.values() if item["Name"] == "Usage"]
    assert (item["Id"], item["Type"]) == (created.item_id, "Service")


async def test_an_item_that_is_there_is_picked(settings, transport, realm):
    assert (await choose(settings, transport, realm, "Services")).done == "exists"


async def test_a_name_with_a_quote_is_found_again(settings, transport, realm):
    first = await choose(settings, transport, realm, "Amy's usage")
    assert (await choose(settings, transport, realm, "Amy's usage")).item_id == first.item_id


async def test_an_income_account_that_does_not_exist_names_the_option(settings, transport, realm):
    with pytest.raises(SetupFailed, match="--income-account"):
        await choose(settings, transport, realm, income_account="99999")


async def test_a_company_that_was_never_connected_says_how(settings, transport, log):
    with pytest.raises(SetupFailed, match="metronome-qbo connect --realm 77"):
        await choose(settings, transport, "77")


async def test_an_expired_token_is_refreshed_and_the_new_one_recorded_before_use(settings, transport, log, sandbox):
    await log.record(connection(settings, sandbox, expired=True))
    realm = sandbox.addresses.realm_id
    sandbox.quickbooks_faults.add(Fault("status", path_contains="/query", status=400))
    with pytest.raises(SetupFailed):
        await choose(settings, transport, realm)
    stored = TokenCipher(settings.encryption_keys).decrypt((await log.newest(realm)).refresh_token)
    assert stored == sandbox.grants[realm].refresh_token != sandbox.addresses.refresh_token
    assert (await choose(settings, transport, realm)).done == "created"
    assert sandbox.oauth.refreshes == 1


async def test_a_refused_token_does_not_take_back_what_a_worker_stored_meanwhile(settings, transport, log, sandbox):
    """Else setup would tell the workers to stop while their tokens are good."""
    await log.record(connection(settings, sandbox, expired=True))
    realm = sandbox.addresses.realm_id
    asked, stored = asyncio.Event(), asyncio.Event()

    async def refuse(_):
        if asked.is_set():
            await stored.wait()
        asked.set()
        return web.json_response({"error": "invalid_grant"}, status=400)

    intuit = web.Application()
    intuit.router.add_post("/tokens", refuse)
    async with TestServer(intuit) as server, asyncio.timeout(BOUND_SECONDS):
        quickbooks = settings.quickbooks.model_copy(update={"token_url": str(server.make_url("/tokens"))})
        refused = settings.model_copy(update={"quickbooks": quickbooks})
        setting_up = asyncio.create_task(choose(refused, transport, realm))
        await asked.wait()
        await log.record(connection(settings, sandbox).replace(company_name="stored by a worker"))
        stored.set()
        assert (await setting_up).done == "created"
    standing = await log.newest(realm)
    assert (standing.state, standing.company_name) == ("connected", "stored by a worker")


@pytest.mark.kafka
async def test_the_command_sets_up_both_and_the_second_run_changes_nothing(settings, sandbox, kafka_bootstrap):
    real = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(
                update={"bootstrap_servers": kafka_bootstrap, "timeout_seconds": BOUND_SECONDS}
            )
        }
    )
    plans = [plan for plan in topic_specs(real) if plan.name == topic_names(real).connections]
    await declare_topics(kafka_bootstrap, plans, replication_factor=1, timeout_seconds=BOUND_SECONDS)
    await ConnectionLog(real).record(connection(real, sandbox))
    await remove_keys(sandbox)
    realm = sandbox.addresses.realm_id
    code, out, err = await run_setup(real, "--realm", realm)
    assert (code, err) == (0, "")
    assert "contract.qbo_memo_ref: created" in out
    assert "default_item_id = " in out
    code, out, _ = await run_setup(real, "--realm", realm, "--json")
    told = json.loads(out)
    assert (code, told["item"]) == (0, "exists")
    assert {field["done"] for field in told["custom_fields"]} == {"exists"}


@pytest.mark.parametrize(
    ("arguments", "problem"), [([], "--realm"), (["--realm", "1", "--item-name", "a:b"], "--item-name")]
)
async def test_a_misused_command_says_so_with_code_2(settings, arguments, problem):
    code, out, err = await run_setup(settings, *arguments)
    assert (code, out) == (2, "")
    assert problem in err


async def run_setup(settings, *arguments):
    """The command in a process of its own: code, stdout, stderr."""
    variables = {
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "ENCRYPTION_KEYS": json.dumps([key.get_secret_value() for key in settings.encryption_keys]),
        "METRONOME__URL": settings.metronome.url,
        "METRONOME__TOKEN": settings.metronome.token.get_secret_value(),
        "QUICKBOOKS__URL": settings.quickbooks.url,
        "QUICKBOOKS__TOKEN_URL": settings.quickbooks.token_url,
        "QUICKBOOKS__CLIENT_ID": settings.quickbooks.client_id,
        "QUICKBOOKS__CLIENT_SECRET": settings.quickbooks.client_secret.get_secret_value(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stream",
        "setup",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **{f"METRONOME_QBO_{name}": value for name, value in variables.items()}},
    )
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()
