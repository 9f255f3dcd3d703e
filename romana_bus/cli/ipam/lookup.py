"""One pod, one address: `ipam show --pod`, `--ip`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.events.causes import chain, print_chain, subject
from romana_bus.cli.ipam.node import print_cooling
from romana_bus.errors import BadInput
from romana_bus.inet import parse_address
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.report import lookup, views

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.ipam import State
    from romana_bus.ipam.report.lookup import AddressView


def check(pod: str | None, ip: str | None) -> None:
    """Raises BadInput for what could be neither."""
    if pod is not None and not re.fullmatch("[^/]+/[^/]+", pod):
        raise BadInput(f"--pod {pod}: write NAMESPACE/NAME, such as default/web-0")
    try:
        parse_address("::" if ip is None else ip)
    except ValueError:
        raise BadInput(f"--ip {ip}: not an IP address; write one such as 10.20.0.7 or fd00::7") from None


async def pod(store: Store, state: State, key: str) -> dict[str, Any]:
    """What is known of it, with what led to it. Raises BadInput."""
    namespace, name = pod_order(key)
    found, seen = views.pod(state, namespace, name), state.pods.get(key)
    asked = sorted(state.sandboxes.get(key, ()))
    if not found and seen is None and not asked:
        near = console.meant(sorted(other for other in state.pods if _near(other, namespace, name)))
        raise BadInput(f"--pod {key}: no such pod is in the API, and none of that name has an address{near}")
    return {
        "pod": key,
        "in_api": seen is not None,
        "node": seen.node if seen else "",
        "sandboxes": asked,
        "wants_none": seen.unfit if seen else "",
        "on": [
            msgspec.to_builtins(one)
            | {
                "held": [_placed(state, address) for address in one.addresses],
                "events": await chain(store, subject(one)),
            }
            for one in found
        ],
        "obstacle": state.obstacle,
    }


def _near(other: str, namespace: str, name: str) -> bool:
    where, what = pod_order(other)
    return what == name or (where == namespace and (what.startswith(name) or name.startswith(what)))


def _placed(state: State, text: str) -> dict[str, Any]:
    found = lookup.address(state, text)
    return {"address": text, "network": found.network, "group": found.group, "block": found.block}


def print_pod(found: dict[str, Any]) -> None:
    console.section(f"pod {found['pod']}{_where(found)}")
    if found["wants_none"] and not any(one["addresses"] for one in found["on"]):
        console.hint(f"It gets no address: {found['wants_none']}.")
        console.console.print()
    elif not found["on"]:
        obstacle = found["obstacle"] or "whoever decides (`up`, `run ipam`) has not come to it"
        console.hint(f"Nothing is decided about it yet: {obstacle}.")
        console.console.print()
    for one in found["on"]:
        if one["code"]:
            console.section("without an address", Text(one["reason"], "red"))
        since = console.when(one["events"][0]["time"]) if one["events"] else ""
        for held in one["held"]:
            console.section(
                f"address {held['address']}",
                console.pairs(
                    {
                        "network": held["network"],
                        "group": held["group"],
                        "block": held["block"],
                        "node": one["node"],
                        "since": since,
                    }
                ),
            )
        print_cooling([msgspec.convert(one, views.PodView)])
        print_chain(one["events"])


def _where(found: dict[str, Any]) -> str:
    """By the API, or else by the kubelets that have asked for it."""
    if found["in_api"]:
        return f"  on {found['node']}" if found["node"] else ""
    if found["sandboxes"]:
        return f"  on {', '.join(found['sandboxes'])} (not in the API: its kubelet runs it)"
    return "  (not in the API any more)"


async def ip(store: Store, state: State, text: str) -> dict[str, Any]:
    found = lookup.address(state, text)
    events = []
    if found.pod:
        owner = next(one for one in views.pod(state, *pod_order(found.pod)) if one.node == found.pod_node)
        events = await chain(store, subject(owner))
    told: dict[str, Any] = msgspec.to_builtins(found)
    return told | {"events": events}


def print_ip(found: dict[str, Any]) -> None:
    one = msgspec.convert(found, lookup.AddressView)
    console.console.print(Text.assemble((f"address {one.address}  ", "bold"), _standing(one)), "", sep="\n")
    rows = {
        "network": one.network,
        "group": f"{one.group}  {one.prefix}" if one.group else "",
        "block": f"{one.block}, of {one.node or 'nobody'}" if one.block else "",
        "reserved": f"by {one.reserved}" if one.reserved else "",
        "since": console.when(found["events"][0]["time"]) if found["events"] else "",
    }
    if one.network:
        console.console.print(console.pairs(rows), "", sep="\n")
    print_chain(found["events"])


def _standing(one: AddressView) -> str:
    match one.state:
        case lookup.USED:
            draining = ", which keeps it until it goes: the range is reserved" if one.reserved else ""
            return f"in use by pod {one.pod} on {one.pod_node}{draining}"
        case lookup.COOLING:
            return f"cools down until {console.when(one.until)}; pod {one.pod} on {one.pod_node} had it last"
        case lookup.RESERVED:
            return f"reserved by {one.reserved}: given to nobody"
        case lookup.KEPT:
            return "in no group that takes nodes: kept for groups to come"
        case lookup.OUTSIDE:
            return "outside every network"
    return "free"
