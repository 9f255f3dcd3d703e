"""Followed live or booted from the table: the same state, at every step of every history."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus import events as ev
from romana_bus.lab.recordings.track import read_lines
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import NODES, PODS
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.watch_stream import WatchStream
from tests.ipam.cluster import Cluster, topology
from tests.ipam.fold.state_dump import dump
from tests.ipam.fold.test_histories import HISTORIES, Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romana_bus.producers.kubernetes.objects import Kind
    from tests import histories

    Misfortune = Callable[[random.Random, Cluster], list[ev.Event]]

ROOT = Path(__file__).parents[3]
#: The project's own, and those that a machine may have beside it.
RECORDINGS = [one for one in (ROOT / "recordings", ROOT.parent / "shared" / "kube") if one.is_dir()]


def same(cluster: Cluster) -> None:
    assert dump(cluster.rebuilt().state) == dump(cluster.state)


def recorded(kind: Kind, folder: Path) -> Iterator[ev.Event]:
    """The events that the watcher publishes for a recorded day."""
    state = Watched()
    observe.begin_listing(state, kind, "test")
    observe.end_listing(state, kind, "1", 0.0)
    watch = WatchStream(kind, state)
    for number, line in enumerate(read_lines(folder / f"{kind.plural}.jsonl")):
        if line.kind == "watch":
            watch.now = float(number)
            yield from watch.feed(line.body.encode() + b"\n").events


def a_day(folder: Path) -> list[ev.Event]:
    """Nodes and pods by their versions."""
    facts: list[ev.Fact] = []
    for kind in (NODES, PODS):
        facts += [one for one in recorded(kind, folder) if isinstance(one, ev.Fact)]
    return [*sorted(facts, key=lambda fact: int(fact.resource_version))]


def as_it_is(_chance: random.Random, _cluster: Cluster) -> list[ev.Event]:
    return []


def repeated_old_event(chance: random.Random, cluster: Cluster) -> list[ev.Event]:
    facts = [stored.event for stored in cluster.log if isinstance(stored.event, ev.Fact)]
    return [chance.choice(facts)] if facts and chance.random() < 0.3 else []


def a_false_deletion(chance: random.Random, cluster: Cluster) -> list[ev.Event]:
    pods, nodes = cluster.newest(ev.PodSeen), cluster.newest(ev.NodeSeen)
    version = str(chance.choice([1, 10**6, 10**18]))
    if pods and chance.random() < 0.2:
        pod = chance.choice(pods)
        return [ev.PodGone(resource_version=version, uid=pod.uid, namespace=pod.namespace, name=pod.name)]
    if nodes and chance.random() < 0.1:
        node = chance.choice(nodes)
        return [ev.NodeGone(resource_version=version, uid=node.uid, name=node.name)]
    return []


def older_version(chance: random.Random, cluster: Cluster) -> list[ev.Event]:
    pods = cluster.newest(ev.PodSeen)
    if not pods or chance.random() > 0.3:
        return []
    pod = chance.choice(pods)
    return [msgspec.structs.replace(pod, resource_version=str(chance.randrange(5)), phase="Running")]


def foreign_decision(chance: random.Random, cluster: Cluster) -> list[ev.Event]:
    given, blocks = cluster.newest(ev.AddressAssigned), cluster.newest(ev.BlockAssigned)
    if given and chance.random() < 0.1:
        one = chance.choice(given)
        return [msgspec.structs.replace(one, name=f"twin-{chance.randrange(3)}", uid="twin")]
    if blocks and chance.random() < 0.1:
        return [msgspec.structs.replace(chance.choice(blocks), node="x", since=chance.choice([0, 2**62]))]
    return []


MISFORTUNES = [
    as_it_is, repeated_old_event, a_false_deletion, older_version, foreign_decision,
]  # fmt: skip
misfortunes = pytest.mark.parametrize("misfortune", MISFORTUNES, ids=lambda one: one.__name__)


@misfortunes
@pytest.mark.parametrize("documented", [False, True], ids=["default", "topology"])
@pytest.mark.parametrize("folder", RECORDINGS, ids=[one.name for one in RECORDINGS])
def test_a_recorded_day(misfortune: Misfortune, documented: bool, folder: Path) -> None:
    chance = random.Random(7)
    cluster = Cluster(topology("10.0.0.0/20", 28) if documented else None, cooldown=5_000_000)
    for number, fact in enumerate(a_day(folder)):
        cluster.send(fact, *misfortune(chance, cluster))
        if number % 2 or misfortune is foreign_decision:
            cluster.decide()
        if number % 10 == 0:
            cluster.later(chance.choice([1, 4, 10]))
        same(cluster)


@misfortunes
@pytest.mark.parametrize("make_history", HISTORIES)
def test_written_histories(
    make_history: Callable[[Facts], histories.History],
    misfortune: Misfortune,
) -> None:
    source = Facts()
    history = make_history(source)
    for seed in range(3):
        chance = random.Random(seed)
        cluster = Cluster(synced=False)
        cluster.send(*source.before)
        for step in history:
            for event in step:
                cluster.send(event, *misfortune(chance, cluster))
                if misfortune is foreign_decision:
                    cluster.decide()
                same(cluster)
            cluster.decide()
            same(cluster)
            cluster.later(chance.choice([0, 20, 40]))
            cluster.decide()
            same(cluster)


def test_reports_of_what_nodes_live_on() -> None:
    """They come before and after their nodes, which come, go and come again, in any order."""
    places = ("192.0.2.0/24", "10.0.0.128/26", "10.0.0.0/28", "10.0.0.64/27")
    for seed in range(30):
        chance = random.Random(seed)
        cluster = Cluster(topology("10.0.0.0/24", 30, {"name": "a"}, {"name": "b"}), cooldown=5_000_000)
        for _ in range(40):
            node, pod = f"n{chance.randrange(3)}", f"web/{chance.randrange(4)}"
            match chance.randrange(5):
                case 0:
                    connected = tuple(sorted(chance.sample(places, chance.randrange(2))))
                    gateway = f"10.0.0.{chance.randrange(4)}"
                    cluster.lives_on(node, connected=connected, gateways=chance.choice([(), (gateway,)]))
                case 1:
                    cluster.node(node)
                case 2:
                    cluster.no_node(node)
                case 3:
                    cluster.pod(pod, node)
                case _:
                    cluster.no_pod(pod)
            same(cluster)
            cluster.decide()
            same(cluster)
            assert cluster.rebuilt(chance).decide() == []
            cluster.later(chance.choice([0, 1, 6]))
