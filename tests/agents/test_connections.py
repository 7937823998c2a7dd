"""The life of tokens: refreshed in time, once for all callers, recorded before use, given up after two refusals."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from agents.clients.failures import CannotDecrypt, CompanyUnavailable, NotConnected, ReconnectNeeded
from agents.clients.oauth import InvalidGrant, Tokens, TokenServerTrouble
from agents.connections import SETTLE_SECONDS, Connections, connected, connections_agent, newest
from agents.delivery import StopWorker
from models.commands import ResumeParked
from models.events import ConnectionChanged
from tests import BOUND_SECONDS
from tests.agents.post.batching import lived

REALM = "9341452812345678"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Reversing:
    """A cipher that a test can read."""

    def encrypt(self, token):
        return token[::-1]

    def decrypt(self, encrypted):
        return encrypted[::-1]


class RotatingServer:
    """Accepts the newest refresh token only, and replaces it each time, as Intuit does."""

    def __init__(self):
        self.newest = 0
        self.asked = []
        self.refusals = 0
        self.during = None

    async def refresh(self, refresh_token):
        self.asked.append(refresh_token)
        await asyncio.sleep(0)
        if self.refusals or refresh_token != f"refresh-{self.newest}":
            self.refusals = max(0, self.refusals - 1)
            raise InvalidGrant("invalid_grant")
        self.newest += 1
        if self.during:
            self.during()
        return Tokens(f"access-{self.newest}", 3600, f"refresh-{self.newest}", 8_726_400)


NOW = asyncio.Event()
NOW.set()


class World:
    """One company that was connected at noon, and its `Connections`."""

    def __init__(self, second_try_seconds=0.0, finish_seconds=BOUND_SECONDS, settle_seconds=0.0):
        self.now = NOON
        self.server = RotatingServer()
        self.table = {
            REALM: connected(REALM, Tokens("access-0", 3600, "refresh-0", 999), Reversing(), NOON, previous=None)
        }
        self.recorded = []
        self.record_fails = False
        self.is_anothers = False
        self.held_back = {}  # realm: an event that its records wait for
        self.connections = Connections(
            self.table,
            self.server,
            Reversing(),
            self.record,
            lambda: self.now.timestamp(),
            300,
            second_try_seconds,
            finish_seconds=finish_seconds,
            make_sure=self.make_sure,
            settle_seconds=settle_seconds,
        )

    async def make_sure(self, realm):
        if self.is_anothers:
            raise StopWorker("fenced")

    async def record(self, change):
        await self.held_back.get(change.realm, NOW).wait()
        if self.record_fails:
            raise ConnectionError("no broker")
        self.recorded.append(change)
        self.table[change.realm] = change

    def after(self, **time):
        self.now = NOON + timedelta(**time)
        return self


@pytest.fixture
def world():
    return World()


async def test_a_fresh_token_is_given_without_asking(world):
    assert await world.after(minutes=54).connections.access_token(REALM) == "access-0"
    assert world.server.asked == []


async def test_a_token_is_refreshed_before_it_expires_and_recorded(world):
    assert await world.after(minutes=55).connections.access_token(REALM) == "access-1"
    (change,) = world.recorded
    assert change.state == "connected"
    assert change.access_token_expires_at == world.now + timedelta(hours=1)
    assert change.refresh_token_expires_at == world.now + timedelta(seconds=8_726_400)
    assert Reversing().decrypt(change.refresh_token) == "refresh-1"


async def test_rotated_tokens_are_used_from_then_on(world):
    for hour in range(1, 5):
        assert await world.after(hours=hour).connections.access_token(REALM) == f"access-{hour}"
    assert world.server.asked == ["refresh-0", "refresh-1", "refresh-2", "refresh-3"]


async def test_twenty_callers_cause_one_refresh(world):
    world.after(hours=2)
    tokens = await asyncio.gather(*(world.connections.access_token(REALM) for _ in range(20)))
    assert set(tokens) == {"access-1"}
    assert len(world.server.asked) == 1


async def test_twenty_refusals_of_one_token_cause_one_refresh(world):
    async def rejected() -> str:
        world.connections.reject(REALM, "access-0")
        return await world.connections.access_token(REALM)

    assert set(await asyncio.gather(*(rejected() for _ in range(20)))) == {"access-1"}
    assert len(world.server.asked) == 1


async def test_a_refusal_of_an_older_token_gives_the_newer_one_without_asking(world):
    world.connections.reject(REALM, "access-of-yesterday")
    assert await world.connections.access_token(REALM) == "access-0"
    assert world.server.asked == []


async def test_fifty_refusals_of_new_tokens_are_not_fifty_refreshes(world):
    """QuickBooks says 401 to whatever token it is shown: a new one each minute is enough."""
    for second in range(50):
        token = await world.after(seconds=second).connections.access_token(REALM)
        world.connections.reject(REALM, token)
    assert len(world.server.asked) == 1
    token = await world.after(seconds=61).connections.access_token(REALM)
    world.connections.reject(REALM, token)
    assert await world.connections.access_token(REALM) == "access-2"


async def test_a_clock_that_was_set_back_does_not_keep_a_refused_token(world):
    token = await world.after(hours=0).connections.access_token(REALM)
    world.connections.reject(REALM, token)
    token = await world.connections.access_token(REALM)
    world.after(hours=-2).connections.reject(REALM, token)
    assert await world.connections.access_token(REALM) == "access-2"


async def test_a_rejected_token_is_in_no_repr(world):
    world.connections.reject(REALM, "access-0")
    assert "access-0" not in repr(vars(world.connections)["_rejected"])


async def test_a_token_that_was_good_is_replaced_at_once(world):
    """Whoever takes tokens back may do so twice within a minute."""
    for number in range(3):
        assert await world.connections.access_token(REALM) == f"access-{number}"
        world.connections.accept(REALM, f"access-{number}")
        world.connections.reject(REALM, f"access-{number}")


async def test_a_token_is_recorded_before_anyone_has_it(world):
    world.held_back[REALM] = asyncio.Event()
    asking = asyncio.create_task(world.after(hours=2).connections.access_token(REALM))
    while not world.server.asked:
        await asyncio.sleep(0)
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    world.held_back[REALM].set()
    assert await asking == "access-1"


async def given_up_while_recording(world):
    """A caller that is cancelled between Intuit's answer and its record, as a drain does."""
    world.held_back[REALM] = asyncio.Event()
    asking = asyncio.create_task(world.after(hours=2).connections.access_token(REALM))
    while not world.server.newest:
        await asyncio.sleep(0)
    asking.cancel()
    return asking


