"""What the kernel has of pods' links and routes, with or without attachments, for their removal when the
agent is uninstalled. Only what has our marks is seen: links by name and hardware address, routes by
protocol.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.cni.link import mend
from romana_bus.cni.link.access import host_socket, read_link
from romana_bus.cni.link.veth import is_host_end
from romana_bus.netlink import links
from romana_bus.netlink.constants import POD_ROUTES
from romana_bus.netlink.socket import NetlinkError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.cni.link.drift import Address


class Present(NamedTuple):
    """`links`: name -> index of the node's end of each pod's link. `routes`: address -> the indexes of the
    links to which it is routed with our protocol."""

    links: dict[str, int]
    routes: dict[Address, frozenset[int]]


def read() -> Present:
    """Raises OSError, Interrupted."""
    actual = mend.read()
    return Present(
        {name: end.ifindex for name, end in sorted(actual.ends.items()) if _is_ours(name)},
        dict(actual.routes),
    )


def _is_ours(name: str) -> bool:
    try:
        with host_socket() as host:
            link = read_link(host, links.get_link(name))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return is_host_end(name, link.mac)


def remove_routes(routes: Iterable[tuple[Address, int]]) -> None:
    """Remove routes to pods. A missing one is not an error. Raises OSError."""
    wanted = [links.not_on_link(*address, link, POD_ROUTES) for address, link in routes]
    with host_socket() as host:
        for failure in host.batch(wanted):
            if failure.errno not in (errno.ESRCH, errno.ENODEV):
                raise NetlinkError(failure.errno, str(failure))
