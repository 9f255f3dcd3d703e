"""What an audit has to go by, and what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.ipam.entities import pod_key
from romana_bus.ipam.facts import FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from romana_bus.events import NodeSeen, PodSeen
    from romana_bus.ipam.entities import Host
    from romana_bus.ipam.records import Record
    from romana_bus.ipam.state import State

KINDS = ("nobody", "without", "owners", "differs", "outside", "overlap", "count", "missed", "kernel")


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Two looks have found the same where all but `text` is the same. `absent`: no such pod is in the API
    server. `resource`: what of it would have to be listed again."""

    kind: str
    node: str = ""
    pod: str = ""
    uid: str = ""
    address: str = ""
    block: str = ""
    resource: str = ""
    absent: bool = False
    text: str = ""

    @property
    def same(self) -> Finding:
        return msgspec.structs.replace(self, text="")


class Snapshot:
    """What the API server had. `versions`: resource -> that of its listing."""

    def __init__(
        self, nodes: Sequence[NodeSeen], pods: Sequence[PodSeen], versions: Mapping[str, str]
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.pods = {pod_key(pod.namespace, pod.name): pod for pod in pods}
        self.versions = dict(versions)


def wants(pod: PodSeen) -> bool:
    return bool(pod.node) and not pod.host_network and pod.phase not in FINISHED


def records(state: State) -> Iterator[tuple[Host, Record]]:
    for _, host in sorted(state.hosts.items()):
        for _, record in sorted(host.records.items()):
            yield host, record
