"""The command line: one module per command. A module is imported when its command runs, so that `--help` is quick."""

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from .errors import Command

COMMANDS = {
    "demo": "demo.demo",
    "sandbox": "sandbox.sandbox",
    "receive": "receive.receive",
    "worker": "worker.worker",
    "watch": "watch.watch",
    "connect": "connect.connect",
    "connections": "connections.connections",
    "web": "web.web",
    "preflight": "preflight.preflight",
    "preview": "preview.preview",
    "replay": "replay.replay",
    "redrive": "redrive.redrive",
    "health": "health.health",
    "setup": "setup.setup",
    "topics": "topics.topics",
    "config": "config.config",
    "key": "key.key",
    "map": "mapping.map_",
}
"""Each command's function, as `module.function` in this folder; in the order of `--help`."""


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        pretty_exceptions_enable=False,  # a plain traceback, without locals, which could hold tokens
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def command_of(name: str) -> Any:
    """The command itself, with its options."""
    module, _, function = COMMANDS[name].partition(".")
    app = _app(add_completion=False)
    app.command(name, cls=Command)(getattr(importlib.import_module(f".{module}", __name__), function))
    return get_command(app)


def _help_of(name: str) -> str:
    """The docstring of a command's function, read without importing what it needs."""
    module, _, function = COMMANDS[name].partition(".")
    spec = find_spec(f".{module}", __name__)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return ast.get_docstring(found) or ""


class Commands(TyperGroup):
    """Lists the commands by their docstrings, and loads the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(cmd_name, help=_help_of(cmd_name)) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command_of(name) if name in COMMANDS else command, rest


cli = _app(name="metronome-qbo", no_args_is_help=True, cls=Commands)


@cli.callback()
def _all_commands() -> None:
    """Carries finalized Metronome invoices into QuickBooks Online: exactly once, to the cent."""


def main() -> None:
    cli()
