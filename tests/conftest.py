"""What every test may ask for: an embedded broker, a real Kafka, or each in turn."""

import os

import pytest

from tests.brokers import broker, embedded_bootstrap, kafka_bootstrap

__all__ = ["broker", "embedded_bootstrap", "kafka_bootstrap"]

# No Java here lives so long that compiling it well would be repaid.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file comes first, so that no process of `make test` is left alone with it; then the tests that mostly
    wait, so that others have the processor meanwhile."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/pipeline/"))
    items.sort(key=lambda item: not item.nodeid.startswith("tests/chaos/"))
