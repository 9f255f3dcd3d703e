"""The first decider: nodes and pods in, places in the topology and addresses out.

Reads SPEC (the topology), KUBE (nodes, pods, and whether their listing is complete), of NODE the sandboxes
that kubelets ask for, and what it has decided before. Owns the stream IPAM while it leads. Recovers by
folding the tables again.
"""

from __future__ import annotations

from romana_bus.events import IPAM, KUBE, NODE, SPEC
from romana_bus.ipam import Settings, State, Tick, evolve, parts, refusals, wake
from romana_bus.runtime.consumer import Decider
from romana_bus.runtime.feed import Read

#: NODE last: what was removed there is remembered only where something is left of it.
READS = (Read(SPEC), Read(KUBE), Read(IPAM), Read(NODE, "node.*.cni.>"))


def decider(settings: Settings) -> Decider[State]:
    return Decider(
        name="ipam",
        writes=IPAM,
        reads=READS,
        initial=lambda: State(settings),
        evolve=evolve,
        tick=lambda state, time: evolve(state, Tick(time)),
        decide=parts,
        wake=wake,
        refused=refusals,
        lost=_lost,
    )


def _lost(state: State, role: str) -> None:
    """What the API server shows is told anew: nothing is decided before that is complete."""
    if role == KUBE:
        state.synced.clear()


def fresh(settings: Settings, now: int) -> State:
    """An empty state that knows the time (µs): what is over when it is folded is not remembered at all."""
    state = State(settings)
    evolve(state, Tick(now))
    return state
