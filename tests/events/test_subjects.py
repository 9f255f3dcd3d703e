"""Subjects: a valid one for each entity, whatever it is called; and how long a tombstone counts."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from romana_bus import events as ev

#: What NATS takes literally: tokens of printable ASCII without wildcards, joined by dots.
VALID = re.compile(r"[!-)+-\-/-=?-~]+(\.[!-)+-\-/-=?-~]+)+\Z")
HOSTILE = {
    "space": "a b", "star": "*", "rest": ">", "dot": "a.b", "underscore": "a_b", "dots": "..", "none": "",
    "dash": "-", "encoded": "%2D", "line": "a\r\nPUB x 1", "tab": "\t", "nul": "\x00", "umlaut": "\xe4",
    "slash": "a/b", "block": "10.0.0.8-29",
}  # fmt: skip
VALUES: dict[Any, Any] = {ev.Settings: ev.Settings()}
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

by_type = pytest.mark.parametrize("kind", ev.STORED, ids=lambda kind: kind.__name__)


def made(kind: type[ev.Event], **named: str) -> ev.Event:
    """With its required fields, in plain words where they are not named."""
    fields: dict[str, Any] = {
        field.name: VALUES.get(field.type)
        or {str: f"x-{field.name}", int: 1, dict: {}, tuple: ()}[_plain(field.type)]
        for field in msgspec.structs.fields(kind)
        if field.required
    }
    return kind(**(fields | named))


def _plain(annotation: Any) -> Any:
    """`str`, `int`, `dict` or `tuple` of what may carry constraints and parameters."""
    found = getattr(annotation, "__origin__", annotation)
    return found if found in (str, int, dict, tuple) else _plain(found)


def texts(kind: type[ev.Event]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind) if field.type is str]


def name_of(token: str) -> str:
    """What was written as this token."""
    return "" if token == "-" else unquote(token.replace("_", "."))


#: The subject of each type, with the names of the fields that it is made of.
SUBJECTS = {
    "kube.node.-.{name}": (ev.NodeSeen, ev.NodeGone),
    "kube.pod.{namespace}.{name}": (ev.PodSeen, ev.PodGone),
    "kube.namespace.-.{name}": (ev.NamespaceSeen, ev.NamespaceGone),
    "kube.policy.{namespace}.{name}": (ev.PolicySeen, ev.PolicyGone),
    "kube.object.{resource}.{namespace}.{name}": (ev.ObjectSeen, ev.ObjectGone),
    "kube.synced.-.{resource}": (ev.ResourceListing, ev.ResourceSynced),
    "spec.topology": (ev.TopologySet,),
    "spec.settings": (ev.SettingsChanged,),
    "spec.reserve.{cidr}": (ev.RangeReserved, ev.RangeUnreserved),
    "spec.disowned.{node}.{namespace}.{name}": (ev.AddressDisowned,),
    "spec.listing.{resource}": (ev.ListingAsked,),
    "{stream}.leader": (ev.LeaderElected,),
    "ipam.topology": (ev.TopologyAccepted,),
    "ipam.map.group.{network}.{group}": (ev.GroupOpened,),
    "ipam.map.host.{node}": (ev.HostPlaced, ev.HostDenied, ev.HostRemoved),
    "ipam.map.block.{node}.{block}": (ev.BlockAssigned, ev.BlockReleased),
    "ipam.address.{node}.{namespace}.{name}": (ev.AddressAssigned, ev.AddressDenied, ev.AddressReleased),
    "node.{node}.{consumer}": (
        ev.Applied,
        ev.ApplyFailed,
        ev.Wired,
        ev.NodeNetwork,
        ev.NodeChecked,
        ev.AgentUninstalled,
        ev.Audited,
    ),
    "node.-.parked.{consumer}": (ev.MessagesParked,),
    "node.-.foreign.{stream}": (ev.ForeignWriteSeen,),
    "node.{node}.refused.{consumer}": (ev.PermissionRefused,),
    "node.{node}.cni.{namespace}.{name}": (ev.SandboxRequested, ev.SandboxRemoved),
}
OBJECTS = (ev.ObjectSeen, ev.ObjectGone)
SHAPES = {kind: shape.split(".") for shape, kinds in SUBJECTS.items() for kind in kinds}


def check(kind: type[ev.Event], field: str, name: str) -> None:
    """Each field is the token that it should be, and can be read back."""
    values = dict.fromkeys(texts(kind), "x") | {field: name}
    subject = made(kind, **values).subject()
    assert VALID.match(subject), subject
    wanted = []
    for token in SHAPES[kind]:
        value = values[token[1:-1]] if token.startswith("{") else name_of(token)
        wanted += value.split("/") if token == "{resource}" and kind in OBJECTS else [value]
    if kind is ev.LeaderElected:
        wanted = [value.lower() for value in wanted]
    found = subject.split(".")
    if kind not in OBJECTS:  # of which one name is three tokens
        found = [
            _with_slash(one) if of == "{block}" else one for one, of in zip(found, SHAPES[kind], strict=True)
        ]
    assert [name_of(token) for token in found] == wanted


def _with_slash(token: str) -> str:
    """A block has one where its token has `-`; a `-` that is none is quoted there."""
    return token if token == "-" else token.replace("-", "/")


def test_every_type_has_its_subject() -> None:
    assert set(SHAPES) == set(ev.STORED)


@by_type
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_one_token_that_can_be_read_back(kind: type[ev.Event], name: str) -> None:
    for field in texts(kind):
        check(kind, field, name)


@by_type
@given(name=names)
@example(name="0/0")
@settings(max_examples=25)
def test_any_name_is_one_token_that_can_be_read_back(kind: type[ev.Event], name: str) -> None:
    for field in texts(kind):
        check(kind, field, name)


@given(st.lists(names, min_size=2, max_size=2, unique=True))
@example(["10.0.0.8/29", "10.0.0.8-29"])
@example(["", "-"])
@example(["a.b", "a_b"])
@example(["-", "%2D"])
def test_two_names_never_give_one_subject(two: list[str]) -> None:
    assert ev.token(two[0]) != ev.token(two[1])
    assert ev.block_token(two[0]) != ev.block_token(two[1])


def test_readable_names_stay_readable() -> None:
    assert (
        made(ev.NodeSeen, name="ip-10-0-0-1.ec2.internal").subject() == "kube.node.-.ip-10-0-0-1_ec2_internal"
    )
    assert made(ev.BlockAssigned, node="n1", block="10.0.0.8/29").subject() == "ipam.map.block.n1.10_0_0_8-29"
    assert made(ev.BlockAssigned, node="n1", block="fd00::8/125").subject() == "ipam.map.block.n1.fd00::8-125"
    assert made(ev.ObjectSeen, resource="/v1/services", namespace="web", name="a").subject() == (
        "kube.object.-.v1.services.web.a"
    )


def test_a_tombstone_is_needed_until_the_last_of_its_addresses_has_cooled() -> None:
    """For as long as a pod runs with one of them, too."""

    def needed(*untils: int) -> int:
        cooling = tuple(
            ev.CoolingAddress(address="10.0.0.1", block="10.0.0.0/30", until=one) for one in untils
        )
        return ev.AddressReleased(
            namespace="web", name="a", uid="u", node="n1", cooling=cooling
        ).needed_until()

    assert needed() == 0
    assert needed(5, 9, 7) == 9
    assert needed(5, ev.WHILE_IT_RUNS) == ev.WHILE_IT_RUNS
    assert needed(ev.WHILE_IT_RUNS) == ev.WHILE_IT_RUNS
