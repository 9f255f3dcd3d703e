"""Judges the cluster: the API server, nodes, networks, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.doctor.finding import ok, unseen, warning, wrong

if TYPE_CHECKING:
    from romana_bus.cli.doctor.facts import Addresses, ApiServer, Networks, Nodes
    from romana_bus.cli.doctor.finding import Finding


def api_server(api: ApiServer) -> Finding:
    if api.trouble:
        return wrong(
            api.trouble,
            "a watcher with these credentials sees no change of the cluster",
            "see that the server runs, and which kubeconfig and context are used",
        )
    return ok(f"the API server at {api.where} answers")


def rbac(api: ApiServer) -> Finding:
    if api.trouble:
        return unseen("the API server does not answer")
    if api.rules:
        return wrong(
            api.said,
            "a watcher with these credentials does not start, or does not see these resources",
            "allow it with these rules of a ClusterRole, and bind it to the watcher",
            api.rules,
        )
    return ok(f"these credentials may list and watch {', '.join(api.resources)}")


def nodes(nodes: Nodes) -> Finding:
    troubled = [f"{node}: {text}" for node, texts in sorted(nodes.trouble.items()) for text in texts]
    if troubled:
        return wrong(
            f"nodes with trouble: {len(nodes.trouble)} of {nodes.total}",
            "their pods are not attached, or not reached",
            "run `romana-bus doctor --node` there, and read the agent's log",
            troubled,
        )
    if nodes.denied:
        return wrong(
            f"nodes without a place in the topology: {len(nodes.denied)} of {nodes.total}",
            "their pods stay in ContainerCreating",
            "give them the labels of a group, or change the topology",
            (f"{node}: {why}" for node, why in sorted(nodes.denied.items())),
        )
    if nodes.total and not nodes.reporting:
        return warning(
            f"nodes: {nodes.total}, and none reports",
            "no agent runs, so addresses are decided, and nothing is done with them",
            "start `romana-bus agent` on the nodes",
        )
    return ok(f"nodes: {nodes.total}, none with trouble")


def overlap(networks: Networks) -> Finding:
    if networks.overlaps:
        return wrong(
            "networks of pods overlap what nodes or Services live on",
            "nodes get no routes there, or no place; pods may get an address that leads elsewhere",
            "set a topology with another network, and recreate the pods (`romana-bus topology plan`)",
            (each.text for each in networks.overlaps),
        )
    named = ", ".join(f"{name} {prefix}" for name, prefix in networks.networks.items())
    return ok(f"no overlap of {named or 'networks: there are none yet'}")


def addresses(audit: Addresses) -> Finding:
    if audit.findings:
        return wrong(
            f"differences between the log, the API server and the kernels: {len(audit.findings)}",
            "addresses are held by nobody, or pods have none or wrong ones",
            "`romana-bus ipam check` sorts them, and says what mends each; --repair orders it",
            (each.text for each in audit.findings),
        )
    if audit.unsettled:
        return warning(
            f"no differences, but {audit.unsettled}", "the comparison is not complete", "try again later"
        )
    kernels = f"kernels: {audit.kernels}" if audit.kernels else "no kernel, since no agent reports"
    return ok(f"the log agrees with all: nodes: {audit.nodes}, pods: {audit.pods}, {kernels}")
