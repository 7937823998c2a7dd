"""What every command shares: the --config and --json options, settings, and how an error leaves."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

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
    """The settings, with `required` dotted keys set; a problem is printed and ends the command with code 2."""
    try:
        settings = settings_module.load(config)
        settings_module.required(settings, *required)
    except SettingsError as error:
        err.print(f"settings: {error}", style="red", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    return settings


@contextmanager
def clear_errors(*expected: type[Exception]) -> Iterator[None]:
    """An expected exception becomes one line on stderr and exit code 1, without a traceback."""
    try:
        yield
    except expected as error:
        err.print(f"{error}", style="red", markup=False)
        raise typer.Exit(EXIT_TROUBLE) from None


def print_json(value: Any, default: Callable[[Any], Any] = str) -> None:
    sys.stdout.write(json.dumps(value, default=default) + "\n")
    sys.stdout.flush()
