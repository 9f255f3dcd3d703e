"""Where the packets of a failed check stop, by the checks that share a part of their way. Pure.

A packet from pod A on node a to pod B on node b passes a's end of A's link, the way between the nodes, and
b's end of B's link; the answer comes back the same way. The first part that no other check gets through is
where it stops. What was not checked is taken as working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.connectivity.checks import ACROSS
from romana_bus.connectivity.model import API, Check, End, host_of, pod_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.connectivity.model import Outcome

#: Kinds whose outcome tells nothing about the way to the node or the pod itself.
_MORE_THAN_A_WAY = ("hostport", "dns")
#: How resolvers say that a name is not known: BusyBox, glibc.
_UNKNOWN_NAME = ("bad address", "name or service", "name resolution", "not known")


class Reach:
    """Which ends reach which, by the outcomes of all checks."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._ok = {
            (outcome.check.source, outcome.check.target, outcome.check.family): outcome.ok
            for outcome in outcomes
            if outcome.check.kind not in _MORE_THAN_A_WAY
        }

    def fails(self, source: End, target: End, family: int) -> bool:
        return self._ok.get((source, target, family)) is False


def stopped(failed: Outcome, reach: Reach) -> str:
    """Where the packets of a failed check stop, for a person."""
    check = failed.check
    source, target, family = check.source, check.target, check.family
    here, there = source.node, target.node
    if check.kind == "dns":
        return _name(failed, reach)
    if source.kind == "pod" and reach.fails(source, host_of(here), family):
        return f"between the pod and its node {here}: its gateway does not answer"
    if target == API:
        return _api(check, reach)
    if target.kind == "pod" and reach.fails(host_of(there), target, family):
        return f"between node {there} and its pod"
    if here != there and reach.fails(host_of(here), host_of(there), family):
        return f"{_between(check)}: the nodes do not reach each other"
    for node in (here, there):
        if _does_not_forward(node, reach, family):
            return f"on node {node}: it does not forward between its pods' links (ip_forward, chain FORWARD)"
    if check.kind == "hostport":
        return _host_port(check, reach)
    if target.kind == "pod" and reach.fails(host_of(here), target, family):
        return f"{_between(check)}: no working route to the pods on {there}"
    if source.kind == "pod" and reach.fails(host_of(there), source, family):
        return f"on the way back, {_between(check)}: no working route to the pods on {here}"
    return (
        f"{_between(check)}: each reaches the other's pods, but these packets are lost "
        "(forwarding, a policy, one of several ways)"
    )


def _does_not_forward(node: str, reach: Reach, family: int) -> bool:
    """Whether two pods of a node, which both reach it, do not reach each other."""
    pod, host = pod_on(node), host_of(node)
    lost = reach.fails(pod, pod, family)
    return lost and not reach.fails(pod, host, family) and not reach.fails(host, pod, family)


def _between(check: Check) -> str:
    zones = ", at the router between their zones" if check.place == ACROSS else ""
    return f"between nodes {check.source.node} and {check.target.node}{zones}"


def _api(check: Check, reach: Reach) -> str:
    node = check.source.node
    if check.source.kind == "node" or reach.fails(host_of(node), API, check.family):
        return f"between node {node} and the API server, or at its Service (kube-proxy)"
    return f"on node {node}, which reaches the API server: it does not forward what its pods send there"


def _host_port(check: Check, reach: Reach) -> str:
    here, there = check.source.node, check.target.node
    if reach.fails(pod_on(here), host_of(there), check.family):
        return f"between the pod on {here} and node {there}, which it does not reach at all"
    return f"at node {there}: nothing forwards the hostPort to its pod (chain portmap behind the CNI plugin)"


def _name(failed: Outcome, reach: Reach) -> str:
    pod = failed.check.source
    if any(reach.fails(pod, host_of(pod.node), family) for family in (4, 6)):
        return f"between the pod and its node {pod.node}: its gateway does not answer"
    if any(word in failed.said.lower() for word in _UNKNOWN_NAME):
        return "between the pod and the cluster's DNS, or there: the name is not resolved"
    return "behind the DNS: the name is resolved, and its address does not answer"
