"""What an audit has to go by, and what it finds."""

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
)  # fmt: skip


#: More than an API server writes in years.
FAR = 1 << 40


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Two looks have found the same where all but `text` is the same. `absent`: no such pod is in the API
    server. `resource`: what of it would have to be listed again. `seen`: what the API server has instead:
    what changes all the time is not missed in the same way twice."""

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
        return msgspec.structs.replace(self, text="")


class Snapshot:
    """What the API server had. `versions`: resource -> that of its listing. The log is folded behind it, so
    it may know of what happened since: that is no finding."""

    def __init__(
        self, nodes: Sequence[NodeSeen], pods: Sequence[PodSeen], versions: Mapping[str, str]
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.pods = {pod_key(pod.namespace, pod.name): pod for pod in pods}
        self.versions = dict(versions)

    def node_since(self, state: State, name: str) -> bool:
        """The log has something of the node that happened after the listing."""
        host = state.hosts.get(name)
        known = host.version if host and host.seen else state.gone_nodes.version(name)
        return self._since("nodes", known)

    def pod_since(self, state: State, key: str) -> bool:
        pod = state.pods.get(key)
        known = pod.version if pod else state.gone_pods.version(key)
        return self._since("pods", known)

    def _since(self, resource: str, known: int) -> bool:
        """Versions that are far apart are not of one API server, or none at all."""
        listing = version_number(self.versions.get(resource, ""))
        return bool(listing) and 0 < known - listing < FAR

    def owner(self, host: Host, record: Record) -> PodSeen | None:
        """The pod that the record's addresses are for."""
        pod = self.pods.get(record.key)
        return pod if pod is not None and not other_pod(host, record, pod_of(pod)) else None


def runs(state: State, host: Host, record: Record) -> bool:
    """By its kubelet's word, whatever the API shows."""
    box = sandbox(state, host.name, record.key)
    return box is not None and host.seen and box.ident == record.ident


def wants(pod: PodSeen) -> bool:
    return not unfit(pod)


def records(state: State) -> Iterator[tuple[Host, Record]]:
    for _, host in sorted(state.hosts.items()):
        for _, record in sorted(host.records.items()):
            yield host, record
