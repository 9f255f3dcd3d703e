"""Which routes a node should have, and what is to be changed for it. Pure.

`state` is folded from the map of hosts and blocks, `kernel` is what the node's kernel has, as far as it is
ours; `plan` gives the `Delta` between them. What is on-link only the kernel knows: it is asked outside, and
its answers are data here.
"""

from __future__ import annotations

from romana_bus.routing.routes.delta import Delta
from romana_bus.routing.routes.installed import Kernel
from romana_bus.routing.routes.plan import plan
from romana_bus.routing.routes.state import Address, Host, State, evolve
from romana_bus.routing.routes.summary import standing

__all__ = ["Address", "Delta", "Host", "Kernel", "State", "evolve", "plan", "standing"]
