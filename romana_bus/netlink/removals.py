"""Notices what is taken from pods' links while they stay: a link set down, its IPv6 addresses and routes, its
settings; and changes of the node's forwarding. Names the links that were deleted.

Reads multicast notifications; writes nothing. The agent's own work never looks like that: an ADD only adds,
and a DEL deletes the link itself. So no port ids are compared, and the filter drops everything else inside
the kernel: an ADD costs nothing here, a DEL the two or three messages of its link's end. The kernel does not
report the removal of a proxy neighbour entry, nor changes of sysctls but forwarding and rp_filter.
"""

from __future__ import annotations

import socket
import sys

from romana_bus.netlink.constants import (
    ADDRESS_GROUPS,
    DELADDR,
    DELLINK,
    DELROUTE,
    IFINFOMSG,
    IFLA_NAME,
    LINK_UP,
    LINKS_GROUP,
    NETCONF_GROUPS,
    NETCONFA_IFINDEX,
    NEWLINK,
    NEWNETCONF,
    POD_ROUTES,
    ROUTE_GROUPS,
    RTA_OIF,
    RTMSG,
)
from romana_bus.netlink.messages import attributes, messages
from romana_bus.netlink.notifications import BUFFER, Instruction, Notifications

#: Of addresses only those of IPv6: a pod's link has no other.
_GROUPS = (LINKS_GROUP, ADDRESS_GROUPS[1], *ROUTE_GROUPS, *NETCONF_GROUPS)
#: struct netconfmsg with the link and one setting. A new link's has all settings.
_ONE_SETTING = 36
#: AF_BRIDGE
_BRIDGE = 7
#: Size of struct netconfmsg.
_NETCONFMSG = 4


class Removals(Notifications):
    """The notification socket, and what it has reported since the last `clear`."""

    def __init__(self, buffer: int = BUFFER) -> None:
        super().__init__(_removals(), _GROUPS, buffer)
        self._links: set[int] = set()
        self._any = False
        self._deleted: set[str] = set()

    @property
    def pending(self) -> bool:
        """Whether something was taken from a link that still exists, or may have been."""
        return self._any or bool(self._links)

    def clear(self) -> None:
        self._links.clear()
        self._any = False

    def take_deleted(self) -> set[str]:
        """The names of the links that were deleted since the last call, as far as `take` has read."""
        deleted, self._deleted = self._deleted, set()
        return deleted

    def take(self) -> bool:
        """Read what has arrived; returns `pending`. Raises OSError."""
        for data in self.reads():
            if data is None:
                self._any = True
                continue
            for kind, _, _, start, end in messages(data):
                self._note(kind, data, start, end)
        return self.pending

    def _note(self, kind: int, data: bytes, start: int, end: int) -> None:
        if kind == DELLINK:
            if data[start] != _BRIDGE:  # else it has only left a bridge
                self._links.discard(_number(data, start + 4))
                for name, first, last in attributes(data, start + IFINFOMSG.size, end):
                    if name == IFLA_NAME:
                        self._deleted.add(data[first:last].rstrip(b"\0").decode(errors="replace"))
        elif kind in (NEWLINK, DELADDR):
            self._links.add(_number(data, start + 4))
        elif kind == DELROUTE:
            self._add(data, start + RTMSG.size, end, RTA_OIF)
        elif kind == NEWNETCONF:
            self._add(data, start + _NETCONFMSG, end, NETCONFA_IFINDEX)

    def _add(self, data: bytes, start: int, end: int, wanted: int) -> None:
        links = [_number(data, first) for kind, first, _ in attributes(data, start, end) if kind == wanted]
        if links and links[0] > 0:
            self._links.add(links[0])
        else:  # the settings of all links
            self._any = True


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], sys.byteorder, signed=True)


def _removals() -> list[Instruction]:
    """Classic BPF that passes, besides deletions of links and IPv6 addresses: links that are down, but not
    new ones (all bits of ifi_change are set); single settings; and routes to pods that a process deleted. The
    kernel itself (port 0) deletes them only with an address, or with a link that is set down or deleted.
    Loads are in network byte order."""
    word, half, byte, equal, any_bit, give = 0x20, 0x28, 0x30, 0x15, 0x45, 0x06
    return [
        (half, 0, 0, 4),  # nlmsghdr.nlmsg_type
        (equal, 14, 0, socket.htons(DELLINK)),
        (equal, 13, 0, socket.htons(DELADDR)),
        (equal, 2, 0, socket.htons(NEWLINK)),
        (equal, 5, 0, socket.htons(DELROUTE)),
        (equal, 8, 11, socket.htons(NEWNETCONF)),
        (word, 0, 0, 16 + 12),  # ifinfomsg.ifi_change
        (equal, 9, 0, 0xFFFFFFFF),
        (word, 0, 0, 16 + 8),  # ifinfomsg.ifi_flags
        (any_bit, 7, 6, socket.htonl(LINK_UP)),
        (byte, 0, 0, 16 + 5),  # rtmsg.rtm_protocol
        (equal, 0, 5, POD_ROUTES),
        (word, 0, 0, 12),  # nlmsghdr.nlmsg_pid
        (equal, 3, 2, 0),
        (word, 0, 0, 0),  # nlmsghdr.nlmsg_len
        (equal, 0, 1, socket.htonl(_ONE_SETTING)),
        (give, 0, 0, 0xFFFFFFFF),
        (give, 0, 0, 0),
    ]
