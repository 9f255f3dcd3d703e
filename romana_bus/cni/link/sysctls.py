"""The node's sysctls on which its pods depend: looked at again and again, and set, or only told about.

Names are paths below /proc/sys/net. A file is written only where its value differs: /proc/sys may be
read-only.

* `ipv4/ip_forward`, and `ipv6/conf/all/forwarding` if a pod has an IPv6 address. A kernel that forwards IPv6
  ignores router advertisements unless accept_ra is 2: a node with a default route from them would lose it. So
  accept_ra is set to 2 first, on links where it is 1.
* `ipv4/conf/all/rp_filter`: if it is 2, pods can send packets with foreign source addresses, since the kernel
  uses the greater of this and a link's own value. All other links get 2 of their own first, so that nothing
  changes for them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import metrics
from romana_bus.cni.link.veth import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = structlog.get_logger(__name__)

_NET = Path("/proc/sys/net")
#: What a new link gets, and what ADD sets it to.
_OF_NEW_LINKS = {"ipv4/neigh/default/proxy_delay": "0", "ipv6/conf/default/accept_ra": "0"}


class Sysctl(NamedTuple):
    """`wrong`, `right`: values. `prepare`: called before it is set. `vital`: without it, pods are not
    connected."""

    name: str
    wrong: str
    right: str
    meaning: str
    prepare: Callable[[], None]
    vital: bool = True


class NodeSysctls:
    """`sets`: what is wrong is set; else it is only told. `problems`: why pods are not connected on this
    node; `warnings`: what else is wrong."""

    def __init__(self, *, sets: bool) -> None:
        self._sets = sets
        self._right: set[str] = set()
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def review(self, six: bool) -> None:
        """Look at all, and set or note what is wrong. `six`: whether a pod has an IPv6 address. Blocking."""
        told = {sysctl: self._reviewed(sysctl) for sysctl in SYSCTLS if six or sysctl is not FORWARD_V6}
        problems = [text for sysctl, text in told.items() if text and sysctl.vital] + list(read_only())
        warnings = [text for sysctl, text in told.items() if text and not sysctl.vital]
        before = {*self.problems, *self.warnings}
        for text in [*problems, *warnings]:
            if text not in before:
                log.error("a sysctl is wrong", why=text)
        for text in sorted(before.difference(problems, warnings)):
            log.info("a sysctl is right again", was=text)
        self.problems, self.warnings = problems, warnings

    def _reviewed(self, sysctl: Sysctl) -> str:
        """Why it is still wrong, or ''."""
        try:
            if read(sysctl.name) == sysctl.wrong:
                text = f"{dotted(sysctl.name)} is {sysctl.wrong}: {sysctl.meaning}"
                if not self._sets:
                    return f"{text}; set it to {sysctl.right}"
                try:
                    self._set(sysctl)
                except OSError as error:
                    return f"{text}, and it cannot be set to {sysctl.right}: {error.strerror}"
        except FileNotFoundError:  # the kernel has no IPv6
            return ""
        self._right.add(sysctl.name)
        return ""

    def _set(self, sysctl: Sysctl) -> None:
        """Raises OSError."""
        sysctl.prepare()
        write(sysctl.name, sysctl.right)
        drifted = sysctl.name in self._right
        if drifted:
            metrics.MENDED.labels("sysctl").inc()
        tell = log.warning if drifted else log.info
        tell("sysctl set", name=dotted(sysctl.name), before=sysctl.wrong, now=sysctl.right)


def read(name: str) -> str:
    """Raises OSError."""
    with open(f"{_NET}/{name}", "rb", buffering=0) as file:  # a look reads one for each pod
        return file.read(64).decode().strip()


def write(name: str, value: str) -> None:
    """Set it, unless it has the value. Raises OSError."""
    before = read(name)
    if before != value:
        (_NET / name).write_text(value)


def exists(name: str) -> bool:
    return (_NET / name).exists()


def dotted(name: str) -> str:
    """Its name for `sysctl`."""
    return f"net.{name.replace('/', '.')}"


def standing() -> Iterator[str]:
    """The sysctls as the agent sets them, NAME=VALUE, also where others have set them. They stay when it is
    uninstalled: what they were before is not known, and kube-proxy and other plugins need them too."""
    for sysctl in SYSCTLS:
        with contextlib.suppress(FileNotFoundError):
            if sysctl.vital and read(sysctl.name) == sysctl.right:
                yield f"{dotted(sysctl.name)}={sysctl.right}"
    for family, name in (("ipv6", "accept_ra"), ("ipv4", "rp_filter")):
        for link in _links(family) if exists(f"{family}/conf") else ():
            if link not in ("all", "default") and read(f"{family}/conf/{link}/{name}") == "2":
                yield f"{dotted(f'{family}/conf/{link}/{name}')}=2"


def read_only() -> Iterator[str]:
    """Why an ADD would fail, if it would."""
    for name, value in _OF_NEW_LINKS.items():
        with contextlib.suppress(FileNotFoundError):
            if read(name) != value and not os.access(_NET / name, os.W_OK):
                yield f"/proc/sys is read-only: {dotted(name)} of a pod's link cannot be set to {value}"


def _keep_router() -> None:
    """Raises OSError."""
    for link in _links("ipv6"):
        if link not in ("all", "default", "lo") and read(f"ipv6/conf/{link}/accept_ra") == "1":
            _change(f"ipv6/conf/{link}/accept_ra", "2")


def _keep_loose() -> None:
    """Raises OSError."""
    for link in _links("ipv4"):
        if link != "all" and not link.startswith(PREFIX):
            _change(f"ipv4/conf/{link}/rp_filter", "2")


def _links(family: str) -> list[str]:
    return sorted(directory.name for directory in (_NET / family / "conf").iterdir())


def _change(name: str, value: str) -> None:
    """Raises OSError."""
    with contextlib.suppress(FileNotFoundError):  # the link was just deleted
        write(name, value)


FORWARD_V6 = Sysctl(
    "ipv6/conf/all/forwarding", "0", "1", "IPv6 packets of pods are not forwarded", _keep_router
)
SYSCTLS = (
    Sysctl("ipv4/ip_forward", "0", "1", "packets of pods are not forwarded", lambda: None),
    FORWARD_V6,
    Sysctl(
        "ipv4/conf/all/rp_filter", "2", "0",
        "pods may send IPv4 packets with the addresses of others", _keep_loose, vital=False,
    ),
)  # fmt: skip
