"""What can happen to a run, and what of it is given to a tool a second time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PLAIN, MINDFUL = 0, 1
"""The companies: one that takes a number twice, and one that refuses it (a preference of the company)."""

Fault = Mapping[str, Any]
Change = Literal["", "rerouted", "voided", "regenerated", "finalized"]
"""What happens to the first five invoices (rerouted: to all) between two runs.

They belong to the other company now; somebody deletes their documents in QuickBooks, and Metronome voids them, or voids
and regenerates them; or they were drafts in the first run, and Metronome finalizes them.
"""


@dataclass(frozen=True)
class Scenario:
    """`story` tells a reader what is done. `faults` are those of the simulator. `again`: which invoices a tool is given
    a second time: none, those that it reported as failed, or all. `later_seconds` pass in between, and `change`
    happens. `ours_only` says why the libraries' loops have no part in it."""

    name: str
    story: str
    faults: tuple[Fault, ...] = ()
    again: Literal["", "failed", "all"] = ""
    later_seconds: int = 0
    company: int = PLAIN
    without_item: bool = False
    change: Change = ""
    ours_only: str = ""

    @property
    def strikes(self) -> int:
        """How many requests the faults spoil."""
        return sum(each["count"] for each in self.faults)


def _some_creates(kind: str, **more: Any) -> Fault:
    """Five of the creates, the same ones for each tool that sends them in the same order."""
    some = {"path_contains": "/invoice", "method": "POST", "probability": 0.25, "seed": 3, "count": 5}
    return {"kind": kind, **some, **more}


_RULE = {
    "Message": "A business validation error has occurred while processing your request",
    "Detail": "Business Validation Error: the transaction could not be saved at this moment.",
    "code": "6000",
    "element": "",
}
_RULE_BODY = json.dumps({"Fault": {"Error": [_RULE], "type": "ValidationFault"}})
_LOST = _some_creates("drop", after_commit=True)
TWO_DAYS_SECONDS = 172_800

SCENARIOS = (
    Scenario("clean", "Nothing goes wrong; one run."),
    Scenario("same input twice", "The whole input is given again.", again="all"),
    Scenario(
        "same input twice, numbers are refused",
        "As before, in a company with the preference that warns of a number that was used.",
        again="all",
        company=MINDFUL,
    ),
    Scenario(
        "answer lost, failed ones again",
        "Five creates are done and their answers never arrive; then what failed is given again.",
        (_LOST,),
        again="failed",
    ),
    Scenario(
        "answer lost, whole input again",
        "Five creates are done and their answers never arrive; then everything is given again.",
        (_LOST,),
        again="all",
    ),
    Scenario(
        "429 in the middle",
        "Five creates are refused for their speed, in QuickBooks' XML; then what failed is given again.",
        (_some_creates("status", status=429),),
        again="failed",
    ),
    Scenario(
        "500 before commit",
        "Five creates end with 500 and are not done; then what failed is given again.",
        (_some_creates("status", status=500),),
        again="failed",
    ),
    Scenario(
        "500 after commit",
        "Five creates end with 500 and are done; then what failed is given again.",
        (_some_creates("status", status=500, after_commit=True),),
        again="failed",
    ),
    Scenario(
        "cut-off answer",
        "Five creates are done and half of each answer arrives; then what failed is given again.",
        (_some_creates("truncated"),),
        again="failed",
    ),
    Scenario(
        "a proxy's page",
        "Five creates are not done, and answered by something on the way with a page in HTML and status 200; then what "
        "failed is given again.",
        (_some_creates("html", status=200),),
        again="failed",
    ),
    Scenario(
        "a proxy's 403",
        "Five creates are done, and answered by something on the way with a page in HTML and status 403; then what "
        "failed is given again.",
        (_some_creates("html", status=403, after_commit=True),),
        again="failed",
    ),
    Scenario(
        "6000 once",
        "One create is refused with QuickBooks' general business rule; then what failed is given again.",
        (_some_creates("status", status=400, body=_RULE_BODY, count=1),),
        again="failed",
    ),
    Scenario("unknown item", "One item was made inactive in QuickBooks; one run.", without_item=True),
    Scenario(
        "token expiry",
        "The access token ends in the middle of the run; then what failed is given again.",
        (_some_creates("expire-token", count=1),),
        again="failed",
    ),
    Scenario(
        "same input twice, two days later",
        "The whole input is given again when the simulator has forgotten the request ids, which it keeps for a day.",
        again="all",
        later_seconds=TWO_DAYS_SECONDS,
    ),
    Scenario(
        "routing changed",
        "The configuration names another company, and the whole input is given again; the books of both are counted.",
        again="all",
        change="rerouted",
    ),
    Scenario(
        "deleted, then regenerated",
        "A person deletes five documents in QuickBooks, and Metronome voids these invoices and regenerates them; then "
        "the five new ones are given.",
        again="failed",
        change="regenerated",
    ),
    Scenario(
        "deleted, then voided",
        "A person deletes five documents in QuickBooks, and Metronome voids these invoices.",
        again="failed",
        change="voided",
        ours_only="they create invoices, and nothing tells them of a void: Metronome sends no webhook for one.",
    ),
    Scenario(
        "early webhook",
        "Metronome still says that five invoices are drafts when their webhooks come, and finalizes them afterwards "
        "without another webhook.",
        change="finalized",
        ours_only="they are given finalized invoices, and do not ask Metronome.",
    ),
)
