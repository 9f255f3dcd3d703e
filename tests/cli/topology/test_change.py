"""`topology plan` and `apply` on clusters whose pods run: nobody's prefix moves, nobody loses an address
unless somebody said so."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.bus.memory import MemoryStore
from romana_bus.cli.common.positions import Entry
from romana_bus.cli.common.topology_file import Source
from romana_bus.cli.topology import apply
from romana_bus.cli.topology.apply import current, merged
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES, SPEC, codec
from romana_bus.ipam import parse
from romana_bus.ipam.change.evictions import losing
from romana_bus.runtime.feed import outgoing
from tests.cli.api import ApiThread
from tests.cli.logs import begun
from tests.cli.topology.test_apply import stored
from tests.identities import log_options
from tests.ipam.change.planned import zones as document
from tests.ipam.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from romana_bus.cli.topology.apply import Current
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

    Write = Callable[..., str]

_clusters = itertools.count(1)


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    """The options that reach a log on which nothing is."""
    return log_options(nats_server.url, f"change{next(_clusters)}")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file with a group for each zone."""

    def written(*names: str, cidr: str = "10.8.0.0/16", mask: int = 28) -> str:
        path = tmp_path / "zones.json"
        path.write_text(json.dumps(document(*names, cidr=cidr, mask=mask), indent=1))
        return str(path)

    return written


def test_groups_are_added_and_removed_while_pods_run(
    log: tuple[str, ...], write: Write, home: Home, call: Call
) -> None:
    with ApiThread() as api:
        for at, zone in enumerate(("a", "c", "new")):
            api.node(f"n-{zone}", zone, f"192.0.2.{at}")
        api.pod("in-a", "n-a")
        api.pod("in-c", "n-c")
        assert call("topology", "apply", write("a", "b", "c"), *log).code == 0
        with home.start("up", "--server", api.server.url, "--plain", *log) as up:
            up.until(lambda: "web/in-a gets 10.8.0." in up.out, "an address in a")
            up.until(lambda: "web/in-c gets 10.8.128." in up.out, "an address in c")
            path = write("a", "new", "c")
            result = call("topology", "plan", path, *log)
            assert result.code == 0
            assert result.lines[-1] == "safe: no running pod is affected"
            assert "addresses: 2 kept" in result.lines
            result = call("topology", "apply", path, *log)
            assert "topology set" in result.lines
            assert "new  10.8.64.0/18" in result.out
            assert "1 of 4 slots free" in result.out
            api.pod("in-new", "n-new")
            up.until(lambda: "web/in-new gets 10.8.64." in up.out, "an address in the new group")
            assert call("topology", "plan", path, *log).lines[-1] == "unchanged: this topology is set already"
            assert "unchanged: this topology was set already" in call("topology", "apply", path, *log).out
            assert up.stop().code == 0
    assert len(stored(call, log)) == 2
    shown = call("ipam", "show", "--json", *log).json
    assert {host["node"]: host["pods"] for host in shown["hosts"]} == {"n-a": 1, "n-c": 1, "n-new": 1}


def test_pods_that_lose_their_address_must_be_named(
    log: tuple[str, ...], write: Write, home: Home, call: Call
) -> None:
    """No decider runs while this topology is set."""
    with ApiThread() as api:
        for zone in "ab":
            api.node(f"n-{zone}", zone, f"192.0.2.{ord(zone)}")
        for at in range(7):
            api.pod(f"p{at}", "n-b")
        call("topology", "apply", write("a", "b"), *log)
        with home.start("up", "--server", api.server.url, "--plain", *log) as up:
            up.until(lambda: up.out.count(" gets 10.8.128.") == 7, "seven addresses")
            assert up.stop().code == 0
    path = write("a")
    result = call("topology", "plan", path, *log)
    assert result.code == 0
    assert result.lines[-1] == "7 running pods lose their address: apply needs --evict"
    found = call("topology", "plan", "--json", path, *log).json
    assert (found["safe"], found["changed"], len(found["plan"]["losing"])) == (False, True, 7)
    refused = call("topology", "apply", path, *log)
    refused.complains(2, "the address of 7 running pods would", "web/p0 (10.8.128.", "and 2 more", "--evict")
    call("topology", "apply", path, "--evict", "web/p0", *log).complains(2, "6 running pods", "web/p1 (")
    result = call("topology", "apply", path, "--evict", "web/*", "--evict", "web/nobody", *log)
    result.complains(2, "--evict web/nobody: it does not lose its address by this")
    call("topology", "set", path, "--evict", "web", *log).complains(2, "--evict web: write NAMESPACE/POD")
    assert len(stored(call, log)) == 1
    result = call("topology", "apply", path, "--evict", "web/p0", "--evict", "web/*", "--json", *log)
    assert result.json["changed"] is True
    said = call("events", "tail", "--subject", "spec.>", "--all", "--no-follow", "--json", *log).json_lines
    evicted = said[-1]["event"]["evict"]
    assert [(one["name"], one["node"]) for one in evicted] == [(f"p{at}", "n-b") for at in range(7)]
    assert all(one["addresses"][0].startswith("10.8.128.") for one in evicted)
    call("topology", "apply", path, "--evict", "web/p0", *log).complains(2, "--evict web/p0: it does not")


