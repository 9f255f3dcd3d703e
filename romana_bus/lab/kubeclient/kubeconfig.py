"""A kubeconfig for one API server, as kubectl, our watcher and client-go read it. Pure."""

from __future__ import annotations

import msgspec


def kubeconfig(server: str, *, name: str = "romana-lab", token: str = "", namespace: str = "") -> str:
    """The text of the file. `name`: of the cluster, the user and the context. It is JSON, which is YAML."""
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
