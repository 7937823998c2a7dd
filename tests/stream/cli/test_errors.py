"""What an operator can put right ends in a message and an exit code, whatever the command; a fault is not hidden."""

import ast
import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from agents.clients.failures import TokenRefused
from agents.clients.oauth import Tokens
from agents.connections import connected
from simulators.kafka.embedded import embedded_broker
from simulators.server import start_sandbox
from stream import OperatorError
from stream.cli import COMMANDS, cli, command_of
from stream.cli.common import WrongUsage
from stream.cli.errors import Command, explain
from stream.kafka.admin import BrokerUnreachable, KafkaRefused, TopicUnavailable, create_by_asking
from stream.operations.connection_log import ConnectionLog
from stream.settings import Kafka, Settings, SettingsError
from stream.topics import topic_names
from stream.wiring import TokenCipher
from tests import BOUND_SECONDS, ROOT

PREFIX = "METRONOME_QBO_"

NOWHERE = "127.0.0.1:1"
COMPLETE = {
    "KAFKA__TIMEOUT_SECONDS": "1",
    "ENCRYPTION_KEYS": f'["{Fernet.generate_key().decode()}"]',
    "METRONOME__TOKEN": "invented",
    "METRONOME__URL": "http://127.0.0.1:1",
    "QUICKBOOKS__CLIENT_ID": "invented",
    "QUICKBOOKS__CLIENT_SECRET": "invented",
    "WORKER__HEALTH_PORT": "0",
}
"""Every setting that some command needs, but a broker."""


