"""What an operator can put right ends in one line and an exit code, whatever the command; a fault is not hidden."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.clients.failures import TokenRefused
from stream import OperatorError
from stream.cli import COMMANDS, cli, command_of
from stream.kafka.admin import BrokerUnreachable, KafkaRefused, TopicUnavailable
from stream.settings import SettingsError
from tests import ROOT

HEAVY = ("faust", "aiokafka", "aiohttp", "pydantic", "jinja2", "cryptography", "simulators", "agents", "models")


def run(*arguments: str, **environment: str) -> Any:
    return CliRunner().invoke(cli, list(arguments), env=environment)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BrokerUnreachable("Kafka at nowhere:1 did not answer"), 1, "Kafka at nowhere:1 did not answer"),
        (TopicUnavailable("the broker refused to create x"), 1, "the broker refused to create x"),
        (SettingsError("kafka.bootstrap_servers: not set"), 2, "settings: kafka.bootstrap_servers: not set"),
        (TokenRefused("Metronome answered 401 (check metronome.token)"), 1, "check metronome.token"),
        (KafkaRefused("Kafka at x:1: ClusterAuthorizationFailedError"), 1, "ClusterAuthorizationFailedError"),
        (OSError(98, "Address already in use"), 1, "Address already in use"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
@pytest.mark.parametrize("command", ["worker", "map", "web"])
def test_what_can_be_put_right_is_one_line(
    command: str, error: Exception, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised where each command reads its settings, as anything later would be."""

    def broken(*_: Any) -> None:
        raise error

    module = {"map": "mapping"}.get(command, command)
    command_of(command)  # the module is imported now
    monkeypatch.setattr(f"stream.cli.{module}.load_settings", broken)
    arguments = ["customer", "x", "1"] if command == "map" else []
    result = run(command, *arguments)
    assert result.exit_code == code
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    command_of("worker")

    def broken(*_: Any) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("stream.cli.worker.load_settings", broken)
    assert isinstance(run("worker").exception, KeyError)


def test_an_index_that_is_another_database_is_named(tmp_path: Path) -> None:
    """It is not ours to delete."""
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    connection.close()
    variables = {"METRONOME_QBO_WEB__INDEX": str(other), "METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS": "localhost:1"}
    result = run("web", **variables)
    assert result.exit_code == 1
    assert "other.sqlite" in result.stderr.replace("\n", "")
    assert "Traceback" not in result.stderr


def test_every_error_an_operator_can_put_right_is_one_of_them() -> None:
    """All classes that derive from it say in their docstring what they are for."""
    every = list(OperatorError.__subclasses__())
    assert {"SettingsError", "BrokerUnreachable", "TopicUnavailable", "NotAnIndex"} <= {each.__name__ for each in every}
    assert all(each.__doc__ for each in every)


def test_help_lists_every_command_and_imports_none_of_what_they_need() -> None:
    """So that it is quick: the heavy libraries are imported by the command that runs."""
    code = f"""if True:
        import sys
        from stream.cli import cli
        cli(["--help"], standalone_mode=False)
        print([name for name in {HEAVY} if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    *shown, imported = done.stdout.strip().splitlines()
    assert imported == "[]"
    assert all(any(f" {name} " in line for line in shown) for name in COMMANDS)
