"""Have our topics before anything produces to them: a missing topic hangs a producer, and then its shutdown too."""

from collections.abc import Collection

from .names import topic_plans
from .settings import Settings
from .topics import declare_topics, touch_topics


async def prepare_topics(settings: Settings, only: Collection[str] | None = None) -> None:
    """Create what is missing and check what is there, for all our topics or `only` these names.

    Raises BrokerUnreachable, TopicMisfit, TopicUnavailable (`stream/topics.py`).
    """
    kafka = settings.kafka
    assert kafka.bootstrap_servers is not None
    plans = [plan for plan in topic_plans(settings) if only is None or plan.name in only]
    if kafka.embedded:
        names = [plan.name for plan in plans]
        await touch_topics(kafka.bootstrap_servers, names, timeout_seconds=kafka.timeout_seconds)
        return
    await declare_topics(
        kafka.bootstrap_servers,
        plans,
        replication_factor=kafka.replication_factor,
        timeout_seconds=kafka.timeout_seconds,
    )
