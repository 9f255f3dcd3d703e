"""The lookup of one pod or one address: `ipam show --pod`, `--ip`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.cli.common import console
from romana_bus.cli.common.causes import chain, print_chain, subject
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.ipam.node import print_cooling
from romana_bus.errors import BadInput
from romana_bus.inet import parse_address
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.report import lookup, views
from romana_bus.ipam.topology.pinned_limits import duration_text

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.ipam import State
    from romana_bus.ipam.report.lookup import AddressView


def check(pod: str | None, ip: str | None) -> None:
    """Raises BadInput if the text cannot be a pod or an address."""
    if pod is not None and not re.fullmatch("[^/]+/[^/]+", pod):
        raise BadInput(f"--pod {pod}: write NAMESPACE/NAME, such as default/web-0")
    try:
        parse_address("::" if ip is None else ip)
    except ValueError:
        raise BadInput(f"--ip {ip}: not an IP address; write one such as 10.20.0.7 or fd00::7") from None


async def pod(store: Store, state: State, key: str) -> dict[str, Any]:
    """What is known of the pod, with the events that led to it. Raises BadInput."""
    namespace, name = pod_order(key)
    records, seen = views.pod(state, namespace, name), state.pods.get(key)
    requested = sorted(state.sandboxes.get(key, ()))
    if not records and seen is None and not requested:
        near = console.meant(sorted(other for other in state.pods if _is_similar(other, namespace, name)))
        raise BadInput(f"--pod {key}: the API has no such pod, and no pod of that name has an address{near}")
    return {
        "pod": key,
        "in_api": seen is not None,
        "node": seen.node if seen else "",
        "sandboxes": requested,
        "wants_none": seen.unfit if seen else "",
        "on": [
            msgspec.to_builtins(record)
            | {
                "held": [_placed(state, address) for address in record.addresses],
                "events": await chain(store, subject(record)),
            }
            for record in records
        ],
        "obstacle": state.obstacle,
    }


def _is_similar(other: str, namespace: str, name: str) -> bool:
    other_namespace, other_name = pod_order(other)
    alike = other_name.startswith(name) or name.startswith(other_name)
    return other_name == name or (other_namespace == namespace and alike)


def _placed(state: State, text: str) -> dict[str, Any]:
    view = lookup.address(state, text)
    return {"address": text, "network": view.network, "group": view.group, "block": view.block}


def print_pod(pod: dict[str, Any]) -> None:
    console.section(f"pod {pod['pod']}{_where(pod)}")
    if pod["wants_none"] and not any(record["addresses"] for record in pod["on"]):
        console.hint(f"It gets no address: {pod['wants_none']}.")
        console.console.print()
    elif not pod["on"]:
        obstacle = pod["obstacle"] or "`up` or `run ipam` has not read it yet"
        console.hint(f"Nothing was decided for it yet: {obstacle}.")
        console.console.print()
    for record in pod["on"]:
        if record["code"]:
            console.section("without an address", Text(record["reason"], "red"))
        since = console.when(record["events"][0]["time"]) if record["events"] else ""
        for held in record["held"]:
            console.section(
                f"address {held['address']}",
                console.pairs(
                    {
                        "network": held["network"],
                        "group": held["group"],
                        "block": held["block"],
                        "node": record["node"],
                        "since": since,
                        "kept": _kept(record),
                    }
                ),
            )
        print_cooling([msgspec.convert(record, views.PodView)])
        print_chain(record["events"])


def _kept(record: dict[str, Any]) -> str:
    """For how long the address is kept after the pod is gone, with what was requested if that was more."""
    kept, requested = record["retention"], record["requested_retention"]
    if not max(kept, requested):
        return ""
    text = f"for {duration_text(kept)} after the pod is gone" if kept else "no longer than its cooldown"
    return text + (f" (requested: {duration_text(requested)})" if requested > kept else "")


def _where(pod: dict[str, Any]) -> str:
    """The node of the pod: by the API, or else by the kubelets that requested a sandbox for it."""
    if pod["in_api"]:
        return f"  on {pod['node']}" if pod["node"] else ""
    if pod["sandboxes"]:
        return f"  on {', '.join(pod['sandboxes'])} (not in the API: its kubelet runs it)"
    return "  (not in the API any more)"


async def ip(store: Store, state: State, text: str) -> dict[str, Any]:
    """What is known of the address, with the events that led to it."""
    address = lookup.address(state, text)
    events = []
    if address.pod:
        records = views.pod(state, *pod_order(address.pod))
        owner = next(record for record in records if record.node == address.pod_node)
        events = await chain(store, subject(owner))
    fields: dict[str, Any] = msgspec.to_builtins(address)
    return fields | {"events": events}


def print_ip(address: dict[str, Any]) -> None:
    view = msgspec.convert(address, lookup.AddressView)
    console.console.print(Text.assemble((f"address {view.address}  ", "bold"), _state(view)), "", sep="\n")
    rows = {
        "network": view.network,
        "group": f"{view.group}  {view.prefix}" if view.group else "",
        "block": f"{view.block}, of {view.node or 'no node'}" if view.block else "",
        "reserved": f"by {view.reserved}" if view.reserved else "",
        "node": view.of_node,
        "since": console.when(address["events"][0]["time"]) if address["events"] else "",
    }
    if view.network:
        console.console.print(console.pairs(rows), "", sep="\n")
    print_chain(address["events"])


def _state(view: AddressView) -> str:
    match view.state:
        case lookup.USED:
            draining = ", which keeps it until it is gone: the range is reserved" if view.reserved else ""
            return f"in use by pod {view.pod} on {view.pod_node}{draining}"
        case lookup.COOLING:
            return (
                f"cools down until {console.when(view.until)}; pod {view.pod} on {view.pod_node} had it last"
            )
        case lookup.RESERVED:
            return f"{f'reserved by {view.reserved}' if view.reserved else view.of_node}: not assigned"
        case lookup.KEPT:
            return "in no group that takes nodes: kept for later groups"
        case lookup.OUTSIDE:
            return "outside every network"
    return "free"
