"""`metronome-qbo replay`: what would today's policy make of recorded invoices?"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.translate.translate import translate
from stream.operations.replay import APPLICABLE, EXPLAINED, Replay, Selection, Verdict, publish
from stream.settings import Settings

from .common import Config, Json, err, load_settings, out, print_json

CHANGES_SHOWN_MAX = 20


def replay(
    from_offset: Annotated[int, typer.Option(min=0, help="First offset of the facts, in each partition.")],
    to_offset: Annotated[int, typer.Option(min=0, help="Last offset, included; beyond the end means to the end.")],
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    invoice: Annotated[str | None, typer.Option(help="Only the invoice with this Metronome id.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Publish the commands of what differs or is missing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Translate recorded facts again with today's policy, and compare with what was posted.

    Reads in no consumer group, so nothing that runs is disturbed, and writes nothing unless --apply is given. For
    each invoice it says: same, differs (which fields), declined (why), never posted, voided or superseded by newer
    facts. --apply publishes the commands of those that differ or were never posted; the worker then executes them.

    Examples:

      metronome-qbo replay --from-offset 0 --to-offset 999

      metronome-qbo replay --from-offset 0 --to-offset 999 --invoice 56e22c64-e225-57d0-be12-ef64d1f05078

      metronome-qbo replay --from-offset 120 --to-offset 120 --partition 3 --apply
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    if to_offset < from_offset:
        raise typer.BadParameter(f"{to_offset} lies before --from-offset {from_offset}", param_hint="--to-offset")
    selection = Selection(from_offset, to_offset, partition, invoice)
    verdicts, published = asyncio.run(_replay(settings, selection, apply=apply))
    if json:
        print_json(_as_json(verdicts, published, apply=apply))
    else:
        _print(verdicts, published, apply=apply)


async def _replay(settings: Settings, selection: Selection, *, apply: bool) -> tuple[list[Verdict], int]:
    with err.status("Reading the topics …") as status:  # shows nothing where stderr is no terminal
        verdicts = await Replay(
            settings, selection, translate, lambda count: status.update(f"{count:,} records read …")
        ).run()
        if not apply:
            return verdicts, 0
        status.update("Publishing …")
        return verdicts, await publish(settings, _applicable(verdicts))


def _applicable(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [each for each in verdicts if each.kind in APPLICABLE]


def _as_json(verdicts: Sequence[Verdict], published: int, *, apply: bool) -> dict[str, object]:
    return {
        "invoices": [
            {
                "invoice_id": each.invoice_id,
                "realm": each.realm,
                "verdict": each.kind,
                "reason": each.reason,
                "facts": each.at.model_dump(),
                "changes": [
                    {"field": change.field, "from": change.before, "to": change.after} for change in each.changes
                ],
                "commands": [command.type for command in each.commands],
            }
            for each in verdicts
        ],
        "summary": dict(Counter(each.kind for each in verdicts)),
        "applied": apply,
        "commands_published": published,
    }


def _print(verdicts: Sequence[Verdict], published: int, *, apply: bool) -> None:
    table = Table("Invoice", "Facts at", "Verdict", "Why, or what differs", show_lines=False)
    for each in verdicts:
        table.add_row(
            Text(each.invoice_id or "?"), f"{each.at.partition}:{each.at.offset}", each.kind, Text(_details(each))
        )
    out.print(table)
    counts = Counter(each.kind for each in verdicts)
    for kind, words in EXPLAINED.items():
        if counts[kind]:
            out.print(f"{counts[kind]:>6,}  {kind}: {words}", markup=False)
    if not verdicts:
        out.print("No invoice was found in that range.")
    elif apply:
        out.print(f"Published {published:,} commands for {len(_applicable(verdicts)):,} invoices.")
    elif _applicable(verdicts):
        out.print(f"Nothing was written. --apply would act on {len(_applicable(verdicts)):,} invoices.")
    else:
        out.print("Nothing was written, and there is nothing to apply.")


def _details(verdict: Verdict) -> str:
    shown = [
        f"{change.field}: {_shown(change.before)} → {_shown(change.after)}"
        for change in verdict.changes[:CHANGES_SHOWN_MAX]
    ]
    if (more := len(verdict.changes) - CHANGES_SHOWN_MAX) > 0:
        shown.append(f"… and {more} more")
    return "\n".join([*([verdict.reason] if verdict.reason else []), *shown])


def _shown(text: str | None) -> str:
    return "nothing" if text is None else text