async def test_tokens_are_recorded_although_who_asked_for_them_is_given_up(world):
    """The next owner of the company would show Intuit the old token, which may revoke the new one too."""
    asking = await given_up_while_recording(world)
    done, _ = await asyncio.wait({asking}, timeout=0.05)
    assert not done
    world.held_back[REALM].set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert Reversing().decrypt(world.table[REALM].refresh_token) == "refresh-1"


async def test_a_record_that_does_not_come_keeps_nobody_for_ever():
    world = World(finish_seconds=0.01)
    asking = await given_up_while_recording(world)
    await asyncio.wait({asking}, timeout=BOUND_SECONDS)
    assert asking.cancelled()
    world.held_back[REALM].set()
    await asyncio.sleep(0)
    assert world.recorded == []


async def test_when_recording_fails_the_old_stays_and_the_answer_is_kept(world):
    """Intuit has forgotten refresh-0: asking with it again would mean a reconnect."""
    world.after(hours=2).record_fails = True
    with pytest.raises(ConnectionError):
        await world.connections.access_token(REALM)
    assert Reversing().decrypt(world.table[REALM].refresh_token) == "refresh-0"
    world.record_fails = False
    assert await world.connections.access_token(REALM) == "access-1"
    assert world.server.asked == ["refresh-0"]


