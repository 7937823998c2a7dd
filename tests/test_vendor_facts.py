"""The facts about the vendors ship with the code, and every § of them that the code cites exists."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VENDORS = ROOT / "docs" / "vendors"
SHEETS = ("quickbooks", "metronome")
FOLDERS = ("models", "agents", "stream", "simulators", "tests", "benchmarks")
NOT_OURS = {"__pycache__", "node_modules"}

SECTION = r"\d+(?:\.\d+)?(?:[a-z]\b)?"
HEADING = re.compile(rf"^#{{2,3}} ({SECTION})(?=\.? )", re.MULTILINE)
MARK = re.compile(rf"docs/vendors/(?P<sheet>{'|'.join(SHEETS)})\.md|§(?P<first>{SECTION})(?:[-–](?P<last>{SECTION}))?")


@dataclass(frozen=True)
class Citation:
    """A § in a file; it must exist in one of `sheets`, which is the one that is `named` if the file names any."""

    line: int
    section: str
    sheets: tuple[str, ...]
    named: bool


def files(*suffixes: str) -> Iterator[Path]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            wanted = file.is_file() and (not suffixes or file.suffix in suffixes)
            if wanted and file != Path(__file__) and not NOT_OURS & set(file.parts):
                yield file


def citations(path: str, text: str) -> Iterator[Citation]:
    """A bare § belongs to the sheet named last before it, else first in the file, else to the vendor in the path."""
    sheet = next((mark["sheet"] for mark in MARK.finditer(text) if mark["sheet"]), None)
    by_path = tuple(vendor for vendor in SHEETS if vendor in path) or SHEETS
    for mark in MARK.finditer(text):
        sheet = mark["sheet"] or sheet
        for section in filter(None, (mark["first"], mark["last"])):
            yield Citation(text.count("\n", 0, mark.start()) + 1, section, (sheet,) if sheet else by_path, bool(sheet))


SECTIONS = {sheet: set(HEADING.findall((VENDORS / f"{sheet}.md").read_text())) for sheet in SHEETS}
CITED: dict[str, list[Citation]] = defaultdict(list)
for each in files(".py"):
    name = each.relative_to(ROOT).as_posix()
    CITED[name] += citations(name, each.read_text())


@pytest.mark.parametrize("path", [path for path, cited in CITED.items() if cited])
def test_every_section_that_is_cited_exists(path: str) -> None:
    """Each § of the file is a heading of the document that it refers to."""
    for cited in CITED[path]:
        documents = " or ".join(f"docs/vendors/{sheet}.md" for sheet in cited.sheets)
        known = any(cited.section in SECTIONS[sheet] for sheet in cited.sheets)
        assert known, f"{path}:{cited.line} cites §{cited.section}, which {documents} does not have"


def test_citations_are_found() -> None:
    """The code cites the documents by name many times, and each form of citation is read."""
    assert sum(cited.named for found in CITED.values() for cited in found) >= 50
    text = "(§2)\ndocs/vendors/quickbooks.md §1-§3, §3.3a.\n(`docs/vendors/metronome.md` §0.8; §1.2-1.4)"
    read = [(cited.line, cited.section, cited.sheets[0][0]) for cited in citations("x.py", text)]
    assert read == [(1, "2", "q"), *[(2, section, "q") for section in ("1", "3", "3.3a")],
                    *[(3, section, "m") for section in ("0.8", "1.2", "1.4")]]  # fmt: skip
    assert [cited.sheets for cited in citations("a/metronome.py", "§1")] == [("metronome",)]
    assert [cited.sheets for cited in citations("x.py", "§1")] == [SHEETS]


def test_nothing_cites_facts_that_do_not_ship() -> None:
    """No file names the sheets by their former path."""
    pages = [page for page in (ROOT / "docs").rglob("*.md") if VENDORS not in page.parents]
    former = [f"facts/{sheet}.md".encode() for sheet in SHEETS]
    found = [file for file in [ROOT / "README.md", *pages, *files()] if any(f in file.read_bytes() for f in former)]
    assert not found, [file.relative_to(ROOT).as_posix() for file in found]
