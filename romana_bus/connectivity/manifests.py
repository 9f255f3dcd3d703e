"""The objects that a test creates: a namespace with everything in it, so one deletion removes all. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.connectivity import script
from romana_bus.connectivity.checks import PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.connectivity.model import Check

Json = dict[str, Any]

#: The label of the namespaces of tests, and the annotations that say who started one.
LABEL, OWNER, STARTED_BY = (
    "romana.io/connectivity-test",
    "romana.io/owner",
    "romana.io/started-by",
)
#: The labels with which every probe is found.
_LISTENER, _POD, _HOST = "listener", "pod-probe", "node-probe"


def namespace(name: str, owner: str, started_by: str, privileged: bool) -> Json:
    """`owner`: identifies the process. `privileged`: some probes use the node's network or a hostPort, which
    Pod Security Standards allow at the level `privileged` only; otherwise the probes meet `restricted`."""
    labels = {
        LABEL: "true",
        "pod-security.kubernetes.io/enforce": "privileged" if privileged else "restricted",
    }
    annotations = {OWNER: owner, STARTED_BY: started_by}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def listener(index: int, node: str, image: str, host_port: int) -> Json:
    """A pod that answers with its node's name. `host_port`: also at this port of the node; 0 for none."""
    port = {"containerPort": PORT, "protocol": "TCP"} | ({"hostPort": host_port} if host_port else {})
    return _pod(f"{_LISTENER}-{index}", node, image, script.listen(PORT, node), {"ports": [port]})


def probe(index: int, node: str, image: str, checks: Sequence[Check], on_host: bool) -> Json:
    """A pod that makes checks and ends. `on_host`: in the network of the node."""
    name = f"{_HOST if on_host else _POD}-{index}"
    return _pod(name, node, image, script.dial(checks), {}, on_host=on_host)


def _pod(name: str, node: str, image: str, command: list[str], more: Json, on_host: bool = False) -> Json:
    container = {
        "name": "probe",
        "image": image,
        "command": command,
        "env": [{"name": key, "value": value} for key, value in script.ENVIRONMENT.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
    }
    # By affinity, as a DaemonSet does, and not by nodeName: the scheduler says why a pod does not fit.
    only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [only]}}
    spec = {
        "affinity": {"nodeAffinity": affinity},
        "automountServiceAccountToken": False,
        "containers": [container],
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
    } | ({"hostNetwork": True, "dnsPolicy": "Default"} if on_host else {})
    metadata = {"name": name, "labels": {LABEL: "true"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
