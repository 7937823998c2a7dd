"""Faults as options of a command: a JSON file for both servers, or one fault in a line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.faults import Fault, WrongFault

SERVERS = ("quickbooks", "metronome")
FILE_MAX_BYTES = 1024 * 1024
FLAGS = ("after_commit",)
WHOLE_NUMBERS = ("count", "status", "seed")
NUMBERS = ("delay_seconds", "probability")
SHORT = {"path": "path_contains"}


@dataclass(slots=True)
class PlannedFaults:
    """The faults with which each server starts."""

    quickbooks: list[Fault] = field(default_factory=list)
    metronome: list[Fault] = field(default_factory=list)

    def extend(self, other: PlannedFaults) -> None:
        self.quickbooks += other.quickbooks
        self.metronome += other.metronome


def faults_of_file(path: Path) -> PlannedFaults:
    """{"quickbooks": [fault …], "metronome": [fault …]}, both optional. Raises WrongFault, OSError."""
    with path.open("rb") as file:
        text = file.read(FILE_MAX_BYTES + 1)
    if len(text) > FILE_MAX_BYTES:
        raise WrongFault(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    try:
        asked = json.loads(text)
    except ValueError as problem:
        raise WrongFault(f"{path}: not JSON: {problem}") from None
    if not isinstance(asked, dict) or set(asked) - set(SERVERS):
        raise WrongFault(f"{path}: an object with {' and '.join(SERVERS)} is expected")
    planned = PlannedFaults()
    for server, listed in asked.items():
        if not isinstance(listed, list):
            raise WrongFault(f"{path}: {server} is {type(listed).__name__}; it must be a list of faults")
        for number, each in enumerate(listed):
            try:
                getattr(planned, server).append(Fault.from_json(each))
            except WrongFault as problem:
                raise WrongFault(f"{path}: {server}[{number}]: {problem}") from None
    return planned


def fault_of_text(text: str) -> PlannedFaults:
    """`quickbooks:drop,path=/invoice,probability=0.05,seed=7,after_commit`. Raises WrongFault."""
    server, colon, rest = text.partition(":")
    kind, *settings = rest.split(",")
    if not colon or server not in SERVERS:
        raise WrongFault(f"{text}: it begins with {' or '.join(f'{each}:' for each in SERVERS)}")
    value: dict[str, Any] = {"kind": kind}
    for setting in settings:
        name, equals, given = setting.partition("=")
        value[SHORT.get(name, name)] = _value(text, name, given if equals else None)
    try:
        fault = Fault.from_json(value)
    except WrongFault as problem:
        raise WrongFault(f"{text}: {problem}") from None
    return PlannedFaults(**{server: [fault]})


def _value(text: str, name: str, given: str | None) -> object:
    if given is None:
        if name not in FLAGS:
            raise WrongFault(f"{text}: {name} needs a value, {name}=…")
        return True
    try:
        if name in WHOLE_NUMBERS:
            return int(given)
        if name in NUMBERS:
            return float(given)
    except ValueError:
        raise WrongFault(f"{text}: {name} is {given!r}; it must be a number") from None
    return given
