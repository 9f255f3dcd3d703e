"""`romana-bus ipam check`: the log held against the API server and the kernels."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.connect import open_store
from romana_bus.bus.tail import ROLES
from romana_bus.cli.common import console
from romana_bus.cli.common.audits import lister
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Kubernetes, Output, Store
from romana_bus.cli.common.session import run
from romana_bus.consumers.audit import Observation, done, look, order
from romana_bus.errors import BadInput, Failed
from romana_bus.events import AddressDisowned, ListingAsked
from romana_bus.ipam.audit import KINDS, Finding
from romana_bus.ipam.audit.corrections import Correction, corrections

#: Seconds that a correction may take to be carried out, before it is said that nobody does.
CARRIED_OUT_WITHIN = 5.0

#: What each kind of finding is, and what can be done about it.
MEANING = {
    "nobody": ("addresses held by nobody", "--repair frees them"),
    "without": ("pods without an address", "`romana-bus ipam show` says what they wait for"),
    "owners": ("addresses with two owners", "--repair ends the claim of the one that does not run with it"),
    "differs": ("pods that report another address than they were given", "delete them: they come back right"),
    "outside": ("blocks outside every group", "they end with their last address; see `topology plan`"),
    "overlap": ("blocks that overlap", "delete the pods in the younger one"),
    "count": ("counts that do not agree", "restart what runs `ipam`: it folds the log anew"),
    "missed": ("what the log and the API server know differently", "--repair has it listed again"),
    "sandbox": ("sandboxes requested on nodes that are gone", "--repair takes the requests back"),
    "kernel": ("what a node's kernel has differently", "the node's agent mends it; see its log"),
}


def check(
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    pause: float = 5.0,
    kubernetes: Kubernetes = Kubernetes(),
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Hold the log against the API server and, where an agent reports, against the nodes' kernels.

    What two looks have found, some seconds apart, is told, and makes the exit code 1. What only one of them
    has found was on its way.

    Parameters
    ----------
    repair
        Order the corrections of what two looks have found, as events on the log.
    pause
        Seconds between the two looks.
    """
    if not 0 <= pause <= 3600:
        raise BadInput(f"--pause {pause:g}: between 0 and 3600 seconds")
    run(_check(repair, pause, kubernetes, store, output), output)


async def _check(repair: bool, pause: float, kubernetes: Kubernetes, store: Store, output: Output) -> None:
    from romana_bus.producers.kubernetes.client import Api

    api = Api(kubernetes.target)
    try:
        await api.open()
        async with await open_store(store.access, store.layout, "ipam check", ROLES, looking=True) as opened:
            second, lasting, passing = await _looks(opened, api, pause)
            ordered: list[Correction] = []
            if repair and not second.unsettled:
                ordered = await order(opened, corrections(lasting, second.state, opened.clock.now()))
            left = await _carried_out(opened, ordered)
    finally:
        await api.close()
    if output.json:
        _as_json(second, lasting, passing, ordered, left)
    else:
        _as_tables(second, lasting, passing)
        _told(repair, second.unsettled, ordered, left)
    if lasting:
        raise Failed(f"{console.many(len(lasting), 'finding')}: see `romana-bus ipam check --help`")


async def _looks(
    store: OpenStore, api: Any, pause: float
) -> tuple[Observation, list[Finding], list[Finding]]:
    """The last look, what both have found, and what one has. Raises BadInput, Failed."""
    first = await _believed(store, api)
    if not first.findings:
        return first, [], []
    await asyncio.sleep(pause)
    second = await _believed(store, api)
    before = {one.same for one in first.findings}
    lasting = [one for one in second.findings if one.same in before]
    after = {one.same for one in second.findings}
    passing = [one for one in first.findings if one.same not in after]
    passing += [one for one in second.findings if one.same not in before]
    return second, lasting, passing


async def _believed(store: OpenStore, api: Any) -> Observation:
    seen = await look(store, lister(api), ipam_state)
    if seen.doubt:
        raise BadInput(f"nothing was checked: {seen.doubt}. Observation at --server, --context and --cluster")
    return seen


async def _carried_out(store: OpenStore, ordered: list[Correction]) -> list[AddressDisowned]:
    """Those of the corrections that nobody has carried out yet."""
    left = [one for one in ordered if isinstance(one, AddressDisowned)]
    loop = asyncio.get_running_loop()
    until = loop.time() + CARRIED_OUT_WITHIN
    while (left := [one for one in left if not await done(store, one)]) and loop.time() < until:
        await asyncio.sleep(0.2)
    return left


def _as_json(
    seen: Observation,
    lasting: list[Finding],
    passing: list[Finding],
    ordered: list[Correction],
    left: list[Any],
) -> None:
    console.as_json(
        {
            "nodes": len(seen.snapshot.nodes),
            "pods": len(seen.snapshot.pods),
            "kernels": sorted({report.node for report in seen.wired}),
            "findings": lasting,
            "passing": passing,
            "unsettled": seen.unsettled,
            "ordered": [{"subject": one.subject(), "event": one} for one in ordered],
            "pending": [one.subject() for one in left],
        }
    )


def _as_tables(seen: Observation, lasting: list[Finding], passing: list[Finding]) -> None:
    kernels = {report.node for report in seen.wired}
    looked = (
        f"{console.many(len(seen.snapshot.nodes), 'node')}, {console.many(len(seen.snapshot.pods), 'pod')}"
    )
    agents = console.many(len(kernels), "kernel") if kernels else "no kernel: no agent reports"
    console.console.print(f"checked: {looked}, {agents}")
    for kind in KINDS:
        found = [one for one in lasting if one.kind == kind]
        if not found:
            continue
        title, remedy = MEANING[kind]
        console.console.print()
        console.console.print(f"{title}: {console.count(len(found))}  ({remedy})", style="bold")
        for one in found[:20]:
            console.console.print(f"  {one.text}")
        if len(found) > 20:
            console.console.print(f"  and {console.count(len(found) - 20)} more: --json tells all")
    if passing:
        console.console.print(f"on its way, in one look only: {console.count(len(passing))}")
    if not lasting:
        console.console.print("nothing is wrong", style="green")


def _told(repair: bool, unsettled: str, ordered: list[Correction], left: list[AddressDisowned]) -> None:
    if not repair:
        return
    console.console.print()
    if unsettled:
        console.console.print(f"nothing is ordered while {unsettled}: try again when `status` says synced")
        return
    for one in ordered:
        waits = ", and waits: is `run ipam` running?" if one in left else ""
        console.console.print(f"ordered: {_ordered(one)}{waits}")
    if not ordered:
        console.console.print("nothing to order that was not ordered already")


def _ordered(one: Correction) -> str:
    match one:
        case AddressDisowned():
            return f"{', '.join(one.addresses)} of {one.namespace}/{one.name} on {one.node} ends"
        case ListingAsked():
            return f"{one.resource} are listed again"
    return f"the sandbox of {one.namespace}/{one.name} on {one.node} is requested no longer"
