"""Takes a lab down, in any state: by its records and, if records are lost, by marks.

The marks: every process of a lab has the lab's name in its environment, and every namespace has it in its
name. Everything else is in those namespaces or in the lab's directory. May be repeated, at any time.
"""

from __future__ import annotations

from typing import NamedTuple

from romana_bus.lab.machine import netns, processes
from romana_bus.lab.machine.directory import ROOT, Facts, Lab
from romana_bus.lab.spec import Spec


class Removed(NamedTuple):
    """How many objects were removed, of each kind."""

    processes: int
    pods: int
    nodes: int
    directory: bool

    def __bool__(self) -> bool:
        return any(self)


def down(name: str) -> Removed:
    """Remove the lab. Raises Failed if something cannot be removed."""
    spec = Spec(name=name)
    ended = _end_processes(spec)
    namespaces = netns.named(spec.prefix)
    for namespace in namespaces:
        netns.delete(namespace)
    directory = ROOT / name
    existed = directory.exists()
    if existed:
        Lab(directory, Facts(spec=spec)).forget()
    pods = sum("-pod-" in namespace for namespace in namespaces)
    return Removed(ended, pods, len(namespaces) - pods, existed)


def _end_processes(spec: Spec) -> int:
    """Kill the lab's processes until none is left: one may have started another before it ended."""
    ended = 0
    while pids := processes.marked(spec.name) | processes.inside(netns.named(spec.prefix)):
        processes.end(pids)
        ended += len(pids)
    return ended
