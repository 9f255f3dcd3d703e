"""The decider of IPAM: reads nodes and pods, and decides their places and addresses.

Reads SPEC (the topology), KUBE (nodes, pods, and whether their listing is complete), the sandbox requests of
NODE, and its own decisions. Writes the stream IPAM while it leads. Recovers by folding the tables again.
"""

from __future__ import annotations

from romana_bus.events import IPAM, KUBE, NODE, SPEC
from romana_bus.ipam import Settings, State, Tick, evolve, parts, refusals, wake
from romana_bus.runtime.consumer import Decider
from romana_bus.runtime.feed import Read

#: NODE comes last: a removed sandbox counts only where its pod still has a record.
READS = (
    Read(SPEC, only=("spec.topology", "spec.reserve.", "spec.disowned.")),
    Read(KUBE, only=("kube.node.", "kube.pod.", "kube.synced.")),
    Read(IPAM),
    Read(NODE, "node.*.cni.>"),
)


def decider(settings: Settings) -> Decider[State]:
    """The IPAM decider for `runtime.consumer`: it folds READS into a State with `evolve`, and publishes the
    events of `parts` on the stream IPAM. `settings`: see `ipam.Settings`."""
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
    """After the loss of KUBE, no decisions are taken before the watcher has listed everything again."""
    if role == KUBE:
        state.synced.clear()


def fresh(settings: Settings, now: int) -> State:
    """An empty state at the time `now` (µs), so that cooldowns that are over are not kept."""
    state = State(settings)
    evolve(state, Tick(now))
    return state
