"""Numbers of the kernel's routing netlink, and what marks our routes.

Sources: linux/netlink.h, linux/rtnetlink.h, asm-generic/socket.h.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6

from romana_bus.inet import V4, V6

#: rtm_protocol of our routes to blocks, and of the host routes of pods.
BLOCK_ROUTES, POD_ROUTES = 82, 83

#: Address family of an address width, and the reverse.
FAMILY: dict[int, int] = {V4: AF_INET, V6: AF_INET6}
WIDTH: dict[int, int] = {AF_INET: V4, AF_INET6: V6}

# linux/netlink.h
NETLINK_ROUTE = 0
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, MULTI, ACK, DUMP_INTERRUPTED, DUMP = 0x1, 0x2, 0x4, 0x10, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
CAPPED, ACK_TLVS = 0x100, 0x200
ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
NESTED = 0x8000
SOL_NETLINK = 270
ADD_MEMBERSHIP, CAP_ACK, EXT_ACK, STRICT_CHECK = 1, 10, 11, 12
# asm-generic/socket.h; the last two exceed net.core.[rw]mem_max, for CAP_NET_ADMIN
SO_ATTACH_FILTER, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 26, 32, 33

# linux/rtnetlink.h: RTM_*
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH = 28
NEWRULE, DELRULE = 32, 33
NEWNEXTHOP, DELNEXTHOP, GETNEXTHOP = 104, 105, 106

#: struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
RTMSG = struct.Struct("=BBBBBBBBI")
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_VIA, RTA_NH_ID = 1, 4, 5, 6, 9, 18, 30
TABLE_MAIN = 254
UNICAST, UNREACHABLE = 1, 7
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