def run(directory: Path, *arguments: str, shell: str = 'exec "$@"', **variables: str) -> tuple[int, str]:
    """Exit code and standard error of a command as a process, with COMPLETE and `variables` and no other settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "stream", *arguments],
        cwd=directory,
        env={
            **inherited,
            "PYTHONPATH": str(ROOT),
            **{PREFIX + name: value for name, value in {**COMPLETE, **variables}.items()},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr


def ended_clearly(ended: tuple[int, str], code: int, *named: str) -> None:
    """Asserts the exit code, that each of `named` is in the message, and that there is no traceback."""
    assert ended[0] == code, ended[1]
    assert [each for each in named if each not in ended[1]] == [], ended[1]
    assert "Traceback" not in ended[1]


# The one place that catches them


def failing(error: Exception) -> Any:
    """The result of a command that raises `error`."""
    app = typer.Typer()

    @app.command(cls=Command)
    def fails() -> None:
        raise error

    return CliRunner().invoke(app)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BrokerUnreachable("Kafka at nowhere:1 did not answer"), 1, "Kafka at nowhere:1 did not answer\n"),
        (TopicUnavailable("the broker refused to create x"), 1, "the broker refused to create x\n"),
        (KafkaRefused("Kafka at x:1: no"), 1, "Kafka at x:1: no\n"),
        (SettingsError("kafka.bootstrap_servers: not set"), 2, "settings: kafka.bootstrap_servers: not set\n"),
        (WrongUsage("--realm: which company?"), 2, "--realm: which company?\n"),
        (TokenRefused("401 (check metronome.token)"), 1, "401 (check metronome.token)\n"),
        (OSError(98, "Address already in use"), 1, "[Errno 98] Address already in use\n"),
        (PermissionError(13, "No", "/a"), 1, "/a: No. Is the path right, and may this program use it?\n"),
        (OperatorError("long " * 100 + "[red]end[/red]"), 1, "long " * 100 + "[red]end[/red]\n"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)  # fmt: skip
def test_what_can_be_put_right_is_printed_as_it_is(error: Exception, code: int, says: str) -> None:
    """On standard error, in one line where it is one, whatever the width of the terminal."""
    result = failing(error)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", says)


@pytest.mark.parametrize(
    "fault", [KeyError("a fault"), TimeoutError(), AssertionError()], ids=lambda each: type(each).__name__
)
def test_a_fault_of_ours_keeps_its_traceback(fault: Exception) -> None:
    result = failing(fault)
    assert result.exception is fault
    assert result.stderr == ""


def test_a_reader_that_wants_no_more_of_our_output_is_no_trouble() -> None:
    """As `head` does; Typer ends quietly."""
    assert explain(BrokenPipeError(32, "Broken pipe")) is None


SIGNALS = {
    "stream/intake/signature.py": {"NotSigned"},  # answered with 401
    "stream/intake/watch.py": {"Stopping"},  # ends a round
    "stream/kafka/producer.py": {"BrokerAway", "RecordTooLarge"},  # answered with 503 and 413
    "stream/web/app.py": {"NotThere"},  # a page
    "stream/web/projection.py": {"_IndexIsOfAnotherLog"},  # builds the index anew
}
"""Exceptions that are caught where they are meant for, and reach no operator."""


def test_every_other_exception_of_ours_is_one_that_an_operator_can_put_right() -> None:
    reaching: dict[str, set[str]] = {}
    for path in sorted((ROOT / "stream").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {
                "Exception",
                "ValueError",
            }:
                reaching.setdefault(str(path.relative_to(ROOT)), set()).add(node.name)
    assert reaching.pop("stream/__init__.py") == {"OperatorError"}
    assert reaching == SIGNALS


# Each command, and what can be in its way


@pytest.mark.parametrize(
    ("arguments", "callee"),
    [
        (["worker"], "engine.worker.run_worker"),
        (["map", "customer", "x", "1", "--realm", "1"], "cli.mapping.prepare_topics"),
    ],
    ids=["worker", "map"],
)
def test_a_topic_that_the_broker_refuses_to_create_is_named(
    arguments: list[str], callee: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def refused(*_: Any, **__: Any) -> None:
        raise TopicUnavailable("the broker refused to create quickbooks.commands: replication factor 3")

    command_of(arguments[0])  # imports its module
    monkeypatch.setattr(f"stream.{callee}", refused)
    monkeypatch.setattr("stream.logs.configure", lambda _: None)  # this process's logs stay as they are
    monkeypatch.chdir(tmp_path)
    settings = {PREFIX + name: value for name, value in {**COMPLETE, "KAFKA__BOOTSTRAP_SERVERS": NOWHERE}.items()}
    result = CliRunner().invoke(cli, arguments, env=settings)
    ended_clearly((result.exit_code, result.stderr), 1, "quickbooks.commands: replication factor 3")


@pytest.mark.kafka
@pytest.mark.parametrize(
    "arguments", [["worker"], ["map", "customer", "x", "1", "--realm", "1"]], ids=["worker", "map"]
)
def test_what_a_real_broker_says_of_a_topic_that_it_cannot_create_is_shown(
    arguments: list[str], kafka_bootstrap: str, tmp_path: Path
) -> None:
    """One broker cannot keep three copies."""
    prefix = f"refused{time.time_ns()}."
    ended = run(
        tmp_path,
        *arguments,
        KAFKA__BOOTSTRAP_SERVERS=kafka_bootstrap,
        KAFKA__TIMEOUT_SECONDS=str(BOUND_SECONDS),
        KAFKA__REPLICATION_FACTOR="3",
        KAFKA__TOPIC_PREFIX=prefix,
    )
    ended_clearly(ended, 1, f"refused to create {prefix}", "replicat")


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker"],
        ["web", "--port", "0"],
        ["watch", "--once"],
        ["connect", "--realm", "1", "--refresh-token", "x"],
        ["connections"],
        ["map", "customer", "x", "1", "--realm", "1"],
        ["redrive"],
        ["replay", "--from-offset", "0", "--to-offset", "1"],
        ["preview", "56e22c64-e225-57d0-be12-ef64d1f05078"],
        ["topics"],
        ["topics", "--create"],
        ["demo", "--invoices", "1", "--exit"],
    ],
    ids=" ".join,
)
def test_without_a_broker_its_address_and_its_setting_are_named(arguments: list[str], tmp_path: Path) -> None:
    ended = run(tmp_path, *arguments, KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1, f"Kafka at {NOWHERE}", "kafka.bootstrap_servers")


def test_preflight_without_a_broker_finds_that_out(tmp_path: Path) -> None:
    """It goes on with what it can read."""
    ended = run(tmp_path, "preflight", "--realm", "1", KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1)


def test_setup_without_metronome_names_its_address_and_its_setting(tmp_path: Path) -> None:
    ended = run(tmp_path, "setup", "--realm", "1", KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1, "http://127.0.0.1:1", "metronome.url")


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"key", "sandbox", "config", "health", "demo", "preview"}))
def test_what_a_command_needs_and_nobody_set_is_named(command: str, tmp_path: Path) -> None:
    needed = {"map": ["customer", "x", "1"], "replay": ["--from-offset", "0", "--to-offset", "1"]}
    result = CliRunner().invoke(
        cli, [command, *needed.get(command, []), "--config", str(_empty(tmp_path))], env=_nothing_set()
    )
    ended_clearly((result.exit_code, result.stderr), 2, "settings: ", "not set; for example")


def _empty(directory: Path) -> Path:
    file = directory / "empty.toml"
    file.touch()
    return file


def _nothing_set() -> dict[str, str | None]:
    return {name: None for name in os.environ if name.startswith(PREFIX)}


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (None, "is a directory"),
        (b"[receiver", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"port = 1", "port: no such"),
    ],
    ids=["a directory", "not TOML", "not UTF-8", "no such setting"],
)
@pytest.mark.parametrize("by", ["--config", "METRONOME_QBO_CONFIG"])
def test_a_settings_file_that_is_none_is_named(written: bytes | None, named: str, by: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    if written is None:
        file.mkdir()
    else:
        file.write_bytes(written)
    arguments = ["--config", str(file)] if by == "--config" else []
    result = CliRunner().invoke(cli, ["config", *arguments], env={**_nothing_set(), by: str(file)})
    ended_clearly((result.exit_code, result.stderr), 2, named, "settings: ")


def test_an_index_that_is_another_database_is_named_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE accounts (id)")
    before = other.read_bytes()
    ended = run(tmp_path, "web", WEB__INDEX=str(other), KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1, str(other), "set web.index to another path")
    assert other.read_bytes() == before


@pytest.mark.parametrize("place", ["notes.txt", "notes.txt/index.sqlite", "folder"])
def test_an_index_that_cannot_be_made_is_named_with_its_setting(place: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes and no database " * 50)
    (tmp_path / "folder").mkdir()
    ended = run(tmp_path, "web", WEB__INDEX=place, KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1, place, "set web.index to another path")


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield str(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "setting", "remedy"),
    [
        (["web"], "WEB__PORT", "web.*"),
        (["receive"], "RECEIVER__PORT", "receiver.*"),
        (["worker"], "WORKER__HEALTH_PORT", "worker.health_*"),
        (["sandbox", "--metronome-port", "{port}"], "WEB__PORT", "--metronome-port"),
        (["sandbox", "--quickbooks-port", "{port}"], "WEB__PORT", "--quickbooks-port"),
    ],
    ids=["web", "receive", "worker", "sandbox, metronome", "sandbox, quickbooks"],
)
def test_a_port_that_is_taken_is_named_with_what_sets_it(
    arguments: list[str], setting: str, remedy: str, taken_port: str, tmp_path: Path
) -> None:
    with embedded_broker() as broker:
        ended = run(
            tmp_path,
            *(each.format(port=taken_port) for each in arguments),
            **{setting: taken_port},
            KAFKA__BOOTSTRAP_SERVERS=broker,
            KAFKA__EMBEDDED="true",
            KAFKA__TIMEOUT_SECONDS=str(BOUND_SECONDS),
        )
    ended_clearly(ended, 1, "cannot listen on 127.0.0.1", taken_port, remedy)


@pytest.mark.parametrize(
    "arguments",
    [["web", "--port", "65536"], ["receive", "--port", "65536"], ["sandbox", "--metronome-port", "65536"]],
    ids=" ".join,
)
def test_a_port_that_is_none_is_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments, env=_nothing_set())
    ended_clearly((result.exit_code, result.stderr), 2, "65535")


@pytest.mark.parametrize(
    "arguments",
    [
        ["map", "customer", "c-1", "58"],
        ["preflight", "--access-token", "-"],
        ["connect", "--refresh-token", "x"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_company_that_is_none_is_wrong_usage(arguments: list[str]) -> None:
    env = _nothing_set() | {
        PREFIX + "KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        PREFIX + "QUICKBOOKS__CLIENT_ID": "x",
        PREFIX + "QUICKBOOKS__CLIENT_SECRET": "x",
        PREFIX + "ENCRYPTION_KEYS": '["MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="]',
    }
    result = CliRunner().invoke(cli, [*arguments, "--realm", "abc"], env=env)
    ended_clearly((result.exit_code, result.stderr), 2, "--realm abc: a realm id is digits")


@pytest.mark.parametrize("listen", ["127.0.0.1:65536", "localhost:callback", "[::1", "9000"])
def test_an_address_of_the_callback_that_is_none_is_named(listen: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "connect", "--listen", listen, KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 1, f"{listen} names no host and port")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["connect", "--realm", "1", "--refresh-token", "-"], "the refresh token is empty"),
        (["preflight", "--realm", "1", "--access-token", "-"], "standard input holds no token"),
    ],
    ids=["connect", "preflight"],
)
def test_a_token_from_a_standard_input_that_is_closed_is_missed(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, *arguments, shell='exec "$@" <&-', KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    ended_clearly(ended, 2, named)


def test_a_token_that_is_not_text_is_refused(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "preflight", "--realm", "1", "--access-token", "-",
        shell="printf '\\377' | PYTHONIOENCODING=utf-8:strict \"$@\"", KAFKA__BOOTSTRAP_SERVERS=NOWHERE,
    )  # fmt: skip
    ended_clearly(ended, 2, "standard input is not text")


@pytest.mark.parametrize(
    "arguments", [["key"], ["config"], ["config", "--json"], ["config", "--example"]], ids=" ".join
)
def test_a_standard_output_that_is_closed_is_no_trouble(arguments: list[str], tmp_path: Path) -> None:
    ended_clearly(run(tmp_path, *arguments, shell='exec "$@" >&-'), 0)


async def test_tokens_that_another_installation_encrypted_are_named_with_the_remedy(tmp_path: Path) -> None:
    """The connection was recorded with a key that this installation's encryption_keys lack."""
    sandbox = await start_sandbox(invoices=1, limits=False)
    try:
        with embedded_broker() as broker:
            addresses = sandbox.addresses
            theirs = Settings(kafka=Kafka(bootstrap_servers=broker, timeout_seconds=BOUND_SECONDS))
            await create_by_asking(broker, [topic_names(theirs).connections], timeout_seconds=BOUND_SECONDS)
            tokens = Tokens(addresses.access_token, 3600, addresses.refresh_token, 8_726_400)
            cipher = TokenCipher(theirs.model_copy(update={"encryption_keys": _new_key()}).encryption_keys)
            connection = connected(addresses.realm_id, tokens, cipher, datetime.now(UTC), previous=None)
            await ConnectionLog(theirs).record(connection)
            ended = await asyncio.to_thread(
                run,
                tmp_path,
                "setup",
                "--realm",
                addresses.realm_id,
                KAFKA__BOOTSTRAP_SERVERS=broker,
                KAFKA__TIMEOUT_SECONDS=str(BOUND_SECONDS),
                METRONOME__URL=addresses.metronome_url,
                METRONOME__TOKEN=addresses.metronome_token,
                QUICKBOOKS__URL=addresses.quickbooks_url,
            )
    finally:
        await sandbox.stop()
    ended_clearly(ended, 1, "encryption_keys", "add the old key to the end")


