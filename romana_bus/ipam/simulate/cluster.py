"""What a simulation remembers beside the state: its hosts, and what each name was given."""

from __future__ import annotations

from typing import NamedTuple

from romana_bus.events import NodeGone, NodeSeen, PodGone, PodSeen
from romana_bus.inet import format_address, parse_address
from romana_bus.ipam.fold.facts import SEGMENT_LABEL


class OpError(Exception):
    """An operation that fails, and changes nothing. `kind` is for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Node(NamedTuple):
    """A host. `labels`: its newest ones; where it was placed, those that it had then counted."""

    name: str
    ip: str
    labels: dict[str, str]

    def seen(self) -> NodeSeen:
        addresses = (self.ip,) if self.ip else ()
        return NodeSeen(
            resource_version="", uid=self.name, name=self.name, addresses=addresses, labels=self.labels
        )

    def gone(self) -> NodeGone:
        return NodeGone(resource_version="", uid=self.name, name=self.name)


class Given(NamedTuple):
    """A name with its addresses: a pod of the tenant's namespace. `serial` tells it from others that
    had the name before."""

    name: str
    host: str
    tenant: str
    segment: str
    serial: int
    addresses: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name

    @property
    def uid(self) -> str:
        return str(self.serial)

    def seen(self) -> PodSeen:
        return PodSeen(
            resource_version="", uid=self.uid, namespace=self.tenant, name=self.name, node=self.host,
            labels={SEGMENT_LABEL: self.segment} if self.segment else {},
        )  # fmt: skip

    def gone(self) -> PodGone:
        return PodGone(resource_version="", uid=self.uid, namespace=self.tenant, name=self.name)


def canonical(text: str) -> str:
    """An address as it is always written; '' for what is none."""
    try:
        return format_address(*parse_address(text))
    except ValueError:
        return ""
