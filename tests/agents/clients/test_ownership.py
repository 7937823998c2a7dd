"""A worker makes sure that a company is its own, by a record that lies over nobody's row."""

import asyncio

import pytest

from agents.clients.ownership import CLAIM_SECONDS_MAX, Ownership
from agents.pipeline import ChangelogFence, Fenced
from tests.agents.post.batching import lived

REALM = "9341452812345678"


class Changelog:
    """A table whose records are confirmed after a while, in a changelog to which others may write."""

    def __init__(self):
        self.rows = {}
        self.records = []
        self.confirmed_after = []
        self.fence = ChangelogFence("invoices")
        self.fence.recovered({0: 0})

    def __setitem__(self, key, row):
        self.rows[key] = row
        self._record(key, row)

    def __delitem__(self, key):
        del self.rows[key]
        self._record(key, None)

    def _record(self, key, row):
        expected = self.fence.expect(0)
        self.records.append((key, row))
        self.fence.acknowledged(0, expected, len(self.records) - 1)

    async def confirmed(self):
        await asyncio.sleep(self.confirmed_after.pop() if self.confirmed_after else 0.01)
        self.fence.check()


def ownership_of(table):
    return Ownership(table, lambda realm: f"blank {realm}", asyncio.get_running_loop().time)


def test_a_claim_changes_no_row():
    async def story():
        table = Changelog()
        table[f"{REALM}/1"] = "a row"
        await ownership_of(table).make_sure(REALM)
        assert table.rows == {f"{REALM}/1": "a row"}
        assert [(key.rpartition("/")[2], row) for key, row in table.records[1:]] == [
            ("claim", f"blank {REALM}"),
            ("claim", None),
        ]

    lived(story)


def test_who_finds_a_record_of_somebody_else_is_stopped():
    async def story():
        table = Changelog()
        table.records.append(("9341452812345678/1", "a successor's row"))
        with pytest.raises(Fenced):
            await ownership_of(table).make_sure(REALM)

    lived(story)


def test_a_confirmation_that_came_late_proves_nothing():
    """The worker stood still after the broker had the claim: somebody else may have written since."""

    async def story():
        table = Changelog()
        table.confirmed_after = [0.01, CLAIM_SECONDS_MAX + 1]
        await ownership_of(table).make_sure(REALM)
        assert len(table.records) == 4

    lived(story)


@pytest.mark.parametrize(("seconds", "records"), [(0.5, 1), (2.0, 3)])
def test_a_row_that_was_confirmed_just_now_is_proof_enough(seconds, records):
    async def story():
        table = Changelog()
        ownership = ownership_of(table)
        await ownership.put(f"{REALM}/1", "a row")
        await asyncio.sleep(seconds)
        await ownership.make_sure(REALM, within_seconds=1.0)
        assert len(table.records) == records

    lived(story)
