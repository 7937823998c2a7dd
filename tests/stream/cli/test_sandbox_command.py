"""`metronome-qbo sandbox`: its options, its first line, and what it shows people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import cli
from stream.cli.common import EXIT_TROUBLE, EXIT_USAGE
from stream.demo.processes import Children
from tests import BOUND_SECONDS


async def started(directory: Path, *arguments: str) -> tuple[dict, str]:
    """The first line of a sandbox with these options, and what it shows people."""
    children = Children(directory)
    try:
        child = await children.start("sandbox", *arguments, ready_within_seconds=BOUND_SECONDS)
    finally:
        await children.stop()
    return json.loads(child.ready_line), child.log.read_text()


async def test_the_first_line_names_every_company_and_people_learn_where_the_pages_are(tmp_path: Path) -> None:
    companies = tmp_path / "companies.json"
    companies.write_text(json.dumps([{"realm_id": "1003", "name": "Third", "warn_duplicate_doc_numbers": True}]))
    addresses, described = await started(
        tmp_path, "--invoices", "3", "--kind", "void=2", "--companies", str(companies),
        "--company", "1001,Northwind", "--company", "1002, Nordlicht, DE, EUR",
    )  # fmt: skip
    assert [(each["realm_id"], each["name"], each["currency"]) for each in addresses["companies"]] == [
        ("1003", "Third", "USD"),
        ("1001", "Northwind", "USD"),
        ("1002", "Nordlicht", "EUR"),
    ]
    assert addresses["realm_id"] == "1003"
    assert addresses["access_token"] == addresses["companies"][0]["access_token"]
    assert len({each["refresh_token"] for each in addresses["companies"]}) == 3
    assert addresses["invoices"] == 5
    assert addresses["quickbooks_url"] + "/requests" in described
    assert addresses["metronome_url"] + "/" in described
    assert "ignored" not in described


async def test_a_used_state_file_goes_before_the_options_and_says_so(tmp_path: Path) -> None:
    file = str(tmp_path / "state.sqlite")
    first, described = await started(tmp_path, "--invoices", "3", "--seed", "5", "--state", file)
    assert "ignored" not in described
    second, described = await started(tmp_path, "--invoices", "8", "--seed", "6", "--state", file)
    assert (second["invoices"], second["seed"], second["client_id"]) == (3, 5, first["client_id"])
    assert "--invoices, --seed" in described
    assert "ignored" in described


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--fault", "quickbooks:drop,count=0"), "count"),
        (("--fault", "drop"), "quickbooks:"),
        (("--faults", "missing.json"), "missing.json"),
        (("--company", "abc"), "realm_id"),
        (("--company", "1", "--company", "1"), "twice"),
        (("--companies", "missing.json"), "missing.json"),
        (("--kind", "melon=3"), "melon"),
        (("--kind", "void"), "void=3"),
        (("--kinds", "few"), "every-kind"),
        (("--invoices", "-1"), "invoices"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(cli, ["sandbox", *arguments])
    assert result.exit_code == EXIT_USAGE
    assert named in " ".join(result.output.split())


@pytest.mark.parametrize("option", ["--state", "--fault"])
def test_what_cannot_start_says_why(tmp_path: Path, option: str) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("these are notes and no database " * 50)
    value = {"--state": str(notes), "--fault": "metronome:expire-token"}[option]
    result = CliRunner().invoke(cli, ["sandbox", option, value])
    assert result.exit_code == EXIT_TROUBLE
    assert {"--state": "not a database", "--fault": "do not expire"}[option] in " ".join(result.output.split())


def test_the_help_is_grouped() -> None:
    shown = CliRunner().invoke(cli, ["sandbox", "--help"], env={"COLUMNS": "200"}).output
    for panel in ("What Metronome holds", "QuickBooks companies", "How QuickBooks behaves", "Trouble", "Addresses and"):
        assert panel in shown
