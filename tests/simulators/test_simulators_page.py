"""docs/simulators.md names switches, kinds and files that exist, and all of them."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from simulators.metronome.generator import KINDS
from simulators.metronome.settings import MetronomeSettings
from simulators.quickbooks.books import Company
from simulators.quickbooks.oauth import OAuthSettings
from simulators.quickbooks.settings import QuickBooksSettings
from tests import ROOT

PAGE = (ROOT / "docs" / "simulators.md").read_text()
# What a company or an app is, rather than how the vendor behaves.
IDENTITY = {"realm_id", "name", "currency", "multicurrency", "country", "client_id", "client_secret"}
LIFETIMES = {"access_token_seconds", "code_seconds", "redirect_uris"}


@pytest.mark.parametrize("settings", [Company, QuickBooksSettings, OAuthSettings])
def test_the_page_names_each_switch_and_none_that_is_gone(settings: type) -> None:
    named = set(re.findall(rf"`{settings.__name__}\.(\w+)`", PAGE))
    existing = {each.name for each in fields(settings)}
    assert named <= existing
    assert existing - named <= IDENTITY | LIFETIMES


def test_the_page_names_the_switches_of_metronome() -> None:
    for each in fields(MetronomeSettings):
        assert f"`{each.name}`" in PAGE


def test_the_page_lists_the_kinds_of_invoices_in_their_own_words() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", PAGE.partition("## Kinds")[2], re.MULTILINE))
    assert {name: listed.get(name) for name in KINDS} == dict(KINDS)


def test_each_row_of_behaviour_has_its_source_and_its_grade() -> None:
    tables = PAGE.partition("## QuickBooks Online: behaviour")[2]
    rows = [
        line for line in tables.splitlines() if line.startswith("| ") and not line.startswith(("| Behaviour", "|---"))
    ]
    assert len(rows) > 100
    for row in rows:
        cells = [each.strip() for each in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert cells[0], row
        assert cells[1], row


def test_the_checks_that_it_names_exist() -> None:
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
