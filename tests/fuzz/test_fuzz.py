"""The fuzz in the test suite: `FUZZ_INPUTS` inputs, its own determinism, and faults that it must find."""

import os
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from agents import pipeline
from agents.clients import metronome
from agents.clients.failures import Wait
from agents.delivery import Delivery
from agents.post import decision, documents, lookup
from agents.translate.translate import translate
from models.ledger import LEGAL_MOVES
from stream.intake import receiver
from stream.web import history

from .run import in_this_process, judge, over_processes, summary

INPUTS = int(os.environ.get("FUZZ_INPUTS", "5000"))
FIRST_SEED = 0
RUNS_MAX = 20
"""So many runs it may take to find a fault that was planted."""


def test_every_input_comes_to_an_end_that_is_meant() -> None:
    verdicts = list(in_this_process(FIRST_SEED, INPUTS))
    wrong, lines = summary(verdicts)
    assert not wrong, "\n".join([*wrong, *lines])
    assert sum(each.inputs.total() for each in verdicts) >= INPUTS
    inputs = {name for each in verdicts for name in each.inputs}
    ends = {name for each in verdicts for name in each.ends}
    told = {"answers of metronome", "answers of quickbooks", "answers of token"}
    assert {"webhook_requests", "records", *told} <= set(inputs), inputs
    assert {"posted", "updated", "unchanged", "parked", "refused", "skipped", "dead letters"} <= set(ends), ends


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Else nobody could repeat what was found."""
    elsewhere = list(over_processes(FIRST_SEED, 1))
    assert [(each.inputs, each.ends) for each in map(judge, [FIRST_SEED])] == [(elsewhere[0].inputs, elsewhere[0].ends)]


def _decoding_breaks(plant: pytest.MonkeyPatch) -> None:
    """What cannot be decoded is no dead letter."""
    plant.setattr(Delivery, "_decoded", lambda self, event: (self._decode(event.value), None))


def _any_total(plant: pytest.MonkeyPatch) -> None:
    """The total of an answer is not compared with what was sent."""
    plant.setattr(documents, "same_total", lambda found, resolved: True)


def _no_look_up(plant: pytest.MonkeyPatch) -> None:
    """What was attempted is not found, and sent again as another request."""

    async def nothing(*_: Any) -> None:
        return None

    numbers = count()
    plant.setattr(lookup, "_by_identity", nothing)
    plant.setattr(decision, "requestid", lambda *_, **__: f"{next(numbers):032x}")


def _lost_facts(plant: pytest.MonkeyPatch) -> None:
    """Facts that translate to a refusal leave no command."""

    def only_posts(*facts: Any, policy: Any) -> Any:
        commands = translate(*facts, policy=policy)
        return [each for each in commands if getattr(each, "decision", None) != "refused"]

    plant.setattr(pipeline, "translate", only_posts)


def _pages_break(plant: pytest.MonkeyPatch) -> None:
    """An outcome that speaks of an invoice and is none of its states."""
    plant.setattr(history, "_moved", lambda state, settled, step: step.state and LEGAL_MOVES[step.state] and step.state)


def _any_signature(plant: pytest.MonkeyPatch) -> None:
    plant.setattr(receiver, "verify", lambda secrets, headers, body, **_: headers.get("X-Metronome-Date", ""))


def _waits_for_ever(plant: pytest.MonkeyPatch) -> None:
    """Whatever Metronome says no to is asked for again, however often."""
    plant.setattr(metronome, "_failure", lambda answer: Wait("not now"))


PLANTED: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    _decoding_breaks: "the worker ended",
    _any_total: "a wrong total was believed",
    _no_look_up: "documents in",
    _lost_facts: "has no end",
    _pages_break: "the pages' index ended",
    _any_signature: "it recorded what was not signed",
    _waits_for_ever: "never handled",
}
"""Faults, and what the fuzz says when it finds one."""


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__.strip("_"))
def test_a_planted_fault_is_found(
    planted: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch)
    for seed in range(FIRST_SEED, FIRST_SEED + RUNS_MAX):
        if any(PLANTED[planted] in each for each in judge(seed).wrong):
            return
    pytest.fail(f"not found in {RUNS_MAX} runs")
