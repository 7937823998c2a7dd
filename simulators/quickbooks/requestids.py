"""The memory of request ids: the first answer again for a repeated `requestid` (`docs/vendors/quickbooks.md` §3.2)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulators.http import Answer, Request
from simulators.quickbooks.books import Changes
from simulators.quickbooks.errors import Refusal
from simulators.quickbooks.settings import QuickBooksSettings

REQUEST_ID_LENGTH_MAX = 50
BATCH_REQUEST_ID_LENGTH_MAX = 36
BATCH_BID_LENGTH_MAX = 10


@dataclass(frozen=True, slots=True)
class Remembered:
    at: float
    digest: str
    """Of everything that the first request asked for."""
    answer: Answer


@dataclass(slots=True)
class RequestIds:
    """Of one company, oldest first."""

    realm_id: str
    changes: Changes
    answers: OrderedDict[str, Remembered] = field(default_factory=OrderedDict)

    def read_commands(self, key: str, digest: str, now: float, settings: QuickBooksSettings) -> Answer | None:
        """The first answer, None when the request is to be run. Raises Refusal 600 when the settings say so."""
        while self.answers and next(iter(self.answers.values())).at <= now - settings.requestid_seconds:
            self._forget_oldest()
        found = self.answers.get(key)
        if found is None:
            return None
        if found.digest != digest and settings.requestid_other_body == "execute":
            return None
        if found.digest != digest and settings.requestid_other_body == "refuse-600":
            raise Refusal("600", "Duplicate Request ID", f"Duplicate Request ID : {key.partition('/')[0]}")
        return found.answer

    def keep(self, key: str, digest: str, now: float, answer: Answer, settings: QuickBooksSettings) -> None:
        keeps = answer.status < 300 or settings.requestid_keeps_faults
        if not keeps or settings.requestid_seconds <= 0:
            return
        self.answers.pop(key, None)
        self.answers[key] = Remembered(now, digest, answer)
        self.changes.mark(self.realm_id, "requestid", key)
        if len(self.answers) > settings.requestid_count_max:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        key, _ = self.answers.popitem(last=False)
        self.changes.mark(self.realm_id, "requestid", key)


def key_of(request_id: str, bids: Sequence[str] | None) -> str:
    """Under which an answer is kept; a batch (`bids` not None) is the same when its bIds are too.

    Raises Refusal 2130 for an id that is too long.
    """
    length_max = REQUEST_ID_LENGTH_MAX if bids is None else BATCH_REQUEST_ID_LENGTH_MAX
    if len(request_id) > length_max or any(len(each) > BATCH_BID_LENGTH_MAX for each in bids or ()):
        raise Refusal("2130", "Invalid Request Id Format", f"Invalid Request Id Format : {request_id[:100]}")
    return request_id if bids is None else f"{request_id}/{_digest(repr(bids).encode())}"


def digest_of(request: Request, body: bytes) -> str:
    options = f"{request.path}?{request.query.get('operation', '')}&{request.query.get('include', '')}\n"
    return _digest(options.encode() + body)


def _digest(value: bytes) -> str:
    return hashlib.blake2b(value, digest_size=16).hexdigest()
