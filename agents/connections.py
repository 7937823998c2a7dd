"""The life of each company's tokens: refreshed in time, one refresh at a time, recorded before use.

A refresh token's value changes now and then, and the former one dies at once (docs/vendors/quickbooks.md §7). Losing
the new one means that a person must connect the company again, so it is recorded durably before anything uses it.

Showing a former one may end the consent. So a worker makes sure, just before it shows one, that the company is still
its own; and one that has taken a company over first gives its predecessor's answer time to come through the topic.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import structlog

from agents.clients.failures import CannotDecrypt, NotConnected, ReconnectNeeded, TokensUnreadable
from agents.clients.oauth import InvalidGrant, Tokens
from models.commands import ResumeParked
from models.events import ConnectionChanged

from .clients.ownership import nobody_else

log = structlog.get_logger()

T = TypeVar("T")

SECOND_TRY_SECONDS = 30.0
SETTLE_SECONDS = 5.0
"""A refresh that the former owner of a company had under way is recorded within this, should it live."""

FINISH_SECONDS = 10.0
"""How long a refresh may still take when the partition of who asked for it goes to another worker."""

REJECTION_PAUSE_SECONDS = 60.0
"""Between two refreshes for a 401 of one company: when the new token is refused too, it is not about tokens."""

HARD_EXPIRY_WARNING_DAYS = 30.0
TICK = timedelta(microseconds=1)


class OAuth(Protocol):
    async def refresh(self, refresh_token: str) -> Tokens: ...


class Cipher(Protocol):
    def encrypt(self, token: str) -> str: ...

    def decrypt(self, encrypted: str) -> str:
        """Raises CannotDecrypt."""


@dataclass(frozen=True, slots=True)
class _Rejected:
    """An access token that QuickBooks did not accept, and when that was."""

    token: str = field(repr=False)
    at: datetime


class Connections:
    """Gives the access token of a realm.

    `table` holds the newest `ConnectionChanged` by realm; `record` publishes a change, confirmed by the broker, and
    puts it into the table durably, or raises. `make_sure` raises StopWorker when another worker has the company;
    `settle_seconds` is waited before a token is shown that this worker did not record. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        table: MutableMapping[str, ConnectionChanged],
        oauth: OAuth,
        cipher: Cipher,
        record: Callable[[ConnectionChanged], Awaitable[None]],
        clock: Callable[[], float],
        refresh_before_seconds: float,
        second_try_seconds: float = SECOND_TRY_SECONDS,
        hard_expiry_warning_days: float = HARD_EXPIRY_WARNING_DAYS,
        finish_seconds: float = FINISH_SECONDS,
        rejection_pause_seconds: float = REJECTION_PAUSE_SECONDS,
        make_sure: Callable[[str], Awaitable[None]] = nobody_else,
        settle_seconds: float = 0.0,
    ) -> None:
        self._table = table
        self._oauth = oauth
        self._cipher = cipher
        self._record = record
        self._clock = clock
        self._refresh_before = timedelta(seconds=refresh_before_seconds)
        self._second_try_seconds = second_try_seconds
        self._hard_expiry_warning = timedelta(days=hard_expiry_warning_days)
        self._finish_seconds = finish_seconds
        self._rejection_pause = timedelta(seconds=rejection_pause_seconds)
        self._make_sure = make_sure
        self._settle_seconds = settle_seconds
        self._settled: dict[str, ConnectionChanged] = {}  # what we recorded ourselves, or waited for
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._decrypted: dict[str, tuple[str, str]] = {}  # the newest of each realm, since every request asks for it
        self._rejected: dict[str, _Rejected] = {}
        self._unrecorded: dict[str, tuple[ConnectionChanged, ConnectionChanged]] = {}

    async def access_token(self, realm: str) -> str:
        """A token with at least `refresh_before_seconds` to live, refreshed when that is over or it was rejected.

        Raises NotConnected, TokensUnreadable, ReconnectNeeded, TokenServerTrouble, and whatever `record` raises.
        """
        connection = self._connection(realm)
        if not self._is_fresh(connection):
            async with self._locks[realm]:
                connection = self._connection(realm)  # another caller may have refreshed while we waited
                if not self._is_fresh(connection):
                    connection = await self._after_settling(connection)
                if not self._is_fresh(connection):
                    connection = await finished(self._refreshed(connection), self._finish_seconds)
        return self._access_token_of(connection)

    @property
    def is_refreshing(self) -> bool:
        """Whether an answer with new tokens may be on its way, or not be recorded yet."""
        return any(lock.locked() for lock in list(self._locks.values()))

    def reject(self, realm: str, token: str) -> None:
        """QuickBooks did not accept `token`: whoever asks next gets another. Not when this one replaced a rejected one
        just now, and none was accepted since: fifty refusals are not fifty refreshes.
        """
        last = self._rejected.get(realm)
        if last is None or (token != last.token and self._is_over(self._rejection_pause, since=last.at)):
            self._rejected[realm] = _Rejected(token, self._now())

    def accept(self, realm: str, token: str) -> None:
        """QuickBooks accepted `token`: it tells tokens apart."""
        rejected = self._rejected.get(realm)
        if rejected is not None and rejected.token != token:
            del self._rejected[realm]

    def _is_over(self, pause: timedelta, *, since: datetime) -> bool:
        """Also when the clock was set back meanwhile."""
        return not timedelta(0) <= self._now() - since < pause

    def _connection(self, realm: str) -> ConnectionChanged:
        connection = self._table.get(realm)
        if connection is None or connection.state == "disconnected" or connection.refresh_token is None:
            raise NotConnected(realm)
        if connection.state == "reconnect needed":
            raise ReconnectNeeded(realm)
        return connection

    def _is_fresh(self, connection: ConnectionChanged) -> bool:
        expires_at = connection.access_token_expires_at
        return (
            connection.access_token is not None
            and expires_at is not None
            and self._now() + self._refresh_before < expires_at
            and not self._is_rejected(connection)
        )

    def _is_rejected(self, connection: ConnectionChanged) -> bool:
        rejected = self._rejected.get(connection.realm)
        return rejected is not None and rejected.token == self._access_token_of(connection)

    def _access_token_of(self, connection: ConnectionChanged) -> str:
        assert connection.access_token is not None
        encrypted, token = self._decrypted.get(connection.realm, ("", ""))
        if encrypted != connection.access_token:
            token = self._opened(connection.realm, connection.access_token)
            self._decrypted[connection.realm] = (connection.access_token, token)
        return token

    def _opened(self, realm: str, encrypted: str) -> str:
        try:
            return self._cipher.decrypt(encrypted)
        except CannotDecrypt:
            raise TokensUnreadable(realm) from None

    async def _after_settling(self, connection: ConnectionChanged) -> ConnectionChanged:
        """The newest, once what a former owner may have had under way is known."""
        if self._settled.get(connection.realm) != connection:
            await asyncio.sleep(self._settle_seconds)
            connection = self._connection(connection.realm)
            self._settled[connection.realm] = connection
        return connection

    async def _refreshed(self, old: ConnectionChanged) -> ConnectionChanged:
        """What stands in the table once Intuit's answer is recorded. The caller holds the realm's lock."""
        replaced, new = self._unrecorded.get(old.realm, (None, None))
        if new is None or replaced != old:
            new = await self._answer(old)
        # Intuit has forgotten the old token by now: should recording fail, the next call records this answer first.
        self._unrecorded[old.realm] = (old, new)
        if self._table.get(old.realm) == old:  # else a person connected the company meanwhile: those tokens stand
            await self._record(new)
            self._settled[new.realm] = new
            log.info("connection_changed", realm=new.realm, state=new.state)
            if ends_soon(new, self._now(), self._hard_expiry_warning):
                remedy = f"metronome-qbo connect --realm {new.realm}"
                log.warning("connection_ends_soon", realm=new.realm, at=str(new.hard_expires_at), remedy=remedy)
        del self._unrecorded[old.realm]
        return self._connection(old.realm)

    async def _answer(self, old: ConnectionChanged) -> ConnectionChanged:
        """New tokens, or after two refusals the need of a person."""
        assert old.refresh_token is not None
        refresh_token = self._opened(old.realm, old.refresh_token)
        # The first refusal may be an outage at Intuit, or newer tokens may be about to reach the table.
        for pause_seconds in (self._second_try_seconds, 0):
            await self._make_sure(old.realm)
            if self._table.get(old.realm) != old:
                break
            try:
                tokens = await self._oauth.refresh(refresh_token)
            except InvalidGrant:
                log.warning("refresh_token_refused", realm=old.realm)
            else:
                return connected(old.realm, tokens, self._cipher, self._now(), previous=old)
            await asyncio.sleep(pause_seconds)
        await self._make_sure(old.realm)  # who is not the owner may have shown a former token, which proves nothing
        return old.replace(  # type: ignore[no-any-return]
            state="reconnect needed", changed_at=_after(old, self._now()), reason="Intuit answered invalid_grant twice"
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


async def finished(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """What `work` gives. When the caller is cancelled, `work` has so many seconds more before the caller ends.

    Half a refresh loses the company: Intuit has forgotten the old token, and the next owner knows no other.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def connections_agent(
    change: ConnectionChanged, *, table: MutableMapping[str, ConnectionChanged]
) -> Sequence[ResumeParked]:
    """Fold the connections topic into the table; a repeated or late fact changes nothing.

    Tokens that come from a person, not from our own refresh, which is in the table already, release what waited.
    """
    before = table.get(change.realm)
    if newest(before, change) is not change or before == change:
        return []
    table[change.realm] = change
    return [ResumeParked(realm=change.realm, waits_for="connection")] if change.state == "connected" else []


def ends_soon(connection: ConnectionChanged, now: datetime, within: timedelta) -> bool:
    """Whether a person should connect the company again, because no refresh will help before long."""
    hard = connection.hard_expires_at
    return connection.state == "connected" and hard is not None and hard <= now + within


def newest(current: ConnectionChanged | None, incoming: ConnectionChanged) -> ConnectionChanged:
    """Whichever changed last; of two at the same instant the one that comes later in the log."""
    return incoming if current is None or incoming.changed_at >= current.changed_at else current


def connected(
    realm: str, tokens: Tokens, cipher: Cipher, now: datetime, *, previous: ConnectionChanged | None
) -> ConnectionChanged:
    """The fact that `realm` is connected with `tokens`, which are encrypted here; newer than `previous`."""
    hard = tokens.hard_expires_in_seconds
    return ConnectionChanged(
        realm=realm,
        state="connected",
        changed_at=_after(previous, now),
        company_name=previous.company_name if previous else None,
        access_token=cipher.encrypt(tokens.access_token),
        access_token_expires_at=now + timedelta(seconds=tokens.expires_in_seconds),
        refresh_token=cipher.encrypt(tokens.refresh_token),
        refresh_token_expires_at=now + timedelta(seconds=tokens.refresh_expires_in_seconds),
        hard_expires_at=None if hard is None else now + timedelta(seconds=hard),
    )


def _after(previous: ConnectionChanged | None, now: datetime) -> datetime:
    """`now`, but later than `previous`: its writer's clock may be ahead of ours, and the newest wins."""
    return now if previous is None else max(now, previous.changed_at + TICK)
