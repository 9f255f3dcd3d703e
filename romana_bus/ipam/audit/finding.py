"""The snapshot of the API server that an audit compares with, and its findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.events import version_number
from romana_bus.ipam.fold.facts import pod_of, unfit
from romana_bus.ipam.model.nodes import other_pod, pod_key
from romana_bus.ipam.model.sandboxes import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from romana_bus.events import NodeSeen, PodSeen
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State

KINDS = (
    "nobody", "without", "owners", "differs", "outside", "overlap", "count", "missed", "sandbox", "kernel",
    "node", "underlay",
)  # fmt: skip


#: More versions than an API server writes in years.
FAR = 1 << 40


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A difference. `absent`: the API server has no such pod. `resource`: what would have to be listed again.
    `seen`: what the API server has instead, so that an entity that keeps changing is not the same finding
    twice."""

    kind: str
    node: str = ""
    pod: str = ""
    uid: str = ""
    address: str = ""
    block: str = ""
    resource: str = ""
    seen: str = ""
    absent: bool = False
    text: str = ""

    @property
    def same(self) -> Finding:
        """The finding without its text: two audits found the same if these are equal."""
        return msgspec.structs.replace(self, text="")


class Snapshot:
    """What the API server had. `versions`: resource -> resource version of the listing.

    The log is read later, so it may contain what happened since the listing: that is not a finding."""

    def __init__(
        self, nodes: Sequence[NodeSeen], pods: Sequence[PodSeen], versions: Mapping[str, str]
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.pods = {pod_key(pod.namespace, pod.name): pod for pod in pods}
        self.versions = dict(versions)

    def node_since(self, state: State, name: str) -> bool:
        """Whether the log has a fact about the node from after the listing."""
        host = state.hosts.get(name)
        known = host.version if host and host.seen else state.gone_nodes.version(name)
        return self._since("nodes", known)

    def pod_since(self, state: State, key: str) -> bool:
        """Whether the log has a fact about the pod from after the listing."""
        pod = state.pods.get(key)
        known = pod.version if pod else state.gone_pods.version(key)
        return self._since("pods", known)

    def _since(self, resource: str, known: int) -> bool:
        """Versions too far apart come from different API servers and are not compared."""
        listing = version_number(self.versions.get(resource, ""))
        return bool(listing) and 0 < known - listing < FAR

    def owner(self, host: Host, record: Record) -> PodSeen | None:
        """The pod that the record's addresses are for, if the API server shows it."""
        pod = self.pods.get(record.key)
        return pod if pod is not None and not other_pod(host, record, pod_of(pod)) else None


def runs(state: State, host: Host, record: Record) -> bool:
    """Whether the node's kubelet runs the record's pod, even if the API does not show it."""
    box = sandbox(state, host.name, record.key)
    return box is not None and host.seen and box.ident == record.ident


def wants(pod: PodSeen) -> bool:
    """Whether the pod needs an address from IPAM."""
    return not unfit(pod)


def records(state: State) -> Iterator[tuple[Host, Record]]:
    """Yields all records, by node and pod."""
    for _, host in sorted(state.hosts.items()):
        for _, record in sorted(host.records.items()):
            yield host, record
