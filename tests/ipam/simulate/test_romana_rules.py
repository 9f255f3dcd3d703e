"""Operations in any order, on any topology: the results are those of Romana's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.ipam import Settings
from romana_bus.ipam.simulate.cluster import OpError
from romana_bus.ipam.simulate.operations import AnyOp
from romana_bus.ipam.simulate.simulation import Simulation
from romana_bus.ipam.topology.document import Reader
from tests.ipam.documents import NODES, RACKS, RANGES, TENANTS, documents, usable
from tests.ipam.simulate import romana_rules as romana

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = Settings(block_owner="segment", cooldown=0, warm_blocks=0)
CIDRS = (*RANGES, "10.0.0.0/28", "10.0.0.8/29", "10.0.0.4/30", "10.0.0.64/30", "10.0.0.2/32", "fd00::/126",
         "192.0.2.0/24")  # fmt: skip
TAGS = ({}, *({"rack": rack} for rack in RACKS))

#: How often each operation is played.
WEIGHTS = {"allocate": 8, "deallocate": 4, "add_host": 3, "remove_host": 1, "update_labels": 1, "blackout": 1,
           "unblackout": 1, "update_topology": 1}  # fmt: skip
KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]

#: What is to be done, with whom (where there are several), and how.
Step = tuple[str, int, int, dict[str, Any]]


def listed_once(document: dict[str, Any]) -> bool:
    """Where a host is listed twice, we count the first listing, and Romana both."""
    return usable(document) and not Reader(document).warnings


TOPOLOGIES = documents().filter(listed_once)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    kind = draw(st.sampled_from(KINDS))
    topology = draw(TOPOLOGIES) if kind == "update_topology" else {}
    return kind, draw(st.integers(0, 99)), draw(st.integers(0, 99)), topology


def operation(there: romana.Romana, step: Step, serial: int) -> dict[str, Any]:
    """Mostly with names that there are."""
    kind, who, how, topology = step
    host = one_of([*there.tags, *NODES], who)
    match kind:
        case "allocate":
            name = f"a{serial}" if how % 10 else one_of([*there.given, "a0"], who)
            tenant, segment = TENANTS[how % 2], ("", "s")[how // 2 % 2]
            return {"op": kind, "name": name, "host": host, "tenant": tenant, "segment": segment}
        case "deallocate":
            found = [str(address) for _, addresses in there.given.values() for address in addresses]
            return {"op": kind, "name": one_of([*there.given, *(found if how % 2 else ()), "nobody"], who)}
        case "add_host":
            name = NODES[who % len(NODES)]
            return {"op": kind, "name": name, "ip": f"192.0.2.{name[1]}", "tags": TAGS[how % len(TAGS)]}
        case "remove_host":
            return {"op": kind, "name": host}
        case "update_labels":
            return {"op": kind, "name": host, "tags": TAGS[how % len(TAGS)]}
        case "blackout":
            return {"op": kind, "cidr": one_of(CIDRS, who)}
        case "unblackout":
            return {"op": kind, "cidr": one_of([*map(str, there.reserved), CIDRS[how % len(CIDRS)]], who)}
    return {"op": kind, "topology": topology}


def one_of(values: Sequence[str], which: int) -> str:
    return values[which % len(values)]


@given(TOPOLOGIES, st.lists(steps(), max_size=40))
def test_results_are_those_of_the_rules(document: dict[str, Any], taken: list[Step]) -> None:
    ours, theirs = Simulation(document, SETTINGS), romana.Romana(document)
    for serial, step in enumerate(taken):
        one = operation(theirs, step, serial)
        assert result(ours, one) == theirs.play(one), one
        outcome = ours.outcome()
        assert outcome["blocks"] == romana.blocks(theirs)
        assert hosts(outcome) == romana.hosts(theirs)
        assert addresses(outcome) == romana.addresses(theirs)


def result(simulation: Simulation, one: dict[str, Any]) -> romana.Outcome:
    try:
        return True, simulation.play(msgspec.convert(one, AnyOp))
    except OpError as error:
        return False, error.kind


def hosts(outcome: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Leaf -> those in it, padding too."""
    found = {}
    left = list(outcome["tree"].items())
    while left:
        name, group = left.pop()
        left += [(name, inner) for inner in group.get("groups", ())]
        if group.get("hosts"):
            found[name, group["cidr"]] = group["hosts"]
    return found


def addresses(outcome: dict[str, Any]) -> dict[str, set[str]]:
    return {
        name: {found} if isinstance(found, str) else set(found)
        for name, found in outcome["addresses"].items()
    }
