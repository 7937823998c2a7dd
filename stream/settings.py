"""Every setting, in one place: a TOML file, then the environment over it, validated once at start.

The file is `metronome-qbo.toml` in the working directory, or the one that `--config` or METRONOME_QBO_CONFIG
names. Environment variables start with METRONOME_QBO_ and nest with two underscores, as in
METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS. Secrets belong in the environment.
"""

import os
import re
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cryptography.fernet import Fernet
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as NotJson

from agents.translate.templates import TEMPLATE_NAMES, check_template
from models.policy import Policy
from stream import OperatorError

CONFIG_VARIABLE = "METRONOME_QBO_CONFIG"
CONFIG_FILE = "metronome-qbo.toml"

BROKER = r"(?:[^\s:,/\[\]]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?"
PORT_MAX = 65535


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
NOT_IN_TOKENS = re.compile(r"""[^\x21-\x7e]|["'\\]""")


def _stripped(secret: object) -> object:
    """White space around a secret comes from the file or the variable that it was read from."""
    if isinstance(secret, SecretStr):
        secret = secret.get_secret_value()
    return secret.strip() if isinstance(secret, str) else secret


def _sendable(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("is empty")
    if CONTROL.search(secret.get_secret_value()):
        raise ValueError("holds a line break or another control character within")
    return secret


def _fit_for_a_header(token: SecretStr) -> SecretStr:
    if NOT_IN_TOKENS.search(token.get_secret_value()):
        raise ValueError("holds a blank, a quotation mark, a backslash or a letter beyond ASCII, which no token has")
    return token


Secret = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_sendable)]
Token = Annotated[Secret, AfterValidator(_fit_for_a_header)]
"""A secret that travels in a header as it is."""

