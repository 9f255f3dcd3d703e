"""What every workload needs so that it runs before there is a pod network, and stays."""

from __future__ import annotations

import re

import pytest
import yaml

from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.producers.kubernetes.responses import rule
from tests.deploy.manifests import (
    DEPLOY,
    OVERLAYS,
    Document,
    container,
    containers,
    environment,
    golden,
    of_kind,
    workloads,
)

#: What a node that is not ready yet repels pods with.
TAINTS = (
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
    ("node-role.kubernetes.io/control-plane", "NoSchedule"),
)
every_overlay = pytest.mark.parametrize("name", OVERLAYS)


def tolerates(toleration: Document, key: str, effect: str) -> bool:
    """As in k8s.io/component-helpers, for ever."""
    return (
        toleration.get("key", key) == key
        and toleration.get("effect", effect) == effect
        and "tolerationSeconds" not in toleration
        and toleration["operator"] == "Exists"
    )


@every_overlay
def test_nothing_waits_for_a_pod_network(name: str) -> None:
    for workload in workloads(name):
        pod = workload["spec"]["template"]["spec"]
        assert pod["hostNetwork"], workload["metadata"]
        assert pod["dnsPolicy"] == "Default"
        for taint in TAINTS:
            assert any(tolerates(each, *taint) for each in pod["tolerations"]), taint
        assert not [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
        agents = workload["kind"] == "DaemonSet"
        assert pod["priorityClassName"] == f"system-{'node' if agents else 'cluster'}-critical"


@every_overlay
def test_the_log_and_the_api_server_are_reached_by_address(name: str) -> None:
    """Neither kube-proxy nor DNS is needed."""
    servers = of_kind(name, "StatefulSet")[0]["spec"]["replicas"]
    for workload in ("watcher", "ipam", "agent"):
        values = environment(name, container(name, workload), "node-1", "192.0.2.1")
        urls = values["ROMANA_NATS"].split()
        assert len(urls) == len(set(urls)) == servers
        for host in [*re.findall(r"nats://(\S*):4222", " ".join(urls)), values["KUBERNETES_SERVICE_HOST"]]:
            assert re.fullmatch(r"[0-9.]+|\[?[0-9a-f:]+\]?", host), host
        assert values["REPLICAS"] == ("3" if servers == 3 else "1")


@every_overlay
def test_replicas_are_on_different_nodes_and_drained_one_by_one(name: str) -> None:
    budgets = [each["spec"] for each in of_kind(name, "PodDisruptionBudget")]
    for workload in workloads(name):
        if workload["kind"] == "DaemonSet":
            continue
        labels = workload["spec"]["template"]["metadata"]["labels"]
        [term] = workload["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["labelSelector"]["matchLabels"] == labels == workload["spec"]["selector"]["matchLabels"]
        assert {"maxUnavailable": 1, "selector": {"matchLabels": labels}} in budgets
        if workload["kind"] == "Deployment":
            assert workload["spec"]["replicas"] == (1 if name == "one-node" else 2)
            assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


@every_overlay
def test_host_ports_are_different_and_probed(name: str) -> None:
    ports = [port["containerPort"] for one in containers(name) for port in one.spec.get("ports", ())]
    assert len(ports) == len(set(ports))
    for workload in ("watcher", "ipam", "agent"):
        one = container(name, workload)
        [port] = [port["containerPort"] for port in one.spec["ports"] if port["name"] == "metrics"]
        assert f"--listen=:{port}" in one.spec["args"]
        assert one.spec["livenessProbe"]["httpGet"] == {"port": "metrics", "path": "/healthz"}
        assert one.spec["readinessProbe"]["httpGet"] == {"port": "metrics", "path": "/readyz"}


@every_overlay
def test_every_secret_and_config_map_that_is_used_exists(name: str) -> None:
    made = {each["metadata"]["name"]: each.get("data", {}) for each in of_kind(name, "Secret", "ConfigMap")}
    text = yaml.safe_dump_all(workloads(name))
    used = re.findall(r"(?:secretName: |(?:configMapRef|configMap|secret|secretKeyRef):\s+(?:items:.*?)?"
                      r"(?:key: \w+\s+)?name: )(\S+)", text, re.DOTALL)  # fmt: skip
    assert set(used) == set(made)
    nodes = next(keys for secret, keys in made.items() if secret.startswith("romana-bus-agents-"))
    assert set(nodes) == {"agent-node-1.nk", "agent-node-2.nk"}
    for other in ("operator", "reader"):
        assert not [secret for secret, keys in made.items() if f"{other}.nk" in keys]


@every_overlay
def test_a_node_has_an_agent_or_none(name: str) -> None:
    agent, uninstall = (container(name, one).pod for one in ("agent", "uninstall"))
    [term] = agent["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [{"key": "romana-bus/agent", "operator": "NotIn", "values": ["off"]}]
    assert uninstall["nodeSelector"]["romana-bus/agent"] == "off"


@every_overlay
def test_rights_are_the_least(name: str) -> None:
    added = {}
    for one in containers(name):
        context = one.spec["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert "privileged" not in context
        added[one.name] = context["capabilities"].get("add", [])
        account = one.pod.get("serviceAccountName", "")
        assert account or one.pod["automountServiceAccountToken"] is False
        assert bool(account) == (one.spec["name"] == "watcher")
    assert {one: caps for one, caps in added.items() if caps} == {
        "romana-bus-agent/agent": ["NET_ADMIN", "SYS_ADMIN"],  # tests/deploy/test_agent.py runs them so
        "romana-bus-uninstall/uninstall": ["NET_ADMIN"],
    }


@every_overlay
def test_the_watchers_role_is_what_it_watches(name: str) -> None:
    def rights(rules: list[Document]) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for each in rules
            for group in each["apiGroups"]
            for resource in each["resources"]
            for verb in each["verbs"]
        }

    [role] = of_kind(name, "ClusterRole")
    assert rights(role["rules"]) == rights([yaml.safe_load(rule(kind)) for kind in BUILT_IN])
    [binding] = of_kind(name, "ClusterRoleBinding")
    [account] = of_kind(name, "ServiceAccount")
    [subject] = binding["subjects"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert (subject["name"], subject["namespace"]) == (
        account["metadata"]["name"],
        account["metadata"]["namespace"],
    )


@every_overlay
def test_images_have_a_version(name: str) -> None:
    images = {one.spec["image"] for one in containers(name)}
    assert len(images) == 1
    assert re.fullmatch(r".+:\d+\.\d+\.\d+", images.pop())


def test_no_secret_is_kept_in_the_repository() -> None:
    seed = re.compile(r"\bSU[A-Z2-7]{56}\b")
    files = [file for file in [*DEPLOY.rglob("*"), *DEPLOY.parent.glob("tests/deploy/golden/*")]
             if file.is_file() and "identities" not in file.parts]  # fmt: skip
    assert len(files) > 15
    assert not [file for file in files if seed.search(file.read_text())]


def test_three_servers_are_in_three_zones() -> None:
    [servers] = of_kind("three-zones", "StatefulSet")
    [spread] = servers["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        "topology.kubernetes.io/zone",
        "DoNotSchedule",
    )


@every_overlay
def test_everything_is_in_one_namespace(name: str) -> None:
    assert {each["metadata"].get("namespace", "romana-bus") for each in golden(name)} == {"romana-bus"}
