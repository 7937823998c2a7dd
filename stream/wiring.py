"""All that is made from the settings: the clients of both vendors, their retry policies, the cipher of the tokens."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from cachetools import TTLCache
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from agents.clients.failures import CannotDecrypt
from agents.clients.metronome import MetronomeClient
from agents.clients.oauth import IntuitOAuth
from agents.clients.quickbooks import AccessTokens, QuickBooksClient
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.retry import RetryPolicy
from agents.clients.transport import Transport
from agents.enrich import Enricher, Routes

from .settings import Settings

TOKEN_TIMEOUT_SECONDS = 30
"""Intuit's token server answers in a second or not at all; a company waits meanwhile."""


def metronome_client(settings: Settings, transport: Transport) -> MetronomeClient:
    """Needs metronome.token."""
    metronome = settings.metronome
    assert metronome.token is not None
    return MetronomeClient(
        transport, metronome.url, metronome.token.get_secret_value(), timeout_seconds=metronome.timeout_seconds
    )


def retry_policy(retry_seconds: float, backoff_max_seconds: float) -> RetryPolicy:
    """On this process's clock."""
    return RetryPolicy(retry_seconds, backoff_max_seconds, time.monotonic)


def routes_of(settings: Settings) -> Routes:
    routing = settings.routing
    return Routes(routing.customer_field, routing.by_currency, routing.default_realm)


def enricher(settings: Settings, metronome: MetronomeClient) -> Enricher:
    ours = settings.metronome
    return Enricher(
        metronome=metronome,
        routes=routes_of(settings),
        retry=retry_policy(ours.retry_seconds, ours.backoff_max_seconds),
        customers=TTLCache(ours.cache_entries_max, ours.cache_seconds, time.monotonic),
        contracts=TTLCache(ours.cache_entries_max, ours.cache_seconds, time.monotonic),
        now=lambda: datetime.now(UTC),
        postpone_seconds=ours.postpone_seconds,
    )


def quickbooks_client(settings: Settings, transport: Transport, tokens: AccessTokens) -> QuickBooksClient:
    """With limits of its own: one client per process, or companies get more than their share."""
    quickbooks = settings.quickbooks
    limits = RateLimits(
        quickbooks.requests_per_second,
        quickbooks.requests_per_minute,
        quickbooks.in_flight_max,
        quickbooks.throttled_wait_seconds,
        quickbooks.batches_per_minute,
    )
    limiter = RateLimiter(limits, monotonic=time.monotonic)
    return QuickBooksClient(transport, quickbooks.url, tokens, limiter, timeout_seconds=quickbooks.timeout_seconds)


def oauth_client(settings: Settings, transport: Transport) -> IntuitOAuth:
    """Needs quickbooks.client_id and quickbooks.client_secret."""
    quickbooks = settings.quickbooks
    assert quickbooks.client_id is not None
    assert quickbooks.client_secret is not None
    return IntuitOAuth(
        transport,
        quickbooks.token_url,
        quickbooks.client_id,
        quickbooks.client_secret.get_secret_value(),
        TOKEN_TIMEOUT_SECONDS,
    )


class TokenCipher:
    """Encrypts with the first of `keys`, decrypts with any of them. `keys` are Fernet keys, at least one."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._fernet = MultiFernet([Fernet(key.get_secret_value().encode()) for key in keys])

    def encrypt(self, token: str) -> str:
        return self._fernet.encrypt(token.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Raises `CannotDecrypt`."""
        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except InvalidToken:
            raise CannotDecrypt from None
