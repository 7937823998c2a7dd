"""Bad settings: the error names the key, its problem and an example. Good ones: file first, environment over it."""

import json
import os

import pytest
from cryptography.fernet import Fernet

from stream.settings import SettingMissing, Settings, SettingsError, file_of, load, required


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch, tmp_path):
    """Neither a file in the working directory nor the developer's environment counts here."""
    for name in [name for name in os.environ if name.startswith("METRONOME_QBO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRONOME_QBO_CONFIG", str(tmp_path / "metronome-qbo.toml"))


@pytest.fixture
def write(tmp_path):
    return (tmp_path / "metronome-qbo.toml").write_text


def test_without_anything_the_defaults_hold():
    assert load().model_dump() == Settings().model_dump()
    assert load().environment == "sandbox"


def test_the_environment_wins_over_the_file(write, monkeypatch):
    write('[kafka]\nbootstrap_servers = "file:9092"\ntopic_prefix = "a."')
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", "environment:9092")
    assert load().kafka.bootstrap_servers == "environment:9092"
    assert load().kafka.topic_prefix == "a."


def test_lists_and_tables_are_json_in_the_environment(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_METRONOME__WEBHOOK_SECRETS", '["one", "two"]')
    monkeypatch.setenv("METRONOME_QBO_ROUTING__BY_CURRENCY", '{"EUR": "2"}')
    settings = load()
    assert [secret.get_secret_value() for secret in settings.metronome.webhook_secrets] == ["one", "two"]
    assert settings.routing.by_currency == {"EUR": "2"}


@pytest.mark.parametrize(
    ("toml", "key", "problem", "example"),
    [
        ("[receiver]\nport = 99999", "receiver.port", "less than or equal to 65535", "8080"),
        ('[receiver]\nport = "http"', "receiver.port", "valid integer", "8080"),
        ('[kafka]\nbootstrap_server = "x"', "kafka.bootstrap_server", "no such setting", ""),
        ("[nonsense]\na = 1", "nonsense", "no such setting", ""),
        ('environment = "live"', "environment", "'sandbox' or 'production'", "'sandbox'"),
        ('[policy]\ntime_zone = "Mars/Base"', "policy", "not an IANA zone", "Europe/Berlin"),
        ('[policy]\nzero_total = "maybe"', "policy.zero_total", "'post' or 'skip'", "'post'"),
        ('encryption_keys = ["short"]', "encryption_keys", "not a Fernet key", "metronome-qbo key"),
        ('[kafka]\ntopic_prefix = "a b"', "kafka.topic_prefix", "pattern", "''"),
        ("[kafka]\ntimeout_seconds = 0", "kafka.timeout_seconds", "greater than or equal to 1", "30"),
    ],
)
def test_a_bad_setting_names_its_key_its_problem_and_an_example(write, toml, key, problem, example):
    write(toml)
    with pytest.raises(SettingsError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(key)
    assert problem in message
    assert example in message


@pytest.mark.parametrize(
    "servers", ["kafka", "kafka:9092", "a.example:9092, b.example:9093", "127.0.0.1:9092", "[::1]:9092"]
)
def test_addresses_of_brokers_are_taken(monkeypatch, servers):
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", servers)
    assert load().kafka.bootstrap_servers == servers


@pytest.mark.parametrize(
    "servers", ["", "kafka:http", "kafka:99999", "kafka 9092", "[::1", "a:9092,", "http://kafka:9092"]
)
def test_what_is_no_address_of_a_broker_is_named_with_an_example(monkeypatch, servers):
    """The client of Kafka would end in a ValueError, or wait for a host without a name."""
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", servers)
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap_servers: .*for example localhost:9092"):
        load()


def test_a_list_that_is_no_json_in_the_environment_is_named_without_its_value(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_ENCRYPTION_KEYS", "my-secret-value")
    with pytest.raises(SettingsError, match=r"encryption_keys.* JSON, such as METRONOME_QBO_") as caught:
        load()
    assert "my-secret-value" not in str(caught.value)


def test_every_bad_setting_is_named_at_once(write):
    write("[receiver]\nport = 99999\n[web]\nport = 99999")
    with pytest.raises(SettingsError, match=r"(?s)receiver\.port.*web\.port"):
        load()


def test_a_file_that_is_not_toml_is_named(write):
    write("[receiver\n")
    with pytest.raises(SettingsError, match=r"metronome-qbo\.toml"):
        load()


def test_a_directory_in_the_place_of_the_file_is_named(tmp_path):
    """As Docker makes one for a mount of a file that is not there."""
    (tmp_path / "metronome-qbo.toml").mkdir()
    with pytest.raises(SettingsError, match=r"metronome-qbo\.toml is a directory"):
        load()


def test_a_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "other.toml")


def test_a_bad_secret_does_not_appear_in_the_error(write):
    write('encryption_keys = ["my-secret-value"]\n[metronome]\ntoken = ["my-secret-value"]')
    with pytest.raises(SettingsError) as caught:
        load()
    assert "my-secret-value" not in str(caught.value)


def test_production_refuses_the_embedded_broker(write):
    write('environment = "production"')
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap_servers: production needs a real broker"):
        load()


def test_one_product_cannot_have_the_item_ids_of_two_companies(write):
    routing = '[routing]\ndefault_realm = "1"\nby_currency = {{EUR = "{eur}"}}\n[metronome]\nwrite_back_items = true'
    write(routing.format(eur="2"))
    with pytest.raises(SettingsError, match=r"metronome\.write_back_items: .* 2 companies"):
        load()
    write(routing.format(eur="1"))
    assert load().metronome.write_back_items


def test_a_missing_setting_that_a_command_needs_is_named_with_an_example():
    with pytest.raises(SettingMissing) as caught:
        required(Settings(), "kafka.bootstrap_servers", "encryption_keys", "environment")
    assert "kafka.bootstrap_servers: not set; for example localhost:9092" in str(caught.value)
    assert "encryption_keys: not set" in str(caught.value)
    assert "environment: " not in str(caught.value)


def test_what_is_set_is_not_missing(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_ENCRYPTION_KEYS", f'["{Fernet.generate_key().decode()}"]')
    required(load(), "encryption_keys", "quickbooks.url")


def test_a_batch_of_one_is_refused(monkeypatch):
    monkeypatch.setenv("METRONOME_QBO_QUICKBOOKS__BATCH_SIZE", "1")
    with pytest.raises(SettingsError, match=r"quickbooks\.batch_size: a batch of one is not a batch"):
        load()


def test_a_named_file_is_read_and_the_environment_is_left_alone(tmp_path, monkeypatch):
    file = tmp_path / "ours.toml"
    file.write_text('app_id = "from-the-file"\n')
    before = dict(os.environ)
    settings = load(file)
    assert (settings.app_id, file_of(settings)) == ("from-the-file", file)
    assert dict(os.environ) == before


@pytest.mark.parametrize("broken", ["this is not TOML", None], ids=["not TOML", "a directory"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, broken):
    file = tmp_path / "ours.toml"
    if broken is None:
        file.mkdir()
    else:
        file.write_text(broken)
    with pytest.raises(SettingsError, match=str(file)):
        load(file)


# Secrets and realm ids as they come from files and variables


@pytest.mark.parametrize("around", ["\n", " ", "\r\n", "\t"])
def test_white_space_around_secrets_and_realm_ids_is_stripped(monkeypatch, around):
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("METRONOME_QBO_METRONOME__TOKEN", f"{around}token{around}")
    monkeypatch.setenv("METRONOME_QBO_METRONOME__WEBHOOK_SECRETS", json.dumps([f"secret{around}"]))
    monkeypatch.setenv("METRONOME_QBO_QUICKBOOKS__CLIENT_ID", f"client{around}")
    monkeypatch.setenv("METRONOME_QBO_QUICKBOOKS__CLIENT_SECRET", f"hush{around}")
    monkeypatch.setenv("METRONOME_QBO_ENCRYPTION_KEYS", json.dumps([f"{around}{key}{around}"]))
    monkeypatch.setenv("METRONOME_QBO_ROUTING__DEFAULT_REALM", f"{around}93414{around}")
    monkeypatch.setenv("METRONOME_QBO_ROUTING__BY_CURRENCY", json.dumps({"EUR": f"2{around}"}))
    settings = load()
    secrets = (settings.metronome.token, *settings.metronome.webhook_secrets, settings.quickbooks.client_secret)
    assert [each.get_secret_value() for each in secrets] == ["token", "secret", "hush"]
    assert [each.get_secret_value() for each in settings.encryption_keys] == [key]
    assert (settings.quickbooks.client_id, settings.routing.default_realm) == ("client", "93414")
    assert settings.routing.by_currency == {"EUR": "2"}


@pytest.mark.parametrize(
    ("name", "value", "key", "problem"),
    [
        ("METRONOME__TOKEN", "to\nken", "metronome.token", "a line break or another control character"),
        ("METRONOME__TOKEN", "token\\n", "metronome.token", "a backslash"),
        ("METRONOME__TOKEN", '"quoted"', "metronome.token", "a quotation mark"),
        ("METRONOME__TOKEN", "to ken", "metronome.token", "a blank"),
        ("METRONOME__TOKEN", "tök", "metronome.token", "beyond ASCII"),
        ("METRONOME__TOKEN", " ", "metronome.token", "is empty"),
        ("METRONOME__WEBHOOK_SECRETS", '["a\\u0000b"]', "metronome.webhook_secrets", "control character"),
        ("METRONOME__WEBHOOK_SECRETS", '["good", ""]', "metronome.webhook_secrets.1", "is empty"),
        ("QUICKBOOKS__CLIENT_SECRET", "a\x7fb", "quickbooks.client_secret", "control character"),
        ("ROUTING__DEFAULT_REALM", "Acme", "routing.default_realm", "pattern"),
        ("ROUTING__BY_CURRENCY", '{"EUR": "x"}', "routing.by_currency.EUR", "pattern"),
    ],
)
def test_a_secret_or_realm_id_that_cannot_be_one_is_named_and_not_shown(monkeypatch, name, value, key, problem):
    monkeypatch.setenv(f"METRONOME_QBO_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(key)
    assert problem in message
    assert not value.strip() or value.strip('[]{}"') not in message