def test_evicted_pod_gets_another_address_at_once(
    log: tuple[str, ...], write: Write, home: Home, call: Call
) -> None:
    with ApiThread() as api:
        for at, zone in enumerate("ab"):
            api.node(f"n-{zone}", zone, f"192.0.2.{at}")
            api.pod(f"in-{zone}", f"n-{zone}")
        call("topology", "apply", write("a", "b"), *log)
        with home.start("up", "--server", api.server.url, "--plain", *log) as up:
            up.until(lambda: up.out.count(" gets 10.8.") == 2, "two addresses")
            path = write("a", "b", cidr="10.9.0.0/16")
            call("topology", "apply", path, "--evict", "web/in-a", *log).complains(2, "web/in-b (10.8.128.")
            assert call("topology", "apply", path, "--evict", "all", *log).code == 0
            up.until(lambda: "web/in-a gets 10.9.0." in up.out, "another address")
            up.until(lambda: "web/in-b gets 10.9.128." in up.out, "another address")
            assert up.stop().code == 0


def test_a_plan_of_an_empty_log_stores_nothing(log: tuple[str, ...], write: Write, call: Call) -> None:
    begun(log[1], log[3])
    result = call("topology", "plan", write("a", "b"), *log)
    assert result.code == 0
    assert result.lines[-1] == "safe: no running pod is affected"
    assert "not listed in full yet: nodes, pods" in result.out
    found = call("topology", "plan", "--json", write("a", "b"), *log).json
    assert [group["group"] for group in found["plan"]["groups"] if group["kind"] == "opened"] == ["a", "b"]
    assert found["document"]["topologies"][0]["slots"] == 2
    assert stored(call, log) == []


def test_cost_of_growing_a_level_is_shown(log: tuple[str, ...], write: Write, call: Call) -> None:
    call("topology", "apply", write(*"abcd"), *log)
    result = call("topology", "plan", write(*"abxcd"), *log)
    assert (
        "the level of network net is full (4 of 4): it grows to 8, "
        "every group in it keeps the lower half of its prefix"
    ) in result.lines
    refused = call("topology", "apply", write("a", "b", cidr="10.8.0.0/31", mask=32), *log)
    refused.complains(
        2, "zones.json:14: topologies[0].map: 4 slots do not fit into 10.8.0.0/31 (a level keeps"
    )


@pytest.mark.parametrize("command", ["plan", "apply", "set", "validate"])
def test_missing_file_and_invalid_file(command: str, tmp_path: Path, call: Call) -> None:
    result = call("topology", command, str(tmp_path / "gone"))
    assert result.code == 2
    assert f"{tmp_path}/gone: No such file or directory" in result.out + result.err
    path = tmp_path / "bad.yaml"
    path.write_text(
        "networks:\n- name: net\n  cidr: 10.0.0.0/8\ntopologies:\n"
        "- networks: [net]\n  slots: 3\n  map:\n  - name: a\n    slot: 7\n"
    )
    result = call("topology", command, str(path))
    assert result.code == 2
    (line,) = (result.out + result.err).splitlines()
    assert line.endswith(f"{path}:6: topologies[0].slots: 3: a power of two is expected, 65,536 at most")