async def test_a_company_connected_during_a_refresh_keeps_the_persons_tokens(world):
    by_hand = connected(REALM, Tokens("by-hand", 3600, "refresh-x", 999), Reversing(), NOON, previous=None)
    by_hand = by_hand.replace(changed_at=NOON + timedelta(hours=2), access_token_expires_at=NOON + timedelta(hours=3))
    world.server.during = lambda: world.table.update({REALM: by_hand})
    assert await world.after(hours=2).connections.access_token(REALM) == "by-hand"
    assert world.recorded == []


async def test_one_refusal_may_be_an_outage(world):
    world.server.refusals = 1
    assert await world.after(hours=2).connections.access_token(REALM) == "access-1"
    assert [change.state for change in world.recorded] == ["connected"]


async def test_two_refusals_in_a_row_need_a_person(world):
    world.server.refusals = 2
    with pytest.raises(ReconnectNeeded, match=f"metronome-qbo connect --realm {REALM}") as caught:
        await world.after(hours=2).connections.access_token(REALM)
    assert isinstance(caught.value, CompanyUnavailable)
    assert caught.value.realm == REALM
    (change,) = world.recorded
    assert change.state == "reconnect needed"
    assert Reversing().decrypt(change.refresh_token) == "refresh-0"  # kept: Intuit may have been ill


async def test_a_company_that_needs_a_person_is_not_asked_for_again(world):
    world.server.refusals = 2
    for _ in range(3):
        with pytest.raises(ReconnectNeeded):
            await world.after(hours=2).connections.access_token(REALM)
    assert len(world.server.asked) == 2


async def test_tokens_that_arrive_between_two_refusals_are_used():
    """Another process refreshed: its fact reaches the table a moment later."""
    world = World(second_try_seconds=0.05).after(hours=2)
    world.server.refusals = 2
    theirs = connected(REALM, Tokens("theirs", 3600, "refresh-y", 999), Reversing(), world.now, previous=None)
    asking = asyncio.create_task(world.connections.access_token(REALM))
    while not world.server.asked:
        await asyncio.sleep(0)
    world.table[REALM] = theirs
    assert await asking == "theirs"
    assert (world.server.asked, world.recorded) == (["refresh-0"], [])


async def test_who_is_not_the_owner_any_more_shows_no_token(world):
    world.after(hours=2).is_anothers = True
    with pytest.raises(StopWorker):
        await world.connections.access_token(REALM)
    assert (world.server.asked, world.recorded) == ([], [])


async def test_who_lost_the_company_between_two_refusals_says_nothing_of_a_person(world):
    """Its token was a former one by then, which proves nothing."""

    async def refresh(_):
        world.is_anothers = True
        raise InvalidGrant("invalid_grant")

    world.server.refresh = refresh
    with pytest.raises(StopWorker):
        await world.after(hours=2).connections.access_token(REALM)
    assert world.recorded == []


def test_what_a_former_owner_had_under_way_is_waited_for_once():
    async def story():
        world = World(settle_seconds=SETTLE_SECONDS).after(hours=2)
        theirs = connected(REALM, Tokens("theirs", 3600, "refresh-y", 999), Reversing(), world.now, previous=None)
        asyncio.get_running_loop().call_later(SETTLE_SECONDS - 1, world.table.update, {REALM: theirs})
        assert await world.connections.access_token(REALM) == "theirs"
        assert (world.server.asked, asyncio.get_running_loop().time()) == ([], SETTLE_SECONDS)

    lived(story)


def test_who_recorded_the_tokens_itself_waits_for_nobody():
    async def story():
        world = World(settle_seconds=SETTLE_SECONDS)
        for hour in (2, 4, 6):
            await world.after(hours=hour).connections.access_token(REALM)
        assert len(world.server.asked) == 3
        assert asyncio.get_running_loop().time() == SETTLE_SECONDS

    lived(story)


async def test_trouble_at_the_token_server_changes_nothing(world):
    async def refresh(_):
        raise TokenServerTrouble("503")

    world.server.refresh = refresh
    with pytest.raises(TokenServerTrouble):
        await world.after(hours=2).connections.access_token(REALM)
    assert world.recorded == []


