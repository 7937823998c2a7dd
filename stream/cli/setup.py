"""`metronome-qbo setup`: what both vendors need once, before the first invoice."""

import asyncio
from typing import Annotated

import aiohttp
import typer

from agents.clients.transport import AiohttpTransport
from models.quickbooks import ITEM_NAME_CHARACTERS_MAX
from stream.operations.setup import (
    DefaultItem,
    Step,
    choose_default_item,
    create_custom_fields,
)
from stream.settings import Settings

from .common import Config, Json, WrongUsage, load_settings, out, print_json, require_realm

REQUIRED = (
    "kafka.bootstrap_servers",
    "metronome.token",
    "quickbooks.client_id",
    "quickbooks.client_secret",
    "encryption_keys",
)


def setup(
    realm: Annotated[str | None, typer.Option(help="The connected company; routing.default_realm if left out.")] = None,
    item_name: Annotated[str, typer.Option(help="The default item, found by this name or created.")] = "Usage",
    income_account: Annotated[
        str | None, typer.Option(help="Id of the income account of a new item; the first active one if left out.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Create the custom-field keys in Metronome, and find or create the default item in QuickBooks.

    The company must be connected (metronome-qbo connect). Running it again changes nothing.

    Examples:

      metronome-qbo setup --realm 9341452812345678

      metronome-qbo setup --item-name "Platform usage" --income-account 79
    """
    settings = load_settings(config, *REQUIRED)
    realm = require_realm(realm, settings)
    if not item_name or len(item_name) > ITEM_NAME_CHARACTERS_MAX or set(item_name) & set(":\t\n"):
        raise WrongUsage(
            f"--item-name: 1 to {ITEM_NAME_CHARACTERS_MAX} characters without ':', tab and newline, such as Usage"
        )
    steps, item = asyncio.run(_run(settings, realm, item_name, income_account, json))
    if json:
        fields = [{"custom_field": step.name, "done": step.done} for step in steps]
        print_json({"custom_fields": fields, "item_id": item.item_id, "item_name": item.name, "item": item.done})


async def _run(
    settings: Settings, realm: str, item_name: str, income_account: str | None, json: bool
) -> tuple[list[Step], DefaultItem]:
    """Reports each part when it is done, so that a failure of the second does not hide the first."""
    async with aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session)
        steps = await create_custom_fields(settings, transport)
        if not json:
            for step in steps:
                out.print(f"Metronome custom field {step.name}: {step.done}", markup=False)
        item = await choose_default_item(settings, transport, realm, name=item_name, income_account=income_account)
        if not json:
            out.print(f"QuickBooks item {item.name} (id {item.item_id}): {item.done}", markup=False, soft_wrap=True)
            _report_setting(settings.policy_of(realm).default_item_id, item)
    return steps, item


def _report_setting(current: str | None, item: DefaultItem) -> None:
    if current == item.item_id:
        out.print("policy.default_item_id names it already.", markup=False)
    else:
        out.print(f'Now set, in metronome-qbo.toml:\n[policy]\ndefault_item_id = "{item.item_id}"', markup=False)
