"""docs/commands.md, made from the commands themselves: `python -m stream.cli.reference > docs/commands.md`."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from . import COMMANDS, command_of

EXAMPLES = re.compile(r"\n*^Examples?:(?P<lines>.*)\Z", re.MULTILINE | re.DOTALL)

INTRODUCTION = """\
# Commands

<!-- Made by `python -m stream.cli.reference`; change the docstrings in stream/cli/. -->

`metronome-qbo` and `python -m stream` are the same program. Every command that needs settings reads them from
`metronome-qbo.toml` and the environment ([settings.md](settings.md)); `--config` names another file. The exit code is 0
when all went well, 1 when something was in the way, 2 when the command or the settings were wrong. What was in the way,
and what to do about it, stands on standard error; a traceback there is a fault of this program.
"""


def reference() -> str:
    """All of docs/commands.md."""
    return "\n".join([INTRODUCTION, *_overview(), *(line for name in commands() for line in _section(name))]) + "\n"


def commands() -> dict[str, Any]:
    """Every command by its name, in the order of `metronome-qbo --help`."""
    return {name: command_of(name) for name in COMMANDS}


def examples_of(command: Any) -> list[str]:
    """The command lines that a command's help shows."""
    found = EXAMPLES.search(inspect.cleandoc(command.help or ""))
    return [line.strip() for line in found["lines"].splitlines() if line.strip()] if found else []


def _overview() -> Iterator[str]:
    yield "| Command | |"
    yield "|---|---|"
    for name, command in commands().items():
        yield f"| [`{name}`](#{name}) | {_cell(_text(command).split('. ')[0].splitlines()[0].rstrip('.:'))} |"


def _section(name: str) -> Iterator[str]:
    command = commands()[name]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    yield ""
    yield f"## {name}"
    yield ""
    yield _text(command)
    yield ""
    yield "```"
    yield from examples_of(command)
    yield "```"
    if command.params:
        yield ""
        yield "| | Default | Meaning |"
        yield "|---|---|---|"
        for each in arguments:
            yield f"| `{each.name.upper()}` | {'required' if each.required else 'optional'} | {_cell(each.help)} |"
        for each in options:
            names = ", ".join(f"`{option}`" for option in [*each.opts, *each.secondary_opts])
            yield f"| {names} | {_default(each)} | {_cell(each.help)} |"


def _text(command: Any) -> str:
    return EXAMPLES.sub("", inspect.cleandoc(command.help or "")).strip()


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag and option.secondary_opts:
        return f"`{option.opts[0] if option.default else option.secondary_opts[0]}`"
    return "" if option.is_flag or option.default in (None, "") else f"`{option.default}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
