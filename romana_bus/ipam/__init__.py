"""Addresses by topology: the pure core. Facts, wishes and time in, decisions out.

`evolve(state, event, seq)` folds what happened, `decide(state)` says what has to be published now, and
`wake(state)` when to ask again though nothing happened. No clock, no I/O, no randomness.
"""

from romana_bus.ipam.allocate.context import Decision
from romana_bus.ipam.allocate.decide import decide, parts
from romana_bus.ipam.fold.evolve import evolve
from romana_bus.ipam.model.state import Settings, State, Tick, refusals, wake
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
