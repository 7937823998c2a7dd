"""Which dead letters were the last that a worker made before it ended."""

import pytest

from stream.engine.dead_letters import Place, in_a_row

HERE: Place = ("metronome.webhooks", 0)
THERE: Place = ("metronome.webhooks", 1)


@pytest.mark.parametrize(
    ("here", "there", "committed", "count"),
    [
        ([3, 4, 5], [], {HERE: 6}, 3),
        ([3, 4, 5], [], {HERE: 7}, 0),  # 6 was handled
        ([2, 4, 5], [], {HERE: 6}, 2),
        ([3, 4, 5], [], {HERE: 4}, 3),  # the last commit was cut off
        ([0, 1], [], {}, 2),  # or there never was one
        ([3, 4, 5], [8, 9], {HERE: 6, THERE: 10}, 5),
        ([3, 4, 5], [8, 9], {HERE: 6, THERE: 12}, 3),
    ],
)
def test_those_that_are_the_last_of_their_partition_count(
    here: list[int], there: list[int], committed: dict[Place, int], count: int
) -> None:
    addresses = {(HERE, offset) for offset in here} | {(THERE, offset) for offset in there}
    assert in_a_row(addresses, committed) == count
