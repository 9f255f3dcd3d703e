"""Numbers of the kernel's routing netlink, and what marks our routes.

Sources: the kernel's headers, named beside them.
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
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
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
NEWNEIGH, GETNEIGH = 28, 30
NEWRULE, DELRULE, GETRULE = 32, 33, 34
NEWNETCONF = 80
NEWNEXTHOP, DELNEXTHOP, GETNEXTHOP = 104, 105, 106

#: struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
RTMSG = struct.Struct("=BBBBBBBBI")
#: struct ifinfomsg: family, type, index, flags, change
IFINFOMSG = struct.Struct("=BxHiII")
#: struct ifaddrmsg: family, length, flags, scope, index
IFADDRMSG = struct.Struct("=BBBBI")
#: struct ndmsg: family, index, state, flags, type
NDMSG = struct.Struct("=BxxxiHBB")
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_VIA, RTA_NH_ID = 1, 4, 5, 6, 9, 18, 30
RTA_TABLE = 15
TABLE_MAIN = 254
UNICAST, UNREACHABLE, THROW = 1, 7, 9
KERNEL, BOOT, STATIC, ROUTER_ADVERTISEMENT, DHCP = 2, 3, 4, 9, 16  # rtm_protocol
#: rtm_flags: an entry of a cache; return the matching entry of the table, not its result for a packet.
CLONED, FIB_MATCH = 0x200, 0x2000
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255
#: RTNLGRP_*: links, and of both families addresses, routes, rules and settings; nexthops.
LINKS_GROUP, ADDRESS_GROUPS, ROUTE_GROUPS, RULE_GROUPS, NEXTHOP_GROUP = 1, (5, 9), (7, 11), (8, 19), 32
NETCONF_GROUPS = (24, 25)

# linux/if.h and if_link.h
LINK_UP, OPER_UP = 0x1, 6
LOOPBACK = 1  # the index of `lo` in every network namespace
IFLA_ADDRESS, IFLA_NAME, IFLA_MTU, IFLA_LINK, IFLA_OPERSTATE = 1, 3, 4, 5, 16
IFLA_INFO, IFLA_AF_SPEC, IFLA_NS_FD, IFLA_EXT_MASK, SKIP_STATS = 18, 26, 28, 29, 1 << 3
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1
INET_CONF, INET6_CONF, INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE = 1, 2, 8, 1
#: IPV4_DEVCONF_*: forward; and, for IPv4 only, accept no packet from the pod with another source address. The
#: latter fails if net.ipv4.conf.all.rp_filter is 2, since the greater value counts, or while the link's own
#: is 2: systemd-udevd sets that for new links if a file in sysctl.d has net.ipv4.conf.*.rp_filter = 2.
CONF_FORWARDING, CONF_RP_FILTER = 1, 8
#: linux/ipv6.h: DEVCONF_*, which count from 0
CONF6_ACCEPT_RA, CONF6_DISABLED = 3, 26

# linux/if_addr.h, linux/neighbour.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_NODAD = 1, 2, 8, 0x02
NDA_DST, NDA_LLADDR, NUD_PERMANENT, NTF_PROXY = 1, 2, 0x80, 0x08

# linux/netconf.h
NETCONFA_IFINDEX = 1

# linux/nexthop.h
NHA_ID, NHA_OIF, NHA_GATEWAY = 1, 5, 6

# linux/fib_rules.h
#: struct fib_rule_hdr: family, lengths of destination and source, tos, table, two reserved, action, flags
FIBRULE = struct.Struct("=BBBBBBBBI")
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_TUN_ID = 1, 2, 3, 6, 10, 12
FRA_SUPPRESS, FRA_TABLE, FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE = 14, 15, 17, 19, 20
RULE_INVERTED = 0x2

# linux/netfilter/nfnetlink.h and nf_tables.h: NFNL_SUBSYS_NFTABLES and NFT_MSG_*
NEWCHAIN, GETCHAIN, GETRULES = 10 << 8 | 3, 10 << 8 | 4, 10 << 8 | 7
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY = 1, 3, 4, 5
NFTA_HOOK_NUM, NFTA_RULE_TABLE = 1, 1
#: NF_INET_FORWARD and NF_DROP, in network byte order
HOOK_FORWARD, NF_DROP = (2).to_bytes(4, "big"), (0).to_bytes(4, "big")
