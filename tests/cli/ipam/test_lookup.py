"""`ipam show --host`, `--pod`, `--ip`: one node, one pod, one address, and what led to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from tests.cli.logs import ago, stored
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

NODE = "ip-10-1-0-4.ec2.internal"


@pytest.fixture
def running(recorded: tuple[str, ...], call: Call) -> Any:
    """A pod of the recorded cluster that has an address: the JSON of its node's first one."""
    found = call("ipam", "show", "--host", NODE, "--json", *recorded).json
    return next(pod for pod in found["pods"] if pod["addresses"])


def key(pod: Any) -> str:
    return f"{pod['namespace']}/{pod['name']}"


def test_a_node(recorded: tuple[str, ...], call: Call) -> None:
    found = call("ipam", "show", "--host", NODE, "--json", *recorded).json
    host = found["host"]
    assert (host["node"], host["groups"], host["in_api"]) == (NODE, {"default": "us-east-1a"}, True)
    assert host["room"]["used"] == host["pods"] == sum(bool(pod["addresses"]) for pod in found["pods"])
    assert sum(block["room"]["free"] for block in host["blocks"]) == host["room"]["free"]
    result = call("ipam", "show", "--host", NODE, *recorded)
    assert result.lines[0] == f"node {NODE}  10.1.0.4"
    for block in host["blocks"]:
        assert block["block"] in result.out
    for pod in found["pods"]:
        assert not pod["addresses"] or f"{key(pod)}  " in result.out


def test_pod_with_the_cause_of_its_address(recorded: tuple[str, ...], call: Call, running: Any) -> None:
    result = call("ipam", "show", "--pod", key(running), *recorded)
    assert result.lines[0] == f"pod {key(running)}  on {NODE}"
    assert f"address {running['addresses'][0]}" in result.lines
    found = call("ipam", "show", "--pod", key(running), "--json", *recorded).json
    [on] = found["on"]
    [held] = on["held"]
    assert (held["network"], held["group"]) == ("default", "us-east-1a")
    assert [event["type"] for event in on["events"]] == ["AddressAssigned", "PodSeen"]
    assert on["events"][0]["cause"] == f"KUBE/{on['events'][1]['seq']}"
    for event in on["events"]:
        assert f"    {event['says']}" in result.lines


def test_an_address_in_use(recorded: tuple[str, ...], call: Call, running: Any) -> None:
    [text] = running["addresses"]
    result = call("ipam", "show", "--ip", text, *recorded)
    assert result.lines[0] == f"address {text}  in use by pod {key(running)} on {NODE}"
    found = call("ipam", "show", "--ip", text, "--json", *recorded).json
    assert (found["state"], found["pod"], found["node"]) == ("used", key(running), NODE)
    assert [event["type"] for event in found["events"]] == ["AddressAssigned", "PodSeen"]


@pytest.mark.parametrize(
    ("text", "standing"),
    [
        ("100.64.200.1", "free"),
        ("100.120.0.1", "in no group that takes nodes: kept for later groups"),
        ("192.0.2.1", "outside every network"),
        ("fd00::1", "outside every network"),
    ],
)
def test_unused_address(text: str, standing: str, recorded: tuple[str, ...], call: Call) -> None:
    assert call("ipam", "show", "--ip", text, *recorded).lines[0] == f"address {text}  {standing}"


def test_unknown_name_is_reported_with_similar_names(
    recorded: tuple[str, ...], call: Call, running: Any
) -> None:
    call("ipam", "show", "--host", "ip-10-1-0-4", *recorded).complains(
        2, "--host ip-10-1-0-4: the log has no node of that name", f"Did you mean {NODE}?"
    )
    call("ipam", "show", "--host", "none", *recorded).complains(2, "`ipam show --all` lists the nodes)")
    name = running["name"]
    call("ipam", "show", "--pod", f"elsewhere/{name}", *recorded).complains(
        2, f"--pod elsewhere/{name}: the API has no such pod", f"Did you mean {key(running)}?"
    )


