"""Tells the log that the agent of a node is gone: ends the requests of its sandboxes, so that no address is
held for them, and withdraws the reports that audits and `status` believe.

The requests are read from the log, so a run that could not reach it lost nothing, and another run completes
it. IPAM releases the addresses of other pods when these are deleted in the API.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.bus.api import BusError
from romana_bus.bus.auth.permissions import agent_of
from romana_bus.bus.connect import NoLog, open_store
from romana_bus.bus.embedded.client import state_directory
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.sandbox_requests import SandboxRequests
from romana_bus.cni.server.threads import Threads
from romana_bus.errors import RomanaError
from romana_bus.events import NODE, AgentUninstalled, codec
from romana_bus.runtime.feed import outgoing
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from romana_bus.bus.api import Store
    from romana_bus.bus.connect import Access
    from romana_bus.bus.stream_config import Layout
    from romana_bus.cni.server.attachments import Attachments
    from romana_bus.cni.server.journal import Journal
    from romana_bus.cni.spec import Pod

#: Seconds that the log has for all.
WITHIN = 30.0
#: The reports of an agent that others rely on while it runs. What its node lives on stays true.
WITHDRAWN = ("cni", "routes")


class Outcome(NamedTuple):
    """`ended`: NAMESPACE/NAME of the pods whose requests were ended. `why`: why the log was not told, or ''.
    `known`: whether the log knows an agent of this name."""

    ended: tuple[str, ...] = ()
    why: str = ""
    known: bool = True


class _Outbox(Outbox):
    """No kubelet retries: nothing is held back."""

    hold_down = 0.0


async def end_requests(
    node: str, attachments: Attachments, journal: Journal, access: Access, layout: Layout, *, strangers: bool
) -> Outcome:
    """Tell the log. `attachments`: those that are kept; their requests stay. `strangers`: whether pods run
    whose attachments were lost: then no request is ended, since it may be theirs. Raises nothing for a log
    that cannot be used."""
    if not access.servers and not access.state and not state_directory(layout.cluster).is_dir():
        return Outcome(why="--nats was not given")
    threads = Threads()
    try:
        async with asyncio.timeout(WITHIN):
            session = await open_store(
                access, layout, f"agent uninstall {node}", (NODE,), who=agent_of(node), creates=False
            )
            async with session as store:
                return await _told(store, node, attachments, _Outbox(node, journal, threads), strangers)
    except TimeoutError:
        return Outcome(why=f"it was not told within {WITHIN:g} s")
    except NoLog:
        return Outcome()
    except (BusError, RomanaError) as error:
        return Outcome(why=str(error))
    finally:
        threads.close()


async def _told(
    store: Store, node: str, attachments: Attachments, outbox: Outbox, strangers: bool
) -> Outcome:
    """Raises BusError."""
    outcome = Outcome()

    async def runs(_pod: Pod) -> bool:
        return strangers

    async def tell() -> None:
        nonlocal outcome
        requests = SandboxRequests(node, attachments, outbox, runs)
        before = {event.subject(): event for event in await outbox.requests()}
        await requests.resend()
        for event in outbox.waiting():
            await outbox.stored(event)
        left = {event.subject() for event in await outbox.requests()}
        ended = (f"{each.namespace}/{each.name}" for key, each in before.items() if key not in left)
        stands = strangers or bool(list(attachments))
        outcome = Outcome(tuple(sorted(ended)), known=await _withdraw(store, node, stands))

    await until_one_ends([outbox.run(store), tell()])
    return outcome


async def _withdraw(store: Store, node: str, stands: bool) -> bool:
    """Withdraw the reports, unless they stand; returns whether there are any. Raises BusError."""
    known = False
    for consumer in WITHDRAWN:
        event = AgentUninstalled(node=node, consumer=consumer)
        newest = await store.newest(NODE, event.subject())
        known = known or newest is not None
        if newest is not None and not stands and codec.decode(newest.body) != event:
            await store.publish(NODE, outgoing(event, "", store.clock.now(), store.history))
    return known
