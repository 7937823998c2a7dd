"""What every test may ask for: an embedded broker, a real Kafka, or each in turn; and how tests share processes."""

from collections.abc import Iterator

import pytest

from tests.brokers import broker, embedded_bootstrap, kafka_bootstrap

__all__ = ["broker", "embedded_bootstrap", "kafka_bootstrap"]

WAITING = ("kafka", "own kafka", "other kafka", "tests/pipeline/", "tests/clients/")
"""How the groups begin that mostly wait. They come first, so that others have the processor meanwhile."""


@pytest.hookimpl(wrapper=True, tryfirst=True)  # pytest-xdist reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Groups for `make test`, whose processes (pytest-xdist) each take one group after the other.

    A file is a group, so that what it sets up is set up once; so are tests on real Kafka, which have one broker then.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("other kafka" if _is_on_kafka(item) else _file(item)))
    yield
    items.sort(key=_turn)


def _is_on_kafka(item: pytest.Item) -> bool:
    return item.get_closest_marker("kafka") is not None or "kafka_bootstrap" in getattr(item, "fixturenames", ())


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _turn(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return next((turn for turn, start in enumerate(WAITING) if marker.args[0].startswith(start)), len(WAITING))
