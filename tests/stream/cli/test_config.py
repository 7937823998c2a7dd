"""`metronome-qbo config` and `topics`: everything is shown, no secret is, and the documentation is current."""

import json
import os
import re
import time
import tomllib

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from stream.cli import cli
from stream.cli.config import MASK, every_setting, example_toml, settings_markdown
from stream.settings import Settings, load
from stream.topics import topic_names, topic_specs
from tests import ROOT

SETTINGS_PAGE = ROOT / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch, tmp_path):
    """Neither a file in the working directory nor the developer's environment counts here."""
    for name in [name for name in os.environ if name.startswith("METRONOME_QBO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("METRONOME_QBO_CONFIG", str(tmp_path / "metronome-qbo.toml"))


def run(*arguments, command="config"):
    return CliRunner().invoke(cli, [command, *arguments])


def test_docs_settings_md_is_what_the_model_says():
    """Else run: metronome-qbo config --markdown > docs/settings.md"""
    assert SETTINGS_PAGE.read_text() == settings_markdown()


def test_the_effective_values_are_shown(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_KAFKA__TOPIC_PREFIX", "mine.")
    shown = json.loads(run("--json").stdout)
    assert shown["kafka.topic_prefix"] == "mine."
    assert shown["receiver.port"] == 8080
    assert set(shown) == {setting.key for setting in every_setting()}
    assert "mine." in run().stdout


def test_no_secret_is_shown(monkeypatch):
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("METRONOME_QBO_METRONOME__TOKEN", "hush-token")
    monkeypatch.setenv("METRONOME_QBO_METRONOME__WEBHOOK_SECRETS", '["hush-one", "hush-two"]')
    monkeypatch.setenv("METRONOME_QBO_QUICKBOOKS__CLIENT_SECRET", "hush-client")
    monkeypatch.setenv("METRONOME_QBO_ENCRYPTION_KEYS", f'["{key}"]')
    for arguments in ([], ["--json"], ["--example"], ["--markdown"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "hush" not in result.stdout
        assert key not in result.stdout
    shown = json.loads(run("--json").stdout)
    assert shown["metronome.token"] == MASK
    assert shown["metronome.webhook_secrets"] == [MASK, MASK]


def test_every_secret_of_the_model_is_known_as_one():
    secrets = {setting.key for setting in every_setting() if setting.secret}
    assert secrets == {"encryption_keys", "metronome.token", "metronome.webhook_secrets", "quickbooks.client_secret"}


def test_the_example_with_every_comment_removed_gives_the_defaults(tmp_path):
    text = re.sub(r"(?m)^#(?! )", "", example_toml())
    assert tomllib.loads(text)["receiver"]["port"] == 8080
    file = tmp_path / "ours.toml"
    file.write_text(text)
    assert load(file).model_dump() == Settings().model_dump()


def test_the_example_speaks_of_every_setting():
    text = example_toml()
    for setting in every_setting():
        assert setting.key.rpartition(".")[2] in text or setting.variable in text


def test_a_bad_setting_ends_with_code_2_and_its_name(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_RECEIVER__PORT", "99999")
    result = run()
    assert result.exit_code == 2
    assert "receiver.port" in result.stderr


def test_two_formats_at_once_are_refused():
    assert run("--json", "--markdown").exit_code == 2


@pytest.fixture
def kafka(monkeypatch, kafka_bootstrap):
    """Settings for a real Kafka, with topics that nobody else has."""
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", kafka_bootstrap)
    monkeypatch.setenv("METRONOME_QBO_KAFKA__TOPIC_PREFIX", f"topics{time.time_ns()}.")
    monkeypatch.setenv("METRONOME_QBO_KAFKA__COMPANY_PARTITIONS", "2")
    monkeypatch.setenv("METRONOME_QBO_KAFKA__WEBHOOK_PARTITIONS", "2")
    monkeypatch.setenv("METRONOME_QBO_APP_ID", f"topics{time.time_ns()}")


@pytest.mark.kafka
def test_missing_topics_are_listed_and_created_on_request(kafka):
    missing = run(command="topics")
    assert missing.exit_code == 1
    assert f"topic {topic_names(Settings()).webhooks} is missing" in missing.stderr
    created = run("--create", "--json", command="topics")
    assert created.exit_code == 0
    assert {row["state"] for row in json.loads(created.stdout)} == {"created"}
    fits = run("--json", command="topics")
    assert fits.exit_code == 0
    assert [(row["topic"], row["state"]) for row in json.loads(fits.stdout)] == [
        (plan.name, "fits") for plan in topic_specs(Settings())
    ]


@pytest.mark.kafka
def test_a_topic_that_does_not_fit_says_what_was_found_and_what_is_wanted(kafka, monkeypatch):
    assert run("--create", command="topics").exit_code == 0
    monkeypatch.setenv("METRONOME_QBO_KAFKA__WEBHOOK_PARTITIONS", "3")
    differs = run("--json", command="topics")
    assert differs.exit_code == 1
    row = next(row for row in json.loads(differs.stdout) if row["topic"] == topic_names(Settings()).webhooks)
    assert (row["state"], row["differences"]) == (
        "differs",
        [{"setting": "partitions", "found": "2", "wanted": "3"}],
    )


def test_without_a_broker_topics_names_its_address(monkeypatch, unused_tcp_port):
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("METRONOME_QBO_KAFKA__TIMEOUT_SECONDS", "1")
    result = run(command="topics")
    assert result.exit_code == 1
    assert str(unused_tcp_port) in result.stderr
