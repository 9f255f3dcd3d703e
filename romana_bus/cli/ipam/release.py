"""`romana-bus ipam release`: releases the addresses of a node that is gone for good."""

from __future__ import annotations

from typing import Any

from romana_bus.bus.auth.permissions import OPERATE
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.ipam.orders import pending_orders
from romana_bus.consumers.audit import order
from romana_bus.errors import BadInput
from romana_bus.events import ROLES, AddressDisowned, SandboxRemoved
from romana_bus.ipam import State
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.model.uids import text_of

REASON = "an operator says that its node is gone"


def release(node: str, /, *, store: Store = Store(), output: Output = Output()) -> None:
    """Release everything that a deleted node still holds.

    When a node object is deleted, pods that the API server still shows on it keep
    their addresses: the node's blocks and the routes to them stay until those
    pods are gone. This command declares them gone.

    Parameters
    ----------
    node
        Name of the node. Refused while the API server shows the node.
    """
    run(_release(node, store, output), output)


async def _release(node: str, store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "ipam release", ROLES, who=OPERATE, looking=True
    ) as opened:
        wanted = orders(await ipam_state(opened), node)
        await order(opened, wanted)
        pending = await pending_orders(opened, wanted)
    if output.json:
        console.as_json(
            {"node": node, "ordered": [_brief(event) for event in wanted], "pending": len(pending)}
        )
        return
    for event in wanted:
        held = ", ".join(event.addresses) if isinstance(event, AddressDisowned) else "the sandbox"
        console.console.print(f"released: {held} of {event.namespace}/{event.name}")
    if not wanted:
        console.console.print(f"{node} has no address of a pod")
    if pending:
        console.hint(
            f"{console.many(len(pending), 'order')} not carried out yet: does `romana-bus run ipam` run?"
        )


def orders(state: State, node: str) -> list[AddressDisowned | SandboxRemoved]:
    """An order for each pod that has addresses or a sandbox request on the node. Raises BadInput."""
    host = state.hosts.get(node)
    requested = [(key, nodes[node]) for key, nodes in sorted(state.sandboxes.items()) if node in nodes]
    if host is None and not requested:
        near = console.meant(sorted(name for name in state.hosts if node in name or name in node))
        raise BadInput(f"{node}: no node of this name has an address or a sandbox request{near}")
    if host is not None and host.seen:
        raise BadInput(f"{node}: the API server shows this node: delete the node object first")
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
    for key, box in requested:
        namespace, name = pod_order(key)
        wanted.append(
            SandboxRemoved(node=node, namespace=namespace, name=name, uid=text_of(box.ident), sandbox="")
        )
    return wanted


def _brief(event: AddressDisowned | SandboxRemoved) -> dict[str, Any]:
    return {"subject": event.subject(), "event": event}
