"""What the agent and `install-cni` have left on this node. Reads files and the kernel; writes nothing.

A pod runs if its link exists, since the kernel deletes the link with the pod's network namespace; except
where its DEL waits in the spool. A link with our marks and no attachment is of a pod whose file was lost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.cni.link import removal as links
from romana_bus.cni.link.veth import veth
from romana_bus.cni.plugin import removal as plugin
from romana_bus.cni.server.attachments import stored
from romana_bus.netlink.fib import Forwarding
from romana_bus.routing import Kernel, plan_removal

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cni.link.drift import Address
    from romana_bus.cni.server.attachments import Attachment
    from romana_bus.routing import Delta


class Places(NamedTuple):
    """The directories of the agent, and those of the container runtime."""

    run_dir: Path
    state_dir: Path
    bin_dir: Path
    conf_dir: Path


class Survey(NamedTuple):
    """`running`: link -> its pod, '' where that is not known. `over`: links of sandboxes that were ended.
    `attachments`: by file. `astray`: routes to pods that lead to no pod's link, with the index of the link.
    `routes`: the removal of routes to other nodes' pods, with their nexthops."""

    plugin: plugin.Found
    running: dict[str, str]
    over: tuple[str, ...]
    attachments: dict[Path, Attachment]
    astray: tuple[tuple[Address, int], ...]
    routes: Delta

    def over_files(self) -> list[Path]:
        """The files of attachments whose pods do not run."""
        return [file for file, each in self.attachments.items() if link_of(each) not in self.running]


def look(places: Places) -> Survey:
    """Raises OSError, Interrupted."""
    present = links.read()
    attachments = dict(stored(places.run_dir / "attachments"))
    ended = _spooled(places.run_dir / "spool")
    pods = {link_of(each): each for each in attachments.values()}
    over = [
        link
        for link in present.links
        if link in pods and f"{pods[link].attached.container}:{pods[link].attached.ifname}" in ended
    ]
    running = {
        link: str(pods[link].pod) if link in pods else "" for link in present.links if link not in over
    }
    ours = frozenset(present.links.values())
    return Survey(
        plugin.found(places.bin_dir, places.conf_dir),
        running,
        tuple(over),
        attachments,
        tuple((address, link) for address, all_ in present.routes.items() for link in sorted(all_ - ours)),
        _routes(),
    )


def link_of(attachment: Attachment) -> str:
    """The name of the node's end of its link."""
    return veth(attachment.attached.container, attachment.attached.ifname).host


def _spooled(directory: Path) -> set[str]:
    """The interfaces whose DELs wait, CONTAINER:INTERFACE."""
    try:
        return {entry.name for entry in os.scandir(directory)}
    except FileNotFoundError:
        return set()


def _routes() -> Delta:
    kernel = Kernel()
    with Forwarding() as forwarding:
        for _ in forwarding.read(kernel):
            pass
    return plan_removal(kernel)
