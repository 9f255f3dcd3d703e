"""The resources that the small API server serves. Pure."""

from __future__ import annotations

from romana_bus.kubernetes.resources import NAMESPACES, NETWORK_POLICIES, NODES, PODS, Resource

__all__ = ("BUILT_IN", "NAMESPACES", "NETWORK_POLICIES", "NODES", "PODS", "VERBS", "Resource")

#: The verbs of every resource, as in RBAC.
VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")

BUILT_IN = (NODES, PODS, NAMESPACES, NETWORK_POLICIES)
