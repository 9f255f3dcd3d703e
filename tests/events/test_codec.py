"""Decoding: events of the current version, and undecodable messages, which are parked with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from romana_bus import events as ev
from romana_bus.events import codec

PLACE: dict[str, Any] = {"node": "n1", "namespace": "web", "name": "a", "uid": "u"}


def assigned(address: str, block: str, **more: Any) -> ev.AddressAssigned:
    held = ev.PodAddress(address=address, network="net", block=block)
    return ev.AddressAssigned(tenant="web", addresses=(held,), **PLACE, **more)


def cools(address: str, block: str) -> ev.CoolingAddress:
    return ev.CoolingAddress(address=address, block=block, until=1)


@pytest.mark.parametrize(
    "event",
    [
        assigned("10.0.0.1", "10.0.0.0/30"),
        assigned("fd00::1", "fd00::/126", cooling=(cools("10.0.0.2", "10.0.0.0/30"),)),
        ev.PodSeen(resource_version="1", uid="m", name="a", namespace="web", static="0123abc"),
        ev.SandboxRequested(sandbox="box", **PLACE),
        ev.HostPlaced(
            node="n1", uid="u", placements=(ev.Placement(network="net", group="a", prefix="10.0.0.0/8"),)
        ),
        ev.RangeReserved(cidr="10.0.0.0/30"),
        ev.SettingsChanged(
            settings=ev.Settings(cooldown=0, default_network="fd00::/64", block_owner="tenant")
        ),
        ev.AddressAssigned(
            tenant="web",
            addresses=(
                ev.PodAddress(address="10.0.0.1", network="four", block="10.0.0.0/30"),
                ev.PodAddress(address="fd00::1", network="six", block="fd00::/126"),
            ),
            **PLACE,
        ),
        ev.BlockAssigned(network="net", block="10.0.0.0/8", node="n1", since=1),
        ev.Wired(node="n1", consumer="cni", covers={"IPAM": 7}, addresses={"10.0.0.1": "web/a"}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_round_trip(event: ev.Event) -> None:
    assert codec.decode(codec.encode(event)) == event


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (assigned("10.0.0.300", "10.0.0.0/30"), "'10.0.0.300' is not an IP address"),
        (assigned("10.0.0.1", "10.0.0.0"), "'10.0.0.0' is not a CIDR"),
        (assigned("10.0.0.1", "10.0.0.1/30"), "has host bits set"),
        (assigned("10.0.0.9", "10.0.0.0/30"), "10.0.0.9 is not in its block 10.0.0.0/30"),
        (assigned("fd00::1", "10.0.0.0/30"), "fd00::1 is not in its block 10.0.0.0/30"),
        (assigned("10.0.0.1", "10.0.0.0/30", cooling=(cools("x", "10.0.0.0/30"),)), "'x' is not an IP"),
        (ev.AddressReleased(cooling=(cools("10.0.0.1", ""),), **PLACE), "is not an IP address"),
        (ev.BlockAssigned(network="net", block="10/8", node="n1", since=1), "'10' is not an IP address"),
        (ev.BlockReleased(network="net", block="", node="n1", at=1, until=1), "is not an IP address"),
        (ev.BlockAssigned(network="net", block="10.0.0.0/7", node="n1", since=1), "too large for a block"),
        (ev.GroupOpened(network="net", group="a", prefix="a"), "'a' is not an IP address"),
        (ev.RangeReserved(cidr="10.0.0.1/30"), "has host bits set"),
        (
            ev.HostPlaced(
                node="n1", uid="u", placements=(ev.Placement(network="net", group="a", prefix="10.0.0.0/33"),)
            ),
            "'10.0.0.0/33' is not a CIDR",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ev.Event) else "",
)
def test_a_decision_that_no_reader_could_follow_is_parked(event: ev.Event, reason: str) -> None:
    """It was published by hand: no fold of it may fail, on any node."""
    parked = codec.decode(codec.encode(event))
    assert isinstance(parked, codec.Parked)
    assert reason in parked.reason


def test_unknown_type_and_invalid_event() -> None:
    for body, reason in (
        (b'{"type":"FromTheFuture"}', "unknown type 'FromTheFuture': written by a newer version?"),
        (b'{"type":"NodeSeen"}', "missing required field"),
        (b"\xff", "not an event: "),
    ):
        parked = codec.decode(body)
        assert isinstance(parked, codec.Parked)
        assert reason in parked.reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ('{"cooldown":-1}', "cooldown: -1: must be between 0 and"),
        ('{"cooldown":1e99}', "Expected `int`"),
        ('{"warm_blocks":65}', "warm_blocks: 65: must be between 0 and 64"),
        ('{"block_owner":"pod"}', "Invalid enum value 'pod'"),
        ('{"default_network":"10.0.0.1/8"}', "has host bits set"),
        ('{"default_network":"10.0.0.0/30"}', "too small to be split"),
        ('{"default_block_mask":9}', "too small to be split"),
    ],
)
def test_settings_that_nobody_could_follow_are_parked(values: str, reason: str) -> None:
    """The settings before them count for every reader."""
    parked = codec.decode(b'{"type":"SettingsChanged","settings":%s}' % values.encode())
    assert isinstance(parked, codec.Parked)
    assert reason in parked.reason


def test_settings_are_stored_in_full() -> None:
    """Another version may have other defaults."""
    body = codec.encode(ev.SettingsChanged(settings=ev.Settings()))
    stored = msgspec.json.decode(body)["settings"]
    assert set(stored) == set(ev.Settings.__struct_fields__)


def test_long_reason_is_cut() -> None:
    def reason(length: int) -> str:
        said = codec.decode(b'{"type":"%s"}' % (b"x" * length))
        assert isinstance(said, codec.Parked)
        return said.reason

    rest = len(reason(1)) - 1
    assert reason(codec.REASON - rest).endswith("written by a newer version?")
    assert len(reason(codec.REASON - rest)) == codec.REASON
    longer = reason(codec.REASON - rest + 1)
    assert (len(longer), longer[-5:]) == (codec.REASON + 3, "on...")
