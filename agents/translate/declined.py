"""Nothing is posted, and why: the exception by which any rule of `translate` ends it."""

from typing import Literal


class Declined(Exception):
    """The invoice is not posted: skipped by a policy, refused by a rule, or not decided yet. The message is the reason,
    a sentence."""

    def __init__(self, decision: Literal["skipped", "refused", "parked"], rule: str, reason: str) -> None:
        super().__init__(reason)
        self.decision = decision
        self.rule = rule
        self.reason = reason


def refused(rule: str, reason: str) -> Declined:
    return Declined("refused", rule, reason)


def skipped(rule: str, reason: str) -> Declined:
    return Declined("skipped", rule, reason)


def parked(rule: str, reason: str) -> Declined:
    return Declined("parked", rule, reason)
