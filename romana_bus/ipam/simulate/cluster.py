"""The hosts and addresses of a simulated cluster, and the hosts that its document lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.events import NodeGone, NodeSeen, PodGone, PodSeen
from romana_bus.inet import format_address, parse_address
from romana_bus.ipam.fold.facts import SEGMENT_LABEL

if TYPE_CHECKING:
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Listed


class OpError(Exception):
    """An operation that failed and changed nothing. `kind` is for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


#: An address that stands for those of another family: a document names one of each host. (RFC 5737, RFC 3849)
OTHER = ("192.0.2.1", "2001:db8::1")


class Node(NamedTuple):
    """A host. `ip`: its address, or ''; it has one of the other family too. `labels`: its newest ones. It was
    placed by those that it had then."""

    name: str
    ip: str
    labels: dict[str, str]

    def seen(self) -> NodeSeen:
        addresses = (self.ip, OTHER[":" not in self.ip]) if self.ip else ()
        return NodeSeen(
            resource_version="", uid=self.name, name=self.name, addresses=addresses, labels=self.labels
        )

    def gone(self) -> NodeGone:
        return NodeGone(resource_version="", uid=self.name, name=self.name)


class Allocation(NamedTuple):
    """A name with its addresses: a pod in the tenant's namespace. `serial`: its uid, since names are used
    again."""

    name: str
    host: str
    tenant: str
    segment: str
    serial: int
    addresses: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name

    @property
    def uid(self) -> str:
        return str(self.serial)

    def seen(self) -> PodSeen:
        return PodSeen(
            resource_version="", uid=self.uid, namespace=self.tenant, name=self.name, node=self.host,
            labels={SEGMENT_LABEL: self.segment} if self.segment else {},
        )  # fmt: skip

    def gone(self) -> PodGone:
        return PodGone(resource_version="", uid=self.uid, namespace=self.tenant, name=self.name)


def canonical(text: str) -> str:
    """The usual form of an address; '' for a text that is not an address."""
    try:
        return format_address(*parse_address(text))
    except ValueError:
        return ""


def listings(topology: Topology) -> dict[str, Listed]:
    """Returns the hosts that the document lists, each as it is listed first."""
    listed: dict[str, Listed] = {}
    for leaf in topology.leaves:
        for host in leaf.hosts:
            listed.setdefault(host.name, host)
    return listed


def unlisted(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the document, which has to be valid, without the first listing of `name` in each map."""
    maps = [{**entry, "map": _without(entry["map"], name)} for entry in document["topologies"]]
    return {**document, "topologies": maps}


def _without(entries: list[Any], name: str) -> list[Any]:
    """Returns the same list where `name` is not in it."""
    for place, entry in enumerate(entries):
        if "ip" in entry:
            if entry["name"] == name:
                return entries[:place] + entries[place + 1 :]
        elif inner := entry.get("groups"):
            left = _without(inner, name)
            if left is not inner:
                return [*entries[:place], {**entry, "groups": left}, *entries[place + 1 :]]
    return entries
