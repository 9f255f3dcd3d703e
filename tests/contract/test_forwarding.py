"""What a kernel does with a delta, and says when it is asked: the one in memory, on which plans are tried,
and the real one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

from romana_bus.inet import parse_address, parse_prefix
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.fib_apply import Unapplied
from romana_bus.routing import Delta, Kernel, State, derive, evolve, plan
from romana_bus.routing.routes.nexthop_ids import OBJECTS
from tests.kernel import BIRD, BOOT, KERNEL, STATIC
from tests.netns import Namespace, namespace, needs_namespaces
from tests.routing.routes.hosts_and_blocks import PAIR, block, denied, placed, released, removed
from tests.routing.routes.kernel_in_memory import FakeForwarding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from romana_bus.events import Event
    from romana_bus.routing import Address

FIRST = OBJECTS.start

#: As `ip` has them.
NAMES = {KERNEL: "kernel", BOOT: "boot", STATIC: "static", BIRD: "bird"}


class Machine(Protocol):
    """A kernel as this agent has it, and as others do."""

    def ask(self, addresses: Sequence[Address]) -> Iterator[dict[Address, int]]: ...
    def read(self, kernel: Kernel) -> Iterator[None]: ...
    def apply(self, delta: Delta, kernel: Kernel) -> Iterator[int]: ...
    def add_foreign_route(self, prefix: str, gateway: str, proto: str = ..., metric: int = ...) -> None: ...
    def add_foreign_route_by(self, prefix: str, number: int) -> None: ...
    def remove_route(self, prefix: str, proto: str = ...) -> None: ...
    def make_foreign_nexthop(self, number: int, gateway: str) -> None: ...
    def device_goes(self) -> None: ...
    def device_comes(self) -> None: ...
    def shown(self) -> set[tuple[str, str, int, str]]: ...


class Real(Forwarding):
    def __init__(self, node: Namespace, objects: bool) -> None:
        super().__init__(objects)
        self.node = node

    def device_comes(self) -> None:
        self.node.link("eth0", "10.99.0.1/16", "fd99::1/64")

    def device_goes(self) -> None:
        self.node.ip("link", "delete", "eth0")

    def add_foreign_route(self, prefix: str, gateway: str, proto: str = "static", metric: int = 8200) -> None:
        self.node.ip(*_family(prefix), "route", "append", prefix, "via", gateway, "proto", proto,
                     "metric", str(metric))  # fmt: skip

    def add_foreign_route_by(self, prefix: str, number: int) -> None:
        self.node.ip(*_family(prefix), "route", "add", prefix, "nhid", str(number))

    def remove_route(self, prefix: str, proto: str = "82") -> None:
        self.node.ip(*_family(prefix), "route", "delete", prefix, "proto", proto)

    def make_foreign_nexthop(self, number: int, gateway: str) -> None:
        self.node.ip("nexthop", "add", "id", str(number), "via", gateway, "dev", "eth0")

    def shown(self) -> set[tuple[str, str, int, str]]:
        found = set()
        for route in self.node.routes():
            name = NAMES.get(route.protocol, str(route.protocol))
            for gateway, _ in route.paths or [("", "")]:
                found.add((route.destination, name, route.metric, gateway))
        return {shown for shown in found if shown[1] != "kernel"}


def _family(prefix: str) -> list[str]:
    return ["-6"] if ":" in prefix else ["-4"]


@pytest.fixture(params=["memory", pytest.param("kernel", marks=needs_namespaces)])
def machine(request: pytest.FixtureRequest, objects: bool) -> Iterator[Machine]:
    if request.param == "memory":
        yield FakeForwarding({"10.99.": 2, "fd99::": 2}, objects)
        return
    with namespace("node") as node, node.entered(), Real(node, objects) as real:
        real.device_comes()
        yield real


@pytest.fixture(params=[True, False], ids=["objects", "gateways"])
def objects(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Agent:
    """Fold, ask, look, plan, apply."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.kernel, self.state = machine, Kernel(), State("me")

    def feed(self, *events: Event, full: bool = True) -> int:
        """How many changes were made."""
        for event in events:
            evolve(self.state, event, 1)
        if full:
            list(self.machine.read(self.kernel))
        for answers in self.machine.ask(self.state.addresses(self.state.hosts)):
            self.state.touch_where(self.kernel.answer(answers))
        return sum(self.machine.apply(self.plan(), self.kernel))

    def plan(self) -> Delta:
        derive(self.state, self.kernel)
        return plan(self.state, self.kernel)


