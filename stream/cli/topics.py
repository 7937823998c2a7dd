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
from stream.settings import Settings
from stream.topics import topic_specs

from .common import EXIT_TROUBLE, Config, Json, err, load_settings, out, print_json

DAY_MS = 86_400_000


def topics(
    create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """List our topics, and say what differs from what we need; the exit code is 1 when something does.

    Nothing that exists is ever changed.

    Examples:

      metronome-qbo topics

      metronome-qbo topics --create
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    plans = topic_specs(settings)
    created, differences = asyncio.run(_look(settings, plans, create))
    if json:
        print_json([_row(plan, created, differences) for plan in plans])
    else:
        _print(plans, created, differences)
    if differences:
        raise typer.Exit(EXIT_TROUBLE)


async def _look(settings: Settings, plans: list[TopicSpec], create: bool) -> tuple[list[str], list[TopicDifference]]:
    """The names created, and what differs after that."""
    servers, timeout_seconds = str(settings.kafka.bootstrap_servers), settings.kafka.timeout_seconds
    differences = await compare_topics(servers, plans, timeout_seconds=timeout_seconds)
    missing = {difference.topic for difference in differences if difference.setting == "missing"}
    if not create or not missing:
        return [], differences
    created = await declare_topics(
        servers,
        [plan for plan in plans if plan.name in missing],
        replication_factor=settings.kafka.replication_factor,
        timeout_seconds=timeout_seconds,
    )
    return created, await compare_topics(servers, plans, timeout_seconds=timeout_seconds)


def _print(plans: list[TopicSpec], created: list[str], differences: list[TopicDifference]) -> None:
    table = Table("Topic", "Partitions", "Kept", "", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for plan in plans:
        table.add_row(plan.name, str(plan.partitions), _kept(plan), _state(plan, created, differences))
    out.print(table)
    for difference in differences:
        err.print(str(difference), style="red", markup=False, soft_wrap=True)


def _row(plan: TopicSpec, created: list[str], differences: list[TopicDifference]) -> dict[str, Any]:
    return {
        "topic": plan.name,
        "partitions": plan.partitions,
        "cleanup_policy": plan.cleanup_policy,
        "retention_ms": plan.retention_ms,
        "state": _state(plan, created, differences),
        "differences": [
            {"setting": each.setting, "found": each.found, "wanted": each.wanted}
            for each in differences
            if each.topic == plan.name
        ],
    }


def _state(plan: TopicSpec, created: list[str], differences: list[TopicDifference]) -> str:
    settings = [difference.setting for difference in differences if difference.topic == plan.name]
    if "missing" in settings:
        return "missing"
    if settings:
        return "differs"
    return "created" if plan.name in created else "fits"


def _kept(plan: TopicSpec) -> str:
    if plan.cleanup_policy == "compact":
        return "the newest record of each key"
    return "for ever" if plan.retention_ms < 0 else f"{plan.retention_ms // DAY_MS} days"
