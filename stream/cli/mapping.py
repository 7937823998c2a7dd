"""`metronome-qbo map`: an operator says which QuickBooks customer or item something is."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from models.commands import SetCustomerMapping, SetItemMapping
from stream.kafka.producer import publishing
from stream.settings import Settings
from stream.topics import prepare_topics, topic_names

from .common import Config, WrongUsage, load_settings, out, require_realm


class Kind(StrEnum):
    customer = "customer"
    item = "item"


def map_(
    kind: Annotated[Kind, typer.Argument(help="What is mapped.")],
    metronome_id: Annotated[str, typer.Argument(help="Metronome's customer or product id; * is the default item.")],
    qbo_id: Annotated[str, typer.Argument(help="The id in QuickBooks, digits.")],
    realm: Annotated[str | None, typer.Option(help="The company; routing.default_realm without it.")] = None,
    name: Annotated[str, typer.Option(help="A name to show beside the id.")] = "",
    config: Config = None,
) -> None:
    """Map a Metronome customer or product to a QuickBooks customer or item. It goes before custom fields.

    The mapping is a command on the log like any other. What waited for it resumes by itself.

    Examples:

      metronome-qbo map customer 76cbebf3-f36d-5ddc-8b7e-6dd80881c7a6 58

      metronome-qbo map item '*' 31 --realm 9341452812345678
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    company = require_realm(realm, settings)
    if not qbo_id.isdecimal():
        raise WrongUsage(f"QBO_ID: {qbo_id!r} is not a QuickBooks id, which is digits, such as 58")
    command: SetCustomerMapping | SetItemMapping
    if kind is Kind.customer:
        command = SetCustomerMapping(realm=company, customer_id=metronome_id, qbo_id=qbo_id, name=name)
    else:
        command = SetItemMapping(realm=company, product_id=metronome_id, qbo_id=qbo_id, name=name)
    asyncio.run(_publish(settings, command))
    out.print(
        f"{kind.value} {metronome_id} is {qbo_id} in company {company}, as soon as a worker reads it", markup=False
    )


async def _publish(settings: Settings, command: SetCustomerMapping | SetItemMapping) -> None:
    topic = topic_names(settings).commands
    await prepare_topics(settings)
    async with publishing(settings) as publisher:
        await publisher.send(topic, command.realm.encode(), command.encode())