OURS = {
    ("10.1.0.0/16", "82", 82_000_000, ""),
    ("10.1.0.16/28", "82", 8200, "10.99.0.2"),
    ("10.1.1.0/28", "82", 8200, "10.99.0.2"),
    ("fd01::10/124", "82", 8200, "fd99::2"),
    ("fd01::/64", "82", 82_000_000, ""),
}


def test_applied_routes_are_read_back(machine: Machine, objects: bool) -> None:
    agent = Agent(machine)
    assert agent.feed(*PAIR) == 5 + 2
    assert machine.shown() == OURS
    picture = Kernel()
    list(machine.read(picture))
    assert (picture.objects, picture.fresh) == (objects, True)
    assert {str(route) for route in picture.routes} == {"10.1.0.16/28", "10.1.1.0/28", "fd01::10/124"}
    assert {str(prefix) for prefix in picture.unreachable} == {"10.1.0.0/16", "fd01::/64"}
    if objects:
        assert (picture.nexthops, picture.routes) == (agent.kernel.nexthops, agent.kernel.routes)
    leads = {str(route): picture.nexthops[number][1] for route, number in picture.routes.items()}
    assert leads["10.1.0.16/28"] == parse_address("10.99.0.2")[1]


def test_second_sync_and_restart_change_nothing(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    assert agent.feed() == 0
    assert Agent(machine).feed(*PAIR) == 0


def test_unwanted_routes_are_removed_and_the_rest_stays(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    agent.feed(placed("you", "10.99.0.7"), released("you", "10.1.1.0/28"), full=False)
    assert machine.shown() == {
        ("10.1.0.0/16", "82", 82_000_000, ""),
        ("10.1.0.16/28", "82", 8200, "10.99.0.7"),
        ("fd01::/64", "82", 82_000_000, ""),
    }
    agent.feed(removed("you"), denied("me"), released("me", "10.1.0.0/28"), full=False)
    assert machine.shown() == set()
    assert agent.feed() == 0


def test_a_block_moves(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR, placed("they", "10.99.0.3", "fd99::3"))
    agent.feed(block("they", "10.1.0.16/28", 5), block("they", "fd01::10/124", 5), full=False)
    assert {way for way in machine.shown() if way[3]} == {
        ("10.1.0.16/28", "82", 8200, "10.99.0.3"),
        ("10.1.1.0/28", "82", 8200, "10.99.0.2"),
        ("fd01::10/124", "82", 8200, "fd99::3"),
    }
    assert agent.feed() == 0


def test_routes_of_others_to_the_same_prefix_stay(machine: Machine) -> None:
    machine.add_foreign_route("10.1.0.16/28", "10.99.7.7")
    machine.add_foreign_route("10.1.0.16/28", "10.99.7.8", "bird", 32)
    machine.add_foreign_route("fd01::10/124", "fd99::8", "bird", 32)
    theirs = machine.shown()
    agent = Agent(machine)
    agent.feed(*PAIR)
    assert machine.shown() == OURS | theirs
    assert agent.feed() == 0
    agent.feed(placed("you", "10.99.0.9", "fd99::9"))
    agent.feed(removed("you"), denied("me"), released("me", "10.1.0.0/28"))
    assert machine.shown() == theirs


def test_removed_route_is_restored_by_a_sync(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    machine.remove_route("10.1.1.0/28")
    assert machine.shown() < OURS
    assert agent.feed() == 1
    assert machine.shown() == OURS


def test_removing_a_missing_route_is_no_error(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    machine.remove_route("10.1.1.0/28")
    agent.feed(released("you", "10.1.1.0/28"), full=False)
    assert agent.feed() == 0


def test_adding_an_existing_route_is_no_error(machine: Machine, objects: bool) -> None:
    """As after a reply that was lost."""
    agent = Agent(machine)
    agent.feed(*PAIR)
    late = Kernel(objects=objects, nexthops=dict(agent.kernel.nexthops))
    route, bar = parse_prefix("10.1.0.16/28"), parse_prefix("10.1.0.0/16")
    again = Delta(added=[(route, agent.kernel.routes[route])], unreachable=[bar])
    assert sum(machine.apply(again, late)) == 2
    assert (set(late.routes), late.unreachable) == ({route}, {bar})
    assert machine.shown() == OURS
    assert agent.feed() == 0


def test_a_route_of_ours_with_another_nexthop_or_metric_goes(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    machine.add_foreign_route("10.1.0.16/28", "10.99.0.77", "82")
    machine.add_foreign_route("10.1.1.0/28", "10.99.0.2", "82", 7)
    assert machine.shown() > OURS
    agent.feed()
    assert machine.shown() == OURS
    assert agent.feed() == 0


def test_two_hosts_with_one_address(machine: Machine) -> None:
    agent = Agent(machine)
    both = [placed("you", "10.99.0.2"), block("they", "10.1.9.0/28"), placed("they", "10.99.0.2")]
    agent.feed(*PAIR[:4], *both)
    assert ("10.1.9.0/28", "82", 8200, "10.99.0.2") in machine.shown()
    assert agent.feed() == 0
    assert Agent(machine).feed(*PAIR[:4], *both) == 0
    agent.feed(removed("they"))
    assert ("10.1.0.16/28", "82", 8200, "10.99.0.2") in machine.shown()
    assert agent.feed() == 0


def test_deleted_device_removes_its_routes(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    machine.device_goes()
    assert {way for way in machine.shown() if way[3]} == set()
    agent.feed()
    assert agent.kernel.links == dict.fromkeys(agent.kernel.links, 0)
    assert (agent.kernel.routes, agent.kernel.nexthops) == ({}, {})
    machine.device_comes()
    assert {way for way in machine.shown() if way[3]} == set()
    agent.feed()
    assert machine.shown() == OURS
    assert agent.feed() == 0


def test_failed_changes_are_reported_and_the_rest_is_applied(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR[:2])
    for event in PAIR[2:]:
        evolve(agent.state, event, 1)
    delta = agent.plan()
    machine.device_goes()
    with pytest.raises(Unapplied):
        list(machine.apply(delta, agent.kernel))
    assert machine.shown() == {way for way in OURS if not way[3]}
    assert agent.kernel.routes == {}


@pytest.mark.parametrize("objects", [True], indirect=True, ids=["objects"])
def test_foreign_nexthop_id_is_seen_and_not_used(machine: Machine) -> None:
    machine.make_foreign_nexthop(FIRST + 1, "10.99.7.7")
    agent = Agent(machine)
    agent.feed(*PAIR)
    assert agent.kernel.foreign == {FIRST + 1}
    assert set(agent.kernel.nexthops) == {FIRST, FIRST + 2}
    stolen = Delta(
        created=[(FIRST + 1, (32, parse_address("10.99.0.5")[1], agent.kernel.nexthops[FIRST][2]))]
    )
    with pytest.raises(Unapplied):
        list(machine.apply(stolen, agent.kernel))
    picture = Kernel()
    list(machine.read(picture))
    assert FIRST + 1 not in picture.nexthops


@pytest.mark.parametrize("objects", [True], indirect=True, ids=["objects"])
def test_nexthop_used_by_a_foreign_route_stays(machine: Machine) -> None:
    agent = Agent(machine)
    agent.feed(*PAIR)
    machine.add_foreign_route_by("10.7.7.0/24", FIRST)
    for full in (False, True):
        with pytest.raises(Unapplied, match=r"a route of another owner to 10\.7\.7\.0/24 uses it"):
            agent.feed(removed("you"), full=full)
    machine.remove_route("10.7.7.0/24", "boot")
    agent.feed()
    assert agent.kernel.nexthops == {}


def test_on_link_state_of_each_address(machine: Machine) -> None:
    asked = [parse_address(text) for text in ("10.99.0.2", "fd99::2", "192.0.2.1", "2001:db8::1")]
    answers: dict[Address, int] = {}
    for part in machine.ask(asked):
        answers |= part
    assert [bool(answers[address]) for address in asked] == [True, True, False, False]
    machine.device_goes()
    with contextlib.suppress(StopIteration):
        assert set(next(iter(machine.ask(asked))).values()) == {0}
