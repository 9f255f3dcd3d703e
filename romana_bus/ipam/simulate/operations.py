"""The operations of a simulation, in the format of Romana's tests: one JSON object each.

Other fields of such an object, such as the expected results, are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from romana_bus.inet import parse_address

Name = Annotated[str, msgspec.Meta(min_length=1)]
#: A tenant is a namespace, and no namespace has a '/'.
Tenant = Annotated[str, msgspec.Meta(pattern="^[^/]*$")]


class Op(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    def __post_init__(self) -> None:
        """Checks the fields. Raises ValueError, as msgspec does for other errors."""


class Allocate(Op, frozen=True, kw_only=True, tag="allocate"):
    name: Name
    host: Name
    tenant: Tenant | None = None
    segment: str | None = None


class Deallocate(Op, frozen=True, kw_only=True, tag="deallocate"):
    """`name`: the name given to `allocate`, or the address itself."""

    name: Name


class AddHost(Op, frozen=True, kw_only=True, tag="add_host"):
    name: Name
    ip: str | None = None
    tags: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _address(self.ip)


class RemoveHost(Op, frozen=True, kw_only=True, tag="remove_host"):
    """Finds the host by `ip`, if it is given, else by `name`. If both are given, they have to be of one
    host."""

    name: str | None = None
    ip: str | None = None

    def __post_init__(self) -> None:
        _one_of(self.name, self.ip)


class UpdateLabels(Op, frozen=True, kw_only=True, tag="update_labels"):
    """`name` and `ip` as in `RemoveHost`. `tags`: all of the host's labels from now on."""

    name: str | None = None
    ip: str | None = None
    tags: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _one_of(self.name, self.ip)


class Blackout(Op, frozen=True, kw_only=True, tag="blackout"):
    cidr: str


class Unblackout(Op, frozen=True, kw_only=True, tag="unblackout"):
    cidr: str


class UpdateTopology(Op, frozen=True, kw_only=True, tag="update_topology"):
    topology: dict[str, Any]


AnyOp = (
    Allocate | Deallocate | AddHost | RemoveHost | UpdateLabels | Blackout | Unblackout | UpdateTopology
)  # fmt: skip

OPS = ("allocate", "deallocate", "add_host", "remove_host", "update_labels", "blackout", "unblackout",
       "update_topology")  # fmt: skip


def _address(ip: str | None) -> None:
    if ip is not None:
        parse_address(ip)


def _one_of(name: str | None, ip: str | None) -> None:
    if not name and ip is None:
        raise ValueError("a host needs its `name` or its `ip`")
    _address(ip)
