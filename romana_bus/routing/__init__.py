"""The routes that a node should have, and the delta to those that its kernel has. Pure.

`State` is folded from the map of hosts and blocks; `Kernel` is what the node's kernel has of ours. `derive`
keeps the desired routes up to date, and `plan` gives the `Delta` between them and the kernel's. Only the
kernel knows which address is on-link: the caller asks it, and its answers are data here.
"""

from __future__ import annotations

from romana_bus.routing.routes.delta import Delta
from romana_bus.routing.routes.desired import derive
from romana_bus.routing.routes.guard import Guard, Network
from romana_bus.routing.routes.installed import Kernel
from romana_bus.routing.routes.plan import plan, plan_removal, plan_withdrawal
from romana_bus.routing.routes.state import Address, Host, State, evolve
from romana_bus.routing.routes.summary import refused, standing

__all__ = [
    "Address", "Delta", "Guard", "Host", "Kernel", "Network", "State", "derive", "evolve", "plan",
    "plan_removal", "plan_withdrawal", "refused", "standing",
]  # fmt: skip
