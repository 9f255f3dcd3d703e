"""Prefixes that are not for pods (IANA's special-purpose address registries, RFC 6890)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import parse_prefix

if TYPE_CHECKING:
    from romana_bus.inet import Prefix

#: No pod can have them: the kernel drops such packets, keeps them, or sends them to many hosts. The gateways
#: that pods see, 169.254.1.1 and fe80::1, are among the link-local ones.
UNUSABLE = {
    parse_prefix(prefix): what
    for prefix, what in {
        "0.0.0.0/8": "unspecified",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "224.0.0.0/4": "multicast",
        "255.255.255.255/32": "broadcast",
        "::/127": "unspecified and loopback",
        "::ffff:0:0/96": "IPv4 addresses, as sockets show them",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
    }.items()
}

#: For examples (RFC 5737, RFC 3849, RFC 9637): routers and firewalls often drop them.
DOCUMENTATION = tuple(
    map(
        parse_prefix,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    )
)


def unusable(prefix: Prefix) -> str:
    """Why no network of pods can be there, or ''."""
    for special, what in UNUSABLE.items():
        if prefix.overlaps(special):
            return f"contains addresses of {special} ({what}), which no pod can have"
    return ""


def doubtful(prefix: Prefix) -> str:
    """Why a network of pods should not be there, or ''."""
    for special in DOCUMENTATION:
        if prefix.overlaps(special):
            return f"contains addresses of {special}, which are for documentation: routers often drop them"
    return ""
