"""kubectl on a lab, as somebody would use it who knows Kubernetes and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.lab.machine.directory import ROOT
from tests.cli.processes import until
from tests.lab.conftest import needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.cluster.lab import Commands

pytestmark = [needs_root, pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")]

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: wish, namespace: shop, annotations: {romana.io/address: 192.0.2.1}}
spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: fixed, namespace: shop, annotations: {romana.io/address: 10.20.0.77}}
spec:
  containers: [{name: main, image: none}]
  nodeSelector: {topology.kubernetes.io/zone: zone-a}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: shop}
spec: {hostNetwork: true, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: picky, namespace: shop}
spec: {nodeSelector: {kubernetes.io/hostname: b2}, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere, namespace: shop}
spec: {nodeSelector: {kubernetes.io/hostname: b9}, containers: [{name: main, image: none}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


class Kubectl:
    """In the namespace shop."""

    def __init__(self, run: Commands) -> None:
        self.run = run
        self._command = ["kubectl", "--kubeconfig", str(ROOT / run.spec.name / "kubeconfig"), "-n", "shop"]

    def __call__(self, line: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*self._command, *line.split()],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._command, *line.split()], stdout=subprocess.PIPE, text=True)

    def pod(self, name: str) -> Any:
        return msgspec.json.decode(self(f"get pod {name} -o json"))


@pytest.fixture
def kubectl(shared: Commands) -> Iterator[Kubectl]:
    found = Kubectl(shared)
    yield found
    found("delete namespace shop --ignore-not-found")


def test_applied_pods_run_where_they_are_scheduled(kubectl: Kubectl) -> None:
    assert "namespace/shop created" in kubectl("apply -f -", SHOP)
    kubectl("wait --for=condition=Ready pod/fixed pod/host pod/picky --timeout=30s")
    fixed, host, picky = (kubectl.pod(name) for name in ("fixed", "host", "picky"))
    assert fixed["status"]["podIP"] == "10.20.0.77"
    assert fixed["spec"]["nodeName"] in ("a1", "a2")
    assert host["status"]["podIP"] == host["status"]["hostIP"]
    assert picky["spec"]["nodeName"] == "b2"
    kubectl.run("ping", "shop/picky", "shop/fixed")
    assert "unchanged" in kubectl("apply -f -", SHOP)
    assert "nowhere" in kubectl("get pods -o wide --field-selector status.phase=Pending")
    assert "0/4 nodes are available" in kubectl("describe pod nowhere")
    until(lambda: "192.0.2.1 is outside" in kubectl("describe pod wish"), "the pod says why it waits")
    assert "192.0.2.1 is outside" in kubectl.run("pod", "list").out
    for name in ("fixed", "host", "picky", "wish", "nowhere"):
        kubectl(f"delete pod {name}")
    assert "deny" in kubectl("get networkpolicies")
    assert kubectl("delete namespace shop") == 'namespace "shop" deleted\n'
    assert "shop" not in kubectl("get namespaces")


def test_a_watch_shows_a_pod_come_and_go(kubectl: Kubectl) -> None:
    kubectl("create namespace shop")
    with kubectl.start("get pods -o wide -w") as watching:
        try:
            kubectl("run web --image=none")
            kubectl("wait --for=condition=Ready pod/web --timeout=30s")
            kubectl("label pod web tier=front")
            assert kubectl("get pods -l tier=front -o name") == "pod/web\n"
            kubectl("delete pod web")
            assert watching.stdout is not None
            seen = [next(watching.stdout)]
            while "Terminating" not in seen[-1]:
                seen.append(next(watching.stdout))
        finally:
            watching.terminate()
    address = seen[-1].split()[5]
    assert any("Running" in line and address in line for line in seen)


COMMANDS = """
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: shop}
spec:
  restartPolicy: Never
  nodeName: a1
  containers:
    - name: main
      image: none
      command: [sh, -c, 'id -u; grep CapBnd /proc/self/status; echo "$WHO on $HOSTNAME"; exit "$1"', sh]
      args: ["3"]
      env: [{name: WHO, value: me}]
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: shop}
spec:
  hostNetwork: true
  nodeName: a1
  containers: [{name: main, image: none, command: [sh, -c, "echo $$; exec sleep 600"]}]
"""


def test_commands_of_pods_run_as_nobody_and_outlive_the_kubelet(kubectl: Kubectl) -> None:
    kubectl("create namespace shop")
    kubectl("apply -f -", COMMANDS)
    until(lambda: kubectl.pod("job")["status"]["phase"] == "Failed", "the job ends")
    uid, capabilities, who = kubectl("logs job").splitlines()
    assert (uid, int(capabilities.split()[1], 16), who) == ("65534", 0, "me on job")
    (container,) = kubectl.pod("job")["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 3
    assert container["ready"] is False

    kubectl("wait --for=condition=Ready pod/server --timeout=30s")
    pid = int(until(lambda: kubectl("logs server"), "it prints"))
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    os.kill(kubectl.run.pid("kubelet-a1"), signal.SIGKILL)
    kubectl.run("start")
    kubectl("annotate pod server seen=again")
    kubectl.run("pod", "run", "later", "--node", "a1")  # the new kubelet works
    assert kubectl("logs server") == f"{pid}\n"  # it was not started again
    kubectl("delete pod server job")
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it ends with its pod")
    directory = ROOT / kubectl.run.spec.name / "nodes/a1/containers"
    until(lambda: not list(directory.iterdir()), "nothing is kept of pods that are gone")


def test_a_drained_node_gets_no_pods_until_it_is_uncordoned(kubectl: Kubectl) -> None:
    kubectl("create namespace shop")
    kubectl.run("pod", "run", "web", "--node", "b2", "--namespace", "shop")
    kubectl("drain b2 --force --timeout=30s")
    assert "SchedulingDisabled" in kubectl("get node b2")
    assert kubectl("get pods -o name") == ""
    kubectl.run("pod", "run", "web", "--count", "4", "--namespace", "shop")
    assert "b2" not in {pod["node"] for pod in kubectl.run.pods().values()}
    kubectl("uncordon b2")
    assert "SchedulingDisabled" not in kubectl("get node b2")
