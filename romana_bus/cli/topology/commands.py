"""`romana-bus topology`: plans, sets, validates and shows the operator's document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from romana_bus.bus.auth.permissions import OPERATE, READ
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.common.topology_file import checked
from romana_bus.cli.topology import plan_view, validate
from romana_bus.cli.topology.apply import current, merged, planned, put
from romana_bus.cli.topology.overlap import Services, refuse_overlaps
from romana_bus.cli.topology.tree_view import tree
from romana_bus.errors import BadInput
from romana_bus.events import ROLES
from romana_bus.ipam import State
from romana_bus.ipam.report import views

if TYPE_CHECKING:
    from romana_bus.cli.common.topology_file import Source
    from romana_bus.inet import Prefix

app = App(
    name="topology",
    group_parameters=OPTIONS,
)

File = Annotated[
    Path,
    Parameter(allow_leading_hyphen=True, help="JSON or YAML in Romana's format; '-' is standard input."),
]
Evict = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        help="A pod that may lose its address: NAMESPACE/POD, NAMESPACE/*, or all. Repeatable.",
    ),
]


def _refuse_option(file: Path, command: str) -> None:
    """Refuse a misspelt option, which would be taken for the file: a file name may begin with '-'."""
    if str(file).startswith("--"):
        raise BadInput(f"unknown option: {file}. See romana-bus topology {command} --help")


@app.command(name="plan", sort_key=1)
def plan_(
    file: File, /, *, services: Services = Services(), store: Store = Store(), output: Output = Output()
) -> None:
    """Show what `topology apply FILE` would keep, move, open and end. Changes nothing.

    Refused as `apply` would be, if a network overlaps what nodes live on. With
    --json, every change is listed.
    """
    _refuse_option(file, "plan")
    run(_plan(checked(file), services.prefixes, store, output), output)


async def _plan(source: Source, services: tuple[Prefix, ...], store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "topology plan", ROLES, who=READ) as opened:
        now = await current(opened)
    wanted = merged(now, source)
    refuse_overlaps(source, wanted.topology.networks, now.state, services)
    plan = planned(now, wanted)
    changed = wanted.document != now.document
    if output.json:
        verdict = plan_view.verdict(plan, changed)
        console.as_json({"changed": changed, "safe": plan.safe, "verdict": verdict, "plan": plan,
                      "document": wanted.document, "obstacle": now.state.obstacle})  # fmt: skip
        return
    if now.state.obstacle and not plan.problem:
        console.hint(f"The plan covers only what is on the log: {now.state.obstacle}.")
    plan_view.print_changes(plan)
    console.console.print(Text(plan_view.verdict(plan, changed), "bold"))


@app.command(name="apply", sort_key=2)
def apply_(
    file: File, /, *, evict: Evict = (), services: Services = Services(), store: Store = Store(),
    output: Output = Output(),
) -> None:  # fmt: skip
    """Set the topology: networks, and the tree of groups (zones, racks ...) that splits them.

    No group's prefix moves because another group is added or removed: a new group
    gets a free slot. Refused if the document is wrong, if a network overlaps what
    nodes live on (their addresses and links, their gateways, the log, the API
    server), or if a running pod would lose its address and --evict does not name it.
    """
    _refuse_option(file, "apply")
    run(_apply(checked(file), evict, services.prefixes, store, output), output)


@app.command(name="set", sort_key=5)
def set_(
    file: File, /, *, evict: Evict = (), services: Services = Services(), store: Store = Store(),
    output: Output = Output(),
) -> None:  # fmt: skip
    """The same as `apply`."""
    _refuse_option(file, "set")
    run(_apply(checked(file), evict, services.prefixes, store, output), output)


async def _apply(
    source: Source, evict: tuple[str, ...], services: tuple[Prefix, ...], store: Store, output: Output
) -> None:
    async with await open_store(store.access, store.layout, "topology apply", ROLES, who=OPERATE) as opened:
        now = await current(opened)
        wanted = merged(now, source)
        refuse_overlaps(source, wanted.topology.networks, now.state, services)
        plan = planned(now, wanted)
        changed = await put(opened, now, wanted, evict, plan.losing)
    if output.json:
        console.as_json({"changed": changed, "plan": plan, "networks": views.networks(now.state)})
        return
    if changed:
        plan_view.print_summary(plan)
    console.console.print(
        Text("topology set" if changed else "unchanged: this topology was set already", "bold")
    )
    console.console.print(tree(now.state))


@app.command(name="validate", sort_key=3)
def validate_(
    file: File,
    /,
    *,
    live: Annotated[bool, Parameter(negative="")] = False,
    services: Services = Services(),
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Check a file: show every error with its place; without errors, show the groups of the file.

    Needs no server, except with --live. Prints FILE:LINE: PLACE: TEXT for each
    error; the exit code is 2 if there are errors.

    Parameters
    ----------
    live
        Also check that no network overlaps what the nodes on the log live on.
    """
    _refuse_option(file, "validate")
    prefixes = services.prefixes
    if live:
        run(_validate(file, prefixes, store, output), output)
    else:
        validate.validate(file, State(), prefixes, output)


async def _validate(file: Path, services: tuple[Prefix, ...], store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "topology validate", ROLES, who=READ, looking=True
    ) as opened:
        state = await ipam_state(opened)
    validate.validate(file, state, services, output)


@app.command(name="show", sort_key=4)
def show_(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show the tree of groups, with their prefixes, usage, and free slots."""
    run(_show(store, output), output)


async def _show(store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "topology show", ROLES, who=READ, looking=True
    ) as opened:
        now = await current(opened)
    state = now.state
    if output.json:
        networks = views.networks(state)
        console.as_json({"document": now.document, "networks": networks, "problem": state.problem})
        return
    if state.problem:
        console.hint(state.problem)
    if not state.documented:
        console.hint(
            f"No topology is set: each value of the nodes' label {state.settings.zone_label} gets a group. "
            "`romana-bus topology apply FILE` sets one."
        )
    console.console.print(tree(state))
