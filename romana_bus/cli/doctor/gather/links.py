"""Compares pods' links with the agent's files about them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cni.link import drift, mend
from romana_bus.cni.link.access import host_socket
from romana_bus.cni.server import link_reconciler
from romana_bus.cni.server.attachments import stored
from romana_bus.inet import parse_address
from romana_bus.netlink import node_network
from romana_bus.routing import Guard

if TYPE_CHECKING:
    from romana_bus.cli.doctor.gather.context import Context
    from romana_bus.cni.server.attachments import Attachment


def attachments(context: Context) -> list[Attachment]:
    """Of the agent's RUN_DIR, the oldest first; [] if there is none. Raises OSError."""
    return [attachment for _, attachment in stored(context.wanted.run_dir / "attachments")]


async def pod_links(context: Context) -> facts.PodLinks:
    """What two looks have found: a call may just be making a link, or the agent mending it. Raises OSError,
    Interrupted, NotSeen."""
    first = _look(context)
    if not (first.drifts or first.gone):
        return first
    await asyncio.sleep(context.wanted.pause)
    second = _look(context)
    drifts = {link: what for link, what in second.drifts.items() if first.drifts.get(link) == what}
    return facts.PodLinks(drifts, tuple(link for link in second.gone if link in first.gone), second.links)


def _look(context: Context) -> facts.PodLinks:
    if not context.wanted.run_dir.is_dir():
        raise NotSeen(f"there is no {context.wanted.run_dir}: has an agent run here? See --run-dir")
    with host_socket() as host:
        guard = Guard(node_network.read(host, context.reach.now()))
    links = link_reconciler.wanted(attachments(context), lambda text: guard.needs(*parse_address(text)))
    delta = drift.plan([each for _, each in links.values()], mend.read())

    def name(link: str) -> str:
        return f"{link} of {links[link][0].pod}"

    drifts = {name(each.veth.host): tuple(each.texts) for each in delta.drifts}
    return facts.PodLinks(drifts, tuple(map(name, delta.gone)), len(links))
