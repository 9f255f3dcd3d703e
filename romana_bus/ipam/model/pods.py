"""Pods, as the API shows them.

A state has hundreds of thousands of them. So they are small, share their strings, and hold no reference back
to what holds them (`gc=False`).
"""

from __future__ import annotations

import contextlib

import msgspec

from romana_bus.events import KUBE
from romana_bus.inet import parse_address
from romana_bus.ipam.model.annotations import PodRequest
from romana_bus.ipam.model.uids import Ident, text_of

#: Bits of a pod's stamp that hold the sequence: enough for 1,000 facts a second in two years.
SEQ_BITS = 36
LAST_SEQ = (1 << SEQ_BITS) - 1


class Details(msgspec.Struct, gc=False, frozen=True):
    """What most pods do not have. `ips`: the addresses that the pod reports, joined by ','; AS_GIVEN where
    IPAM assigned them. `unfit`: why the pod needs no address from IPAM, '' if it does. `request`: what its
    annotations request."""

    segment: str = ""
    ips: str = ""
    unfit: str = ""
    request: PodRequest | None = None


AS_GIVEN = "="
#: Why a pod needs no address from IPAM.
HOST_NETWORK = "the pod uses the host's network"
#: The same, for a pod that an audit did not find.
ABSENT = "the API server has no such pod"
#: Shared default for pods without these details; and for those that only report what IPAM assigned.
NO_DETAILS, REPORTS_AS_GIVEN = Details(), Details(ips=AS_GIVEN)


def make_details(segment: str, ips: str, unfit: str, request: PodRequest | None) -> Details:
    if segment or unfit or request is not None:
        return Details(segment, ips, unfit, request)
    return NO_DETAILS if not ips else REPORTS_AS_GIVEN if ips == AS_GIVEN else Details("", ips)


class Pod(msgspec.Struct, gc=False, eq=False):
    """A pod in the API. `key`: NAMESPACE/NAME. `ident`: its uid (`uids.py`). `stamp`: the resource version
    and the sequence of the newest fact, in one integer."""

    key: str
    node: str
    ident: Ident
    stamp: int
    details: Details

    @property
    def tenant(self) -> str:
        return self.key.partition("/")[0]

    @property
    def uid(self) -> str:
        return text_of(self.ident)

    @property
    def version(self) -> int:
        return self.stamp >> SEQ_BITS

    @property
    def seq(self) -> int:
        return self.stamp & LAST_SEQ

    @property
    def cause(self) -> str:
        """STREAM/SEQUENCE of the newest fact about it."""
        seq = self.stamp & LAST_SEQ
        return f"{KUBE}/{seq}" if seq else ""

    @property
    def segment(self) -> str:
        return self.details.segment

    @property
    def unfit(self) -> str:
        return self.details.unfit

    @property
    def request(self) -> PodRequest | None:
        return self.details.request

    @property
    def ips(self) -> str:
        return self.details.ips

    @property
    def reported(self) -> list[tuple[int, int]]:
        """The addresses that it reports, as (width, value); none where IPAM assigned them."""
        addresses = []
        for text in self.ips.split(",") if self.ips and self.ips != AS_GIVEN else ():
            with contextlib.suppress(ValueError):
                addresses.append(parse_address(text))
        return addresses


def stamp(version: int, seq: int) -> int:
    """`version`: 0 where the resource version is not a number."""
    return version << SEQ_BITS | min(seq, LAST_SEQ)


class Sandbox(msgspec.Struct, gc=False, frozen=True):
    """A sandbox that a kubelet requested. `ident`: the uid of its pod (`uids.py`). `seq`: of the request."""

    ident: Ident
    seq: int
