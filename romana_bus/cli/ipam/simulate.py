"""`romana-bus ipam simulate`: runs operations on a simulated cluster, without a server or a log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from romana_bus.cli.common import topology_file
from romana_bus.cli.common.groups import ADDRESSES
from romana_bus.cli.common.options import Addresses, Output
from romana_bus.cli.common.terminal import print_json
from romana_bus.cli.ipam import operations_file
from romana_bus.errors import BadInput
from romana_bus.ipam.simulate.cluster import OpError
from romana_bus.ipam.simulate.simulation import Simulation

if TYPE_CHECKING:
    from romana_bus.ipam import Settings
    from romana_bus.ipam.simulate.operations import AnyOp


@Parameter(name="*", group=ADDRESSES)
@dataclass(frozen=True)
class Simulated:
    """How addresses are assigned: the options of `run ipam`."""

    block_owner: Literal["host", "tenant", "segment"] = "host"
    """The owner of a block of addresses: a host, one tenant on it, or one segment of that."""
    cooldown: float = 30.0
    """Seconds before a released address is assigned again; an operation takes one second."""
    warm_blocks: int = 0
    """Spare blocks for each host."""

    @property
    def settings(self) -> Settings:
        """Raises BadInput."""
        return Addresses(self.block_owner, self.cooldown, self.warm_blocks).settings


def simulate(
    *,
    topology: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    operations: Annotated[Path, Parameter("--ops", allow_leading_hyphen=True)],
    simulated: Simulated = Simulated(),
    output: Output = Output(),  # noqa: ARG001  every command takes --json: this one writes nothing else
) -> None:
    """Run operations on a simulated cluster. Needs no server, and changes nothing.

    Prints a JSON line for each operation: whether it is "ok", and its "result",
    or an "error_kind" and a "message". The last line has the "tree" of groups,
    the "blocks" and the "addresses".

    The operations have the format of Romana's tests:
      {"op":"add_host","name":"n1","ip":"192.168.0.1","tags":{"rack":"1"}}
      {"op":"allocate","name":"a","host":"n1","tenant":"web","segment":"front"}
      {"op":"deallocate","name":"a"}
    and remove_host, update_labels (tags), blackout and unblackout (cidr), and
    update_topology (topology).

    Parameters
    ----------
    topology
        The first topology: JSON or YAML in Romana's format; '-' is standard input.
    operations
        The operations, as JSON lines; '-' is standard input.
    """
    play(*_read(topology, operations, simulated))


def _read(topology: Path, file: Path, simulated: Simulated) -> tuple[Simulation, list[AnyOp]]:
    """Reads both files. Raises BadInput with what is wrong in both."""
    if str(topology) == str(file) == "-":
        raise BadInput("--topology - and --ops -: only one of them can be standard input")
    settings = simulated.settings
    reasons: list[str] = []
    read: list[AnyOp] = []
    simulation = None
    try:
        simulation = _simulation(topology, settings)
    except BadInput as error:
        reasons += error.reasons
    try:
        read = operations_file.read(file)
    except BadInput as error:
        reasons += error.reasons
    if simulation is None or reasons:
        raise BadInput(*reasons)
    return simulation, read


def _simulation(file: Path, settings: Settings) -> Simulation:
    """Reads the topology. Prints its first problem as a JSON line too, for programs. Raises BadInput."""
    try:
        document = topology_file.checked(file).document
    except topology_file.BadFile as error:
        print_json({"ok": False, "error_kind": error.found[0].kind, "message": "; ".join(error.reasons)})
        raise
    return Simulation(document, settings)


def play(simulation: Simulation, read: list[AnyOp]) -> None:
    for op in read:
        try:
            result = simulation.play(op)
        except OpError as error:
            print_json({"ok": False, "error_kind": error.kind, "message": str(error)})
        else:
            print_json({"ok": True} if result is None else {"ok": True, "result": result})
    print_json(simulation.outcome())
