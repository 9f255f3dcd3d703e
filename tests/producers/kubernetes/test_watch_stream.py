"""Lines of a watch, of every kind, on good days and on bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.events import Fact, ResourceSynced
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import BUILT_IN, PODS, Kind, other_kind
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.responses import Action
from romana_bus.producers.kubernetes.watch_stream import WatchStream

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.watch_stream import Reported

KINDS = [*BUILT_IN, other_kind("apps", "v1", "deployments"), other_kind("", "v1", "services", ["spec.type"])]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])

EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"too old resource version: 1 (2)","reason":"Expired","code":410}}'
)


def line(type: str, version: int, name: str = "x", **more: Any) -> bytes:
    meta = {"name": name, "uid": f"u-{name}", "resourceVersion": str(version)}
    return msgspec.json.encode({"type": type, "object": {"metadata": meta, **more}})


def watched(kind: Kind, version: str = "5") -> Watched:
    state = Watched()
    observe.begin_listing(state, kind, "test")
    observe.end_listing(state, kind, version, 0.0)
    return state


def parsed(kind: Kind, *lines: bytes, state: Watched | None = None, listing: bool = False) -> Reported:
    return WatchStream(kind, state or watched(kind), listing).feed(b"".join(one + b"\n" for one in lines))


@every_kind
@pytest.mark.parametrize("listing", [False, True], ids=["watch", "streaming list"])
def test_expired_version_is_listed_again(kind: Kind, listing: bool) -> None:
    """A real API server sends it in a 200 answer."""
    state = watched(kind)
    if listing:
        observe.begin_listing(state, kind, "again")
    trouble = parsed(kind, EXPIRED, state=state, listing=listing).trouble
    assert trouble is not None
    assert (trouble.do, trouble.why) == (Action.RELIST, "too old resource version: 1 (2)")


@every_kind
@pytest.mark.parametrize(
    ("status", "do"),
    [
        (b'{"kind":"Status","code":500,"message":"etcdserver: leader changed"}', Action.RETRY),
        (b'{"kind":"Status","code":401}', Action.RENEW),
        (b"{}", Action.RETRY),
        (b'{"metadata":{"resourceVersion":7},"code":"x"}', Action.RETRY),
        (b'{"code":' + b"9" * 5000 + b"}", Action.RETRY),
        (b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}", Action.RETRY),
        (b'{"message":"' + b"m" * 2_000_000 + b'","code":500}', Action.RETRY),
    ],
)
def test_any_other_error_ends_the_connection_and_not_the_watcher(
    kind: Kind, status: bytes, do: Action
) -> None:
    trouble = parsed(kind, b'{"type":"ERROR","object":' + status + b"}").trouble
    assert trouble is not None
    assert trouble.do is do
    assert len(trouble.why) < 1000


@every_kind
def test_additions_and_deletions_are_published(kind: Kind) -> None:
    events = parsed(kind, line("ADDED", 6), line("MODIFIED", 7, spec={"a": 1}), line("DELETED", 8)).events
    assert [type(event).__name__[-4:] for event in events][-1] == "Gone"
    assert all(isinstance(event, Fact) and event.listing == 1 for event in events)


@every_kind
@pytest.mark.parametrize(
    "junk",
    [
        b'{"type":"MODIFIED","object":{"metadata":{"name":"deep","resourceVersion":"9"},"spec":'
        + b"[" * 980 + b"]" * 980 + b"}}",
        b'{"type":"ADDED","object":{"metadata":{"name":["no"],"resourceVersion":"9"}}}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"9","labels":5}}}',
        b'{"type":"ADDED","object":{"kind":"Status","metadata":{"resourceVersion":"9","name":7},"code":410}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"' + b"n" * 100_000 + b'","resourceVersion":"9"}}}',
        b'{"type":"DELETED","object":{"metadata":{"name":"never seen","resourceVersion":"9"}}}',
    ],
    ids=["deep", "list for name", "number for labels", "status", "long name", "unknown"],
)  # fmt: skip
def test_unusable_object_is_skipped(kind: Kind, junk: bytes) -> None:
    """A retry would get the same answer, forever."""
    state = watched(kind)
    found = parsed(kind, line("ADDED", 6, "before"), junk, line("ADDED", 10, "behind"), state=state)
    assert found.trouble is None
    names = [event.name for event in found.events if isinstance(event, Fact)]
    assert [name for name in names if name != "deep"] == ["before", "behind"]
    assert state.of(kind.name).place == "10"


TWICE = [
    b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"9"}},"type":"DELETED"}',
    b'{"type":"ADDED","type":"DELETED","object":{"metadata":{"name":"a","resourceVersion":"9"}}}',
    b'{"type":"ADDED","object":{"metadata":{"name":"a"}},"object":{"metadata":{"name":"b"}}}',
    b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"9","resourceVersion":"7"}}}',
]


@every_kind
@pytest.mark.parametrize("junk", TWICE)
def test_duplicate_json_key_is_an_error(kind: Kind, junk: bytes) -> None:
    state = watched(kind)
    found = parsed(kind, junk, state=state)
    assert found.events == []
    assert found.trouble is not None
    assert found.trouble.do is Action.RETRY
    assert state.of(kind.name).place == "5"


@every_kind
def test_any_json_formatting_is_accepted(kind: Kind) -> None:
    odd = b' { "object" : {"metadata":{"name":"a","uid":"u","resourceVersion":"9"}} , "type":"ADDED" } '
    found = parsed(kind, odd)
    assert [event.name for event in found.events if isinstance(event, Fact)] == ["a"]
    assert found.trouble is None


@every_kind
def test_bookmark_with_odd_fields_advances_the_version(kind: Kind) -> None:
    mark = b'{"type":"BOOKMARK","object":{"kind":"X","metadata":{"resourceVersion":"12","annotations":null}}}'
    (event,) = parsed(kind, mark).events
    assert isinstance(event, ResourceSynced)
    assert event.resource_version == "12"


@pytest.mark.parametrize("version", ["0", "", "9" * 5000, "-7", "٣", "1e3"])
def test_bookmark_with_an_invalid_version_is_ignored(version: str) -> None:
    state = watched(PODS)
    mark = msgspec.json.encode({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})
    parsed(PODS, mark, state=state)
    assert state.of("pods").version in (0, 5)


def test_repeated_event_publishes_nothing() -> None:
    state = watched(PODS)
    spec = {"nodeName": "n1"}
    first = parsed(
        PODS, line("ADDED", 6, spec=spec), line("MODIFIED", 7, spec={"nodeName": "n2"}), state=state
    )
    assert len(first.events) == 2
    again = parsed(
        PODS, line("ADDED", 6, spec=spec), line("MODIFIED", 7, spec={"nodeName": "n2"}), state=state
    )
    assert again.events == []
    gone = parsed(PODS, line("DELETED", 8), line("ADDED", 6, spec=spec), line("MODIFIED", 7), state=state)
    assert [type(event).__name__ for event in gone.events] == ["PodGone"]
    assert parsed(PODS, line("ADDED", 3, "of long ago"), state=state).events == []
