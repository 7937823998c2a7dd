"""What every command shares: the --config and --json options, settings, standard input and output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from stream import OperatorError

if TYPE_CHECKING:
    from stream.settings import Settings

Config = Annotated[Path | None, typer.Option("--config", "-c", help="The TOML file with the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

PIPED_COLUMNS = 120
STDIN_CHARACTERS_MAX = 10_000

out = Console(highlight=False, width=None if sys.stdout is not None and sys.stdout.isatty() else PIPED_COLUMNS)
err = Console(stderr=True, highlight=False)

EXIT_TROUBLE = 1
EXIT_USAGE = 2


class WrongUsage(OperatorError):
    """A command cannot do what it is asked for; the message names the option, and what it takes."""

    exit_code = EXIT_USAGE


def load_settings(config: Path | None, *required: str) -> Settings:
    """The settings, with `required` dotted keys set; logs go by them from here on. Raises SettingsError."""
    from stream import logs, settings  # what is imported at the top, `--help` has to wait for

    loaded = settings.load(config)
    settings.required(loaded, *required)
    logs.configure(loaded)  # on standard error: standard output is for what the command prints
    return loaded


def require_realm(realm: str | None, settings: Settings) -> str:
    """The company that a command is about: that of --realm, else routing.default_realm. Raises WrongUsage."""
    from stream.operations.connect import REALM

    company = realm or settings.routing.default_realm
    if company is None:
        raise WrongUsage("--realm: which company? Give it, or set routing.default_realm")
    if not REALM.fullmatch(company):
        raise WrongUsage(f"--realm {company}: a realm id is digits, such as 9341452812345678")
    return company


def stdin_line() -> str:
    """The first line of standard input without its end, as for a secret; empty if there is none. Raises WrongUsage."""
    if sys.stdin is None:  # closed by the caller
        return ""
    try:
        return sys.stdin.readline(STDIN_CHARACTERS_MAX).strip()
    except UnicodeDecodeError:
        raise WrongUsage("standard input is not text") from None


def print_json(value: Any, default: Callable[[Any], Any] = str) -> None:
    typer.echo(json.dumps(value, default=default))
