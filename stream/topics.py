"""Our topics and the tables' changelogs: their names, how each is to be, and what creates and checks them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import get_args

from models.ledger import TABLES
from models.record import TopicRole
from stream.kafka.admin import FOR_EVER_MS, TopicSpec, create_by_asking, declare_topics
from stream.kafka.installation import NOTHING_ACCEPTED, Accepted, Installation, Names, settle_installation

from .settings import Settings

DAY_MS = 86_400_000


@dataclass(frozen=True)
class TopicNames:
    """The six topics, with the installation's prefix."""

    webhooks: str
    invoices: str
    commands: str
    outcomes: str
    connections: str
    deadletters: str

    def all(self) -> list[str]:
        return list(self.by_role().values())

    def by_role(self) -> dict[TopicRole, str]:
        return {role: getattr(self, role) for role in get_args(TopicRole)}


def topic_names(settings: Settings) -> TopicNames:
    prefix = settings.kafka.topic_prefix
    return TopicNames(
        webhooks=f"{prefix}metronome.webhooks",
        invoices=f"{prefix}metronome.invoices",
        commands=f"{prefix}quickbooks.commands",
        outcomes=f"{prefix}quickbooks.outcomes",
        connections=f"{prefix}quickbooks.connections",
        deadletters=f"{prefix}deadletters",
    )


def changelog(settings: Settings, table: str) -> str:
    """The changelog topic of a table, as Faust names it."""
    return f"{settings.app_id}-{table}-changelog"


def marker(settings: Settings) -> str:
    """The topic of the installation's marker (`stream/kafka/installation.py`), beside the changelogs."""
    return f"{settings.app_id}-installation"


def partitions_of(settings: Settings, table: str) -> int:
    """As many as the topic has whose agent writes the table."""
    kafka = settings.kafka
    return kafka.webhook_partitions if table == "owners" else kafka.company_partitions


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """How each is to be: kept for ever, but dead letters for some time, and of a compact topic each key's newest."""
    names, kafka = topic_names(settings), settings.kafka
    specs = [
        TopicSpec(names.webhooks, kafka.webhook_partitions, "delete", FOR_EVER_MS),
        TopicSpec(names.deadletters, kafka.webhook_partitions, "delete", kafka.dead_letter_retention_days * DAY_MS),
        TopicSpec(names.connections, kafka.company_partitions, "compact", FOR_EVER_MS),
    ]
    for name in (names.invoices, names.commands, names.outcomes):
        specs.append(TopicSpec(name, kafka.company_partitions, "delete", FOR_EVER_MS))
    for table in TABLES:
        specs.append(TopicSpec(changelog(settings, table), partitions_of(settings, table), "compact", FOR_EVER_MS))
    specs.append(TopicSpec(marker(settings), 1, "compact", FOR_EVER_MS))
    return [replace(spec, message_bytes_max=kafka.message_bytes_max) for spec in specs]


async def prepare_topics(settings: Settings, only: Collection[str] | None = None) -> Installation | None:
    """Create what is missing and check what is there, for all our topics or `only` these names.

    For all: the installation's marker; None on the embedded broker, where nothing lasts. Raises BrokerUnreachable,
    TopicMismatch, TopicUnavailable (`stream/kafka/admin.py`), InstallationMismatch (`stream/kafka/installation.py`).
    """
    kafka = settings.kafka
    assert kafka.bootstrap_servers is not None
    specs = [spec for spec in topic_specs(settings) if only is None or spec.name in only]
    if kafka.embedded:
        names = [spec.name for spec in specs]
        await create_by_asking(kafka.bootstrap_servers, names, timeout_seconds=kafka.timeout_seconds)
        return None
    await declare_topics(
        kafka.bootstrap_servers,
        specs,
        replication_factor=kafka.replication_factor,
        timeout_seconds=kafka.timeout_seconds,
    )
    return await installation(settings) if only is None else None


async def installation(settings: Settings, accepted: Accepted = NOTHING_ACCEPTED) -> Installation:
    """The installation's marker, when all topics exist. Raises InstallationMismatch, BrokerUnreachable."""
    ours = topic_names(settings)
    ledger, owners = changelog(settings, "invoices"), changelog(settings, "owners")
    names = Names(marker(settings), ledger, owners, ours.commands, ours.invoices)
    return await settle_installation(settings, names, [spec.name for spec in topic_specs(settings)], accepted)
