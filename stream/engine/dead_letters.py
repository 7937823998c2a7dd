"""Dead letters in a row count over restarts: no supervisor makes them of a backlog."""

from collections.abc import Collection, Mapping
from contextlib import aclosing

from agents.delivery import ERROR_HEADER
from stream.kafka.admin import committed_offsets
from stream.kafka.log import EventLog
from stream.settings import Settings
from stream.topics import topic_names

READ_MAX = 1000
"""So many of the newest dead letters of each partition are read: a bound of start-up."""

Place = tuple[str, int]
"""A topic's partition."""


async def dead_letters_in_a_row(settings: Settings) -> dict[str, int]:
    """By agent, how many dead letters are the last that it did in its partitions. Raises as `EventLog`."""
    events, topic, ours = EventLog.of(settings), topic_names(settings).deadletters, topic_names(settings).by_role()
    made: dict[str, set[tuple[Place, int]]] = {}
    for partition, bounds in (await events.bounds(topic)).items():
        async with aclosing(events.read_range(topic, bounds.end - READ_MAX, partitions={partition})) as records:
            async for record in records:
                said = {name: value.decode(errors="replace") for name, value in record.headers}
                agent, place = said.get(ERROR_HEADER + "connector.name"), said.get(ERROR_HEADER + "topic")
                numbers = said.get(ERROR_HEADER + "partition", ""), said.get(ERROR_HEADER + "offset", "")
                if agent and place and place in ours.values() and all(number.isdecimal() for number in numbers):
                    made.setdefault(agent, set()).add(((place, int(numbers[0])), int(numbers[1])))
    if not made:
        return {}
    committed = await committed_offsets(
        events.bootstrap_servers,
        settings.app_id,
        {place for addresses in made.values() for place, _ in addresses},
        timeout_seconds=events.timeout_seconds,
    )
    return {agent: in_a_row(addresses, committed) for agent, addresses in made.items()}


def in_a_row(addresses: Collection[tuple[Place, int]], committed: Mapping[Place, int]) -> int:
    """How many of these records were the last ones done, one before the other, in all partitions together.

    `committed`: by partition, the offset of the first record that is not known to be done; a worker that ended may have
    done some of those that follow.
    """
    count = 0
    for place in {place for place, _ in addresses}:
        end = committed.get(place, 0)
        while (place, end) in addresses:
            end += 1
        first = end
        while (place, first - 1) in addresses:
            first -= 1
        count += end - first
    return count
