"""`romana-bus lab`, for one lab of a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from romana_bus.lab.machine import netns, processes
from romana_bus.lab.machine.directory import ROOT

if TYPE_CHECKING:
    from romana_bus.lab.spec import Spec
    from tests.cli.processes import Done, Home


def links_of(spec: Spec) -> set[str]:
    """Those that the machine's own namespace shall not have."""
    return {zone.name for zone in spec.zone_list} | {node.name for node in spec.nodes}


class Commands:
    """`romana-bus lab` for one lab."""

    def __init__(self, home: Home, spec: Spec, conflist: Path | None = None) -> None:
        self.home, self.spec, self.conflist = home, spec, conflist

    @property
    def up_arguments(self) -> tuple[str, ...]:
        cni = ("--conflist", str(self.conflist)) if self.conflist else ()
        return "lab", "up", "--name", self.spec.name, *cni

    def __call__(self, *arguments: str, code: int = 0) -> Done:
        at = arguments.index("--") if "--" in arguments else len(arguments)
        done = self.home.run("lab", *arguments[:at], "--name", self.spec.name, *arguments[at:])
        assert done.code == code, done
        return done

    def up(self, *arguments: str) -> Done:
        done = self.home.run(*self.up_arguments, *arguments)
        assert done.code == 0, done
        return done

    def sourced(self, line: str, **environment: str) -> Done:
        """A shell that has read the lab's `env`."""
        file = str(ROOT / self.spec.name / "env")
        return self.home.shell(f'. "$FILE" && {line}', FILE=file, **environment)

    def pods(self) -> dict[str, Any]:
        return {pod["name"]: pod for pod in self("pod", "list", "--json").json}

    def pid(self, name: str) -> int:
        (found,) = [one["pid"] for one in self("status", "--json").json["processes"] if one["name"] == name]
        assert isinstance(found, int)
        return found

    def is_left(self) -> list[str]:
        """What is there of it, anywhere."""
        found = netns.named(self.spec.prefix)
        found += [str(pid) for pid in processes.marked(self.spec.name)]
        found += [line for line in Path("/proc/mounts").read_text().splitlines() if self.spec.prefix in line]
        directory = ROOT / self.spec.name
        return found + ([str(directory)] if directory.exists() else [])

    def manifest(self, node: str, name: str) -> Path:
        """A static pod's, in kube-system."""
        path = ROOT / self.spec.name / f"nodes/{node}/manifests/{name}.yaml"
        path.write_text(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: kube-system}}\n"
            "spec: {containers: [{name: main, image: none}]}\n"
        )
        return path
