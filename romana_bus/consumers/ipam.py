"""The decider of IPAM: reads nodes and pods, and decides their places and addresses.

Reads SPEC (the topology), KUBE (nodes, pods, and whether their listing is complete), from NODE the sandbox
requests and what nodes live on, and its own decisions. Writes the stream IPAM while it leads, and settings on
SPEC where there are none. Recovers by folding the tables again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from romana_bus.bus.api import Refused, WrongSequence
from romana_bus.events import IPAM, KUBE, NODE, SETTINGS, SPEC, Settings, SettingsChanged, codec, token
from romana_bus.ipam import State, Tick, evolve, parts, refusals, wake
from romana_bus.runtime.consumer import Decider
from romana_bus.runtime.feed import Read, outgoing

if TYPE_CHECKING:
    from collections.abc import Collection

    from romana_bus.bus.api import Store

log = structlog.get_logger(__name__)

#: NODE comes last: a removed sandbox counts only where its pod still has a record.
READS = (
    Read(SPEC, only=("spec.topology", SETTINGS, "spec.reserve.", "spec.disowned.")),
    Read(KUBE, only=("kube.node.", "kube.pod.", "kube.synced.")),
    Read(IPAM),
    Read(NODE, matching=re.compile(r"node\.[^.]+\.(cni\.|network$)")),
)

#: What agents write on NODE, whatever else is there. `-` is no node.
OF_AGENTS = re.compile(r"node\.(?!-\.)(?P<node>[^.]+)\.(cni|network|node|routes|refused)(\.|$)")

#: The command that an error names.
CHANGE = "romana-bus ipam settings set"


def decider(settings: Settings, given: Collection[str] = ()) -> Decider[State]:
    """The IPAM decider for `runtime.consumer`: it folds READS into a State with `evolve`, and publishes the
    events of `parts` on the stream IPAM. `settings`: those that it writes if none are on the log. `given`:
    the names of those for which it warns if the log has another value."""
    seed = Seed(settings, given)
    return Decider(
        name="ipam",
        writes=IPAM,
        reads=READS,
        initial=lambda: State(settings),
        evolve=evolve,
        tick=seed.tick,
        decide=parts,
        wake=wake,
        refused=refusals,
        lost=_lost,
        unneeded=_unneeded,
        prepare=seed.prepare,
    )


def _lost(state: State, role: str) -> None:
    """After the loss of KUBE, no decisions are taken before the watcher has listed everything again."""
    if role == KUBE:
        state.synced.clear()


def _unneeded(state: State, role: str, subjects: list[str]) -> list[str]:
    """What agents of nodes reported that are gone, and so cannot take it back themselves."""
    if role != NODE or state.obstacle:
        return []
    known = {token(host.name) for host in state.hosts.values() if host.stands}
    return [
        subject for subject in subjects
        if (match := OF_AGENTS.match(subject)) and match["node"] not in known
    ]  # fmt: skip


def fresh(now: int) -> State:
    """An empty state at the time `now` (µs), so that cooldowns that are over are not kept."""
    state = State()
    evolve(state, Tick(now))
    return state


# --- settings -----------------------------------------------------------------------------------------


class Seed:
    """The options of this process: they count only until settings are on the log. `settings`: the options.
    `given`: the names of those that were given explicitly."""

    def __init__(self, settings: Settings, given: Collection[str] = ()) -> None:
        self.settings, self._given = settings, given
        self._compared = 0

    def tick(self, state: State, now: int) -> None:
        """Moves the time forward, and compares the options with settings that are new on the log."""
        evolve(state, Tick(now))
        if state.settings_seq != self._compared:
            self._compared = state.settings_seq
            self._compare(state.settings)

    def _compare(self, stored: Settings) -> None:
        for name, (option, value) in differing(self.settings, stored).items():
            if name in self._given:
                log.warning(
                    "an option differs from the settings on the log, which count",
                    setting=name, option=option, log=value, change=CHANGE,
                )  # fmt: skip

    async def prepare(self, store: Store, state: State) -> None:
        """Called by the leader before its first decision: if no settings are on the log, it writes its own.
        Raises BusError."""
        if state.settings_seq:
            return
        event = SettingsChanged(settings=self.settings)
        try:
            seq = await put(store, event, 0)
        except WrongSequence:  # somebody has just written them, and they have not arrived here yet
            newest = await store.newest(SPEC, SETTINGS)
            stored = codec.decode(newest.body) if newest else None
            if newest and isinstance(stored, SettingsChanged):
                evolve(state, stored, newest.seq)
        except Refused as error:
            log.warning("settings cannot be written: own options count", why=str(error), change=CHANGE)
        else:
            evolve(state, event, seq)


async def put(store: Store, event: SettingsChanged, after: int) -> int:
    """Writes the settings; returns their sequence. `after`: the sequence of those that they replace; 0 for
    none. Raises WrongSequence, BusError."""
    return await store.publish(SPEC, outgoing(event, "", store.clock.now(), store.history), after)


def differing(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """Name -> both values, of the settings that differ."""
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}
