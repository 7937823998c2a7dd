"""`metronome-qbo connections`: which companies are connected, and until when."""

import asyncio
from datetime import UTC, datetime, timedelta

import typer
from rich.table import Table

from agents.connections import ends_soon
from models.events import ConnectionChanged
from stream.operations.connection_log import ConnectionLog

from .common import EXIT_TROUBLE, Config, Json, err, load_settings, out, print_json

MOMENTS = ("access_token_expires_at", "refresh_token_expires_at", "hard_expires_at")


def connections(json: Json = False, config: Config = None) -> None:
    """List the companies that were connected, with their state and when their tokens end; never a token.

    Tokens are refreshed by themselves while a worker runs; at the hard expiry a person has to connect the company
    again. The exit code is 1 when one needs that now, or within quickbooks.hard_expiry_warning_days.

    Examples:

      metronome-qbo connections

      metronome-qbo connections --json
    """
    settings = load_settings(config, "kafka.bootstrap_servers")
    found = asyncio.run(ConnectionLog(settings).every())
    within, now = timedelta(days=settings.quickbooks.hard_expiry_warning_days), datetime.now(UTC)
    rows = [found[realm] for realm in sorted(found)]
    warned = [each for each in rows if each.state != "connected" or ends_soon(each, now, within)]
    if json:
        print_json([_facts(each) | {"needs_a_person": each in warned} for each in rows])
    else:
        _report(rows)
        for each in warned:
            err.print(f"warning: {_warning(each)}", style="yellow", markup=False, soft_wrap=True)
    if warned:
        raise typer.Exit(EXIT_TROUBLE)


def _facts(change: ConnectionChanged) -> dict[str, object]:
    facts = {name: getattr(change, name) for name in ("realm", "company_name", "state", "reason", *MOMENTS)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}


def _report(rows: list[ConnectionChanged]) -> None:
    if not rows:
        out.print("no company is connected; run metronome-qbo connect", markup=False)
        return
    table = Table("Realm", "Company", "State", "Access until", "Connection until", "Hard expiry", box=None)
    for each in rows:
        moments = [getattr(each, name) for name in MOMENTS]
        table.add_row(
            each.realm,
            each.company_name or "",
            each.state,
            *(f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "–" for moment in moments),
        )
    out.print(table)


def _warning(change: ConnectionChanged) -> str:
    remedy = f"metronome-qbo connect --realm {change.realm}"
    if change.state != "connected":
        return f"company {change.realm} is not connected ({change.reason or change.state}): {remedy}"
    return f"company {change.realm} must be connected again before {change.hard_expires_at:%Y-%m-%d}: {remedy}"
