"""Whether this machine's clock is right, by the clocks of both vendors.

With a wrong one tokens are refreshed too late, ages of records are wrong, and dates may be.
"""

import time
from email.utils import parsedate_to_datetime

import structlog

from agents.clients.transport import AnswerLost, NotSent, Transport

log = structlog.get_logger()

WRONG_SECONDS = 60.0
"""A clock that is kept by NTP is never that wrong; an answer's Date is in whole seconds, and some older than it."""
ANSWER_SECONDS_MAX = 5.0


async def say_if_clock_is_wrong(transport: Transport, urls: tuple[str, ...]) -> float | None:
    """By how many seconds this clock is ahead of the first vendor that answers; None when none does. Never raises."""
    for url in urls:
        try:
            answer = await transport("HEAD", url, headers={}, timeout_seconds=ANSWER_SECONDS_MAX)
            theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (NotSent, AnswerLost, KeyError, ValueError):
            continue
        ahead = time.time() - theirs
        if abs(ahead) > WRONG_SECONDS:
            remedy = "set this machine's clock, by NTP; tokens, ages and dates go by it"
            log.warning("clock_is_wrong", seconds_ahead=round(ahead), by_the_clock_of=url, remedy=remedy)
        return ahead
    return None