@pytest.mark.parametrize("changes", [{"state": "disconnected"}, {"refresh_token": None}])
async def test_a_company_without_a_connection_says_how_to_connect(world, changes):
    world.table[REALM] = world.table[REALM].replace(**changes)
    with pytest.raises(NotConnected, match=f"metronome-qbo connect --realm {REALM}"):
        await world.connections.access_token(REALM)
    with pytest.raises(NotConnected):
        await world.connections.access_token("1")


async def test_companies_do_not_wait_for_each_other(world):
    world.held_back[REALM] = asyncio.Event()
    waiting = asyncio.create_task(world.after(hours=2).connections.access_token(REALM))
    while world.server.newest == 0:
        await asyncio.sleep(0)
    world.table["2"] = connected("2", Tokens("access-0", 3600, "refresh-1", 999), Reversing(), NOON, previous=None)
    async with asyncio.timeout(BOUND_SECONDS):
        assert await world.connections.access_token("2") == "access-2"
    assert not waiting.done()
    world.held_back[REALM].set()
    await waiting


async def test_a_refresh_wins_over_a_fact_from_a_clock_that_is_ahead(world):
    """Else the table would drop the only refresh token that still works."""
    ahead = NOON + timedelta(hours=9)
    world.table[REALM] = world.table[REALM].replace(changed_at=ahead)
    await world.after(hours=2).connections.access_token(REALM)
    assert world.recorded[0].changed_at > ahead


async def test_the_log_and_the_record_show_no_token(world, caplog):
    with structlog.testing.capture_logs() as logs:
        world.server.refusals = 1
        await world.after(hours=2).connections.access_token(REALM)
        world.server.refusals = 2
        with pytest.raises(ReconnectNeeded):
            await world.after(hours=4).connections.access_token(REALM)
    told = str(logs) + caplog.text + str([change.encode() for change in world.recorded])
    assert {entry["event"] for entry in logs} == {"refresh_token_refused", "connection_changed"}
    for token in ("access-0", "access-1", "refresh-0", "refresh-1"):
        assert token not in told


def fact(hour, company="Northwind"):
    return ConnectionChanged(
        realm=REALM, state="connected", changed_at=NOON + timedelta(hours=hour), company_name=company
    )


def test_the_newest_fact_stands_and_of_two_at_one_instant_the_later_in_the_log():
    assert newest(None, fact(1)) == fact(1)
    assert newest(fact(1), fact(2)) == fact(2)
    assert newest(fact(2), fact(1)) == fact(2)
    assert newest(fact(1), fact(1, "Renamed")) == fact(1, "Renamed")


async def test_the_agent_folds_the_topic_into_the_table():
    table = {}
    for change in (fact(1), fact(3), fact(2), fact(3)):
        await connections_agent(change, table=table)
    assert table == {REALM: fact(3)}


async def test_tokens_from_a_person_let_go_on_what_waited_for_the_connection():
    """Not those of our own refresh, which are in the table before their record is read, and none that came before."""
    table = {}
    assert await connections_agent(fact(2), table=table) == [ResumeParked(realm=REALM, waits_for="connection")]
    assert await connections_agent(fact(2), table=table) == []
    assert await connections_agent(fact(1), table=table) == []
    table[REALM] = fact(3)
    assert await connections_agent(fact(3), table=table) == []
    assert await connections_agent(fact(4).replace(state="reconnect needed"), table=table) == []
    assert await connections_agent(fact(5), table=table) == [ResumeParked(realm=REALM, waits_for="connection")]


# Keys that do not fit


class Closed(Reversing):
    """Whose key is another one."""

    def decrypt(self, encrypted):
        raise CannotDecrypt


@pytest.mark.parametrize("minutes", [10, 70], ids=["fresh", "to be refreshed"])
async def test_tokens_that_no_key_opens_have_the_company_wait_and_name_the_setting(world, minutes):
    world.connections._cipher = Closed()
    with pytest.raises(CompanyUnavailable, match=f"company {REALM}.*encryption_keys"):
        await world.after(minutes=minutes).connections.access_token(REALM)
    assert world.server.asked == []
    world.connections._cipher = Reversing()
    assert await world.connections.access_token(REALM)