def test_pod_on_the_host_network_needs_no_address(recorded: tuple[str, ...], call: Call) -> None:
    lines = call("events", "tail", "--all", "--no-follow", "--json", *recorded).json_lines
    pods = [one["event"] for one in lines if one["event"]["type"] == "PodSeen"]
    pod = next(pod for pod in pods if pod.get("host_network") and pod.get("node"))
    result = call("ipam", "show", "--pod", key(pod), *recorded)
    assert result.code == 0
    assert "It gets no address: the pod uses the host's network." in result.out


@pytest.fixture(scope="module")
def small(nats_server: NatsServer) -> tuple[str, ...]:
    """Of three pods on a node one has gone just now, and one waits; and nobody decides about another."""
    c = ago(1, topology("10.0.0.0/29", 31, {"name": "a"}), warm_blocks=0, cooldown=3_600_000_000)
    c.node("n1")
    for number in range(8):
        c.pod(f"web/p{number}", "n1")
    c.decide()
    c.pod("web/waits", "n1")
    c.decide()
    c.no_pod("web/p1")
    c.decide()
    c.send(ev.RangeReserved(cidr="10.0.0.2/32"))
    c.node("n2", {})
    c.pod("web/undecided", "n2")
    return stored(nats_server, c)


def test_cooling_address_and_its_end(small: tuple[str, ...], call: Call) -> None:
    result = call("ipam", "show", "--ip", "10.0.0.1", *small)
    assert result.lines[0].startswith("address 10.0.0.1  cools down until 2")
    assert result.lines[0].endswith("; pod web/p1 on n1 had it last")
    result = call("ipam", "show", "--pod", "web/p1", *small)
    assert result.lines[0] == "pod web/p1  (not in the API any more)"
    assert "cooling addresses" in result.lines
    assert "AddressReleased" in result.out
    assert "cooling addresses" in call("ipam", "show", "--host", "n1", *small).lines


def test_reason_why_a_pod_has_no_address(small: tuple[str, ...], call: Call) -> None:
    result = call("ipam", "show", "--pod", "web/waits", *small)
    assert "full: network net, group a, 10.0.0.0/29" in result.lines
    assert "AddressDenied" in result.out
    assert "full: network net" in call("ipam", "show", "--host", "n1", *small).out
    result = call("ipam", "show", "--pod", "web/undecided", *small)
    assert "Nothing was decided for it yet: `up` or `run ipam` has not read it yet" in result.out


def test_draining_address(small: tuple[str, ...], call: Call) -> None:
    result = call("ipam", "show", "--ip", "10.0.0.2", *small)
    assert result.lines[0].endswith("web/p2 on n1, which keeps it until it is gone: the range is reserved")
    assert call("ipam", "show", "--ip", "10.0.0.2", "--json", *small).json["reserved"] == "10.0.0.2/32"


def test_node_without_a_placement(nats_server: NatsServer, call: Call) -> None:
    c = ago(60, topology("10.0.0.0/29", 31, {"name": "a", "assignment": {"rack": "a"}}))
    c.node("n1")
    c.decide()
    result = call("ipam", "show", "--host", "n1", *stored(nats_server, c))
    assert "It has no place in the topology: network net needs the label rack=a" in result.out


@pytest.mark.parametrize("columns", [80, 140])
def test_it_fits_the_screen(columns: int, recorded: tuple[str, ...], home: Home, running: Any) -> None:
    for what in (("--host", NODE), ("--pod", key(running)), ("--ip", running["addresses"][0])):
        with home.start_on_terminal(24, columns, "ipam", "show", *what, *recorded) as looking:
            assert looking.wait().code == 0
            shown = looking.frames[-1].splitlines()
        assert max(map(len, shown)) <= columns
        assert any(key(running) in line for line in shown)
