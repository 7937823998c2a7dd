"""`metronome-qbo redrive`: do again what was parked, is uncertain, or became a dead letter."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from models.subject import Subject
from stream.operations.redrive import (
    DeadRecord,
    Unfinished,
    dead_letters,
    redrive_commands,
    redrive_dead_letters,
    unfinished,
)
from stream.settings import Settings

from .common import Config, Json, load_settings, out, print_json


def redrive(
    invoice: Annotated[str | None, typer.Option(help="Only this Metronome invoice id.")] = None,
    waits_for: Annotated[
        str | None, typer.Option(help="Only what waits for this, such as connection, mapping or 'open period'.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead-letters", help="Dead letters instead of parked commands.")] = False,
    from_offset: Annotated[int, typer.Option(min=0, help="With --dead-letters: from this offset.")] = 0,
    to_offset: Annotated[int | None, typer.Option(min=0, help="With --dead-letters: to this offset, included.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Publish them again; without it they are only listed.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Do again what stopped: commands that are parked or uncertain, or dead letters. Only lists without --apply.

    Nothing is posted twice by it: the ledger and a look-up in QuickBooks decide what is still to do.

    Examples:

      metronome-qbo redrive

      metronome-qbo redrive --waits-for connection --apply

      metronome-qbo redrive --dead-letters --from-offset 10 --to-offset 12 --apply
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    if dead:
        asyncio.run(_dead_letters(settings, from_offset, to_offset, apply=apply, as_json=json))
    else:
        subject = Subject.invoice(invoice) if invoice else None
        asyncio.run(_commands(settings, subject, waits_for, apply=apply, as_json=json))


async def _commands(
    settings: Settings, subject: str | None, waits_for: str | None, *, apply: bool, as_json: bool
) -> None:
    found = await unfinished(settings, subject=subject, waits_for=waits_for)
    published = await redrive_commands(settings, found) if apply else 0
    if as_json:
        print_json({"unfinished": [_facts(each) for each in found], "published": published})
        return
    table = Table("What", "Result", "Waits for", "Why", title="Parked and uncertain")
    for each in found:
        table.add_row(each.subject, each.outcome.result, each.outcome.waits_for or "", each.outcome.reason or "")
    _report(table, len(found), published, apply=apply)


async def _dead_letters(
    settings: Settings, from_offset: int, to_offset: int | None, *, apply: bool, as_json: bool
) -> None:
    found = await dead_letters(settings, from_offset=from_offset, to_offset=to_offset)
    published = await redrive_dead_letters(settings, found) if apply else 0
    if as_json:
        print_json({"dead_letters": [_dead_facts(each) for each in found], "published": published})
        return
    table = Table("Where", "From", "Why", title="Dead letters")
    for each in found:
        table.add_row(str(each.at), each.topic, each.reason)
    _report(table, len(found), published, apply=apply)


def _report(table: Table, found: int, published: int, *, apply: bool) -> None:
    if found:
        out.print(table)
    if apply:
        out.print(f"{published} published again")
    else:
        out.print(f"{found} found" + ("; --apply publishes them again" if found else ""))


def _facts(each: Unfinished) -> dict[str, object]:
    return {
        "subject": each.subject,
        "realm": each.outcome.realm,
        "result": each.outcome.result,
        "waits_for": each.outcome.waits_for,
        "reason": each.outcome.reason,
        "remedy": each.outcome.remedy,
        "command": str(each.outcome.command),
    }


def _dead_facts(each: DeadRecord) -> dict[str, object]:
    return {"at": str(each.at), "from_topic": each.topic, "reason": each.reason}
