"""What ends or stands still inside the engine is noticed: on an app that works on the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from structlog.testing import capture_logs

from stream.engine import watchdog
from stream.engine.watchdog import Unconfirmed, Watchdog, ended_parts
from tests import BOUND_SECONDS

from .test_faust_patches import RECORDS, Work, working


def _fetcher_is_cancelled(app: Any) -> None:
    """faust-streaming #459: a cancelled task of a service is only logged."""
    for task in list(app._fetcher._futures):
        task.cancel()


def _group_refuses(app: Any) -> None:
    app.consumer._thread._consumer._coordinator._pending_exception = GroupAuthorizationFailedError("group")


def _in_the_consumers_thread(cancel: Callable[[Any], Any]) -> Callable[[Any], None]:
    def act(app: Any) -> None:
        thread = app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(cancel(thread._consumer).cancel)

    return act


def _sender_is_cancelled(app: Any) -> None:
    app.producer._producer._sender.sender_task.cancel()


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (_fetcher_is_cancelled, "Faust's fetcher"),
        (_group_refuses, "GroupAuthorizationFailedError"),
        (
            _in_the_consumers_thread(lambda consumer: consumer._coordinator._coordination_task),
            "membership in its group",
        ),
        (_in_the_consumers_thread(lambda consumer: consumer._fetcher._fetch_task), "the consumer's fetcher"),
        (_sender_is_cancelled, "the producer"),
    ],
)
async def test_a_part_that_ends_without_a_word_is_noticed(
    embedded_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Any], None], says: str
) -> None:
    monkeypatch.setattr(watchdog, "ENDED_SECONDS", 1.0)
    async with working(embedded_bootstrap, tmp_path) as work:
        await work.until(lambda: len(work.values) >= RECORDS)
        assert list(ended_parts(work.app)) == []
        watching = asyncio.create_task(Watchdog(work.app, 30, lambda: None).until_ended())
        act(work.app)
        assert says in await asyncio.wait_for(watching, BOUND_SECONDS)


async def test_a_change_of_a_table_that_kafka_refused_ends_the_worker_though_nobody_waits_for_it(
    embedded_bootstrap: str, tmp_path: Path
) -> None:
    work = Work(embedded_bootstrap, tmp_path)
    ended = await Watchdog(work.app, 30, lambda: OSError("refused")).until_ended()
    assert "a change of a table: OSError: refused" in ended


async def test_a_record_without_a_confirmation_is_a_warning_and_shows() -> None:
    app = _App()
    dog = Watchdog(app, 0.05, lambda: None)  # type: ignore[arg-type]
    [sensor] = app.sensors.added
    assert dog.unconfirmed_seconds is None
    sent = sensor.on_send_initiated(None, "topic", None, 1, 1)
    await asyncio.sleep(0.1)
    with capture_logs() as logged:
        dog._warn()
        dog._warn()
    assert [each["event"] for each in logged] == ["kafka_does_not_confirm"]
    assert (dog.unconfirmed_seconds or 0) >= 0.05
    sensor.on_send_completed(None, sent, None)
    assert dog.unconfirmed_seconds is None


class _Sensors:
    def __init__(self) -> None:
        self.added: list[Unconfirmed] = []

    def add(self, sensor: Unconfirmed) -> None:
        self.added.append(sensor)


class _App:
    def __init__(self) -> None:
        self.sensors = _Sensors()
