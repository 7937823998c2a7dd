"""What a driver's absence, its failure and its steps look like to a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.clients.drivers import Steps, java_driver, node_driver, run_driver

from . import drivers

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("driver", [node_driver, java_driver])
def test_a_missing_program_skips_loudly_or_fails_when_clients_are_required(
    driver: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(driver)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REQUIRE_CLIENTS", "")
    with pytest.raises(pytest.skip.Exception, match=r"CLIENT NOT DRIVEN: there is no (node|java) on the PATH"):
        driver("any")
    monkeypatch.setenv("REQUIRE_CLIENTS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"REQUIRE_CLIENTS=1, but there is no (node|java)"):
        driver("any")


def test_packages_that_cannot_be_fetched_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("node", "npm"):
        (programs / name).write_text("#!/bin/sh\necho no network; exit 7\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("REQUIRE_CLIENTS", "1")
    monkeypatch.setattr(drivers, "CACHE", tmp_path / "cache")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)cannot be fetched: .*npm ended with code 7:\nno network"):
        node_driver("any")
    assert list((tmp_path / "cache").iterdir()) == []


def test_steps_are_read_from_lines_and_a_driver_that_fails_fails_the_test() -> None:
    printed = """print('{"step": "a", "gave": 1}'); print('noise'); print('{"step": "b", "threw": {"code": "5010"}}')"""
    steps = run_driver([sys.executable, "-c", printed])
    assert (steps.gave("a"), steps.threw("b")) == (1, {"code": "5010"})
    with pytest.raises(pytest.fail.Exception, match="ended with code 3"):
        run_driver([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_step_that_is_missing_or_came_out_otherwise_is_named() -> None:
    steps = Steps({"a": {"step": "a", "gave": 1}, "b": {"step": "b", "threw": {"code": "5010"}}})
    with pytest.raises(AssertionError, match="never came to 'c'"):
        steps.gave("c")
    with pytest.raises(AssertionError, match=r"b: .*5010"):
        steps.gave("b")
    with pytest.raises(AssertionError, match="a was not refused: 1"):
        steps.threw("a")
