"""An event as one short sentence for a person."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from romana_bus import events as ev

if TYPE_CHECKING:
    from romana_bus.bus.api import Message
    from romana_bus.events import Event


def clock(time: int) -> str:
    """Local time with milliseconds of µs since the epoch; blanks for 0."""
    if not time:
        return " " * 12
    return f"{datetime.fromtimestamp(time / 1e6):%H:%M:%S.%f}"[:-3]  # noqa: DTZ006  a person's clock


def line(role: str, message: Message, event: Event) -> str:
    """`14:03:12.345  IPAM/17  AddressAssigned  web/api-0 gets 100.64.0.3 on n1  (KUBE/12)`"""
    cause = f"  ({message.cause})" if message.cause else ""
    place = f"{role}/{message.seq}"
    return f"{clock(message.stored)}  {place:<11} {type(event).__name__:<16} {sentence(event)}{cause}"


def short_line(message: Message, event: Event) -> str:
    """`14:03:12  AddressAssigned  web/api-0 gets 100.64.0.3 on n1`"""
    return f"{clock(message.stored)[:8]}  {type(event).__name__:<16} {sentence(event)}"


def sentence(event: Event) -> str:
    """What an event says, without its type."""
    match event:
        case ev.NodeSeen():
            zone = event.labels.get("topology.kubernetes.io/zone", "")
            return " ".join(filter(None, [event.name, ", ".join(event.addresses), zone and f"in {zone}"]))
        case ev.PodSeen():
            where = f"on {event.node}" if event.node else "not scheduled"
            network = ", host network" if event.host_network else ""
            static = ", static" if event.static else ""
            return f"{event.namespace}/{event.name} {event.phase or 'unknown'}, {where}{network}{static}"
        case ev.ObjectSeen() | ev.ObjectGone():
            return f"{event.resource} {event.key().lstrip('/')}"
        case ev.Fact():
            return event.key().lstrip("/")
        case ev.ResourceListing():
            return f"{event.resource}: {event.reason}"
        case ev.ResourceSynced():
            return f"{event.resource}: {event.count} at version {event.resource_version}"
        case ev.TopologySet():
            return f"networks {networks(event.document)}"
        case ev.SettingsChanged():
            return ", ".join(f"{name} {value}" for name, value in asdict(event.settings).items())
        case ev.RangeReserved() | ev.RangeUnreserved():
            return event.cidr
        case ev.AddressDisowned():
            pod = f"{event.namespace}/{event.name} on {event.node}"
            return f"{', '.join(event.addresses)} of {pod}: {event.reason}"
        case ev.ListingAsked():
            return f"{event.resource}: {event.reason}"
        case ev.LeaderElected():
            return f"{event.holder} writes {event.stream} in term {event.term}"
        case ev.MessagesParked():
            newest = "".join(
                f"; {parked.stream}/{parked.seq}: {parked.reason}" for parked in event.parked[-1:]
            )
            return f"{event.consumer} cannot use {event.count} messages{newest}"
        case ev.ForeignWriteSeen():
            return f"a writer that is not its leader wrote {event.stream}/{event.seq}, {event.written}"
        case ev.Report():
            return _report(event)
        case ev.SandboxRequested():
            return f"{event.namespace}/{event.name} starts on {event.node} in sandbox {event.sandbox[:12]}"
        case ev.SandboxRemoved():
            return f"{event.namespace}/{event.name} on {event.node}: sandbox {event.sandbox[:12]} is gone"
        case _:
            return _decision(event)


def _decision(event: Event) -> str:
    match event:
        case ev.TopologyAccepted():
            return f"networks {networks(event.document)}" if event.document else "none: the default network"
        case ev.GroupOpened():
            return f"{event.prefix} of network {event.network} for {event.group}"
        case ev.HostPlaced():
            places = ", ".join(f"{placement.group} {placement.prefix}" for placement in event.placements)
            return f"{event.node} in {places}" + (f"; {event.lacks}" if event.lacks else "")
        case ev.HostDenied():
            return f"{event.node}: {event.reason}"
        case ev.HostRemoved():
            return event.node
        case ev.BlockAssigned():
            owner = "" if event.tenant == "*" else f" for {event.tenant}/{event.segment}"
            return f"{event.block} to {event.node}{owner}"
        case ev.BlockReleased():
            return f"{event.block} by {event.node}"
        case ev.AddressAssigned():
            addresses = ", ".join(assigned.address for assigned in event.addresses)
            shorter = f"; kept for a shorter time than requested: {event.reason}" if event.reason else ""
            return f"{event.namespace}/{event.name} gets {addresses} on {event.node}{shorter}"
        case ev.AddressDenied():
            return f"{event.namespace}/{event.name} on {event.node}: {event.reason}"
        case ev.AddressReleased():
            addresses = ", ".join(cooling.address for cooling in event.cooling)
            released = f" releases {addresses}" if addresses else ""
            return f"{event.namespace}/{event.name}{released}: {event.reason}"
        case _:
            return event.subject()


def _report(event: ev.Report) -> str:
    covers = ", ".join(f"{role}/{seq}" for role, seq in sorted(event.covers.items())) or "nothing"
    reporter = f"{event.consumer} on {event.node}"
    if isinstance(event, ev.ApplyFailed):
        return f"{reporter}, attempt {event.attempt}: {event.error}"
    match event:
        case ev.Audited():
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(event.findings.items()))
            return f"{reporter} found {counts or 'nothing'}; corrected {event.repaired}"
        case ev.Wired():
            return f"{reporter} up to {covers}: {len(event.addresses)} addresses in the kernel"
        case ev.AgentUninstalled():
            return f"{reporter}: the agent was uninstalled"
        case ev.NodeNetwork():
            parts = {
                "addresses": event.addresses, "connected": event.connected,
                "gateways": event.gateways, "log and API server": event.reached,
            }  # fmt: skip
            lives = "; ".join(f"{name} {', '.join(values)}" for name, values in parts.items() if values)
            return f"{reporter} lives on {lives or 'nothing'}"
        case ev.NodeChecked():
            return f"{reporter} says: {'; '.join([*event.problems, *event.notes]) or 'all well'}"
        case ev.Applied():
            changes = numbers({"changes": event.changes}) or "no change"
            return f"{reporter} up to {covers}: {'; '.join(filter(None, [changes, numbers(event.standing)]))}"
    return f"{reporter} up to {covers}"


def numbers(standing: dict[str, int]) -> str:
    """`12 routes, 3 nexthops`: the numbers that are not 0."""
    return ", ".join(f"{number:,} {name}" for name, number in standing.items() if number)


def networks(document: dict[str, Any]) -> str:
    """The names of the networks in a topology document, which may be any JSON."""
    value = document.get("networks")
    listed = value if isinstance(value, list) else []
    names = [str(network.get("name")) for network in listed if isinstance(network, dict)]
    return ", ".join(names) or "without a name"