def _new_key() -> Any:
    return Settings(encryption_keys=(Fernet.generate_key().decode(),)).encryption_keys  # type: ignore[arg-type]


def test_health_says_where_no_worker_answers(tmp_path: Path) -> None:
    ended_clearly(run(tmp_path, "health", WORKER__HEALTH_PORT="1"), 1, "http://127.0.0.1:1/", "worker.health_port")


# What is imported, and when

HEAVY = (
    "faust", "aiokafka", "confluent_kafka", "aiohttp", "pydantic", "pydantic_settings", "jinja2", "cryptography",
    "structlog", "orjson", "simulators", "agents", "models", "stream.settings", "stream.kafka",
)  # fmt: skip


def imported_by(*arguments: str) -> tuple[str, list[str]]:
    """What `metronome-qbo ARGUMENTS` prints, and which of the heavy modules it imported."""
    code = f"""if True:
        import sys
        from stream.cli import cli
        cli({list(arguments)}, standalone_mode=False)
        print(*[name for name in {HEAVY} if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=BOUND_SECONDS, check=True
    )
    *shown, heavy = done.stdout.splitlines()
    return "\n".join(shown), heavy.split()


def test_help_lists_every_command_and_imports_none_of_what_they_need() -> None:
    """So that it is quick: a command's module, and the libraries that it needs, are imported when it runs."""
    shown, heavy = imported_by("--help")
    assert heavy == []
    assert [name for name in COMMANDS if f" {name} " not in shown] == []


def test_the_help_of_a_command_imports_only_what_this_command_needs() -> None:
    assert set(imported_by("key", "--help")[1]).isdisjoint(
        {"agents", "aiokafka", "aiohttp", "models", "stream.settings"}
    )
    assert set(imported_by("config", "--help")[1]).isdisjoint({"faust", "aiokafka", "aiohttp", "simulators"})
    assert set(imported_by("topics", "--help")[1]).isdisjoint({"faust", "aiohttp", "simulators"})
    assert set(imported_by("worker", "--help")[1]).isdisjoint({"faust", "aiokafka", "aiohttp", "simulators"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_shows_the_help_that_the_command_has(name: str) -> None:
    """The list reads it from the source."""
    listed = typer.main.get_command(cli).get_command(None, name)  # type: ignore[attr-defined]
    assert listed.help == command_of(name).help