def test_groups_whose_names_have_slashes(log: tuple[str, ...], tmp_path: Path, call: Call) -> None:
    path = tmp_path / "slashes.json"
    entries = [{"name": "a/b", "groups": [{"name": "c/d"}, {"name": "e"}, {}]}, {"name": "a"}]
    network = {"name": "net", "cidr": "10.0.0.0/16", "block_mask": 28}
    path.write_text(
        json.dumps({"networks": [network], "topologies": [{"networks": ["net"], "map": entries}]})
    )
    assert call("topology", "apply", str(path), *log).code == 0
    lines = call("topology", "show", *log).lines
    assert [line[: line.index("  10.")] for line in lines if "  10." in line] == [
        "└── net",
        "    ├── a/b",
        "    │   ├── c/d",
        "    │   ├── e",
        "    │   └── 2",
        "    ├── a",
    ]
    assert "1 of 4 slots free" in lines[2]


# --- hostile: on the twin, where two can do the same at the same moment ---


def source(text: dict[str, Any]) -> Source:
    return Source("FILE", text, Entry(0, 0, []))


async def filled(c: Cluster) -> MemoryStore:
    """A store with all that is on a cluster's log."""
    store = MemoryStore()
    await store.prepare(ROLES)
    for one in c.log:
        await store.publish(one.role, outgoing(one.event, "", one.time, store.history))
    return store


def lived(*names: str, pods: int = 1, prefix: str = "") -> Cluster:
    c = Cluster(document(*names))
    for name in names:
        c.node(f"n-{name}", {"topology.kubernetes.io/zone": name})
        for at in range(pods):
            c.pod(f"web/{prefix}{name}{at}", f"n-{name}")
    c.decide()
    return c


async def put(store: MemoryStore, there: Current, source: Source, evict: Sequence[str] = ()) -> bool:
    return await apply.put(store, there, merged(there, source), evict)


async def test_concurrent_change_is_refused() -> None:
    store = await filled(lived("a"))
    one, other = await current(store), await current(store)
    assert await put(store, one, source(document("a", "b")))
    with pytest.raises(Failed, match="another command set the topology at the same time"):
        await put(store, other, source(document("a", "c")))
    there = await current(store)
    assert [leaf.group for leaf in there.state.topology.leaves] == ["a", "b"]
    assert await put(store, there, source(document("a", "c")))


async def test_a_topology_that_cannot_be_used_is_replaced_by_one_that_can() -> None:
    store = await filled(lived("a", "b"))
    bad = ev.TopologySet(document={"networks": "all"})
    await store.publish(SPEC, outgoing(bad, "", 1, store.history))
    there = await current(store)
    assert there.state.problem
    assert await put(store, there, source(document("a", "b")))
    again = await current(store)
    assert (again.state.problem, again.state.obstacle) == ("", "")
    assert losing(again.state, parse(document("a", "b"))) == ()


async def test_evictions_are_split_over_several_messages() -> None:
    store = await filled(lived("a", "b", pods=40, prefix="x" * 200))
    wanted = document("a") | {"comment": "x" * 990_000}
    there = await current(store)
    with pytest.raises(BadInput):
        await put(store, there, source(wanted), ["web/x"])
    assert await put(store, there, source(wanted), ["all"])
    newest = await store.newest(SPEC, "spec.topology")
    assert newest is not None
    assert len(newest.body) < 1_000_000
    said = [codec.decode(message.body) async for some in store.table(SPEC) for message in some]
    ended = [event for event in said if isinstance(event, ev.AddressDisowned)]
    assert len(ended) == 40
    assert {event.node for event in ended} == {"n-b"}


async def test_pending_eviction_is_published_again() -> None:
    """Until it is, or until the address has a place again."""

    async def evicted(store: MemoryStore, *names: str, evict: tuple[str, ...] = ()) -> list[str]:
        assert await put(store, await current(store), source(document(*names)), evict)
        event = (await current(store)).event
        return [one.name for one in event.evict] if event else []

    store = await filled(lived("a", "b", "c"))
    assert await evicted(store, "a", "c", evict=("web/b0",)) == ["b0"]
    assert await evicted(store, "a", "c", "d") == ["b0"]
    assert await evicted(store, "c", "d", evict=("all",)) == ["a0", "b0"]
    assert await evicted(store, "c", "d", "a") == ["b0"]


async def test_document_that_is_too_large_to_be_stored() -> None:
    store = await filled(lived("a"))
    with pytest.raises(BadInput, match="bytes, and at most 1,000,000 can be stored"):
        await put(store, await current(store), source(document("a") | {"comment": "x" * 999_990}))
