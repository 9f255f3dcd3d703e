"""`romana-bus ipam release`: what a node that is gone for good still holds, is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.connect import open_store
from romana_bus.bus.tail import ROLES
from romana_bus.cli.common import console
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.consumers.audit import done, order
from romana_bus.errors import BadInput
from romana_bus.events import AddressDisowned, SandboxRemoved
from romana_bus.ipam import State
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.model.uids import text_of

#: Seconds that it may take to be carried out, before it is said that nobody does.
CARRIED_OUT_WITHIN = 5.0
REASON = "an operator says that its node is gone"


def release(node: str, /, *, store: Store = Store(), output: Output = Output()) -> None:
    """Give back all that a node which is gone still holds.

    A node object that goes takes nothing from pods that the API server still shows on it: their addresses,
    the node's blocks and the routes to them stay until those pods are gone. This says that they are.

    Parameters
    ----------
    node
        Name of the node. Refused while the API server shows it.
    """
    run(_release(node, store, output), output)


async def _release(node: str, store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "ipam release", ROLES, looking=True) as opened:
        wanted = orders(await ipam_state(opened), node)
        await order(opened, wanted)
        left = await _left(opened, wanted)
    if output.json:
        console.as_json({"node": node, "ordered": [_brief(one) for one in wanted], "pending": left})
        return
    for one in wanted:
        held = f"{', '.join(one.addresses)} of " if isinstance(one, AddressDisowned) else "the sandbox of "
        console.console.print(f"released: {held}{one.namespace}/{one.name}")
    if not wanted:
        console.console.print(f"{node} holds no address of a pod")
    if left:
        console.hint(f"{console.many(left, 'order')} not carried out yet: does `romana-bus run ipam` run?")


def orders(state: State, node: str) -> list[AddressDisowned | SandboxRemoved]:
    """For each pod that still has addresses there, or whose kubelet has asked for one. Raises BadInput."""
    host = state.hosts.get(node)
    asked = [(key, nodes[node]) for key, nodes in sorted(state.sandboxes.items()) if node in nodes]
    if host is None and not asked:
        near = console.meant(sorted(name for name in state.hosts if node in name or name in node))
        raise BadInput(f"{node}: no such node has anything{near}")
    if host is not None and host.seen:
        raise BadInput(f"{node}: the API server shows this node: delete it there first")
    wanted: list[AddressDisowned | SandboxRemoved] = []
    for key, record in sorted(host.records.items()) if host else ():
        if record.block is not None:
            namespace, name = pod_order(key)
            wanted.append(
                AddressDisowned(
                    namespace=namespace, name=name, uid=record.uid, node=node, addresses=record.addresses,
                    reason=REASON, absent=True, covers=state.facts,
                )
            )  # fmt: skip
    for key, box in asked:
        namespace, name = pod_order(key)
        wanted.append(
            SandboxRemoved(node=node, namespace=namespace, name=name, uid=text_of(box.ident), sandbox="")
        )
    return wanted


async def _left(store: OpenStore, wanted: Sequence[AddressDisowned | SandboxRemoved]) -> int:
    """How many of the orders nobody has carried out within some seconds. Raises BusError."""
    left = [one for one in wanted if isinstance(one, AddressDisowned)]
    until = asyncio.get_running_loop().time() + CARRIED_OUT_WITHIN
    while left := [one for one in left if not await done(store, one)]:
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.1)
    return len(left)


def _brief(one: AddressDisowned | SandboxRemoved) -> dict[str, Any]:
    return {"subject": one.subject(), "event": one}
