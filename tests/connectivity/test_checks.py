"""Which checks are made between the chosen nodes."""

from __future__ import annotations

from collections import Counter

from romana_bus.connectivity.checks import NAME, Api, missing_families, plan
from romana_bus.connectivity.model import KINDS, Node, pod_on

A1 = Node("a1", "a", ("172.31.1.11", "fd31::1"))
A2 = Node("a2", "a", ("172.31.1.12", "fd31::2"))
B1 = Node("b1", "b", ("172.31.2.11", "fd32::1"))
LISTENERS = {"a1": ("10.0.0.1", "fd20::1"), "a2": ("10.0.0.2", "fd20::2"), "b1": ("10.1.0.1", "fd21::1")}
API = Api(("10.96.0.1", "fd96::1"), 443, True)


def test_every_way_is_checked_in_both_families() -> None:
    found = plan([A1, A2, B1], LISTENERS, API, 24240)
    assert Counter((each.kind, each.place, each.family) for each in found) == {
        **{("pod", "same node", family): 3 for family in (4, 6)},
        **{("pod", "same zone", family): 2 for family in (4, 6)},
        **{("pod", "across zones", family): 4 for family in (4, 6)},
        **{("host", "same node", family): 3 for family in (4, 6)},
        **{("host", "same zone", family): 2 for family in (4, 6)},
        **{("host", "across zones", family): 4 for family in (4, 6)},
        **{("node", "same node", family): 3 for family in (4, 6)},
        **{("node", "same zone", family): 2 for family in (4, 6)},
        **{("node", "across zones", family): 4 for family in (4, 6)},
        **{("nodes", "same zone", family): 2 for family in (4, 6)},
        **{("nodes", "across zones", family): 4 for family in (4, 6)},
        **{("api", "", family): 6 for family in (4, 6)},
        **{("hostport", "", family): 6 for family in (4, 6)},
        ("dns", "", 0): 3,
    }
    assert len(set(found)) == len(found)
    (name,) = (each for each in found if each.kind == "dns" and each.source == pod_on("a1"))
    assert (name.address, name.port, name.says) == (NAME, 443, "+")
    across = next(each for each in found if (each.kind, each.place) == ("pod", "across zones"))
    assert (across.address, across.says) == ("10.1.0.1", "b1")


def test_what_is_skipped_or_not_there_is_not_checked() -> None:
    def kinds(*arguments: object) -> set[str]:
        return {each.kind for each in plan(*arguments)}  # type: ignore[arg-type]

    everything = ([A1, A2], {"a1": LISTENERS["a1"], "a2": LISTENERS["a2"]}, API, 24240)
    assert kinds(*everything) == KINDS.keys()
    for kind in KINDS:
        assert kinds(*everything, {kind}) == KINDS.keys() - {kind}
    assert kinds([A1, A2], {}, Api(), 24240) == {"node", "nodes"}
    assert "dns" not in kinds([A1], {}, API._replace(named=False), 24240)


def test_one_node_alone_tests_its_own_host_port() -> None:
    found = [each for each in plan([A1], {"a1": ("10.0.0.1",)}, API, 24240) if each.kind == "hostport"]
    assert [(each.address, each.port, each.says) for each in found] == [("172.31.1.11", 24240, "a1")]


def test_an_address_that_only_some_pods_have_is_missing_on_the_others() -> None:
    assert missing_families(LISTENERS) == []
    assert missing_families(LISTENERS | {"a2": ("10.0.0.2",)}) == [
        "the pod on a2 has no IPv6 address, and pods on other nodes have one"
    ]
    assert missing_families({"a1": ("10.0.0.1",), "b1": ("10.1.0.1",)}) == []
