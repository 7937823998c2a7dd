"""What we rely on inside Faust and aiokafka is there, and a version without it stops the worker."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import faust
import pytest

from stream.engine.contract import RELIANCES, TESTED, EngineMismatch, Reliance, check_engine, mismatch
from stream.engine.tables import ChangelogTable
from tests import BOUND_SECONDS, ROOT

ENGINE = ROOT / "stream" / "engine"
LISTED = {each.name for each in RELIANCES}


@pytest.mark.parametrize("reliance", RELIANCES, ids=lambda each: f"{each.owner.__name__}.{each.name}")
def test_the_installed_libraries_have_what_we_override_and_use_it(reliance: Reliance) -> None:
    assert mismatch(reliance) is None


def test_the_installed_versions_are_the_tested_ones_and_those_that_are_pinned() -> None:
    pinned = (ROOT / "requirements.txt").read_text()
    for name, tested in TESTED.items():
        assert version(name) == tested
        assert f"{name}=={tested} " in pinned


def classes_in(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def test_everything_that_the_patches_override_is_listed() -> None:
    """An override that is not in the list would not be checked."""
    overridden = set()
    for patched in classes_in(ENGINE / "faust_patches.py"):
        for node in patched.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                overridden.add(node.name)
            elif isinstance(node, ast.Assign):
                overridden |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    assert {"perform_seek", "seek_to_committed", "Consumer", "Producer"} <= overridden
    assert overridden <= LISTED


def test_everything_that_our_table_overrides_is_listed() -> None:
    """Also what it would override without meaning to, since a newer Faust has that name too."""
    [table] = [each for each in classes_in(ENGINE / "tables.py") if each.name == ChangelogTable.__name__]
    methods = {each.name for each in table.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    attributes = {
        each.attr for each in ast.walk(table) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
    }
    overridden = {name for name in methods | attributes if hasattr(faust.Table, name)} - {"__init__"}
    assert "send_changelog" in overridden
    assert overridden <= LISTED


def test_every_private_name_that_the_engine_touches_is_listed() -> None:
    """Our own objects keep theirs behind `self`."""
    touched = {
        node.attr
        for path in ENGINE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if path.name == "faust_patches.py" or not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    assert "_fetch_max_wait_ms" in touched
    assert touched - {"_exit"} <= LISTED  # os._exit


class Renamed:
    """A library in which the method has another name, takes something else, or has lost its caller."""

    def seek_to_the_committed(self) -> None:
        self.seek_to_the_committed()

    def takes_more(self, other: int) -> None: ...


@pytest.mark.parametrize(
    ("name", "parameters", "user", "says"),
    [
        ("seek_to_committed", ("self",), "seek_to_the_committed", "is gone"),
        ("takes_more", ("self",), "seek_to_the_committed", "takes self, other instead of self"),
        ("takes_more", ("self", "other"), "seek_to_the_committed", "is no longer used by Renamed.seek_to_the_"),
        ("takes_more", ("self", "other"), "perform_seek", "is no longer used by Renamed.perform_seek"),
        ("an_attribute", None, "seek_to_the_committed", "is no longer used by Renamed.seek_to_the_committed"),
    ],
)
def test_another_library_stops_the_worker_and_says_why(
    name: str, parameters: tuple[str, ...] | None, user: str, says: str
) -> None:
    """The message names the method, the installed and the tested versions, and how to get these."""
    other = replace(RELIANCES[0], owner=Renamed, name=name, parameters=parameters, users=((Renamed, user),))
    with pytest.raises(EngineMismatch) as raised:
        check_engine((*RELIANCES, other))
    for part in (f"Renamed.{name}", says, "aiokafka 0.14.0 (tested with 0.14.0)", "requirements.txt"):
        assert part in str(raised.value)


WORKER_ON_ANOTHER_FAUST = """
from faust.transport.consumer import Consumer
Consumer.seek_to_their_committed_offsets = Consumer.perform_seek
del Consumer.perform_seek
from stream.cli import main
main()
"""


def test_a_worker_on_a_faust_with_a_renamed_method_ends_in_one_line(embedded_bootstrap: str, tmp_path: Path) -> None:
    """Our override would have no caller, and the worker would lose records without a word."""
    settings = {
        "APP_ID": "renamed",
        "ENCRYPTION_KEYS": '["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]',
        "KAFKA__BOOTSTRAP_SERVERS": embedded_bootstrap,
        "KAFKA__EMBEDDED": "true",
        "KAFKA__TOPIC_PREFIX": "renamed.",
        "METRONOME__TOKEN": "token",
        "QUICKBOOKS__CLIENT_ID": "id",
        "QUICKBOOKS__CLIENT_SECRET": "secret",
        "WORKER__HEALTH_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", WORKER_ON_ANOTHER_FAUST, "worker"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        | {f"METRONOME_QBO_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Consumer.perform_seek is gone" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
