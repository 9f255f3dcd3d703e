"""IPAM, the pure core: facts, orders and time in, decisions about addresses out.

`evolve(state, event, seq)` folds an event, `decide(state)` returns the decisions that have to be published
now, and `wake(state)` the time at which to ask again though nothing happened. No clock, no I/O, no
randomness.
"""

from romana_bus.events import Settings
from romana_bus.ipam.allocate.context import Decision
from romana_bus.ipam.allocate.decide import decide, parts
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.state import State, Tick, refusals, wake
from romana_bus.ipam.topology.document import BadTopology, parse

__all__ = [
    "BadTopology",
    "Decision",
    "Settings",
    "State",
    "Tick",
    "decide",
    "evolve",
    "parse",
    "parts",
    "refusals",
    "wake",
]
