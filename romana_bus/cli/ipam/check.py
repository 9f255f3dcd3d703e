"""`romana-bus ipam check`: compares the log with the API server and the nodes' kernels."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.auth.permissions import OPERATE, READ
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.audits import lister
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Kubernetes, Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.ipam.orders import pending_orders
from romana_bus.consumers.audit import Observation, observe, order
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES, AddressDisowned, ListingAsked
from romana_bus.ipam.audit import KINDS, Finding
from romana_bus.ipam.audit.corrections import Correction, corrections

#: What each kind of finding is, and what can be done about it.
MEANING = {
    "nobody": ("addresses that no pod has", "--repair releases them"),
    "without": ("pods without an address", "`romana-bus ipam show` says why"),
    "owners": ("addresses with two owners", "--repair releases it for the pod that does not run with it"),
    "differs": (
        "pods that report another address than the assigned one",
        "delete them: new ones get it right",
    ),
    "outside": (
        "blocks outside every group",
        "they are released with their last address; see `topology plan`",
    ),
    "overlap": ("blocks that overlap", "delete the pods in the younger one"),
    "count": ("counts that do not agree", "restart `run ipam` or `up`: it folds the log again"),
    "missed": ("differences between the log and the API server", "--repair has it listed again"),
    "sandbox": ("sandboxes requested on nodes that are gone", "--repair removes the requests"),
    "kernel": (
        "differences between the log and a node's kernel",
        "its agent restores missing routes within a minute; for what remains, delete the pod",
    ),
    "node": ("pods with the address of a node", "delete them: new ones get other addresses"),
    "underlay": (
        "nodes in a network that overlaps what they live on",
        "set a topology with one more network before it, then recreate the pods",
    ),
}


def check(
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    pause: float = 5.0,
    kubernetes: Kubernetes = Kubernetes(),
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Compare the log with the API server and, where an agent reports, with the nodes' kernels.

    Checks twice, some seconds apart. Differences that both checks find are shown,
    and the exit code is 1. A difference that only one check finds is a change
    that had not arrived everywhere yet.

    Parameters
    ----------
    repair
        Order corrections of the findings, as events on the log. Differences of a
        kernel need none: its agent restores the routes of pods by itself.
    pause
        Seconds between the two checks.
    """
    if not 0 <= pause <= 3600:
        raise BadInput(f"--pause {pause:g}: must be between 0 and 3600 seconds")
    run(_check(repair, pause, kubernetes, store, output), output)


async def _check(repair: bool, pause: float, kubernetes: Kubernetes, store: Store, output: Output) -> None:
    from romana_bus.kubernetes.api import Api

    async with (
        Api(kubernetes.target) as api,
        await open_store(
            store.access, store.layout, "ipam check", ROLES, who=OPERATE if repair else READ, looking=True
        ) as opened,
    ):
        second, lasting, passing = await check_twice(opened, api, pause)
        ordered: list[Correction] = []
        if repair and not second.unsettled:
            ordered = await order(opened, corrections(lasting, second.state, opened.clock.now()))
        left = await pending_orders(opened, ordered)
    if output.json:
        _as_json(second, lasting, passing, ordered, left)
    else:
        _as_tables(second, lasting, passing)
        _print_orders(repair, second.unsettled, ordered, left)
    if lasting:
        raise Failed(f"{console.many(len(lasting), 'finding')}: see `romana-bus ipam check --help`")


async def check_twice(
    store: OpenStore, api: Any, pause: float
) -> tuple[Observation, list[Finding], list[Finding]]:
    """The second audit, the findings of both, and those of only one. Raises BadInput, Failed."""
    first = await _audit(store, api)
    if not first.findings:
        return first, [], []
    await asyncio.sleep(pause)
    second = await _audit(store, api)
    before = {finding.same for finding in first.findings}
    after = {finding.same for finding in second.findings}
    lasting = [finding for finding in second.findings if finding.same in before]
    passing = [finding for finding in first.findings if finding.same not in after]
    passing += [finding for finding in second.findings if finding.same not in before]
    return second, lasting, passing


async def _audit(store: OpenStore, api: Any) -> Observation:
    """One audit. Raises BadInput if the API server's answer is not plausible."""
    observed = await observe(store, lister(api), ipam_state)
    if observed.doubt:
        raise BadInput(f"nothing was checked: {observed.doubt}. Check --server, --context and --cluster")
    return observed


def _as_json(
    audit: Observation,
    lasting: list[Finding],
    passing: list[Finding],
    ordered: list[Correction],
    left: list[Any],
) -> None:
    console.as_json(
        {
            "nodes": len(audit.snapshot.nodes),
            "pods": len(audit.snapshot.pods),
            "kernels": sorted({report.node for report in audit.wired}),
            "findings": lasting,
            "passing": passing,
            "unsettled": audit.unsettled,
            "ordered": [{"subject": event.subject(), "event": event} for event in ordered],
            "pending": [event.subject() for event in left],
        }
    )


def _as_tables(audit: Observation, lasting: list[Finding], passing: list[Finding]) -> None:
    kernels = {report.node for report in audit.wired}
    objects = (
        f"{console.many(len(audit.snapshot.nodes), 'node')}, {console.many(len(audit.snapshot.pods), 'pod')}"
    )
    agents = console.many(len(kernels), "kernel") if kernels else "no kernel, since no agent reports"
    console.console.print(f"checked: {objects}, {agents}")
    for kind in KINDS:
        findings = [finding for finding in lasting if finding.kind == kind]
        if not findings:
            continue
        title, remedy = MEANING[kind]
        console.console.print()
        console.console.print(f"{title}: {console.count(len(findings))}  ({remedy})", style="bold")
        for finding in findings[:20]:
            console.console.print(f"  {finding.text}")
        if len(findings) > 20:
            console.console.print(f"  and {console.count(len(findings) - 20)} more: --json shows all")
    if passing:
        console.console.print(f"in one check only, and not counted: {console.count(len(passing))}")
    if not lasting:
        console.console.print("no differences", style="green")


def _print_orders(
    repair: bool, unsettled: str, ordered: list[Correction], left: list[AddressDisowned]
) -> None:
    if not repair:
        return
    console.console.print()
    if unsettled:
        console.console.print(f"nothing was ordered, since {unsettled}: try again when `status` says synced")
        return
    for order_ in ordered:
        pending = ", but not carried out yet: does `romana-bus run ipam` run?" if order_ in left else ""
        console.console.print(f"ordered: {_ordered(order_)}{pending}")
    if not ordered:
        console.console.print("nothing new was ordered")


def _ordered(order_: Correction) -> str:
    match order_:
        case AddressDisowned():
            addresses, pod = ", ".join(order_.addresses), f"{order_.namespace}/{order_.name}"
            return f"{addresses} of {pod} on {order_.node} is released"
        case ListingAsked():
            return f"{order_.resource} are listed again"
    return f"the sandbox of {order_.namespace}/{order_.name} on {order_.node} is no longer requested"
