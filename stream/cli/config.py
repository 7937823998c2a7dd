"""`metronome-qbo config`: every setting, what it is now, and what it means."""

import json as json_module
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.markup import escape
from rich.table import Table

from stream.settings import CONFIG_FILE, CONFIG_VARIABLE, Settings

from .common import Config, Json, WrongUsage, load_settings, out, print_json

MASK = "********"
VARIABLE_PREFIX = "METRONOME_QBO_"


@dataclass(frozen=True)
class Setting:
    """One setting of the model: its dotted key, its type in words, its default, and what it means."""

    key: str
    kind: str
    default: Any
    description: str
    secret: bool

    @property
    def variable(self) -> str:
        return VARIABLE_PREFIX + self.key.upper().replace(".", "__")


def config(
    json: Json = False,
    example: Annotated[bool, typer.Option("--example", help="Print a TOML file with every setting instead.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
    config: Config = None,
) -> None:
    """Print the effective settings, secrets masked.

    Examples:

      metronome-qbo config

      metronome-qbo config --example > metronome-qbo.toml
    """
    if json + example + markdown > 1:
        raise WrongUsage("choose one of --json, --example and --markdown")
    if example:
        typer.echo(example_toml(), nl=False)
        return
    if markdown:
        typer.echo(settings_markdown(), nl=False)
        return
    settings = load_settings(config)
    if json:
        print_json({setting.key: shown(value_of(settings, setting.key)) for setting in every_setting()})
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("Meaning")
    for setting in every_setting():
        value = _plain(shown(value_of(settings, setting.key)))
        table.add_row(setting.key, escape(value), escape(setting.description))
    out.print(table)


def every_setting(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Setting]:
    """The settings of `model` and its sections, in the order of the code."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from every_setting(kind, f"{prefix}{name}.")
        else:
            secret = SecretStr in _parts(kind)
            yield Setting(f"{prefix}{name}", _words(kind, field), field.default, field.description or "", secret)


def value_of(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def shown(value: Any) -> Any:
    """`value` as JSON knows it, with every secret masked."""
    match value:
        case SecretStr():
            return MASK
        case BaseModel():
            return shown(dict(value))
        case Mapping():
            return {name: shown(item) for name, item in value.items()}
        case Path() | date() | Decimal():
            return str(value)
        case tuple() | list():
            return [shown(item) for item in value]
    return value


def example_toml() -> str:
    """A TOML file in which every setting is a comment, with its default and its meaning."""
    lines = [
        f"# Every setting with its default. Remove the # before those that you change; save as {CONFIG_FILE}, or name",
        f"# the file with --config or {CONFIG_VARIABLE}. Secrets belong in the environment, as shown.",
    ]
    section = ""
    for setting in sorted(every_setting(), key=lambda each: "." in each.key):  # tables follow the bare keys
        table, _, name = setting.key.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        lines += ["", f"# {setting.description or setting.key} ({setting.kind})", _example_line(name, setting)]
    return "\n".join(lines) + "\n"


def _example_line(name: str, setting: Setting) -> str:
    if setting.secret:
        return f"# secret: {setting.variable}=… in the environment"
    if setting.default is None:
        return f"# {name} is not set"
    if setting.key == "policies":
        return '# [policies."9341452812345678"], with the keys of [policy]'
    return f"#{name} = {_toml(shown(setting.default))}"


def settings_markdown() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "<!-- Made by `metronome-qbo config --markdown`; change the descriptions in stream/settings.py. -->",
        "",
        f"One TOML file, `{CONFIG_FILE}` in the working directory or the one that `--config` or `{CONFIG_VARIABLE}`",
        f"names, and the environment over it: `{VARIABLE_PREFIX}` and the key in capitals, with two underscores for",
        f"each dot, as in `{VARIABLE_PREFIX}KAFKA__BOOTSTRAP_SERVERS`. Lists and tables are JSON there. Secrets",
        "belong in the environment. `metronome-qbo config` shows what is in force, `metronome-qbo config --example`",
        "prints a file to start from.",
        "",
        "| Setting | Kind | Default | Meaning |",
        "|---|---|---|---|",
    ]
    for setting in every_setting():
        default = "" if setting.default in (None, "", (), {}) else f"`{_plain(shown(setting.default))}`"
        cells = [f"`{setting.key}`", setting.kind, default, setting.description]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _parts(kind: Any) -> set[Any]:
    """`kind` and everything that it is made of."""
    return {kind}.union(*(_parts(part) for part in get_args(kind) if get_origin(kind) is not Literal))


def _words(kind: Any, field: FieldInfo) -> str:
    """The type as a reader of the documentation wants it."""
    arguments = [part for part in get_args(kind) if part not in (type(None), ...)]
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in arguments)
    if origin in (types.UnionType, Union, Annotated):
        return _words(arguments[0], field)
    if origin is tuple:
        return f"list of {_words(arguments[0], field)}"
    if origin is dict:
        return "table"
    names = {str: "text", int: "number", bool: "true or false", date: "date", Path: "path", SecretStr: "secret"}
    return names[kind]


def _plain(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json_module.dumps(value)


def _toml(value: Any) -> str:
    """JSON's scalars, lists and empty tables are TOML's too."""
    assert isinstance(value, str | int | bool | Sequence) or value == {}
    return json_module.dumps(value)
