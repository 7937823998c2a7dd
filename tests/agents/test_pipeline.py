"""The one wiring: where records go, and what ends a worker whose partition somebody else has taken."""

from typing import get_args

import pytest

from agents.delivery import DeadLetter
from agents.pipeline import ChangelogFence, Fenced, topic_of
from models.commands import ResumeParked
from models.record import TopicRole
from tests.agents.in_process import REALM, a_post


def test_every_kind_of_record_has_a_topic() -> None:
    assert topic_of(a_post("1.00")) == topic_of(ResumeParked(realm=REALM)) == "commands"
    assert topic_of(DeadLetter(None, None, {})) == "deadletters"
    assert {topic_of(a_post("1.00")), topic_of(DeadLetter(None, None, {}))} < set(get_args(TopicRole))


def written(fence: ChangelogFence, *offsets: int, partition: int = 0) -> None:
    """Our next records are acknowledged at these offsets."""
    expected = [fence.expect(partition) for _ in offsets]
    for each, offset in zip(expected, offsets, strict=True):
        fence.acknowledged(partition, each, offset)


def test_our_own_records_follow_each_other() -> None:
    fence = ChangelogFence("invoices")
    fence.recovered({0: 7, 1: 0})
    written(fence, 7, 8, 9)
    written(fence, 0, 1, partition=1)
    fence.check()


def test_a_record_of_somebody_else_among_ours_is_noticed_and_stays_noticed() -> None:
    fence = ChangelogFence("invoices")
    fence.recovered({0: 7})
    written(fence, 7, 9)
    with pytest.raises(Fenced, match="table invoices, partition 0"):
        fence.check()
    written(fence, 10)
    with pytest.raises(Fenced):
        fence.check()


def test_a_record_of_somebody_else_before_our_first_is_noticed() -> None:
    """The other one wrote after we had read the changelog, and before we wrote ourselves."""
    fence = ChangelogFence("invoices")
    fence.recovered({0: 7})
    written(fence, 8)
    with pytest.raises(Fenced):
        fence.check()


def test_the_order_in_which_acknowledgements_are_heard_does_not_matter() -> None:
    fence = ChangelogFence("invoices")
    fence.recovered({0: 7})
    first, second = fence.expect(0), fence.expect(0)
    fence.acknowledged(0, second, 8)
    fence.acknowledged(0, first, 7)
    fence.check()


def test_nothing_is_concluded_from_an_offset_that_the_broker_does_not_say() -> None:
    fence = ChangelogFence("invoices")
    fence.recovered({0: 7})
    written(fence, -1, 8)
    fence.check()
