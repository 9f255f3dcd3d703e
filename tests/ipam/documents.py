"""Random topologies: small ones, so that they fill up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from romana_bus.ipam import BadTopology, parse

RACKS = ("a", "b")
TENANTS = ("web", "db")
NODES = ("n1", "n2", "n3", "n4")
RANGES = ("10.0.0.0/26", "10.0.0.64/27", "10.0.0.96/27", "fd00::/122")


@st.composite
def groups(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    group: dict[str, Any] = {"name": draw(st.sampled_from(["", "g", "h"]))}
    if draw(st.integers(0, 3)) == 0:
        group["assignment"] = {"rack": draw(st.sampled_from(RACKS))}
    if depth and draw(st.integers(0, 2)) == 0:
        group["groups"] = draw(st.lists(groups(depth - 1), max_size=3))
    else:
        listed = draw(st.sampled_from([(), (), (), (), (), (), ("n1",), ("n2", "n3")]))
        group["groups"] = [{"name": name, "ip": f"192.0.2.{name[1]}"} for name in listed]
    return group


@st.composite
def networks(draw: st.DrawFn, cidr: str, name: str) -> dict[str, Any]:
    length = int(cidr.partition("/")[2])
    network: dict[str, Any] = {"name": name, "cidr": cidr, "block_mask": length + draw(st.integers(2, 4))}
    if draw(st.integers(0, 3)) == 0:
        network["tenants"] = [draw(st.sampled_from(TENANTS))]
    if draw(st.booleans()):
        network["wishes"] = draw(limits())
    return network


def limits() -> st.SearchStrategy[dict[str, Any]]:
    """Limits that a few pods exceed."""
    who = st.sampled_from([["*"], ["*"], [TENANTS[0]], []])
    return st.fixed_dictionaries(
        {},
        optional={
            "fixed": who,
            "sticky": who,
            "max_per_namespace": st.integers(0, 3),
            "max_retention": st.sampled_from(["0s", "20s", "5m", "2h"]),
            "max_broken_blocks": st.sampled_from(["0%", "10%", "60%", "100%"]),
        },
    )


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Any that is accepted: one family or both, one network or several, with and without labels."""
    cidrs = draw(st.lists(st.sampled_from(RANGES), min_size=1, unique=True))
    return {
        "networks": [draw(networks(cidr, f"net{at}")) for at, cidr in enumerate(cidrs)],
        "topologies": [
            {"networks": [f"net{at}"], "map": draw(st.lists(groups(), min_size=1, max_size=3))}
            for at in range(len(cidrs))
        ],
    }


def usable(document: dict[str, Any]) -> bool:
    try:
        parse(document)
    except BadTopology:
        return False
    return True
