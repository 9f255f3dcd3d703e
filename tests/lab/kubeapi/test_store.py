"""A list at any version and the changes behind it lead to the present, whatever happened in between."""

from __future__ import annotations

import contextlib
import itertools
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.lab.kubeapi.calls import Call
from romana_bus.lab.kubeapi.read.listing import list_body
from romana_bus.lab.kubeapi.read.views import Whole
from romana_bus.lab.kubeapi.resources import NETWORK_POLICIES, NODES, PODS
from romana_bus.lab.kubeapi.status import Refused
from romana_bus.lab.kubeapi.store import Compacted, Store
from romana_bus.lab.kubeapi.table import Extent
from romana_bus.lab.kubeapi.wire import at_version, head, identity
from romana_bus.lab.kubeapi.write.writes import write
from tests.lab.apiserver import ApiServer, backup_of, restore

#: Few, so that they meet; with characters that sort before and behind the '/' of a key.
KEYS = [f"{namespace}/{name}" for namespace in ("a", "a-b", "a.b", "a0", "b") for name in ("x", "x-y", "zz")]


class Step(NamedTuple):
    """`what`: create, patch or delete of `key`, other (a write that is not served) or compact, up to
    `share` of what there is."""

    what: str
    key: str
    share: float


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["create"] * 3 + ["patch"] * 3 + ["delete", "delete", "other", "compact"]),
        st.sampled_from(KEYS),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=40,
)


def take(store: Store, step: Step) -> None:
    namespace, name = step.key.split("/")
    call = Call(step.what, PODS, namespace, "" if step.what == "create" else name)
    body = {"metadata": {"name": name} if step.what == "create" else {}, "spec": {"at": store.version}}
    match step.what:
        case "other":
            store.advance(store.version + 1)
        case "compact":
            store.compact(int(store.compacted + step.share * (store.version - store.compacted)))
        case _:
            with contextlib.suppress(Refused):  # it is there already, or not there
                write(store, call, msgspec.json.encode(body), now="now", uid=f"u{store.version}")


def present(store: Store) -> dict[str, bytes]:
    """What is there, asked one by one."""
    return {key: raw for key in sorted(KEYS) if (raw := store.get(PODS, key)) is not None}


def objects_at(store: Store, version: int) -> dict[str, bytes]:
    return dict(zip(*store.snapshot(PODS, version), strict=True))


@given(steps)
def test_a_list_and_the_changes_behind_it_give_the_present(taken: list[Step]) -> None:
    store = Store()
    seen = {store.version: present(store)}
    for step in taken:
        take(store, step)
        seen[store.version] = present(store)
        assert objects_at(store, store.version) == present(store)
    for version, objects in seen.items():
        if version < store.compacted:
            with pytest.raises(Compacted):
                store.snapshot(PODS, version)
            with pytest.raises(Compacted):
                store.changes(PODS, version)
            continue
        assert objects_at(store, version) == objects
        assert followed(store, version) == present(store)


def followed(store: Store, version: int) -> dict[str, bytes]:
    """What a client holds that lists at `version` and watches from there."""
    held = objects_at(store, version)
    last = version
    for change in store.changes(PODS, version):
        assert change.version > last
        last = change.version
        assert int(identity(change.raw).resource_version) == change.version
        assert (change.type == "ADDED") == (change.key not in held)
        if change.type == "DELETED":
            del held[change.key]
        else:
            held[change.key] = change.raw
    return held


@given(steps, steps, st.integers(1, 20), st.sampled_from(["", "a", "a-b"]))
def test_pages_of_any_size_are_one_list_whatever_is_written_meanwhile(
    before: list[Step], meanwhile: list[Step], limit: int, namespace: str
) -> None:
    store = Store()
    for step in before:
        take(store, step)
    whole = listed(store, namespace, {})
    there = [key for key in present(store) if key.startswith(f"{namespace}/" if namespace else "")]
    writes = iter([step for step in meanwhile if step.what != "compact"])
    page = listed(store, namespace, {"limit": str(limit)})
    paged = page.items
    while page.metadata.token:
        assert len(page.items) == limit
        assert page.metadata.remaining == len(whole.items) - len(paged)
        for step in itertools.islice(writes, 3):
            take(store, step)
        page = listed(store, namespace, {"limit": str(limit), "continue": page.metadata.token})
        assert page.metadata.version == whole.metadata.version
        paged += page.items
    assert paged == whole.items
    assert [f"{item.metadata.namespace}/{item.metadata.name}" for item in whole.items] == there


