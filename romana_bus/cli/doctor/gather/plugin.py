"""Reads what the container runtime reads: its configuration, network configurations, plugins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.cli.common.options import RUN_DIR
from romana_bus.cli.doctor import facts
from romana_bus.cni.plugin import install, runtimes
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cli.doctor.gather.context import Context


async def plugin(context: Context) -> facts.Plugin:
    """Raises OSError."""
    wanted = context.wanted
    bin_dir, conf_dir = wanted.bin_dir, wanted.conf_dir
    runtime = runtimes.Runtime("the runtime", "", runtimes.BIN_DIR, runtimes.CONF_DIR)
    if bin_dir is None or conf_dir is None:
        try:
            runtime = runtimes.found()
        except BadInput as error:
            return facts.Plugin(trouble=str(error))
    bin_dir, conf_dir = bin_dir or runtime.bin_dir, conf_dir or runtime.conf_dir
    executable = bin_dir / install.PLUGIN
    names = install.configurations(conf_dir)
    read = {name: _read(conf_dir / name) for name in names}
    ours = next((name for name in names if name == install.CONFLIST or _ours(read[name])), "")
    invalid, plugins = _plugins(read.get(ours))
    config = read.get(ours)
    return facts.Plugin(
        runtime=runtime.name,
        file=runtime.file,
        bin_dir=str(bin_dir),
        conf_dir=str(conf_dir),
        present=executable.is_file(),
        versions=tuple(sorted(install.versions(executable))) if os.access(executable, os.X_OK) else (),
        ours=ours,
        invalid=invalid if ours else "",
        version=str(config.get("cniVersion", "")) if isinstance(config, dict) else "",
        first=next((name for name in names if isinstance(read[name], dict)), ""),
        socket=str(plugins[0].get("socket", RUN_DIR / "cni.sock")) if plugins else "",
        expected=str(wanted.run_dir / "cni.sock"),
        chained=tuple(_chained(bin_dir, str(each.get("type", ""))) for each in plugins[1:]),
    )


def _read(file: Path) -> Any:
    """A network configuration; a text if it cannot be used."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        return error.strerror or str(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"not JSON: {error}"


def _ours(config: Any) -> bool:
    return any(each.get("type") == install.PLUGIN for each in _plugins(config)[1])


def _plugins(config: Any) -> tuple[str, list[dict[str, Any]]]:
    """Why the configuration cannot be used, or ''; and its plugins."""
    if not isinstance(config, dict):
        return str(config), []
    listed = config.get("plugins", [config])
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        return "it has no list of plugins", []
    return "", listed


def _chained(bin_dir: Path, name: str) -> facts.Chained:
    executable = bin_dir / name
    if "/" in name or not executable.is_file():
        return facts.Chained(name, None)
    return facts.Chained(name, tuple(sorted(install.versions(executable))))
