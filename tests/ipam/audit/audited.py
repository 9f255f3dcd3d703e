"""A cluster whose API server can be looked at apart from its log, and what an audit finds in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import events as ev
from romana_bus.events import codec
from romana_bus.ipam.audit import Finding, Snapshot, covers, findings
from romana_bus.ipam.audit.corrections import corrections
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import RACKS

if TYPE_CHECKING:
    from collections.abc import Mapping


class Audited(Cluster):
    """A cluster whose API server can be looked at apart from its log."""

    def __init__(self, *racks: dict[str, Any], **settings: Any) -> None:
        super().__init__(topology("10.0.0.0/24", 30, *(racks or RACKS)), **settings)

    def api(self) -> dict[str, ev.Fact]:
        """What it has if the log misses nothing, by subject."""
        seen = (stored.event for stored in self.table.values())
        return {one.subject(): one for one in seen if isinstance(one, ev.NodeSeen | ev.PodSeen)}

    def found(self, api: Mapping[str, ev.Fact] | None = None, *wired: ev.Wired) -> list[Finding]:
        return findings(self.state, snapshot(self.api() if api is None else api, self.versions), wired)

    def reported(self, api: Mapping[str, ev.Fact] | None = None, *wired: ev.Wired) -> list[str]:
        return [brief(one) for one in self.found(api, *wired)]


def snapshot(api: Mapping[str, ev.Fact], version: int) -> Snapshot:
    nodes = [one for one in api.values() if isinstance(one, ev.NodeSeen)]
    pods = [one for one in api.values() if isinstance(one, ev.PodSeen)]
    return Snapshot(nodes, pods, {"nodes": str(version), "pods": str(version)})


def brief(one: Finding) -> str:
    return " ".join(filter(None, [one.kind, one.pod, one.node, one.address or one.block]))


def cluster(**settings: Any) -> Audited:
    """Two nodes with two pods each: 10.0.0.0 and .1 on n1, 10.0.0.128 and .129 on n2."""
    c = Audited(**settings)
    c.node("n1", {"rack": "a"})
    c.node("n2", {"rack": "b"})
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "n2")):
        c.pod(f"web/{name}", node)
    c.decide()
    assert c.addresses() == {
        "web/a": "10.0.0.0", "web/b": "10.0.0.1", "web/c": "10.0.0.128", "web/d": "10.0.0.129"
    }  # fmt: skip
    return c


def pod_of(api: dict[str, ev.Fact], name: str) -> ev.PodSeen:
    pod = api[f"kube.pod.web.{name}"]
    assert isinstance(pod, ev.PodSeen)
    return pod


def with_pod(c: Audited, name: str, **changes: Any) -> dict[str, ev.Fact]:
    api = c.api()
    return api | {f"kube.pod.web.{name}": msgspec.structs.replace(pod_of(api, name), **changes)}


def without(c: Audited, *subjects: str) -> dict[str, ev.Fact]:
    return {subject: one for subject, one in c.api().items() if subject not in subjects}


def twin(name: str, node: str, address: str, block: str, uid: str = "") -> ev.AddressAssigned:
    """An address without a decision."""
    return ev.AddressAssigned(
        namespace="web", name=name, uid=uid or f"uid-web/{name}", node=node, tenant="web",
        addresses=(ev.PodAddress(address=address, network="net", block=block),),
    )  # fmt: skip


def orders(c: Audited, found: list[Finding]) -> list[ev.AddressDisowned]:
    wanted = corrections(found, c.state, 5)
    assert [codec.decode(codec.encode(one)) for one in wanted] == wanted
    return [one for one in wanted if isinstance(one, ev.AddressDisowned)]


def block(cidr: str, node: str) -> ev.BlockAssigned:
    return ev.BlockAssigned(network="net", block=cidr, node=node, since=1)


GOOD = {"10.0.0.0": "web/a", "10.0.0.1": "web/b"}


def report(node: str, addresses: dict[str, str]) -> ev.Wired:
    return ev.Wired(node=node, consumer="agent", addresses=addresses)


class Reported:
    """What an audit makes of reports: the log is folded in the knowledge of what they cover."""

    def __init__(self, c: Audited, *reports: ev.Wired) -> None:
        state = c.rebuilt(covers=covers(reports)).state
        found = findings(state, snapshot(c.api(), c.versions), reports)
        self.reported = [brief(one) for one in found if one.kind == "kernel"]


def covering(seq: int, addresses: dict[str, str], consumer: str = "cni") -> ev.Wired:
    return ev.Wired(node="n1", consumer=consumer, covers={"IPAM": seq}, addresses=addresses)
