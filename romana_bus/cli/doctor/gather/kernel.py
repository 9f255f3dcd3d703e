"""Reads this node's kernel: what it has, its sysctls, and the sizes of links."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING

from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.links import attachments
from romana_bus.cni.link import check, sysctls
from romana_bus.cni.link.access import host_socket
from romana_bus.netlink import links, nexthops, pod_links
from romana_bus.netlink.constants import NETLINK_NETFILTER, NEWLINK
from romana_bus.netlink.foreign import nftables
from romana_bus.netlink.messages import HEADER, bodies
from romana_bus.netlink.socket import NetlinkError, Socket, dump

if TYPE_CHECKING:
    from romana_bus.cli.doctor.gather.context import Context

#: Names of the host ends of pods' links (cni/link/veth.py).
_HOST_END = re.compile(r"rb[0-9a-f]{13}")


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
    """None: the kernel only tells root."""
    try:
        with Socket(protocol=NETLINK_NETFILTER) as asking:
            nftables.read(asking)
    except PermissionError:
        return None
    except OSError as error:
        if error.errno not in nftables.ABSENT:
            raise
        return False
    return True


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
