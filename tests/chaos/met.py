"""The trouble that a run met, counted: a simulation in which nothing happens proves nothing."""

from collections import Counter

from . import oddities, policies
from .disaster import SHARES as DISASTERS
from .nemesis import REQUESTID_MEMORIES
from .network import FAULTS, REFUSING
from .scene import MANY_MIN
from .stops import MOMENTS
from .world import World

EDITS = ("delete", "void", "edit")

EVERY = (
    *(f"{to} {fault}" for to, faults in FAULTS.items() for fault in faults),
    *(f"quickbooks {kind}" for kind in REFUSING),
    *DISASTERS,
    *(f"stopped: {moment}" for moment in dict.fromkeys(MOMENTS)),
    *("went on", "went on beside its successor"),
    *("kill -9", "rebalance", "given up by its group", "cut off", "clock jump"),
    *(f"requestids remembered: {memory}" for memory in REQUESTID_MEMORIES),
    *("queries some seconds behind", "records that land twice", "metronome poison", "poison that never heals"),
    *("early webhook", "void in Metronome", "regenerated", "replay", "redrive", "rerouting", "connected anew"),
    *("customer mapped unasked", "item mapped unasked"),
    *(f"{edit} by a person in QuickBooks" for edit in EDITS),
    *oddities.EVERY,
    *policies.EVERY,
    *("batches", "fifty invoices and more"),
)
"""All that a thousand seeds must meet."""


def met(world: World) -> Counter[str]:
    """How often each of `EVERY` happened in this run; what is of the whole run counts once."""
    plan, people = world.plan, world.people
    found = Counter(world.network.injected)
    found.update(world.cluster.happened)
    found.update(people.happened)
    if world.network.oddities is not None:
        found.update(world.network.oddities.happened)
    found["kill -9"] += len(world.cluster.kills)
    found["connected anew"] += people.reconnects
    found["early webhook"] += people.early
    found.update(f"{edit} by a person in QuickBooks" for edits in people.meddled.values() for edit in edits)
    found[f"requestids remembered: {plan.memory}"] += 1
    found.update(policies.told(people.policy))
    of_the_run = {
        "queries some seconds behind": plan.query_lag_seconds > 0,
        "records that land twice": plan.repeats > 0,
        "batches": world.installation.batches[0] > 1,
        "poison that never heals": not world.poison_heals,
        "fifty invoices and more": len(world.metronome.invoices) >= MANY_MIN,
    }
    found.update(name for name, happened in of_the_run.items() if happened)
    return found
