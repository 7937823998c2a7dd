"""What both vendors need once before the first invoice: custom-field keys in Metronome, a default item in QuickBooks.

Everything is looked for first, so that running it again changes nothing.
"""

import json
import time
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from agents.clients.failures import (
    CompanyUnavailable,
    DuplicateName,
    Failure,
    MappingBroken,
    OutcomeUnknown,
    TokenRefused,
)
from agents.clients.quickbooks import QuickBooksClient, encode
from agents.clients.transport import AnswerLost, NotSent, Transport
from agents.connections import Connections
from models.events import ConnectionChanged
from models.money import parse_json
from models.quickbooks import quoted
from stream import OperatorError
from stream.settings import Settings
from stream.wiring import TokenCipher, oauth_client, quickbooks_client

from .connection_log import ConnectionLog

CUSTOM_FIELDS = (("contract_product", "qbo_item_id"), ("customer", "qbo_customer_id"), ("contract", "qbo_memo_ref"))
KEY_PAGES_MAX = 100
SECOND_TRY_SECONDS = 2.0
ITEM_NAME_CHARACTERS_MAX = 100


class SetupFailed(OperatorError):
    """A vendor did not do what is needed; the message says why, and what to do before running setup again."""


@dataclass(frozen=True)
class Step:
    """One thing that is needed, and whether it was there."""

    name: str
    done: Literal["created", "exists"]


@dataclass(frozen=True)
class DefaultItem:
    """The QuickBooks item that policy.default_item_id should name."""

    item_id: str
    name: str
    done: Literal["created", "exists"]


async def create_custom_fields(settings: Settings, transport: Transport) -> list[Step]:
    """Create the custom-field keys that Metronome lacks (docs/vendors/metronome.md §2). Raises SetupFailed."""
    existing = await _existing_keys(settings, transport)
    steps = []
    for entity, key in CUSTOM_FIELDS:
        if (entity, key) not in existing:
            wanted = {"entity": entity, "key": key, "enforce_uniqueness": False}
            await _metronome(settings, transport, "/v1/customFields/addKey", wanted)
        steps.append(Step(f"{entity}.{key}", "exists" if (entity, key) in existing else "created"))
    return steps


async def choose_default_item(
    settings: Settings, transport: Transport, realm: str, *, name: str, income_account: str | None
) -> DefaultItem:
    """The active item called `name`, created when there is none, on `income_account` or the first income account.

    Tokens come from the connections topic. Raises SetupFailed, and as `ConnectionLog`.
    """
    client = await _quickbooks(settings, transport, realm)
    try:
        statement = f"SELECT * FROM Item WHERE Name = {quoted(name)}"  # noqa: S608 - quoted
        found = (await client.query(realm, statement)).get("Item")
        if found:
            return _usable(found[0], name)
        account = income_account or await _first_income_account(client, realm)
        body = encode({"Name": name, "Type": "Service", "IncomeAccountRef": {"value": account}})
        item, _ = await client.write(realm, "Item", body, requestid=uuid.uuid4().hex)
        return DefaultItem(item["Id"], name, "created")
    except Failure as failure:
        raise SetupFailed(_with_remedy(failure, name)) from None


def _usable(item: dict[str, Any], name: str) -> DefaultItem:
    if item.get("Type") == "Category":
        raise SetupFailed(
            f"{name!r} is a category in QuickBooks, which no invoice line can use: choose another --item-name"
        )
    return DefaultItem(item["Id"], name, "exists")


async def _first_income_account(client: QuickBooksClient, realm: str) -> str:
    response = await client.query(realm, "SELECT * FROM Account WHERE AccountType = 'Income' MAXRESULTS 1")
    accounts = response.get("Account")
    if not accounts:
        raise SetupFailed(
            "the company has no active income account: create one in QuickBooks, or name --income-account"
        )
    account: str = accounts[0]["Id"]
    return account


def _with_remedy(failure: Failure, name: str) -> str:
    match failure:
        case DuplicateName():
            remedy = f"{name!r} belongs to an inactive item: make it active, or choose another --item-name"
        case MappingBroken():
            remedy = "name the id of an active income account with --income-account"
        case TokenRefused() | CompanyUnavailable():
            remedy = "connect the company: metronome-qbo connect; and check --realm and quickbooks.url"
        case OutcomeUnknown():
            remedy = "run setup again, it looks before it creates"
        case _:
            remedy = "mend it, and run setup again"
    return f"{failure}. Remedy: {remedy}"


async def _quickbooks(settings: Settings, transport: Transport, realm: str) -> QuickBooksClient:
    """A client whose tokens come from the connections topic, and whose refreshed tokens go there before use."""
    log = ConnectionLog(settings)
    before = await log.newest(realm)
    table: MutableMapping[str, ConnectionChanged] = {} if before is None else {realm: before}

    async def record(change: ConnectionChanged) -> None:
        standing = await log.newest(realm)
        if standing is not None and standing != table[realm]:
            table[realm] = standing  # a worker was faster: its tokens stand
            return
        await log.record(change)
        table[realm] = change

    connections = Connections(
        table,
        oauth_client(settings, transport),
        TokenCipher(settings.encryption_keys),
        record,
        time.time,
        settings.quickbooks.refresh_before_seconds,
        SECOND_TRY_SECONDS,
    )
    return quickbooks_client(settings, transport, connections)


async def _existing_keys(settings: Settings, transport: Transport) -> set[tuple[str, str]]:
    """(entity, key) of every custom field there is."""
    keys: set[tuple[str, str]] = set()
    entities = {"entities": [entity for entity, _ in CUSTOM_FIELDS]}
    page = ""
    for _ in range(KEY_PAGES_MAX):
        path = "/v1/customFields/listKeys" + (f"?next_page={quote(page, safe='')}" if page else "")
        answer = await _metronome(settings, transport, path, entities)
        try:
            keys |= {(each["entity"], each["key"]) for each in answer["data"]}
        except (KeyError, TypeError):
            raise SetupFailed(
                "Metronome's list of custom-field keys has another shape: is metronome.url right?"
            ) from None
        if not (page := answer.get("next_page") or ""):
            return keys
    raise SetupFailed(f"Metronome lists more than {KEY_PAGES_MAX} pages of custom-field keys")


async def _metronome(settings: Settings, transport: Transport, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a good answer; an empty body is an empty object."""
    metronome = settings.metronome
    assert metronome.token is not None
    headers = {
        "Authorization": f"Bearer {metronome.token.get_secret_value()}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    try:
        answer = await transport(
            "POST",
            metronome.url.rstrip("/") + path,
            headers=headers,
            body=json.dumps(body).encode(),
            timeout_seconds=metronome.timeout_seconds,
        )
    except (NotSent, AnswerLost) as error:
        raise SetupFailed(f"Metronome: {error}. Is metronome.url right? Run setup again, it looks first") from None
    if answer.status in (401, 403):
        raise SetupFailed(
            f"Metronome answered {answer.status} to {path}: metronome.token must be one that may manage custom fields"
        )
    if answer.status == 409 and path.endswith("/addKey"):
        return {}  # someone else added the key since we looked
    if answer.status >= 300:
        raise SetupFailed(f"Metronome answered {answer.status} to {path}: run setup again in a while")
    try:
        parsed = parse_json(answer.body or b"{}")
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise SetupFailed(f"Metronome's answer to {path} is no JSON object: is metronome.url right?")
    return parsed
