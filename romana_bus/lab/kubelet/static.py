"""Static pods: manifests in a directory, which the kubelet runs without the API server.

A static pod's uid is a hash of its manifest and its node, so a changed manifest is another pod. In the API
server it has a mirror pod: the same pod with another uid, and with the static pod's uid in an annotation.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from romana_bus.lab.kubelet.pods import MIRROR

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

Json = dict[str, Any]

_SUFFIXES = (".yaml", ".yml", ".json")


def read(directory: Path, node: str, now: str) -> dict[str, Json]:
    """uid -> pod, for the manifests in a directory. Other files are skipped and logged."""
    pods = {}
    for path in sorted(directory.glob("[!.]*")) if directory.is_dir() else ():
        if path.suffix in _SUFFIXES:
            pod = _read(path, node, now)
            if pod is not None:
                pods[pod["metadata"]["uid"]] = pod
    return pods


def _read(path: Path, node: str, now: str) -> Json | None:
    import yaml  # imported only if there is a manifest

    try:
        body = path.read_bytes()
        pod = yaml.safe_load(body)
        if pod["kind"] != "Pod":
            raise ValueError(f"a {pod['kind']}")
        if not isinstance(pod["metadata"], dict) or not isinstance(pod["spec"], dict):
            raise ValueError("metadata and spec must be objects")
        return static_pod(pod, hashlib.md5(node.encode() + b"\0" + body).hexdigest(), node, now)
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        log.warning("not a manifest of a pod", file=str(path), why=str(error))
        return None


def static_pod(manifest: Json, uid: str, node: str, now: str) -> Json:
    """The pod of a manifest, completed as by the kubelet (pkg/kubelet/config/common.go, applyDefaults)."""
    metadata = manifest["metadata"]
    annotations = (metadata.get("annotations") or {}) | {
        "kubernetes.io/config.hash": uid,
        "kubernetes.io/config.seen": now,
        "kubernetes.io/config.source": "file",
    }
    completed = {
        "name": f"{metadata['name']}-{node}",
        "namespace": metadata.get("namespace") or "default",
        "uid": uid,
        "annotations": annotations,
    }
    spec = {**manifest["spec"], "nodeName": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata | completed, "spec": spec}


def mirror(pod: Json) -> Json:
    """The mirror pod of a static pod."""
    copy: Json = msgspec.json.decode(msgspec.json.encode(pod))
    uid = copy["metadata"].pop("uid")
    copy["metadata"]["annotations"][MIRROR] = uid
    return copy


def mirrored(pod: Json) -> str:
    """The uid of the static pod that a mirror pod stands for; '' if it is not a mirror pod."""
    return str((pod["metadata"].get("annotations") or {}).get(MIRROR, ""))