Stripped = Annotated[str, BeforeValidator(_stripped)]
RealmId = Annotated[Stripped, Field(pattern="^[0-9]+$")]
"""Of a QuickBooks company, whose ids are digits."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Section):
    bootstrap_servers: str | None = Field(None, description="host:port of the brokers, comma separated")
    embedded: bool = Field(
        False,
        description="the address is the in-memory broker of `demo`, which cannot create topics; never in production",
    )
    topic_prefix: str = Field("", pattern=r"^[a-zA-Z0-9._-]*$", description="put before every topic name")
    webhook_partitions: int = Field(8, ge=1, le=1000, description="partitions of the webhook and dead letter topics")
    company_partitions: int = Field(8, ge=1, le=1000, description="partitions of all topics keyed by realm")
    replication_factor: int = Field(1, ge=1, le=9, description="copies of each topic we create")
    dead_letter_retention_days: int = Field(365, ge=1, description="how long dead letters are kept")
    timeout_seconds: int = Field(30, ge=1, description="longest wait for the brokers at start, and for one send")
    message_bytes_max: int = Field(
        16_777_216,
        ge=2_097_152,
        le=104_857_600,
        description="largest record; an invoice with thousands of lines has megabytes. Topics are made to take as much",
    )
    connection_timeout_seconds: int = Field(
        12, ge=3, le=300, description="a request that a broker does not answer is given up, and sent to another broker"
    )
    unconfirmed_warning_seconds: int = Field(
        30, ge=1, description="a record without a confirmation for this long is a warning, and shows in `health`"
    )
    topics_check_seconds: int = Field(
        60, ge=1, description="how often a worker looks whether topics were changed, deleted or made anew"
    )
    fetch_wait_milliseconds: int = Field(
        20, ge=1, le=5000, description="how long a worker's fetch waits for more records; every stage adds up to this"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str | None) -> str | None:
        for server in [] if servers is None else servers.split(","):
            address = re.fullmatch(BROKER, server.strip())
            if address is None or int(address["port"] or 0) > PORT_MAX:
                raise ValueError(f"{server!r} is not the host:port of a broker")
        return servers


class Metronome(Section):
    url: str = Field("https://api.metronome.com", description="base URL of the API")
    token: Token | None = Field(None, description="API token")
    webhook_secrets: tuple[Secret, ...] = Field((), description="webhook secrets; several while one is rotated")
    timeout_seconds: int = Field(30, ge=1, description="longest wait for one answer")
    retry_seconds: int = Field(
        21_600,
        ge=1,
        description="how long one write-back waits for Metronome to recover before it becomes a dead letter; a webhook "
        "waits until it does",
    )
    postpone_seconds: int = Field(
        60,
        ge=1,
        description="how long one webhook is tried while Metronome answers others; then it goes to the end of its "
        "topic, and is tried later",
    )
    backoff_max_seconds: int = Field(60, ge=1, description="longest pause between two attempts")
    cache_seconds: int = Field(300, ge=0, description="how long contract and customer names are remembered")
    cache_entries_max: int = Field(10_000, ge=1, description="how many contracts and customers are remembered")
    write_back_customers: bool = Field(True, description="store qbo_customer_id on the Metronome customer")
    write_back_items: bool = Field(False, description="store qbo_item_id on the Metronome product")


class QuickBooks(Section):
    url: str = Field("https://quickbooks.api.intuit.com", description="base URL of the API")
    authorize_url: str = Field("https://appcenter.intuit.com/connect/oauth2", description="OAuth authorize page")
    token_url: str = Field("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer", description="OAuth tokens")
    client_id: Stripped | None = Field(None, description="OAuth client id of the Intuit app")
    client_secret: Secret | None = Field(None, description="OAuth client secret of the Intuit app")
    redirect_uri: str = Field(
        "http://localhost:8585/callback", description="where Intuit sends the browser back; as registered with the app"
    )
    timeout_seconds: int = Field(130, ge=1, description="longest wait for one answer; QuickBooks may run 120 s")
    requests_per_second: int = Field(10, ge=1, description="per company")
    requests_per_minute: int = Field(500, ge=1, description="per company; lower it when other apps share the company")
    batches_per_minute: int = Field(40, ge=1, description="per company; each counts as one request too")
    batch_size: int = Field(
        0, ge=0, le=30, description="new documents in one batch request; 0 sends each by itself. Batches are metered"
    )
    batch_wait_milliseconds: int = Field(
        50, ge=1, le=5000, description="how long a new document waits for others to share a batch with"
    )
    in_flight_max: int = Field(10, ge=1, description="requests at a time per company")
    throttled_wait_seconds: int = Field(60, ge=0, description="how long a company waits after a 429")
    retry_seconds: int = Field(
        600, ge=1, description="how long one command is attempted before it is parked, or uncertain"
    )
    backoff_max_seconds: int = Field(30, ge=1, description="longest pause between two attempts")
    trust_requestids: bool = Field(
        False,
        description="true relies on Intuit's word that a repeated requestid is not carried out twice: a write whose "
        "answer was lost is repeated at once; false waits some two minutes and looks once more, one metered read",
    )
    look_up_dated_to: date | None = Field(
        None,
        description="invoices dated up to this day are looked up in QuickBooks before they are created for the first "
        "time: for a ledger that was lost, or restored from an older copy",
    )
    parked_probe_seconds: int = Field(
        300,
        ge=1,
        description="first pause before one waiting command of a cause tries whether it may resume; each time in vain "
        "doubles it, up to hours",
    )
    refresh_before_seconds: int = Field(300, ge=0, description="access tokens are refreshed this long before expiry")
    hard_expiry_warning_days: int = Field(
        30, ge=0, le=1825, description="how long before a person must connect the company again a warning begins"
    )

    @field_validator("batch_size")
    @classmethod
    def _is_no_batch_of_one(cls, size: int) -> int:
        if size == 1:
            raise ValueError("a batch of one is not a batch; 0 turns batches off, 2 to 30 turns them on")
        return size


class Routing(Section):
    """Which company an invoice belongs to: the first of these rules that says something."""

    customer_field: str = Field(
        "qbo_realm_id", description="custom field of the Metronome customer with a realm id, or none"
    )
    by_currency: dict[str, RealmId] = Field({}, description="realm id for each currency code")
    default_realm: RealmId | None = Field(None, description="realm id for everything else")


class Watch(Section):
    """What `watch` asks Metronome for, and how often; no limits are published (docs/vendors/metronome.md §4.3)."""

    interval_seconds: int = Field(3600, ge=1, le=604_800, description="pause between two rounds over all customers")
    look_back_days: int = Field(
        35, ge=1, le=3650, description="finalized invoices are looked at back to this many days since their issue"
    )
    void_look_back_days: int = Field(
        365, ge=1, le=3650, description="voided invoices are looked at back to this many days since their issue"
    )
    requests_per_second: int = Field(5, ge=1, le=1000, description="requests to Metronome; other programs have theirs")
    grace_minutes: int = Field(
        60, ge=0, le=10_080, description="how long after its issue an invoice's webhook may take before it is missed"
    )
    page_size: int = Field(50, ge=1, le=100, description="invoices or customers in one answer")
    repeat_after_hours: int = Field(
        24, ge=1, le=720, description="what is still open is announced again after this, by the same process"
    )
    retry_seconds: int = Field(
        600, ge=1, description="how long one request waits for Metronome to recover before the round ends"
    )


class Receiver(Section):
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on")
    body_bytes_max: int = Field(1_048_576, ge=1, description="largest webhook body")
    window_seconds: int = Field(300, ge=1, description="how far the signed date may be from now")
    publish_timeout_seconds: int = Field(10, ge=1, description="longest wait for the broker before we answer 503")


class Worker(Section):
    in_flight_max: int = Field(
        64, ge=1, description="records handled at a time per agent; a company has at most as many as it leaves free"
    )
    unacknowledged_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="records of one partition that an agent has taken and not acknowledged, since one before them is "
        "not done; then it reads no more of this partition",
    )
    dead_letters_in_a_row_max: int = Field(
        20, ge=1, description="an agent that makes this many dead letters in a row stops the worker"
    )
    store: str = Field(
        "memory://", description="table storage: memory://, or rocksdb://?driver=rocksdict with the package rocksdict"
    )
    data_directory: Path = Field(Path("var/worker"), description="where a RocksDB store lives")
    session_timeout_seconds: int = Field(60, ge=6, description="a silent worker loses its partitions after this")
    shutdown_timeout_seconds: int = Field(
        8,
        ge=1,
        description="after SIGTERM, the process ends within this; only a token refresh under way has 10 s more",
    )
    hosts_receiver: bool = Field(False, description="whether the worker serves the webhook endpoint too")
    health_host: str = Field("127.0.0.1", description="address of the worker's own health page")
    health_port: int = Field(6066, ge=0, le=65535, description="port of the worker's own health page")


class Web(Section):
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8081, ge=0, le=65535, description="port to listen on")
    index: Path = Field(Path("var/index.sqlite"), description="the disposable index; delete it and it comes back")
    page_rows: int = Field(50, ge=1, le=1000, description="rows on a page")


class Logging(Section):
    format: Literal["console", "json"] = Field("console", description="for people, or JSON lines for machines")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="METRONOME_QBO_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    environment: Literal["sandbox", "production"] = Field(
        "sandbox", description="production refuses the embedded broker and the simulators"
    )
    app_id: str = Field("metronome-qbo", pattern=r"^[a-zA-Z0-9._-]+$", description="consumer group and changelog name")
    encryption_keys: tuple[Secret, ...] = Field(
        (), description="Fernet keys for stored tokens; the first encrypts, all decrypt (`metronome-qbo key` makes one)"
    )
    kafka: Kafka = Kafka()
    metronome: Metronome = Metronome()
    quickbooks: QuickBooks = QuickBooks()
    routing: Routing = Routing()
    policy: Policy = Policy()
    policies: dict[str, Policy] = Field({}, description="another policy, whole, for single realms")
    receiver: Receiver = Receiver()
    watch: Watch = Watch()
    worker: Worker = Worker()
    web: Web = Web()
    logging: Logging = Logging()

    @field_validator("encryption_keys")
    @classmethod
    def _are_fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            try:
                Fernet(key.get_secret_value().encode())
            except ValueError:
                raise ValueError("not a Fernet key; make one with `metronome-qbo key`") from None
        return keys

    @field_validator("policy", "policies")
    @classmethod
    def _have_templates_that_work(cls, value: Any) -> Any:
        for policy in value.values() if isinstance(value, dict) else [value]:
            for field in TEMPLATE_NAMES:
                if (source := getattr(policy, field)) is not None:
                    check_template(field, source)
        return value

    @field_validator("policy", "policies")
    @classmethod
    def _know_their_zones(cls, value: Any) -> Any:
        for policy in value.values() if isinstance(value, dict) else [value]:
            try:
                ZoneInfo(policy.time_zone)
            except (ZoneInfoNotFoundError, ValueError):
                raise ValueError(f"time_zone {policy.time_zone!r} is not an IANA zone, such as Europe/Berlin") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def policy_of(self, realm: str) -> Policy:
        return self.policies.get(realm, self.policy)


class SettingsError(OperatorError):
    """The settings do not hold; the message names each key, its problem and an example."""

    exit_code = 2


class SettingMissing(SettingsError):
    """A command needs a setting that nobody made."""


def file_of(settings: Settings) -> Path:
    """The file that these settings were read from, if it was there."""
    return Path(str(settings.model_config.get("toml_file") or CONFIG_FILE))


def load(config: Path | None = None) -> Settings:
    """The effective settings, of this file or the one that the environment names, and of the environment.

    Raises SettingsError that names every bad key.
    """
    file = config or Path(os.environ.get(CONFIG_VARIABLE, CONFIG_FILE))
    if file.is_dir():
        raise SettingsError(f"{file} is a directory: name the TOML file in it, with --config or {CONFIG_VARIABLE}")
    if config is not None and not config.is_file():
        raise SettingsError(f"--config {config}: no such file; `metronome-qbo config --example` prints one")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = FromFile()
    except ValidationError as error:
        raise SettingsError("\n".join(_problems(error))) from None
    except NotJson as error:
        raise SettingsError(
            f"{error}: in the environment lists and tables are JSON, such as "
            f"METRONOME_QBO_ENCRYPTION_KEYS='[\"<output of metronome-qbo key>\"]'"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}. `metronome-qbo config --example` prints one") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    _refuse_embedded_production(settings)
    _refuse_items_of_several_companies(settings)
    return settings


def _refuse_embedded_production(settings: Settings) -> None:
    if settings.environment == "production" and (settings.kafka.embedded or not settings.kafka.bootstrap_servers):
        raise SettingsError(
            "kafka.bootstrap_servers: production needs a real broker, the embedded one forgets everything; "
            "set it, for example METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS=kafka:9092"
        )


def _refuse_items_of_several_companies(settings: Settings) -> None:
    routing = settings.routing
    realms = {*routing.by_currency.values(), routing.default_realm} - {None}
    if settings.metronome.write_back_items and len(realms) > 1:
        raise SettingsError(
            f"metronome.write_back_items: a product has one qbo_item_id, and routing names {len(realms)} companies, "
            "whose items have ids of their own; set it to false, and map items in the table (metronome-qbo map item)"
        )


EXAMPLES = {
    "kafka.bootstrap_servers": "localhost:9092",
    "metronome.token": "METRONOME_QBO_METRONOME__TOKEN=… in the environment",
    "metronome.webhook_secrets": """METRONOME_QBO_METRONOME__WEBHOOK_SECRETS='["…"]' in the environment""",
    "quickbooks.client_id": "METRONOME_QBO_QUICKBOOKS__CLIENT_ID=… in the environment",
    "quickbooks.client_secret": "METRONOME_QBO_QUICKBOOKS__CLIENT_SECRET=… in the environment",
    "encryption_keys": """METRONOME_QBO_ENCRYPTION_KEYS='["<output of metronome-qbo key>"]' in the environment""",
    "routing.default_realm": 'default_realm = "9341452812345678"',
}


def _problems(error: ValidationError) -> Sequence[str]:
    return [_problem(item) for item in error.errors(include_url=False, include_input=False)]


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = "no such setting; `metronome-qbo config` lists them all"
    example = EXAMPLES.get(key) or _default_of(item["loc"])
    return f"{key}: {message}" + (f" (for example {example})" if example else "")


def _default_of(location: Sequence[int | str]) -> str | None:
    fields: Any = Settings.model_fields
    field = None
    for part in location:
        field = fields.get(part)
        if field is None:
            return None
        fields = getattr(field.annotation, "model_fields", {})
    default = None if field is None else field.default
    return None if default is None or isinstance(default, BaseModel | tuple | dict) else repr(default)


def required(settings: Settings, *keys: str) -> None:
    """Raises SettingMissing that names each of the dotted `keys` that is not set, with an example."""
    missing = []
    for key in keys:
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        if value is None or value == ():
            missing.append(f"{key}: not set; for example {EXAMPLES.get(key, '…')}")
    if missing:
        raise SettingMissing("\n".join(missing))
