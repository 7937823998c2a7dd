"""What may stand still or end inside Faust and aiokafka without a word: noticed, so that no worker stays up in vain.

A task of theirs that ends is logged at best (a cancelled fetcher, a coordinator that was refused, a consumer thread
that is gone), and the worker looks well and reads nothing. A record that no broker confirms is waited for without a
word too: a frozen broker among several, say.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import faust
import structlog

log = structlog.get_logger()

LOOK_SECONDS = 1.0
ENDED_SECONDS = 10.0
"""So long a task may look ended: a rebalance ends some, and starts them again."""


class Unconfirmed(faust.Sensor):  # type: ignore[misc]
    """Since when the oldest record that was sent has had no confirmation."""

    def __post_init__(self) -> None:
        self._since: dict[object, float] = {}

    def on_send_initiated(self, *_: Any, **__: Any) -> object:
        sent = object()
        self._since[sent] = time.monotonic()
        return sent

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        self._since.pop(state, None)

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        self._since.pop(state, None)

    @property
    def seconds(self) -> float:
        """0 when everything is confirmed."""
        oldest = next(iter(self._since.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest


class Watchdog:
    """Looks at the app until something has ended; warns when a record is unconfirmed for `warning_seconds`.

    `failed` gives what a table could not write, if any did not.
    """

    def __init__(self, app: faust.App, warning_seconds: float, failed: Callable[[], BaseException | None]) -> None:
        self._app = app
        self._warning_seconds = warning_seconds
        self._failed = failed
        self._unconfirmed = Unconfirmed()
        self._ended: dict[str, float] = {}
        self._warned_at = -warning_seconds
        app.sensors.add(self._unconfirmed)

    @property
    def unconfirmed_seconds(self) -> float | None:
        """For how long a record has been unconfirmed; None while that is not worth a word."""
        seconds = self._unconfirmed.seconds
        return seconds if seconds >= self._warning_seconds else None

    async def until_ended(self) -> str:
        """Returns what has ended, in words, once something has."""
        while True:
            self._warn()
            if (ended := self._look()) is not None:
                return ended
            await asyncio.sleep(LOOK_SECONDS)

    def _warn(self) -> None:
        seconds, now = self.unconfirmed_seconds, time.monotonic()
        if seconds is not None and now - self._warned_at >= self._warning_seconds:
            self._warned_at = now
            log.warning("kafka_does_not_confirm", for_seconds=round(seconds))

    def _look(self) -> str | None:
        if (failure := self._failed()) is not None:
            return f"Kafka did not take a change of a table: {type(failure).__name__}: {failure}"
        now, ended = time.monotonic(), set(ended_parts(self._app))
        self._ended = {part: self._ended.get(part, now) for part in ended}
        for part, since in self._ended.items():
            if now - since >= ENDED_SECONDS:
                return f"{part} ended by itself: nothing would be read or written any more"
        return None


def ended_parts(app: faust.App) -> Iterator[str]:
    """The parts of the engine that are not at work, though nobody stopped them."""
    if app.should_stop:
        return
    fetcher, thread, producer = app._fetcher, app.consumer._thread, app.producer._producer
    if fetcher.started and not fetcher.should_stop and fetcher._shutdown.is_set():
        yield "Faust's fetcher"
    if thread._thread is not None and not thread._thread.is_alive():
        yield "the consumer's thread"
    if thread._consumer is not None and thread._consumer._coordinator is not None:
        yield from _ended_in_the_consumer(thread._consumer)
    if producer is not None and _is_done(producer._sender.sender_task):
        yield "the producer"


def _ended_in_the_consumer(consumer: Any) -> Iterator[str]:
    if _is_done(consumer._coordinator._coordination_task):
        yield "the consumer's membership in its group"
    if (error := consumer._coordinator._pending_exception) is not None:
        yield f"the consumer's membership in its group ({type(error).__name__}: {error})"
    if _is_done(consumer._fetcher.error_future):
        yield "the consumer's fetcher"


def _is_done(task: "asyncio.Future[Any] | None") -> bool:
    return task is not None and task.done()
