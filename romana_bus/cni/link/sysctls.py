"""What a node's kernel has to do for its pods: forward. Sysctls, set when the agent starts and needs them.

A kernel that forwards IPv6 ignores router advertisements unless accept_ra is 2: a node that has its default
route from them would lose it. So where they were heeded, they are before anything else is changed.
"""

from __future__ import annotations

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_NET = Path("/proc/sys/net")
_V4 = _NET / "ipv4/ip_forward"
_V6 = _NET / "ipv6/conf"
_LOOSE = _NET / "ipv4/conf/all/rp_filter"


def forward_v4() -> None:
    """Raises OSError."""
    _set(_V4, "1")


def forward_v6() -> None:
    """Nothing where it is so already. Raises OSError."""
    everywhere = _V6 / "all/forwarding"
    if everywhere.read_text().strip() != "0":
        return
    for heeded in sorted(_V6.glob("*/accept_ra")):
        link = heeded.parent.name
        if link not in ("all", "default", "lo") and heeded.read_text().strip() == "1":
            _set(heeded, "2")
    _set(everywhere, "1")


def warn_of_loose_filters() -> None:
    """The kernel takes the greater of a link's own value and that of all. Raises OSError."""
    if _LOOSE.read_text().strip() == "2":
        log.warning(
            "net.ipv4.conf.all.rp_filter is 2: pods may send IPv4 packets with the addresses of others; "
            "set it to 0 or 1"
        )


def _set(file: Path, value: str) -> None:
    before = file.read_text().strip()
    if before != value:
        try:
            file.write_text(value)
        except OSError as error:  # one that comes of the write names no file
            raise OSError(error.errno, error.strerror, str(file)) from None
        log.info("sysctl set", name=str(file.relative_to("/proc/sys")), before=before, now=value)
