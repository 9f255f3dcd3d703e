"""Reads whether iptables-legacy drops forwarded packets (linux/netfilter_ipv4/ip_tables.h and its twin).

A table is only read if the namespace has it: the kernel would make it for who asks, and with it a filter that
every packet passes.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import NamedTuple

from romana_bus.routing.obstacles import ACCEPTED, Chain

_libc = ctypes.CDLL(None, use_errno=True)  # socket.getsockopt passes no request to the kernel
_GET_INFO, _GET_ENTRIES = 64, 65
#: struct ipt_getinfo: name, valid hooks; of each hook the offsets of its first rule and its policy; counts of
#: rules and bytes.
_INFO = struct.Struct("=32sI5I5III")
_FORWARD = 2
#: Where the rules begin in struct ipt_get_entries.
_ENTRIES = 40
#: Behind struct xt_entry_target stands the verdict; that of DROP is -NF_DROP - 1.
_TARGET, _DROP = 32, -1


class _Family(NamedTuple):
    """`target`: where the offset of a rule's target is in struct ipt_entry, ip6t_entry."""

    name: str
    number: int
    level: int
    names: str
    target: int


_FAMILIES = (
    _Family("ip", socket.AF_INET, socket.SOL_IP, "ip_tables_names", 88),
    _Family("ip6", socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names", 140),
)


def read() -> list[Chain]:
    """The FORWARD chains with the policy DROP, of this thread's namespace. Raises OSError."""
    return [chain for family in _FAMILIES if (chain := _forward(family))]


def _forward(family: _Family) -> Chain | None:
    try:
        with open(f"/proc/thread-self/net/{family.names}") as names:
            if "filter" not in names.read().split():
                return None
    except FileNotFoundError:  # the kernel does not have it
        return None
    with socket.socket(family.number, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        info = _INFO.unpack(_asked(raw, family.level, _GET_INFO, _INFO.size))
        size = info[-1]
        entries = _asked(raw, family.level, _GET_ENTRIES, _ENTRIES + size, struct.pack("=I", size))[_ENTRIES:]
    policy = info[7 + _FORWARD]
    (target,) = struct.unpack_from("=H", entries, policy + family.target)
    (verdict,) = struct.unpack_from("=i", entries, policy + target + _TARGET)
    if verdict != _DROP:
        return None
    return Chain(family.name, "filter", "FORWARD", legacy=True, accepts_pods=ACCEPTED.encode() in entries)


def _asked(raw: socket.socket, level: int, option: int, size: int, more: bytes = b"") -> bytes:
    """getsockopt with a request: the name of the table, and `more`. Raises OSError: EAGAIN if the table was
    changed meanwhile."""
    buffer = ctypes.create_string_buffer(b"filter".ljust(32, b"\0") + more, size)
    length = ctypes.c_uint32(size)
    if _libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw
