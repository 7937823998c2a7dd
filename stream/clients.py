"""The clients of both vendors, made from the settings."""

import time

from agents.limits import Limits, Pacer
from agents.metronome_client import MetronomeClient
from agents.oauth import IntuitOAuth
from agents.quickbooks_client import AccessTokens, QuickBooksClient
from agents.transport import Transport

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


def quickbooks_client(settings: Settings, transport: Transport, tokens: AccessTokens) -> QuickBooksClient:
    """With limits of its own: one client per process, or companies get more than their share."""
    quickbooks = settings.quickbooks
    limits = Limits(
        quickbooks.requests_per_second,
        quickbooks.requests_per_minute,
        quickbooks.in_flight_max,
        quickbooks.throttled_wait_seconds,
        quickbooks.batches_per_minute,
    )
    pacer = Pacer(limits, monotonic=time.monotonic)
    return QuickBooksClient(transport, quickbooks.url, tokens, pacer, timeout_seconds=quickbooks.timeout_seconds)


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
