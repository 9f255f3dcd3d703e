"""Reads the nftables chains that drop forwarded packets (linux/netfilter/nf_tables.h). iptables-nft keeps its
chains there too. Attributes are in network byte order."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from romana_bus.netlink.constants import (
    GETCHAIN,
    GETRULES,
    HOOK_FORWARD,
    NEWCHAIN,
    NF_DROP,
    NFTA_CHAIN_HOOK,
    NFTA_CHAIN_NAME,
    NFTA_CHAIN_POLICY,
    NFTA_CHAIN_TABLE,
    NFTA_HOOK_NUM,
    NFTA_RULE_TABLE,
)
from romana_bus.netlink.messages import bodies, message, name, values
from romana_bus.netlink.socket import dump
from romana_bus.routing.obstacles import ACCEPTED, Chain

if TYPE_CHECKING:
    from romana_bus.netlink.socket import Socket

#: NFPROTO_*
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
#: The kernel has no nftables.
ABSENT = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)


def read(socket: Socket) -> list[Chain]:
    """`socket`: of NETLINK_NETFILTER. Raises OSError, Interrupted."""
    chains = []
    for part, start, end in bodies(dump(socket, message(GETCHAIN, 0, bytes(4))), NEWCHAIN):
        family, attributes = part[start], values(part, start + 4, end)  # behind struct nfgenmsg
        hook = attributes.get(NFTA_CHAIN_HOOK, b"")
        number = values(hook, 0, len(hook)).get(NFTA_HOOK_NUM, b"")
        policy = attributes.get(NFTA_CHAIN_POLICY, b"")
        if family in _FAMILIES and (number, policy) == (HOOK_FORWARD, NF_DROP):
            table = _text(attributes[NFTA_CHAIN_TABLE])
            chains.append(
                Chain(
                    _FAMILIES[family], table, _text(attributes[NFTA_CHAIN_NAME]),
                    accepts_pods=_accepts_pods(socket, family, table),
                )
            )  # fmt: skip
    return sorted(chains)


def _accepts_pods(socket: Socket, family: int, table: str) -> bool:
    """Whether a rule of the table has the comment. It is the same text in every kind of comment, of nft
    and of iptables-nft."""
    request = message(GETRULES, 0, bytes([family, 0, 0, 0]) + name(NFTA_RULE_TABLE, table))
    return any(ACCEPTED.encode() in part for part in dump(socket, request))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")
