"""`ipam simulate` on cases of our own: where hosts are placed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ipam.cluster import topology
from tests.ipam.simulate.operations import ONE, ask, hosts, join, label, leave

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


RACKS = [{"name": rack, "assignment": {"rack": rack}, "groups": []} for rack in "abc"]


def test_the_tree_as_it_is_written_with_padding(play: Play) -> None:
    inner = {
        "name": "outer",
        "routing": "r",
        "groups": [{"name": "x"}, {"name": "y", "assignment": {"k": "v"}}],
    }
    played = play(topology("10.0.0.0/16", 28, inner, *RACKS[:2]), [join("n1", k="v"), join("n2")])
    assert played.end["tree"]["net"] == {
        "cidr": "",
        "name": "/",
        "groups": [
            {
                "cidr": "10.0.0.0/18",
                "name": "outer",
                "routing": "r",
                "groups": [
                    {"cidr": "10.0.0.0/19", "name": "x", "hosts": ["n1", "n2"]},
                    {"cidr": "10.0.32.0/19", "name": "y", "assignment": {"k": "v"}, "hosts": []},
                ],
            },
            {"cidr": "10.0.64.0/18", "name": "a", "assignment": {"rack": "a"}, "hosts": []},
            {"cidr": "10.0.128.0/18", "name": "b", "assignment": {"rack": "b"}, "hosts": []},
            {"cidr": "10.0.192.0/18", "hosts": []},
        ],
    }


def test_the_group_with_the_fewest_hosts_that_takes_it(play: Play) -> None:
    """Those in padding would always have the fewest."""
    ops = [
        *(join(f"n{at}", f"192.0.2.{at + 1}", rack="ab"[at % 2]) for at in range(11)),
        join("n11", rack="x"),
    ]
    played = play(topology("10.0.0.0/16", 28, *RACKS, *RACKS), ops)
    assert played.short == [True] * 11 + ["no_group"]
    groups = played.end["tree"]["net"]["groups"]
    assert [group["hosts"] for group in groups] == [
        ["n0", "n4", "n8"], ["n1", "n5", "n9"], [], ["n2", "n6", "n10"], ["n3", "n7"], [], [], [],
    ]  # fmt: skip
    assert played.results[-1]["message"] == "network net needs the label rack=a or rack=b or rack=c"


def test_a_host_is_added_once_by_name_and_by_address(play: Play) -> None:
    ops = [join("n1", "192.0.2.9"), join("n3", "192.0.2.2"), join("n3"), join("n3"), leave("n3"), join("n3")]
    assert play(ONE, ops).short == ["exists", "exists", True, "exists", True, True]


def test_one_that_found_no_group_may_try_again(play: Play) -> None:
    ops = [join("n1", rack="x"), join("n1", rack="a"), ask("a")]
    assert play(topology("10.0.0.0/16", 28, *RACKS), ops).short == ["no_group", True, "10.0.0.0"]


def test_a_listed_host_that_is_removed_and_added_is_like_any_other(play: Play) -> None:
    """What a document lists counts from the start, until it is removed."""
    document = topology("10.0.0.0/16", 28, hosts("n1", "n2", "n3"), {"name": "other"})
    played = play(
        document, [leave("n1"), leave("n2"), join("x"), join("n1"), join("n4"), join("n2", rack="a")]
    )
    groups = played.end["tree"]["net"]["groups"]
    assert [group["hosts"] for group in groups] == [["n3", "n1", "n2"], ["x", "n4"]]


def test_a_host_is_found_by_address_or_by_name(play: Play) -> None:
    by_address = {"op": "remove_host", "ip": "192.0.2.1"}
    ops = [by_address | {"name": "n2"}, by_address | {"name": "n1"}, by_address, leave("n1"), leave("n2")]
    assert play(ONE, ops).short == ["mismatch", True, "not_found", "not_found", True]
    ops = [label("nope"), {"op": "update_labels", "ip": "192.0.2.7"}]
    assert play(ONE, ops).short == ["not_found", "not_found"]


def test_labels_have_to_go_with_the_group_and_do_not_move_a_host(play: Play) -> None:
    zone = {"name": "zone", "assignment": {"zone": "z"}, "groups": [*RACKS]}
    ops = [join("n1", zone="z", rack="a"), label("n1", zone="z", rack="a", more="x"), label("n1", zone="z")]
    ops += [label("n1", rack="a"), label("n1", zone="z", rack="b"), label("n1", zone="z", rack="a")]
    played = play(topology("10.0.0.0/16", 28, zone), ops)
    assert played.short == [True, True, "ineligible", "ineligible", "ineligible", True]
    assert "zone=z, rack=a" in played.results[2]["message"]
    assert played.end["tree"]["net"]["groups"][0]["hosts"] == ["n1"]


def test_labels_never_make_a_host_join_another_network(play: Play) -> None:
    document = {
        "networks": [{"name": "a", "cidr": "10.0.0.0/24"}, {"name": "b", "cidr": "10.1.0.0/24"}],
        "topologies": [{"networks": ["a"], "map": RACKS[:1]}, {"networks": ["b"], "map": [
            {"name": "z", "assignment": {"zone": "z"}, "groups": []}
        ]}],
    }  # fmt: skip
    played = play(document, [join("n1", rack="a"), label("n1", rack="a", zone="z"), ask("a")])
    assert played.short == [True, True, "10.0.0.0"]
    assert (played.end["tree"]["a"]["hosts"], played.end["tree"]["b"]["hosts"]) == (["n1"], [])
