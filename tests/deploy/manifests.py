"""What `kubectl apply -k deploy/overlays/NAME` would apply: rendered now, or as the golden file has it.

Golden files are renewed with `make manifests`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY, GOLDEN = ROOT / "deploy", Path(__file__).with_name("golden")
OVERLAYS = ("one-node", "three-zones", "ipv6")
#: The overlays, and the component alone.
RENDERED = (*OVERLAYS, "monitoring")
#: Set by `make manifests`: write the golden files.
RENEW = "ROMANA_RENEW_MANIFESTS"
#: The pinned one, so that the golden files do not depend on the machine.
KUBECTL = str(Path(sys.executable).with_name("kubectl"))

Document = dict[str, Any]


class Container(NamedTuple):
    """A container, with the workload and the pod specification that it is in."""

    workload: Document
    pod: Document
    spec: Document

    @property
    def name(self) -> str:
        return f"{self.workload['metadata']['name']}/{self.spec['name']}"


def render(name: str, scratch: Path) -> str:
    """Renders a copy of deploy/ with identities that are always the same."""
    copy = scratch / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("identities"))
    for overlay in OVERLAYS:
        _identities(copy, copy / "overlays" / overlay / "identities")
    folder = copy / "overlays" / name
    if name == "monitoring":
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
            "namespace: romana-bus\ncomponents: [../../components/monitoring]\n"
        )
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def _identities(deploy: Path, folder: Path) -> None:
    """What identities.sh finds, it keeps: it only writes the list of Secrets."""
    (folder / "creds").mkdir(parents=True)
    names = ("watcher", "ipam", "reader", "operator", "agent-node-1", "agent-node-2")
    for file in ("identities.json", "server.conf", *(f"creds/{name}.nk" for name in names)):
        (folder / file).write_text(f"{file} of a test\n")
    (folder / "route.env").write_text("ROUTE_PASSWORD=of-a-test\n")
    subprocess.run([deploy / "identities.sh", folder, "node-1", "node-2"], check=True)


@functools.cache
def golden(name: str) -> list[Document]:
    return [document for document in yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()) if document]


def of_kind(name: str, *kinds: str) -> list[Document]:
    return [document for document in golden(name) if document["kind"] in kinds]


def workloads(name: str) -> list[Document]:
    return of_kind(name, "Deployment", "DaemonSet", "StatefulSet")


def containers(name: str) -> list[Container]:
    return [
        Container(workload, pod, spec)
        for workload in workloads(name)
        for pod in [workload["spec"]["template"]["spec"]]
        for spec in [*pod.get("initContainers", ()), *pod["containers"]]
    ]


def container(name: str, workload: str) -> Container:
    """The main container of romana-bus-WORKLOAD."""
    [found] = [
        each
        for each in containers(name)
        if each.workload["metadata"]["name"] == f"romana-bus-{workload}"
        and each.spec in each.pod["containers"]
    ]
    return found


def environment(name: str, one: Container, node: str, address: str) -> dict[str, str]:
    """A container's variables, as the kubelet of this node computes them."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(name, "ConfigMap")}
    fields = {"spec.nodeName": node, "status.hostIP": address}
    values: dict[str, str] = {}
    for source in one.spec.get("envFrom", ()):
        values |= maps[source["configMapRef"]["name"]]
    for variable in one.spec.get("env", ()):
        match variable:
            case {"value": text}:
                values[variable["name"]] = expanded(text, values)
            case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                values[variable["name"]] = fields[path]
            case {"valueFrom": {"secretKeyRef": _}}:
                values[variable["name"]] = "pa55word"
            case _:
                raise AssertionError(f"{one.name}: {variable}")
    return values


def expanded(text: str, values: dict[str, str]) -> str:
    """With $(NAME) replaced; an unknown name stays, as with the kubelet."""
    for name, value in values.items():
        text = text.replace(f"$({name})", value)
    return text


def renews() -> bool:
    return bool(os.environ.get(RENEW))