class _Identity(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    uid: str
    resource_version: str


class _Metadata(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion")
    token: str = msgspec.field(name="continue", default="")
    remaining: int = msgspec.field(name="remainingItemCount", default=0)


class _Item(msgspec.Struct):
    metadata: _Identity
    spec: dict[str, int]


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[_Item]


def listed(store: Store, namespace: str, query: dict[str, str]) -> _List:
    return msgspec.json.decode(
        list_body(store, Call("list", PODS, namespace, query=query), Whole(PODS)), type=_List
    )


@given(steps, steps)
def test_a_restored_store_is_what_it_was_and_gives_its_versions_again(
    before: list[Step], after: list[Step]
) -> None:
    store = Store()
    for step in before:
        take(store, step)
    backup, was = backup_of(store), everything(store)
    for _ in range(2):
        for step in after:
            take(store, step)
        went_on = everything(store)
        restore(store, backup)
        assert everything(store) == was
    for step in after:
        take(store, step)
    assert everything(store) == went_on


def everything(store: Store) -> object:
    history = store.changes(PODS, store.compacted)
    return store.version, store.compacted, history, present(store), objects_at(store, store.compacted)


@pytest.mark.parametrize("longest", [Extent(100, 10**9), Extent(10**9, 20_000), Extent(0, 0)])
def test_history_is_bounded_under_endless_writes(longest: Extent) -> None:
    store = Store(longest=longest)
    total = 0
    for number in range(3000):
        took = write(
            store,
            Call("create", (PODS, NETWORK_POLICIES)[number % 2], "web"),
            msgspec.json.encode({"metadata": {"name": f"p{number}"}, "spec": {"x": "x" * (number % 500)}}),
            now="now",
            uid=f"u{number}",
        )
        total += sum(len(change.raw) for _, change in took.changes)
        assert store.history.within(longest)
    assert total > 10 * 20_000
    assert len(store.snapshot(PODS, store.version).keys) == 1500
    assert len(store.snapshot(PODS, store.compacted).keys) > 1400
    with pytest.raises(Compacted):
        store.changes(PODS, store.compacted - 1)


def test_history_that_was_compacted_too_early_keeps_most_of_what_it_may() -> None:
    store = Store(longest=Extent(100, 10**9))
    for number in range(1000):
        fill_one(store, number)
        assert store.history.changes >= min(number + 1, 75)


def fill_one(store: Store, number: int) -> None:
    version = store.version + 1
    raw = head(PODS) + b'"metadata":{"name":"p","namespace":"web","resourceVersion":"%d"}}' % version
    store.write(PODS, "MODIFIED", "web/p", raw, version)


def test_no_object_is_kept_twice() -> None:
    store = Store()
    for number in range(2):
        fill_one(store, number)
    last = store.get(PODS, "web/p")
    assert last is not None
    store.write(PODS, "DELETED", "web/p", at_version(last, 9), 9)
    first, second, deleted = store.changes(PODS, 1)
    assert second.before is first.raw
    assert deleted.before is second.raw is last
    assert deleted.written is None
    assert identity(deleted.raw).resource_version == "9"
    assert store.history == Extent(3, len(first.raw) + len(second.raw))
    assert first.key is second.key is deleted.key


def test_a_deletion_that_shows_more_than_the_version_is_kept_as_it_is() -> None:
    store = Store()
    fill_one(store, 0)
    other = head(PODS) + b'"metadata":{"name":"p","namespace":"web","resourceVersion":"9"},"spec":{}}'
    assert store.write(PODS, "DELETED", "web/p", other, 9).raw == other


def test_versions_of_a_resource_only_rise() -> None:
    store = Store()
    raw = head(NODES) + b'"metadata":{"name":"n","resourceVersion":"7"}}'
    store.write(NODES, "ADDED", "n", raw, 7)
    with pytest.raises(ValueError, match="version 7 comes after 7"):
        store.write(NODES, "MODIFIED", "n", raw, 7)
    store.write(PODS, "ADDED", "web/p", head(PODS) + b'"metadata":{"name":"p"}}', 6)  # another resource
    assert store.version == 7


def test_what_was_filled_in_has_no_past() -> None:
    store = Store()
    store.fill(NODES, 5, {"n": b"{}"})
    assert store.version == 5
    assert store.changes(NODES, 5) == []
    with pytest.raises(Compacted, match="version 4 is compacted, history begins at 5"):
        store.snapshot(NODES, 4)
    assert store.snapshot(PODS, 4).keys == []


def test_applied_change_must_have_the_form_of_a_watch_event() -> None:
    """Lists cut the head off; anything else would come out crooked."""
    with pytest.raises(ValueError, match="not a Pod as a watch shows it"):
        ApiServer().apply_recorded("ADDED", PODS, b'{"metadata":{"name":"p","resourceVersion":"7"}}')
