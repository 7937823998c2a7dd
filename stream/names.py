"""The names of our topics and tables, and the plan by which topics are created."""

from dataclasses import dataclass, fields, replace

from .settings import Settings
from .topics import TopicPlan

FOR_EVER_MS = -1
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
        return [getattr(self, field.name) for field in fields(self)]


TABLES = ("customers", "items", "invoices", "doc_numbers", "waiting", "batches", "connections")


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


def topic_plans(settings: Settings) -> list[TopicPlan]:
    names, kafka = topic_names(settings), settings.kafka
    plans = [
        TopicPlan(names.webhooks, kafka.webhook_partitions, "delete", FOR_EVER_MS),
        TopicPlan(names.deadletters, kafka.webhook_partitions, "delete", kafka.dead_letter_retention_days * DAY_MS),
        TopicPlan(names.connections, kafka.company_partitions, "compact", FOR_EVER_MS),
    ]
    for name in (names.invoices, names.commands, names.outcomes):
        plans.append(TopicPlan(name, kafka.company_partitions, "delete", FOR_EVER_MS))
    for table in TABLES:
        plans.append(TopicPlan(changelog(settings, table), kafka.company_partitions, "compact", FOR_EVER_MS))
    return [replace(plan, message_bytes_max=kafka.message_bytes_max) for plan in plans]
