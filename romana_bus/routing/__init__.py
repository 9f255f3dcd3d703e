"""The routes that a node should have, and the delta to those that its kernel has. Pure.

`State` is folded from the map of hosts and blocks; `Kernel` is what the node's kernel has of ours; `plan`
gives the `Delta` between them. Only the kernel knows which address is on-link: the caller asks it, and its
answers are data here.
"""

from __future__ import annotations

from romana_bus.routing.routes.delta import Delta
from romana_bus.routing.routes.installed import Kernel
from romana_bus.routing.routes.plan import plan
from romana_bus.routing.routes.state import Address, Host, State, evolve
from romana_bus.routing.routes.summary import standing

__all__ = ["Address", "Delta", "Host", "Kernel", "State", "evolve", "plan", "standing"]
