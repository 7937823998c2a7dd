"""What both vendors need once before the first invoice: custom-field keys in Metronome, a default item in QuickBooks.

Everything is looked for first, so that running it again changes nothing.
"""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Literal

from agents.clients.failures import (
    CompanyUnavailable,
    Failure,
    MappingBroken,
    OutcomeUnknown,
    TokenRefused,
)
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.transport import Transport
from agents.connections import Connections
from agents.post.find_or_create import find_or_create
from agents.post.items import item_query
from agents.post.sink import Parked
from models.document import DEFAULT_ITEM
from models.events import ConnectionChanged
from models.metronome import CUSTOM_FIELDS
from models.subject import Subject
from stream import OperatorError
from stream.settings import Settings
from stream.wiring import TokenCipher, metronome_client, oauth_client, quickbooks_client, retry_policy

from .connection_log import ConnectionLog

RETRY_SECONDS = 20.0
"""How long one step is tried again while a vendor is away: a person waits for it."""
SECOND_TRY_SECONDS = 2.0


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


async def create_custom_fields(
    settings: Settings, transport: Transport, retry_seconds: float = RETRY_SECONDS
) -> list[Step]:
    """Create the custom-field keys that Metronome lacks (docs/vendors/metronome.md §2). Raises SetupFailed."""
    metronome = metronome_client(settings, transport)
    retry = retry_policy(retry_seconds, settings.metronome.backoff_max_seconds)
    try:
        existing = {(each["entity"], each["key"]) async for each in metronome.every_custom_field_key(retry)}
        for entity, key in CUSTOM_FIELDS:
            if (entity, key) not in existing:
                await metronome.add_custom_field_key(entity, key)
    except (KeyError, TypeError):
        raise SetupFailed("Metronome's list of custom-field keys has another shape: is metronome.url right?") from None
    except TokenRefused as failure:
        raise SetupFailed(f"{failure}: metronome.token must be one that may manage custom fields") from None
    except Failure as failure:
        raise SetupFailed(f"{failure}. Is metronome.url right? Then run setup again, it looks first") from None
    return [
        Step(f"{entity}.{key}", "exists" if (entity, key) in existing else "created") for entity, key in CUSTOM_FIELDS
    ]


async def choose_default_item(
    settings: Settings, transport: Transport, realm: str, *, name: str, income_account: str | None
) -> DefaultItem:
    """The active item called `name`, created when there is none, on `income_account` or the first income account.

    Tokens come from the connections topic. Raises SetupFailed, and as `ConnectionLog`.
    """
    client = await _quickbooks(settings, transport, realm)
    try:
        query = item_query(
            (name,),
            income_account=income_account or await _first_income_account(client, realm),
            subject=Subject.item(DEFAULT_ITEM),
            remedy="choose another --item-name",
            may_create=True,
            reactivate=False,
        )
        retries = retry_policy(RETRY_SECONDS, settings.quickbooks.backoff_max_seconds).start()
        item, created = await find_or_create(query, realm, books=client, retries=retries, command="setup")
    except Parked as parked:
        raise SetupFailed(f"{parked}. Remedy: {parked.remedy}") from None
    except Failure as failure:
        raise SetupFailed(_with_remedy(failure)) from None
    return DefaultItem(item["Id"], name, "created" if created else "exists")


async def _first_income_account(client: QuickBooksClient, realm: str) -> str:
    response = await client.query(realm, "SELECT * FROM Account WHERE AccountType = 'Income' MAXRESULTS 1")
    accounts = response.get("Account")
    if not accounts:
        raise SetupFailed(
            "the company has no active income account: create one in QuickBooks, or name --income-account"
        )
    account: str = accounts[0]["Id"]
    return account


def _with_remedy(failure: Failure) -> str:
    match failure:
        case MappingBroken():
            remedy = "name the id of an active income account with --income-account"
        case TokenRefused() | CompanyUnavailable():
            remedy = "connect the company: metronome-qbo connect; and check --realm and quickbooks.url"
        case OutcomeUnknown():
            remedy = "run setup again, it looks before it creates"
        case _:
            remedy = "correct it, and run setup again"
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
