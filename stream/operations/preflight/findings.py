"""What preflight finds: one thing that was looked at, how it stands, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

NAMES_SHOWN_MAX = 20

SETUP = "metronome-qbo setup"

Level = Literal["ok", "warning", "problem"]
Area = Literal["QuickBooks", "Metronome"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; a warning or a problem has a remedy."""

    level: Level
    area: Area
    what: str
    remedy: str | None = None


def ok(what: str, area: Area = "QuickBooks") -> Finding:
    return Finding("ok", area, what)


def warning(what: str, remedy: str, area: Area = "QuickBooks") -> Finding:
    return Finding("warning", area, what, remedy)


def problem(what: str, remedy: str, area: Area = "QuickBooks") -> Finding:
    return Finding("problem", area, what, remedy)
