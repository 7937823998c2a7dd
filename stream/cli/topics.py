"""`metronome-qbo topics`: the topics that we need, and how those of the cluster differ."""

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table

from stream.kafka.admin import (
    TopicDifference,
    TopicSpec,
    compare_topics,
    declare_topics,
)
from stream.kafka.installation import Accepted
from stream.settings import Settings
from stream.topics import DAY_MS, installation, topic_specs

from .common import EXIT_TROUBLE, Config, Json, err, load_settings, out, print_json


def topics(
    create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing.")] = False,
    accept_empty_ledger: Annotated[
        bool, typer.Option(help="The ledger is lost for good: look everything up before it is created.")
    ] = False,
    accept_new_log: Annotated[
        bool,
        typer.Option(help="The topic of commands, of invoices or of owners is lost for good: go on with a new one."),
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """List our topics, and say what differs from what we need; the exit code is 1 when something does.

    Nothing that exists is ever changed. With one of the options `--accept-…` it is noted, once, that what a worker
    refused to start with is right.

    Examples:

      metronome-qbo topics

      metronome-qbo topics --create
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    specs = topic_specs(settings)
    created, differences = asyncio.run(_look(settings, specs, create))
    if not differences:
        asyncio.run(installation(settings, Accepted(accept_empty_ledger, accept_new_log)))
    if json:
        print_json([_row(spec, created, differences) for spec in specs])
    else:
        _print(specs, created, differences)
    if differences:
        raise typer.Exit(EXIT_TROUBLE)


async def _look(settings: Settings, specs: list[TopicSpec], create: bool) -> tuple[list[str], list[TopicDifference]]:
    """The names created, and what differs after that."""
    servers, timeout_seconds = str(settings.kafka.bootstrap_servers), settings.kafka.timeout_seconds
    copies = settings.kafka.replication_factor
    differences = await compare_topics(servers, specs, timeout_seconds=timeout_seconds, replication_factor=copies)
    missing = {difference.topic for difference in differences if difference.setting == "missing"}
    if not create or not missing:
        return [], differences
    created = await declare_topics(
        servers,
        [spec for spec in specs if spec.name in missing],
        replication_factor=copies,
        timeout_seconds=timeout_seconds,
    )
    return created, await compare_topics(servers, specs, timeout_seconds=timeout_seconds, replication_factor=copies)


def _print(specs: list[TopicSpec], created: list[str], differences: list[TopicDifference]) -> None:
    table = Table("Topic", "Partitions", "Kept", "", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for spec in specs:
        table.add_row(spec.name, str(spec.partitions), _kept(spec), _state(spec, created, differences))
    out.print(table)
    for difference in differences:
        err.print(str(difference), style="red", markup=False, soft_wrap=True)


def _row(spec: TopicSpec, created: list[str], differences: list[TopicDifference]) -> dict[str, Any]:
    return {
        "topic": spec.name,
        "partitions": spec.partitions,
        "cleanup_policy": spec.cleanup_policy,
        "retention_ms": spec.retention_ms,
        "state": _state(spec, created, differences),
        "differences": [
            {"setting": each.setting, "found": each.found, "wanted": each.wanted}
            for each in differences
            if each.topic == spec.name
        ],
    }


def _state(spec: TopicSpec, created: list[str], differences: list[TopicDifference]) -> str:
    settings = [difference.setting for difference in differences if difference.topic == spec.name]
    if "missing" in settings:
        return "missing"
    if settings:
        return "differs"
    return "created" if spec.name in created else "fits"


def _kept(spec: TopicSpec) -> str:
    if spec.cleanup_policy == "compact":
        return "the newest record of each key"
    return "for ever" if spec.retention_ms < 0 else f"{spec.retention_ms // DAY_MS} days"
