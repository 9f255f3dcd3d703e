"""The resources of the API that are used here: their names and paths. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Resource(NamedTuple):
    """One resource. `group`: '' for the core API. `short`: short names for kubectl. `subresources`: such as
    `status`."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """The path of its cluster-wide list: `/api/v1/pods`."""
        return f"{'/apis' if self.group else '/api'}/{self.api_version}/{self.plural}"

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.namespaced else name


NODES = Resource("", "v1", "nodes", "Node", False, ("no",))
PODS = Resource("", "v1", "pods", "Pod", True, ("po",), ("binding", "log", "status"))
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("ns",))
NETWORK_POLICIES = Resource(
    "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",), ()
)
SERVICES = Resource("", "v1", "services", "Service", True)
