"""Where packets stop, by which checks fail."""

from __future__ import annotations

import pytest

from romana_bus.connectivity.checks import Api, plan
from romana_bus.connectivity.diagnosis import Reach, stopped
from romana_bus.connectivity.model import Check, Node, Outcome

NODES = [
    Node("a1", "a", ("172.31.1.11",)),
    Node("a2", "a", ("172.31.1.12",)),
    Node("b1", "b", ("172.31.2.11",)),
]
CHECKS = plan(
    NODES,
    {"a1": ("10.0.0.1",), "a2": ("10.0.0.2",), "b1": ("10.1.0.1",)},
    Api(("10.96.0.1",), 443, True),
    24240,
)


def name(check: Check) -> str:
    """As in `pod a1 > pod b1`; the kind is in front where the ends do not say it."""
    kind = f"{check.kind}: " if check.kind in ("hostport", "dns") else ""
    return f"{kind}{check.source.kind} {check.source.node} > {check.target.kind} {check.target.node}".strip()


def diagnosed(failing: set[str], said: str = "timed out") -> dict[str, str]:
    outcomes = [Outcome(check, name(check) not in failing, said) for check in CHECKS]
    reach = Reach(outcomes)
    return {name(each.check): stopped(each, reach) for each in outcomes if not each.ok}


PORTMAP = "nothing forwards the hostPort to its pod (chain portmap behind the CNI plugin)"
SERVICE = "and the API server, or at its Service (kube-proxy)"
GATEWAY = "between the pod and its node a1: its gateway does not answer"


ROUTER = "between nodes a1 and b1, at the router between their zones"
FORWARDING = "it does not forward between its pods' links (ip_forward, chain FORWARD)"


@pytest.mark.parametrize(
    ("failed", "others", "says"),
    [
        # the pods of a node are cut off from it
        ("pod a1 > pod b1", {"pod a1 > node a1", "pod a1 > pod a1", "pod a1 > API server"}, GATEWAY),
        ("pod a1 > pod a1", {"pod a1 > node a1"}, GATEWAY),
        ("pod a1 > node a1", set(), GATEWAY),
        ("pod a1 > API server", {"pod a1 > node a1"}, GATEWAY),
        ("dns: pod a1 > API server", {"pod a1 > node a1"}, GATEWAY),
        ("hostport: pod a1 > node b1", {"pod a1 > node a1"}, GATEWAY),
        # a pod is cut off from its node
        ("pod a1 > pod b1", {"node b1 > pod b1", "node a1 > pod b1"}, "between node b1 and its pod"),
        ("node b1 > pod b1", set(), "between node b1 and its pod"),
        ("node a1 > pod b1", {"node b1 > pod b1"}, "between node b1 and its pod"),
        # the nodes are cut off from each other
        ("node a1 > node a2", set(), "between nodes a1 and a2: the nodes do not reach each other"),
        (
            "pod a1 > pod a2",
            {"node a1 > node a2"},
            "between nodes a1 and a2: the nodes do not reach each other",
        ),
        ("pod a1 > node b1", {"node a1 > node b1"}, f"{ROUTER}: the nodes do not reach each other"),
        # a block's route is missing
        ("node a1 > pod a2", set(), "between nodes a1 and a2: no working route to the pods on a2"),
        ("pod a1 > pod b1", {"node a1 > pod b1"}, f"{ROUTER}: no working route to the pods on b1"),
        (
            "pod a1 > pod b1",
            {"node b1 > pod a1", "pod a1 > node b1"},
            f"on the way back, {ROUTER}: no working route to the pods on a1",
        ),
        # a node does not forward
        ("pod a1 > pod a1", set(), f"on node a1: {FORWARDING}"),
        ("pod a1 > pod b1", {"pod a1 > pod a1", "node a2 > pod a1"}, f"on node a1: {FORWARDING}"),
        ("node a1 > pod b1", {"pod b1 > pod b1"}, f"on node b1: {FORWARDING}"),
        (
            "pod a1 > pod b1",
            set(),
            f"{ROUTER}: each reaches the other's pods, but these packets are lost "
            "(forwarding, a policy, one of several ways)",
        ),
        # what is not a pod or a node
        ("hostport: pod a1 > node b1", set(), f"at node b1: {PORTMAP}"),
        (
            "hostport: pod a1 > node b1",
            {"pod a1 > node b1"},
            "between the pod on a1 and node b1, which it does not reach at all",
        ),
        (
            "pod a1 > API server",
            set(),
            "on node a1, which reaches the API server: it does not forward what its pods send there",
        ),
        ("pod a1 > API server", {"node a1 > API server"}, f"between node a1 {SERVICE}"),
        ("node a1 > API server", set(), f"between node a1 {SERVICE}"),
        (
            "dns: pod a1 > API server",
            set(),
            "behind the DNS: the name is resolved, and its address does not answer",
        ),
    ],
)
def test_the_first_part_of_the_way_that_nothing_passes(failed: str, others: set[str], says: str) -> None:
    found = diagnosed({failed, *others})
    assert found.keys() == {failed, *others}  # each is a check of the plan
    assert found[failed] == says


@pytest.mark.parametrize(
    "said",
    ["nc: bad address 'kubernetes.default.svc'", "connect: Name or service not known"],
)
def test_a_name_that_is_not_resolved(said: str) -> None:
    (where,) = diagnosed({"dns: pod a1 > API server"}, said).values()
    assert where == "between the pod and the cluster's DNS, or there: the name is not resolved"
