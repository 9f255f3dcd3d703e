"""Reads this node's kernel: what it has, its sysctls, and the sizes of links."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket as sockets
import struct
from typing import TYPE_CHECKING

from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.links import attachments
from romana_bus.cni.link import check, sysctls
from romana_bus.cni.link.access import host_socket
from romana_bus.netlink import links, nexthops, pod_links
from romana_bus.netlink.constants import NEWLINK
from romana_bus.netlink.messages import HEADER, bodies
from romana_bus.netlink.socket import NetlinkError, dump

if TYPE_CHECKING:
    from romana_bus.cli.doctor.gather.context import Context

#: Names of the host ends of pods' links (cni/link/veth.py).
_HOST_END = re.compile(r"rb[0-9a-f]{13}")
#: linux/netlink.h, linux/netfilter/nfnetlink.h and nf_tables.h: NFT_MSG_GETGEN asks for the number of the
#: ruleset.
_NETFILTER, _GETGEN, _REQUEST = 12, (10 << 8) | 16, 1


async def kernel(_: Context) -> facts.Kernel:
    """Raises OSError."""
    disabled = False
    with contextlib.suppress(OSError):
        disabled = sysctls.read("ipv6/conf/all/disable_ipv6") == "1"
    return facts.Kernel(
        os.uname().release,
        _has_nexthops(),
        sysctls.exists("ipv6/conf/all/forwarding"),
        disabled,
        _has_nftables(),
    )


def _has_nexthops() -> bool:
    try:
        with host_socket() as host:
            dump(host, nexthops.dump_all())
    except NetlinkError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True


def _has_nftables() -> bool | None:
    """None: the kernel only tells root. Asking loads the module, as `nft list` does."""
    try:
        with sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW, _NETFILTER) as asking:
            asking.settimeout(5.0)
            asking.send(struct.pack("=IHHII4x", 20, _GETGEN, _REQUEST, 1, 0))
            answer = asking.recv(4096)
    except TimeoutError:
        return None
    except OSError:
        return False
    _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", answer)
    if kind == 2 and code == -errno.EPERM:
        return None
    return bool(kind != 2)


async def node_sysctls(context: Context) -> facts.Sysctls:
    """Those of the agent's own table. Raises OSError."""
    six = any(":" in address for each in attachments(context) for address in each.addresses)
    wrong = []
    for sysctl in sysctls.SYSCTLS:
        if six or sysctl is not sysctls.FORWARD_V6:
            with contextlib.suppress(FileNotFoundError):  # the kernel has no IPv6
                if sysctls.read(sysctl.name) == sysctl.wrong:
                    name = sysctls.dotted(sysctl.name)
                    wrong.append(facts.Sysctl(name, sysctl.wrong, sysctl.right, sysctl.meaning, sysctl.vital))
    return facts.Sysctls(tuple(wrong), tuple(sysctls.read_only()))


async def mtu(_: Context) -> facts.Mtu:
    """Raises OSError."""
    uplink = check.uplink()
    with host_socket() as host:
        parts = dump(host, pod_links.get_links())
    found = [links.link(part[start - HEADER.size : end]) for part, start, end in bodies(parts, NEWLINK)]
    pods = {link.name: link.mtu for link in found if _HOST_END.fullmatch(link.name)}
    return facts.Mtu(uplink.name if uplink else "", uplink.mtu if uplink else 0, pods)
