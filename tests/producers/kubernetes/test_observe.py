"""Which events are published for the API server's answers, without any I/O."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.events import (
    Event,
    NodeGone,
    NodeSeen,
    ObjectSeen,
    PodGone,
    PodSeen,
    PolicySeen,
    ResourceListing,
    ResourceSynced,
    codec,
)
from romana_bus.events.base import LARGEST
from romana_bus.lab.kubeapi.resources import NODES as NODES_AT_THE_SERVER
from romana_bus.lab.recordings.track import read_lines
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import BUILT_IN, NODES, PODS, POLICIES, Kind, Pod, other_kind
from romana_bus.producers.kubernetes.progress import Watched, evolve
from romana_bus.producers.kubernetes.responses import Action
from romana_bus.producers.kubernetes.watch_stream import WatchStream

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDINGS = Path(__file__).parents[3] / "recordings"


def pod(name: str, version: int, uid: str = "", **fields: Any) -> Pod:
    metadata = {"name": name, "namespace": "web", "uid": uid or f"u-{name}", "resourceVersion": str(version)}
    for key in ("labels", "annotations"):
        if value := fields.pop(key, None):
            metadata[key] = value
    raw = {"metadata": metadata, "spec": fields.pop("spec", {}), "status": fields.pop("status", {})}
    return msgspec.convert(raw, Pod)


def listing(state: Watched, items: Iterable[Pod], version: int, now: float = 0.0) -> list[Event]:
    return [
        *observe.begin_listing(state, PODS, "test"),
        *observe.listed(state, PODS, items),
        *observe.end_listing(state, PODS, str(version), now),
    ]


def brief(events: Iterable[Event]) -> list[str]:
    """What was published, in short."""
    return [f"{type(event).__name__} {getattr(event, 'name', '')}".strip() for event in events]


def synced(*pods: Pod, version: int = 100) -> Watched:
    state = Watched()
    listing(state, pods, version)
    return state


def test_first_listing_publishes_everything_between_its_marks() -> None:
    events = listing(Watched(), [pod("a", 5), pod("b", 7)], 100)
    assert brief(events) == ["ResourceListing", "PodSeen a", "PodSeen b", "ResourceSynced"]
    assert events[0] == ResourceListing(resource="pods", reason="test", number=1)
    assert events[-1] == ResourceSynced(
        resource="pods", resource_version="100", number=1, count=2, fields=PODS.fields
    )


def test_second_listing_publishes_changes_and_the_third_deletions() -> None:
    state = synced(pod("a", 5), pod("b", 7), pod("c", 8))
    there = [pod("a", 5), pod("c", 150, spec={"nodeName": "n1"}), pod("d", 160)]
    events = listing(state, there, 200)
    assert brief(events) == ["ResourceListing", "PodSeen c", "PodSeen d", "ResourceSynced"]
    assert isinstance(mark := events[-1], ResourceSynced)
    assert (mark.count, mark.doubted) == (4, 1)
    events = listing(state, there, 210)
    assert brief(events) == ["ResourceListing", "PodGone b", "ResourceSynced"]
    assert events[1] == PodGone(resource_version="210", listing=3, uid="u-b", namespace="web", name="b")
    assert isinstance(mark := events[-1], ResourceSynced)
    assert (mark.count, mark.doubted) == (3, 0)


def test_mirror_pod_is_published_with_the_uid_of_its_static_pod() -> None:
    """The kubelet calls CNI with it, and makes the mirror anew where somebody has deleted it."""
    static = {"kubernetes.io/config.mirror": "0123abc", "kubernetes.io/config.hash": "0123abc"}
    state = Watched()
    events = listing(state, [pod("a", 5), pod("b", 6, annotations=static)], 100)
    seen = [event for event in events if isinstance(event, PodSeen)]
    assert [(one.static, one.kubelet_uid, one.annotations) for one in seen] == [
        ("", "u-a", {}),
        ("0123abc", "0123abc", {}),
    ]
    again = pod("b", 101, uid="another", annotations=static)
    (mirror,) = observe.changed(state, PODS, "MODIFIED", again)
    assert isinstance(mirror, PodSeen)
    assert (mirror.uid, mirror.kubelet_uid) == ("another", "0123abc")
    assert observe.changed(state, PODS, "MODIFIED", pod("b", 102, uid="another", annotations=static)) == []


def test_watcher_that_learns_static_pod_uids_lists_again() -> None:
    """The events of its predecessor had one field less."""
    state = synced(pod("a", 5))
    assert observe.resumes(state, PODS)
    before = ResourceSynced(resource="pods", resource_version="100", count=1, fields="62c3f1a0")
    evolve(state, before)
    assert not observe.resumes(state, PODS)
    again = listing(state, [pod("a", 5, annotations={"kubernetes.io/config.mirror": "x"})], 200)
    assert brief(again) == ["ResourceListing", "PodSeen a", "ResourceSynced"]


def test_only_our_annotations_are_published() -> None:
    """Others write theirs all the time."""
    state = Watched()
    ours = {"romana.io/address": "10.0.0.7"}
    events = listing(state, [pod("a", 5, annotations={**ours, "other.io/checksum": "1"})], 100)
    (seen,) = (event for event in events if isinstance(event, PodSeen))
    assert seen.annotations == ours
    churn = pod("a", 101, annotations={**ours, "other.io/checksum": "2"})
    assert observe.changed(state, PODS, "MODIFIED", churn) == []
    assert brief(observe.changed(state, PODS, "MODIFIED", pod("a", 102))) == ["PodSeen a"]


def test_status_changes_are_not_published() -> None:
    state = synced(pod("a", 5, status={"phase": "Running"}))
    churn = pod("a", 101, status={"phase": "Running", "conditions": [{"type": "Ready"}]})
    assert observe.changed(state, PODS, "MODIFIED", churn) == []
    assert state.of("pods").version == 101
    assert brief(observe.changed(state, PODS, "MODIFIED", pod("a", 102, status={"phase": "Failed"}))) == [
        "PodSeen a"
    ]


def test_older_version_is_ignored_outside_a_listing() -> None:
    """A listing replaces all earlier state."""
    state = synced(pod("a", 50, spec={"nodeName": "n2"}))
    assert observe.changed(state, PODS, "MODIFIED", pod("a", 40, spec={"nodeName": "n1"})) == []
    assert observe.changed(state, PODS, "DELETED", pod("a", 40)) == []
    assert brief(listing(state, [pod("a", 40, spec={"nodeName": "n1"})], 101)[1:-1]) == ["PodSeen a"]


def test_replaced_pod_is_published_with_its_new_uid() -> None:
    state = synced(pod("pg-0", 50, uid="old"))
    assert brief(observe.changed(state, PODS, "DELETED", pod("pg-0", 101, uid="old"))) == ["PodGone pg-0"]
    [event] = observe.changed(state, PODS, "ADDED", pod("pg-0", 102, uid="new"))
    assert isinstance(event, PodSeen)
    assert (event.uid, event.resource_version) == ("new", "102")


def test_deletion_of_an_unknown_object_is_not_published() -> None:
    assert observe.changed(synced(), PODS, "DELETED", pod("a", 101)) == []


def test_newer_bookmark_is_published() -> None:
    state = synced(version=100)
    assert observe.bookmark(state, PODS, "100") == []
    [mark] = observe.bookmark(state, PODS, "140")
    assert isinstance(mark, ResourceSynced)
    assert mark.resource_version == "140"
    assert observe.bookmark(state, PODS, "140") == []


def test_object_deleted_during_a_streaming_list_stays_deleted() -> None:
    state = synced(pod("a", 5), pod("b", 6))
    observe.begin_listing(state, PODS, "test")
    assert observe.initial(state, PODS, "ADDED", pod("a", 5)) == []
    assert brief(observe.initial(state, PODS, "DELETED", pod("a", 120))) == ["PodGone a"]
    assert brief(observe.end_listing(state, PODS, "130", 0.0)) == ["ResourceSynced"]
    assert brief(listing(state, [], 140)) == ["ResourceListing", "PodGone b", "ResourceSynced"]


def test_state_folded_from_the_log_equals_the_live_state() -> None:
    state = synced(pod("a", 5), pod("b", 7))
    log = listing(Watched(), [pod("a", 5), pod("b", 7)], 100)
    log += observe.changed(state, PODS, "MODIFIED", pod("b", 120, status={"phase": "Running"}))
    log += observe.changed(state, PODS, "ADDED", pod("c", 121))
    log += observe.changed(state, PODS, "DELETED", pod("a", 122))
    again = Watched()
    for event in log:
        evolve(again, event)
    assert again.of("pods").held == state.of("pods").held
    assert observe.resumes(again, PODS)
    assert again.of("pods").version == 122


def test_a_listing_that_was_broken_off_is_begun_again() -> None:
    log = listing(Watched(), [pod("a", 5)], 100)
    again = Watched()
    for event in [*log, ResourceListing(resource="pods", reason="410")]:
        evolve(again, event)
    assert not observe.resumes(again, PODS)


def test_a_watcher_that_knows_more_fields_lists_again() -> None:
    again = Watched()
    for event in listing(Watched(), [pod("a", 5)], 100):
        evolve(again, event)
    assert not observe.resumes(again, PODS._replace(fields="more"))


def test_restored_api_server_is_listed_from_the_beginning() -> None:
    state = synced(pod("a", 50), pod("b", 60), version=100)
    observe.begin_listing(state, PODS, "test")
    assert observe.rewound_to(state, PODS, "70")
    there = [pod("a", 50), pod("c", 61)]
    events = listing(state, there, 70)
    assert brief(events) == ["ResourceListing", "PodSeen a", "PodSeen c", "ResourceSynced"]
    assert events[0] == ResourceListing(resource="pods", reason="test", number=3, rewound=True)
    events += listing(state, there, 70)
    assert brief(events[4:]) == ["ResourceListing", "PodGone b", "ResourceSynced"]
    again = Watched()
    for event in events:
        evolve(again, event)
    assert again.of("pods").version == state.of("pods").version == 70
    assert brief(observe.changed(state, PODS, "MODIFIED", pod("a", 71, spec={"nodeName": "n"}))) == [
        "PodSeen a"
    ]


def test_oversized_pod_is_published_without_most_labels() -> None:
    """It gets an address like any other: the fields that IPAM needs are published."""
    state = synced()
    labels = {f"l{n}": "x" * 60 for n in range(15_000)} | {"romana.io/segment": "front"}
    huge = pod("huge", 101, labels=labels, spec={"nodeName": "n1"})
    (seen,) = observe.changed(state, PODS, "ADDED", huge)
    assert isinstance(seen, PodSeen)
    assert (seen.node, seen.labels["romana.io/segment"]) == ("n1", "front")
    assert len(codec.encode(seen)) < LARGEST < len(codec.encode(PODS.seen(huge, 0)))
    ((key, why),) = state.of("pods").unusable
    assert key == "web/huge"
    assert "labels are published" in why
    assert (
        observe.changed(state, PODS, "MODIFIED", pod("huge", 102, labels=labels, spec={"nodeName": "n1"}))
        == []
    )


def test_oversized_object_is_left_out_and_reported() -> None:
    state, kind = Watched(), other_kind("g", "v1", "things")
    item = {"metadata": {"name": "huge", "uid": "u", "resourceVersion": "7"}, "spec": "x" * LARGEST}
    observe.begin_listing(state, kind, "test")
    assert observe.listed(state, kind, [item]) == []
    ((key, why),) = state.of(kind.name).unusable
    assert key == "/huge"
    assert "it is left out" in why


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": ""},
        {"name": "x" * 100_000},
        {"name": "a", "namespace": "n" * 300},
        {"name": "a", "uid": "u" * 5000},
        {"name": "a", "resourceVersion": "9" * 5000},
        {"name": "a/b"},
    ],
)
def test_object_with_an_invalid_name_is_left_out(metadata: dict[str, str]) -> None:
    state = synced(pod("fine", 5))
    odd = msgspec.convert({"metadata": metadata}, Pod)
    assert brief(listing(state, [odd, pod("fine", 5)], 100)) == ["ResourceListing", "ResourceSynced"]
    assert len(state.of("pods").unusable) == 1


def test_any_other_kind_whole_or_in_chosen_fields() -> None:
    raw = {
        "apiVersion": "apps/v1",
        "metadata": {
            "name": "api",
            "namespace": "web",
            "uid": "u",
            "resourceVersion": "9",
            "managedFields": [1],
        },
        "spec": {"replicas": 3, "template": {"spec": {"x": 1}}},
    }
    whole = other_kind("apps", "v1", "deployments")
    assert (whole.name, whole.path) == ("apps/v1/deployments", "/apis/apps/v1/deployments")
    event = whole.seen(msgspec.json.decode(msgspec.json.encode(raw)), 0)
    assert isinstance(event, ObjectSeen)
    assert event.object["spec"] == raw["spec"]
    assert "managedFields" not in event.object["metadata"]
    assert event.subject() == "kube.object.apps.v1.deployments.web.api"
    some = other_kind("apps", "v1", "deployments", ["spec.replicas", "spec.missing.deep"])
    event = some.seen(msgspec.json.decode(msgspec.json.encode(raw)), 0)
    assert isinstance(event, ObjectSeen)
    assert event.object == {"spec": {"replicas": 3}}
    core = other_kind("", "v1", "services")
    assert (core.name, core.path) == ("core/v1/services", "/api/v1/services")
    assert some.fields != whole.fields


def recorded(kind: Kind) -> bytes:
    lines = read_lines(RECORDINGS / f"{kind.plural}.jsonl")
    return b"".join(line.body.encode() + b"\n" for line in lines if line.kind == "watch")


def fed(kind: Kind, stream: bytes, cuts: list[int]) -> list[Event]:
    state, events, at, turn = Watched(), [], 0, 0
    observe.begin_listing(state, kind, "test")
    observe.end_listing(state, kind, "273", 0.0)
    watch = WatchStream(kind, state)
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        reported = watch.feed(stream[at : at + size])
        assert reported.trouble is None
        events += reported.events
        at, turn = at + size, turn + 1
    return events


@pytest.mark.parametrize("kind", BUILT_IN, ids=[kind.name for kind in BUILT_IN])
@given(cuts=st.lists(st.one_of(st.integers(1, 40), st.integers(1000, 70_000)), min_size=1, max_size=8))
def test_recorded_watch_gives_the_same_events_in_any_chunks(kind: Kind, cuts: list[int]) -> None:
    stream = recorded(kind)[:60_000]
    stream = stream[: stream.rindex(b"\n") + 1]
    assert fed(kind, stream, cuts) == fed(kind, stream, [len(stream)])


def test_recorded_nodes_as_events() -> None:
    events = fed(NODES, recorded(NODES), [4096])
    seen = [event for event in events if isinstance(event, NodeSeen)]
    assert seen[0].name == "ip-10-1-0-4.ec2.internal"
    assert seen[0].labels["topology.kubernetes.io/zone"] == "us-east-1a"
    last = [event for event in events if getattr(event, "name", "") == "ip-10-3-0-6.ec2.internal"]
    assert [type(event) for event in last[-3:]] == [NodeGone, NodeSeen, NodeSeen]
    assert [event.addresses for event in last if isinstance(event, NodeSeen)][-1] == ("10.3.0.66",)
    assert len(events) < 51  # of 51 lines, most changed nothing in use


def test_the_recorded_policies_keep_their_spec() -> None:
    policies = [event for event in fed(POLICIES, recorded(POLICIES), [999]) if isinstance(event, PolicySeen)]
    assert [policy.name for policy in policies] == ["default-deny", "api-from-frontend", "frontend-world"]
    assert policies[0].spec == {"podSelector": {}, "policyTypes": ["Ingress"]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"type":"ADDED","object":{"metadata":', "truncated"),
        (b"<html>502 Bad Gateway</html>", "malformed"),
        (b'{"type":"ADDED","object":{"kind":"Node","metadata":"none"}}', "Expected `object`"),
        (b'{"type":"TELEPORTED","object":{"metadata":{"name":"x","uid":"u"}}}', "TELEPORTED"),
        (b"[1,2]", "Expected `object`"),
        (b"\xff\xfe", "byte 0"),
        (b'{"type":"BOOKMARK"}', "missing required field"),
    ],
)
def test_garbage_ends_the_watch_with_its_position_and_earlier_lines_count(line: bytes, said: str) -> None:
    first = recorded(NODES).split(b"\n")[0] + b"\n"
    state = Watched()
    reported = WatchStream(NODES, state).feed(first + line + b"\n" + first)
    assert [type(event) for event in reported.events] == [NodeSeen]
    assert reported.trouble is not None
    assert reported.trouble.do is Action.RETRY
    assert f"at byte {len(first) + len(line) + 1} behind version 274" in reported.trouble.why
    assert said in reported.trouble.why
    assert NODES_AT_THE_SERVER.path == NODES.path


def test_a_line_without_end_is_given_up() -> None:
    watch = WatchStream(NODES, Watched())
    chunk = b"x" * (1 << 20)
    while (reported := watch.feed(chunk)).trouble is None:
        pass
    assert "16 MiB" in reported.trouble.why
