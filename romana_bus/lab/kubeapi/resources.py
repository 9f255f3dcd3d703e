"""The resources that the small API server serves: how they are called, and where they are found. Pure."""

from __future__ import annotations

from typing import NamedTuple

#: What can be asked of each resource, as RBAC names it.
VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


class Resource(NamedTuple):
    """One kind of object that is served: `group` is '' for the core API. `short`: what people call it;
    `subresources`: what can be asked of one object apart."""

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
        """Where it is listed cluster wide: `/api/v1/pods`."""
        return f"{'/apis' if self.group else '/api'}/{self.api_version}/{self.plural}"

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.namespaced else name


NODES = Resource("", "v1", "nodes", "Node", False, ("no",))
PODS = Resource("", "v1", "pods", "Pod", True, ("po",), ("binding", "status"))
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("ns",))
NETWORK_POLICIES = Resource(
    "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",), ()
)

BUILT_IN = (NODES, PODS, NAMESPACES, NETWORK_POLICIES)
