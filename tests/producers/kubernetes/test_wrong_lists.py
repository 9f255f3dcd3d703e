"""Lists and deletions that are not true, up to who has which address."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from romana_bus.events import SPEC, ListingAsked
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.producers.kubernetes import absence
from romana_bus.runtime.feed import outgoing
from tests.lab.faults import Omission, every_second, everything, false_change, only
from tests.producers.kubernetes.site import LIMITS, NODE, OfWholeList, Site, names, standing
from tests.producers.kubernetes.test_watcher import both

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.producers.kubernetes.site import Stores

memory = pytest.mark.parametrize("stores", ["memory"], indirect=True)


async def believe(site: Site) -> None:
    asked = ListingAsked(resource="pods", reason="an operator", at=1, believe=True)
    await site.store.publish(SPEC, outgoing(asked, "", 1, site.store.history))


def missing() -> float | None:
    return REGISTRY.get_sample_value("romana_watch_doubted", {"resource": "pods"})


@memory
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "pages"])
@pytest.mark.parametrize("without", [everything, every_second, only("web/p05")], ids=["all", "half", "one"])
async def test_one_wrong_list_releases_no_address(stores: Stores, without: Omission, streaming: bool) -> None:
    async with standing(stores, streaming_list=streaming) as site:
        before = await site.addresses()
        site.server.faults.append(OfWholeList(plural="pods", without=without))
        site.expire()
        await site.until_doubted_and_settled()
        site.pods("late")
        await site.until_addressed(before.keys() | {"late"})
        assert before.items() <= (await site.addresses()).items()
        assert await site.gone() == []
        assert await site.released() == []


@memory
async def test_one_wrong_list_of_nodes_removes_no_node(stores: Stores) -> None:
    async with standing(stores, pods=2) as site:
        before = await site.addresses()
        site.server.faults.append(OfWholeList(plural="nodes", without=everything))
        site.expire("nodes")

        async def looked_again() -> bool:
            marks = await site.marks("nodes")
            return 1 in marks and not marks[-1]

        await site.until(looked_again)
        assert await site.gone() == []
        assert await site.addresses() == before


@both
async def test_deleted_objects_are_removed_after_the_second_list(stores: Stores) -> None:
    """And what only the first one lacks is not."""
    async with standing(stores) as site:
        before = await site.addresses()
        site.server.faults.append(OfWholeList(plural="pods", without=only("web/p05")))
        site.expire()
        site.delete("p01", "p02", "p03")
        await site.until_gone("p01", "p02", "p03")
        left = {name: at for name, at in before.items() if name not in ("p01", "p02", "p03")}
        await site.until_addressed(left)
        assert sorted(await site.gone()) == ["p01", "p02", "p03"]
        assert [doubted for doubted in await site.marks() if doubted] == [4]


@memory
@pytest.mark.parametrize("count", [12, 24], ids=["half", "all"])
async def test_mass_deletion_needs_a_third_list_and_is_reported(
    stores: Stores, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_absence.py` has the rule with its half minute; here that is one second."""
    monkeypatch.setattr(absence, "SURELY", 1.0)
    doubted: list[float | None] = []

    with capture_logs() as logged:
        async with standing(stores) as site:
            site.expire()
            site.delete(*names(count))

            async def over() -> bool:
                doubted.append(missing())
                return len(await site.gone()) == count

            await site.until(over)
            await site.until_addressed(set(names(24)[count:]))
    said = [one for one in logged if one["event"].startswith("the API server does not show")]
    assert [(one["log_level"], one["missing"], one["of"]) for one in said] == [("error", count, 24)] * 2
    assert said[0]["hint"] == "romana-bus resync pods --believe"
    assert count in doubted
    assert missing() == 0


@both
async def test_operator_can_confirm_a_mass_deletion(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "SURELY", math.inf)

    async with standing(stores) as site:
        site.expire()
        site.delete(*names(24))

        async def doubted() -> bool:
            return 24 in await site.marks()

        await site.until(doubted)
        assert await site.gone() == []
        await believe(site)
        await site.until_addressed(set())


