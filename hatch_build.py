"""Compiles the CNI executable into the wheel, which then is for this kind of machine. Where that cannot be
done the wheel is pure, and romana_bus/cni/plugin/client.py takes its place."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE, MADE = "romana_bus/cni/plugin/client.c", "romana_bus/cni/plugin/romana-cni"
#: No -Werror: what a compiler of the future warns of would silently give the Python twin. A test has it.
FLAGS = (
    "-std=gnu11 -O2 -static -s -Wall -Wextra -Wconversion -Wshadow -Wformat=2 "
    "-D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,relro,-z,now,-z,noexecstack"
)


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        if self.target_name != "wheel":
            return
        made = Path(self.root, MADE)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        try:
            subprocess.run(
                [*compiler, *FLAGS.split(), "-o", f"{made}.new", str(Path(self.root, SOURCE))],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            made.unlink(missing_ok=True)
            self.app.display_warning(f"romana-cni is not compiled, its Python twin takes its place: {error}")
            return
        os.replace(f"{made}.new", made)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"/{MADE}")
