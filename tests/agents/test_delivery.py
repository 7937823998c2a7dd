"""The loop under every agent: publish before ack, acks in order, bounded, ordered per resource, nothing dropped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.clients.slots import rest, resting
from agents.delivery import (
    Claims,
    DeadLetter,
    Delivered,
    Delivery,
    Event,
    InvalidRecord,
    Postponed,
    StopWorker,
    TooManyDeadLetters,
    TryLater,
    postponed,
)
from models.events import ConnectionChanged
from models.record import Address, Record
from tests import BOUND_SECONDS

WHEN = datetime(2026, 11, 22, tzinfo=UTC)


class Stage:
    """A delivery over given texts; `happened` is the order of everything, `gates` hold a handler back.

    A text is `resource:company`; it establishes its resource, and uses what follows a `+`.
    """

    def __init__(
        self,
        *texts: bytes | None,
        in_flight_max: int = 16,
        unacknowledged_max: int = 100,
        dead_letters_in_a_row_max: int = 3,
        dead_letters_in_a_row: int = 0,
        partition_of: Callable[[bytes | None], int] = lambda text: 1,
    ) -> None:
        self.texts = texts
        self.partition_of = partition_of
        self.moment = WHEN
        self.held: set[int] = set()
        self.happened: list[str] = []
        self.published: list[Record | DeadLetter | Postponed] = []
        self.acked: list[int] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.handling = 0
        self.handling_most = 0
        self.publish_fails = False
        self.ends: asyncio.Event | None = None
        self.on_handle: Callable[[str], Awaitable[None]] | None = None
        self.delivery: Delivery[str] = Delivery(
            "stage",
            decode=self.decode,
            handle=self.handle,
            claims=self.claims,
            publish=self.publish,
            in_flight_max=in_flight_max,
            unacknowledged_max=unacknowledged_max,
            company_of=lambda event: (event.value or b"").partition(b":")[2][:1],
            now=lambda: self.moment,
            dead_letters_in_a_row_max=dead_letters_in_a_row_max,
            dead_letters_in_a_row=dead_letters_in_a_row,
        )

    @staticmethod
    def decode(value: bytes) -> str:
        if value == b"deep":
            raise RecursionError
        return value.decode()

    @staticmethod
    def claims(text: str) -> Claims:
        resource, _, used = text.partition(":")[0].partition("+")
        return Claims(frozenset({resource} if resource else ()), frozenset({used} if used else ()))

    async def handle(self, delivered: Delivered[str]) -> Sequence[Record]:
        text = delivered.record
        self.handling += 1
        self.handling_most = max(self.handling, self.handling_most)
        self.happened.append(f"handle {text}")
        try:
            if text in self.gates:
                await self.gates[text].wait()
            if self.on_handle:
                await self.on_handle(text)
            await asyncio.sleep(0)
        finally:
            self.handling -= 1
        if "bad" in text:
            raise InvalidRecord(f"{text} is not usable")
        return [ConnectionChanged(realm=text, state="connected", changed_at=WHEN)]

    async def publish(self, records: Sequence[Record | DeadLetter | Postponed]) -> None:
        await asyncio.sleep(0)
        if self.publish_fails:
            raise ConnectionError("the broker is away")
        self.published += records
        for record in records:
            name = "dead letter" if isinstance(record, DeadLetter) else getattr(record, "realm", "later")
            self.happened.append(f"publish {name}")

    async def events(self) -> AsyncIterator[Event]:
        for offset, text in enumerate(self.texts):
            yield self.event(offset, text)
        if self.ends:
            await self.ends.wait()

    def event(self, offset: int, text: bytes | None) -> Event:
        def ack() -> None:
            self.acked.append(offset)
            self.happened.append(f"ack {offset}")

        at = Address(topic="source", partition=self.partition_of(text), offset=offset)
        return Event(b"key", text, {"source": b"receiver"}, at, WHEN, ack)

    def hold(self, partition: int) -> None:
        self.held.add(partition)

    def go_on(self, partition: int) -> None:
        self.held.remove(partition)

    async def run(self) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            await self.delivery.run(self.events(), self)

    def letters(self) -> list[DeadLetter]:
        return [record for record in self.published if isinstance(record, DeadLetter)]


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not holds():
            await asyncio.sleep(0.001)


async def test_a_record_is_acknowledged_after_its_records_are_confirmed() -> None:
    stage = Stage(b"a:1")
    await stage.run()
    assert stage.happened == ["handle a:1", "publish a:1", "ack 0"]


async def test_acks_come_in_offset_order_when_work_ends_out_of_order() -> None:
    stage = Stage(b"a:1", b"b:1", b"c:1")
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish c:1" in stage.happened)
    assert stage.acked == []
    stage.gates["a:1"].set()
    await running
    assert stage.acked == [0, 1, 2]
    assert stage.happened.index("publish b:1") < stage.happened.index("publish a:1")


async def test_the_slot_of_a_record_that_is_done_is_free_though_it_is_not_acknowledged() -> None:
    """One record that takes hours stops nobody."""
    stage = Stage(b"slow:1", *(f"{number}:2".encode() for number in range(50)), in_flight_max=4)
    stage.gates["slow:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: all(f"publish {number}:2" in stage.happened for number in range(50)))
    assert stage.acked == []
    assert stage.handling_most <= 4
    stage.gates["slow:1"].set()
    await running
    assert stage.acked == list(range(51))


async def test_the_order_of_acknowledgements_is_that_of_each_partition() -> None:
    stage = Stage(b"slow:1", b"a:2", b"b:1", b"c:2", partition_of=lambda text: int((text or b"")[-1:]))
    stage.gates["slow:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: stage.acked == [1, 3])
    stage.gates["slow:1"].set()
    await running
    assert stage.acked == [1, 3, 0, 2]


async def test_no_company_has_all_slots() -> None:
    """It has at most as many as it leaves free."""
    stuck = [f"{number}:1".encode() for number in range(9)]
    stage = Stage(*stuck, b"x:2", b"y:2", in_flight_max=6)
    for text in stuck:
        stage.gates[text.decode()] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish y:2" in stage.happened)
    begun = [each for each in stage.happened if each.startswith("handle") and each.endswith(":1")]
    assert begun == ["handle 0:1", "handle 1:1", "handle 2:1"]
    for gate in stage.gates.values():
        gate.set()
    await running
    assert stage.acked == list(range(11))


async def test_a_record_that_rests_has_no_slot_and_is_the_next_to_have_one_again() -> None:
    stage, over = Stage(b"a:1", *(f"{number}:1".encode() for number in range(9)), in_flight_max=1), asyncio.Event()

    async def doubtful(text: str) -> None:
        if text == "a:1":
            async with resting():
                await over.wait()
            stage.happened.append("goes on a:1")
        if text == "2:1":
            over.set()
            await asyncio.sleep(0.01)

    stage.on_handle = doubtful
    await stage.run()
    assert stage.happened.index("goes on a:1") == stage.happened.index("publish 2:1") + 1
    assert stage.acked == list(range(10))


async def test_so_many_may_rest_and_further_ones_rest_in_their_slots() -> None:
    """Were a vendor away, each of a backlog of thousands would ask it now and then."""
    stage, over = Stage(*(f"{number}:{number % 5}".encode() for number in range(99)), in_flight_max=4), asyncio.Event()

    async def away(text: str) -> None:
        async with resting():
            await over.wait()

    stage.on_handle = away
    running = asyncio.create_task(stage.run())
    await until(lambda: stage.handling == 8)
    for _ in range(300):
        await asyncio.sleep(0)
    assert stage.handling == 8
    over.set()
    await running
    assert len(stage.acked) == 99


async def test_a_partition_whose_records_wait_for_one_before_them_is_held_back_and_no_other() -> None:
    stage = Stage(
        *(b"slow:1", b"a:1", b"b:1", b"c:1", b"d:2", b"e:2"),
        unacknowledged_max=4,
        partition_of=lambda text: int((text or b"")[-1:]),
    )
    stage.gates["slow:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: stage.acked == [4, 5])
    assert stage.held == {1}
    stage.gates["slow:1"].set()
    await running
    assert (stage.held, sorted(stage.acked)) == (set(), list(range(6)))


async def test_what_should_be_tried_later_goes_to_the_end_of_its_topic_and_is_acknowledged() -> None:
    stage, since = Stage(b"a:1"), WHEN

    async def poison(text: str) -> None:
        raise TryLater("Metronome answered 500", {"received-at": b"then"})

    stage.on_handle = poison
    await stage.run()
    [record] = stage.published
    assert isinstance(record, Postponed)
    assert (record.key, record.value, stage.acked) == (b"key", b"a:1", [0])
    assert (record.headers["source"], record.headers["received-at"]) == (b"receiver", b"then")
    assert record.headers["postponed-reason"] == b"Metronome answered 500"
    assert record.headers["postponed-from"] == b"source[1]@0"
    pauses = []
    for offset in range(1, 8):
        until_when = datetime.fromisoformat(record.headers["postponed-until"].decode())
        pauses.append((until_when - since).total_seconds())
        assert isinstance(record, Postponed)
        event = replace(stage.event(offset, b"a:1"), headers=record.headers)
        record = postponed(event, TryLater("again"), since)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]


async def test_one_that_was_postponed_waits_for_its_time_and_nobody_waits_for_it() -> None:
    """A webhook of the same invoice that comes meanwhile is tried at once."""

    class Again(Stage):
        def event(self, offset: int, text: bytes | None) -> Event:
            event = super().event(offset, text)
            until_when = (WHEN + timedelta(seconds=0.05)).isoformat().encode()
            return replace(event, headers={"postponed-until": until_when}) if text == b"a:late" else event

    stage = Again(b"a:late", b"a:now", in_flight_max=1)
    await stage.run()
    assert stage.happened == [
        *("handle a:now", "publish a:now", "handle a:late", "publish a:late", "ack 0", "ack 1"),
    ]


async def test_a_pause_that_makes_no_sense_is_none() -> None:
    class Odd(Stage):
        def event(self, offset: int, text: bytes | None) -> Event:
            return replace(super().event(offset, text), headers={"postponed-until": text or b""})

    stage = Odd(b"soon", b"2026-01-01", b"2026-01-01T00:00:00+00:00", b"\xff")
    await stage.run()
    assert stage.acked == [0, 1, 2, 3]


async def test_records_of_one_resource_follow_each_other_and_others_run_beside_them() -> None:
    stage = Stage(b"a:1", b"a:2", b"b:1")
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish b:1" in stage.happened)
    assert "handle a:2" not in stage.happened
    stage.gates["a:1"].set()
    await running
    assert stage.happened.index("publish a:1") < stage.happened.index("handle a:2")


async def test_a_record_waits_for_what_it_uses_and_two_users_run_side_by_side() -> None:
    stage = Stage(b"customer:1", b"i1+customer:x", b"i2+customer:x")
    for text in ("customer:1", "i1+customer:x", "i2+customer:x"):
        stage.gates[text] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: stage.handling == 1)
    await asyncio.sleep(0.01)
    assert stage.happened == ["handle customer:1"]
    stage.gates["customer:1"].set()
    await until(lambda: stage.handling == 2)
    stage.gates["i1+customer:x"].set()
    stage.gates["i2+customer:x"].set()
    await running


@pytest.mark.parametrize(
    ("value", "name"),
    [(b"\xff\xfe", "UnicodeDecodeError"), (b"", "InvalidRecord"), (None, "InvalidRecord"), (b"deep", "RecursionError")],
    ids=["garbage", "empty", "no value", "nested too deeply"],
)
async def test_what_cannot_be_decoded_becomes_a_dead_letter_with_its_bytes_and_address(
    value: bytes | None, name: str
) -> None:
    stage = Stage(value, b"a:1")
    await stage.run()
    [letter] = stage.letters()
    assert (letter.key, letter.value) == (b"key", value)
    assert letter.headers["source"] == b"receiver"
    told = {key.removeprefix("__connect.errors."): text.decode() for key, text in letter.headers.items()}
    assert (told["topic"], told["partition"], told["offset"]) == ("source", "1", "0")
    assert (told["exception.class.name"], told["stage"], told["connector.name"]) == (name, "VALUE_CONVERTER", "stage")
    assert stage.acked == [0, 1]
    assert stage.happened.index("publish dead letter") < stage.happened.index("ack 0")


async def test_what_a_handler_cannot_handle_becomes_a_dead_letter_that_says_why() -> None:
    stage = Stage(b"bad:1")
    await stage.run()
    [letter] = stage.letters()
    assert letter.headers["__connect.errors.exception.message"] == b"bad:1 is not usable"
    assert letter.headers["__connect.errors.stage"] == b"TASK_PUT"
    assert b"InvalidRecord" in letter.headers["__connect.errors.exception.stacktrace"]
    assert (letter.value, stage.acked) == (b"bad:1", [0])


async def test_a_run_of_dead_letters_stops_the_worker() -> None:
    stage = Stage(b"bad:1", b"bad:2", b"bad:3", b"bad:4", in_flight_max=1)
    with pytest.raises(TooManyDeadLetters, match=r"3 dead letters in a row.*source\[1\]@2"):
        await stage.run()
    assert stage.acked == [0, 1, 2]


@pytest.mark.parametrize(("before", "acked"), [(1, [0, 1]), (2, [0]), (90, [0])])
async def test_dead_letters_of_before_the_start_count(before: int, acked: list[int]) -> None:
    """But one record is always tried."""
    stage = Stage(b"bad:1", b"bad:2", b"bad:3", in_flight_max=1, dead_letters_in_a_row=before)
    with pytest.raises(TooManyDeadLetters, match="3 dead letters in a row"):
        await stage.run()
    assert stage.acked == acked


async def test_after_a_good_record_those_of_before_the_start_count_no_more() -> None:
    stage = Stage(b"a:1", b"bad:2", b"bad:3", in_flight_max=1, dead_letters_in_a_row=2)
    await stage.run()
    assert stage.acked == [0, 1, 2]


async def test_dead_letters_with_good_records_between_them_do_not_stop_it() -> None:
    stage = Stage(*[b"bad:1", b"bad:2", b"a:1"] * 3)
    await stage.run()
    assert (len(stage.letters()), len(stage.acked)) == (6, 9)


async def test_a_failed_publish_ends_the_run_and_acknowledges_nothing() -> None:
    stage = Stage(b"a:1", b"b:1")
    stage.publish_fails = True
    with pytest.raises(ConnectionError):
        await stage.run()
    assert stage.acked == []


async def test_a_dead_letter_that_cannot_be_published_is_not_acknowledged() -> None:
    stage = Stage(b"bad:1")
    stage.publish_fails = True
    with pytest.raises(ConnectionError):
        await stage.run()
    assert stage.acked == []


async def test_a_source_that_breaks_ends_the_run() -> None:
    class Broken(Stage):
        async def events(self) -> AsyncIterator[Event]:
            yield self.event(0, b"a:1")
            raise OSError("the consumer is gone")

    with pytest.raises(OSError, match="the consumer is gone"):
        await Broken().run()


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_when_the_run_ends_no_task_of_it_stays_behind(how: str) -> None:
    """A handler that went on after the end would write to QuickBooks beside the worker that took over."""
    stage = Stage(b"a:1", b"b:1", b"b:2", b"c:1", in_flight_max=8)
    stage.ends = asyncio.Event()
    for text in ("a:1", "b:1"):
        stage.gates[text] = asyncio.Event()
    before = asyncio.all_tasks()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish c:1" in stage.happened)
    if how == "cancelled":
        running.cancel()
    else:
        stage.publish_fails = True
        stage.gates["a:1"].set()
    with pytest.raises((asyncio.CancelledError, ConnectionError)):
        await running
    assert asyncio.all_tasks() == before
    assert (stage.acked, "handle b:2" in stage.happened) == ([], False)


async def test_what_can_never_be_published_becomes_a_dead_letter_and_the_next_goes_on() -> None:
    """Its answer is too large for Kafka, say: a worker that stopped for it would stop for ever."""

    class Narrow(Stage):
        async def publish(self, records: Sequence[Record | DeadLetter | Postponed]) -> None:
            if not isinstance(records[0], DeadLetter) and self.acked == []:
                raise InvalidRecord("kafka.message_bytes_max is smaller")
            await super().publish(records)

    stage = Narrow(b"a:1", b"b:1", in_flight_max=1)
    await stage.run()
    [letter, *_] = stage.published
    assert isinstance(letter, DeadLetter)
    assert b"kafka.message_bytes_max" in letter.headers["__connect.errors.exception.message"]
    assert stage.acked == [0, 1]


async def test_drain_waits_for_what_is_in_flight() -> None:
    stage = Stage(b"a:1", b"b:1")
    stage.ends = asyncio.Event()
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish b:1" in stage.happened)
    draining = asyncio.create_task(stage.delivery.drain(BOUND_SECONDS))
    stage.gates["a:1"].set()
    assert await draining
    assert stage.acked == [0, 1]
    stage.ends.set()
    await running


async def test_what_drain_cannot_wait_for_is_given_up_and_never_acknowledged() -> None:
    """Its partition has another owner, who does it again; going on here would write beside it."""
    stage = Stage(b"a:1", b"b:1")
    stage.ends = asyncio.Event()
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish b:1" in stage.happened)
    assert not await stage.delivery.drain(0.01)
    stage.gates["a:1"].set()
    stage.ends.set()
    await running
    assert ("publish a:1" in stage.happened, stage.acked) == (False, [])


async def test_a_drain_begins_nothing_new() -> None:
    """Should the group have given this worker up, another one has done long ago what waited for its turn here."""
    stage = Stage(b"a:1", b"a:2", b"b:1")
    stage.ends = asyncio.Event()
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish b:1" in stage.happened)
    draining = asyncio.create_task(stage.delivery.drain(BOUND_SECONDS))
    await asyncio.sleep(0)
    stage.gates["a:1"].set()
    assert not await draining
    stage.ends.set()
    await running
    assert ("handle a:2" in stage.happened, stage.acked) == (False, [0])


async def test_an_event_that_waited_for_a_slot_does_not_begin_after_a_drain() -> None:
    stage = Stage(b"a:1", b"b:1", in_flight_max=1)
    stage.ends = asyncio.Event()
    stage.gates["a:1"] = asyncio.Event()
    running = asyncio.create_task(stage.run())
    await until(lambda: "handle a:1" in stage.happened)
    assert not await stage.delivery.drain(0.01)
    stage.ends.set()
    await running
    assert "handle b:1" not in stage.happened


async def test_an_event_that_comes_during_a_drain_does_not_begin() -> None:
    stage = Stage(b"a:1", b"b:1")
    stage.ends = asyncio.Event()
    stage.gates = {"a:1": asyncio.Event(), "b:1": asyncio.Event()}
    running = asyncio.create_task(stage.run())
    await until(lambda: "handle b:1" in stage.happened)
    draining = asyncio.create_task(stage.delivery.drain(BOUND_SECONDS))
    await asyncio.sleep(0)
    stage.delivery.start(stage.event(2, b"c:1"))
    stage.gates["a:1"].set()
    await until(lambda: stage.acked == [0])
    stage.gates["b:1"].set()
    assert await draining
    stage.ends.set()
    await running
    assert ("handle c:1" in stage.happened, stage.acked) == (False, [0, 1])


async def test_a_drain_does_not_wait_for_what_rests() -> None:
    """A doubtful write that waits for two minutes has nothing on its way: the next owner waits for it."""
    stage = Stage(b"a:1", b"b:1")
    stage.ends = asyncio.Event()

    async def doubtful(text: str) -> None:
        if text == "a:1":
            await rest(BOUND_SECONDS * 10)

    stage.on_handle = doubtful
    running = asyncio.create_task(stage.run())
    await until(lambda: "publish b:1" in stage.happened)
    assert not await stage.delivery.drain(BOUND_SECONDS * 10)
    stage.ends.set()
    await running
    assert ("publish a:1" in stage.happened, stage.acked) == (False, [])


async def test_finished_resources_are_forgotten() -> None:
    """Otherwise every invoice of a year would stay in memory."""
    stage = Stage(*[f"{number}:x".encode() for number in range(50)])
    await stage.run()
    assert (stage.delivery._last, stage.delivery._tasks) == ({}, {})


async def test_what_must_stop_the_worker_is_no_dead_letter() -> None:
    """The record is not acknowledged, nothing is published for it, and the agent ends with the reason."""

    async def somebody_else_has_the_partition(text: str) -> None:
        raise StopWorker("somebody else")

    stage = Stage(b"a:1")
    stage.on_handle = somebody_else_has_the_partition
    with pytest.raises(StopWorker, match="somebody else"):
        await stage.run()
    assert (stage.published, stage.acked) == ([], [])
