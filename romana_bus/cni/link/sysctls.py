"""The sysctls that make a node forward packets of its pods.

A kernel that forwards IPv6 ignores router advertisements unless accept_ra is 2: a node with a default route
from them would lose it. So accept_ra is set to 2 first, on links where it is 1.
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
    """Turn IPv4 forwarding on. Raises OSError."""
    _set(_V4, "1")


def forward_v6() -> None:
    """Turn IPv6 forwarding on, unless it is on. Raises OSError."""
    everywhere = _V6 / "all/forwarding"
    if everywhere.read_text().strip() != "0":
        return
    for accept_ra in sorted(_V6.glob("*/accept_ra")):
        link = accept_ra.parent.name
        if link not in ("all", "default", "lo") and accept_ra.read_text().strip() == "1":
            _set(accept_ra, "2")
    _set(everywhere, "1")


def warn_of_loose_filters() -> None:
    """Warn if pods can send packets with foreign source addresses: the kernel uses the greater of a link's
    rp_filter and that of `all`. Raises OSError."""
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
        except OSError as error:  # an error of the write has no file name
            raise OSError(error.errno, error.strerror, str(file)) from None
        log.info("sysctl set", name=str(file.relative_to("/proc/sys")), before=before, now=value)
