"""A kubeconfig for one API server, for kubectl, our watcher and client-go. Pure."""

from __future__ import annotations

import msgspec


def kubeconfig(server: str, *, name: str = "romana-lab", token: str = "", namespace: str = "") -> str:
    """The text of the file, in JSON, which is valid YAML. `name`: of cluster, user and context."""
    context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "contexts": [{"name": name, "context": context}],
        "users": [{"name": name, "user": {"token": token} if token else {}}],
    }
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode() + "\n"