@memory
async def test_single_watch_deletion_is_accepted(stores: Stores) -> None:
    """Nothing is asked: a server that answers no list does not keep it."""
    async with standing(stores) as site:
        site.server.faults.append(OfWholeList(plural="pods", times=math.inf, code=503))
        site.delete("p07")
        await site.until_addressed(set(names(24)) - {"p07"})
        assert await site.marks() == [0], "it was believed without another list"


@both
async def test_false_mass_deletion_by_the_watch_is_corrected(
    stores: Stores,
) -> None:
    async with standing(stores, pods=60) as site:
        before, version = await site.addresses(), site.server.store.version
        changes = [
            false_change(site.server.store, PODS, f"web/{name}", version=version + at)
            for at, name in enumerate(names(60), 1)
        ]
        await site.false_events(PODS, *changes)

        async def back() -> bool:
            gone = await site.gone()
            return bool(gone) and await site.addresses() == before

        await site.until(back)
        assert len(await site.gone()) < 60, "not all were believed"
        assert await site.elections() == 1


def newer_word(site: Site) -> None:
    site.pods("p03", kind="MODIFIED", phase="Succeeding")


def the_same_list_again(site: Site) -> None:
    """With the uid and the version that were published before."""
    site.expire()


@both
@pytest.mark.parametrize("truth", [newer_word, the_same_list_again])
async def test_true_state_repairs_a_false_deletion(stores: Stores, truth: Callable[[Site], None]) -> None:
    """Within the two minutes in which NATS knows an id, without a restart and without an election."""
    async with standing(stores) as site:
        before = await site.addresses()
        for version in (None, 1 << 40):  # as the newest, and as one that the server never comes to
            seen = len(await site.gone())
            change = false_change(site.server.store, PODS, "web/p03", version=version)
            await site.false_events(PODS, change)

            async def is_gone(seen: int = seen) -> bool:
                return len(await site.gone()) > seen and "p03" not in await site.addresses()

            await site.until(is_gone)
            site.expire() if version else truth(site)
            await site.until_addressed(before)
        assert await site.elections() == 1


@memory
async def test_false_deletion_of_a_node_releases_no_address(stores: Stores) -> None:
    async with standing(stores) as site:
        before = await site.addresses()
        await site.false_events(NODES, false_change(site.server.store, NODES, NODE))
        await site.until_gone(NODE)
        assert await site.addresses() == before
        site.expire("nodes")  # the list has the node
        site.pods("late")
        await site.until_addressed(before.keys() | {"late"})
        assert before.items() <= (await site.addresses()).items()
        assert await site.released() == []


@both
@pytest.mark.parametrize(
    ("caught_up", "cut"), [(False, True), (True, True), (False, False)], ids=["behind", "caught up", "silent"]
)
async def test_a_store_restored_from_a_snapshot_is_noticed(
    stores: Stores, caught_up: bool, cut: bool
) -> None:
    """Also where it has gone past the version that the watch had come to: the objects that were changed last
    tell. A watch that is not cut is told nothing."""
    async with standing(stores, limits=LIMITS._replace(quiet=0.3)) as site:
        before = await site.addresses()
        backup = site.server.snapshot()
        site.delete("p00", "p01")
        site.pods("lost1", "lost2")
        await site.until_addressed((before.keys() - {"p00", "p01"}) | {"lost1", "lost2"})
        reached = site.server.store.version
        site.server.restore(backup)
        new = [f"new{number}" for number in range(reached - site.server.store.version + 3)]
        if caught_up:
            site.pods(*new)
        if cut:
            site.server.close_watches()
        await site.until_addressed(before.keys() | (set(new) if caught_up else set()))
        site.pods("later")
        await site.until_addressed(before.keys() | {"later"} | (set(new) if caught_up else set()))
        kept = set(names(24)) - {"p00", "p01"}
        assert {name: before[name] for name in kept}.items() <= (await site.addresses()).items()
        assert await site.elections() == 1
