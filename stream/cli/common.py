"""What every command shares: the --config and --json options, settings, and how an error leaves."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agents.clients.failures import Failure
from stream import OperatorError
from stream import settings as settings_module
from stream.settings import Settings, SettingsError

Config = Annotated[Path | None, typer.Option("--config", "-c", help="The TOML file with the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

PIPED_COLUMNS = 120

out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
err = Console(stderr=True, highlight=False)

EXIT_TROUBLE = 1
EXIT_USAGE = 2


def load_settings(config: Path | None, *required: str) -> Settings:
    """The settings, with `required` dotted keys set. Raises SettingsError."""
    settings = settings_module.load(config)
    settings_module.required(settings, *required)
    return settings


def report_error(error: Exception) -> int:
    """Print what an operator can put right as one line, without a traceback; the exit code.

    Anything else is a fault of this program, and raised again.
    """
    match error:
        case SettingsError():
            text = f"settings: {error}"
        case OperatorError() | Failure():
            text = str(error)
        case OSError():
            text = str(error) or type(error).__name__
        case _:
            raise error
    err.print(text, style="red", markup=False)
    return error.exit_code if isinstance(error, OperatorError) else EXIT_TROUBLE


def print_json(value: Any, default: Callable[[Any], Any] = str) -> None:
    sys.stdout.write(json.dumps(value, default=default) + "\n")
    sys.stdout.flush()
