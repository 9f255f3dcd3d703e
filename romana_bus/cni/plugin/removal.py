"""Finds what `agent install-cni` wrote, for its removal: that, and nothing else.

Its network configuration is recognised by its bytes: they are what install-cni writes for the values in it.
So one that a person has changed is not ours any more, and is left, with the executable that it names. Reads
BIN_DIR and CONF_DIR; writes nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.cni.plugin import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What both the compiled executable and the one in Python contain.
_MARKS = (b"/run/romana-bus/cni.sock", b"CNI_COMMAND")


class Found(NamedTuple):
    """`configurations`, `executables`: what can be removed, in this order. `left`: what is not removed, and
    why, as texts."""

    configurations: tuple[Path, ...]
    executables: tuple[Path, ...]
    left: tuple[str, ...]


def found(bin_dir: Path, conf_dir: Path) -> Found:
    """Look. Raises OSError."""
    config, executable, left = conf_dir / install.CONFLIST, bin_dir / install.PLUGIN, list[str]()
    ours = config.is_file() and not config.is_symlink() and is_ours(config.read_bytes())
    naming = [file for file in _configurations(conf_dir) if _names_us(file) and not (ours and file == config)]
    left += [
        f"{file}: it was changed since install-cni, or is not its own, and names romana-cni"
        for file in naming
    ]
    executables = _scratch(executable)
    if executable.exists() or executable.is_symlink():
        if naming:
            left.append(f"{executable}: {naming[0]} names it")
        elif executable.is_symlink() or not all(mark in executable.read_bytes() for mark in _MARKS):
            left.append(f"{executable}: not what install-cni wrote")
        else:
            executables.append(executable)
    configurations = _scratch(config) + ([config] if ours else [])
    return Found(tuple(configurations), tuple(executables), tuple(left))


def is_ours(body: bytes) -> bool:
    """Whether install-cni, of this or an earlier version, wrote exactly this configuration."""
    try:
        document = msgspec.json.decode(body)
        ours, *chained = document["plugins"]
        plugins = [plugin["type"] for plugin in chained]
        name, version, mtu = document["name"], document["cniVersion"], ours.get("mtu", 0)
        return install.conflist(name, version, ours["socket"], mtu, plugins) == body
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return False


def _scratch(file: Path) -> list[Path]:
    """What an interrupted install-cni may have left."""
    pattern = re.compile(rf"\.{re.escape(file.name)}\.[0-9]+")
    return sorted(each for each in file.parent.glob(f".{file.name}.*") if pattern.fullmatch(each.name))


def _configurations(conf_dir: Path) -> Iterator[Path]:
    for ending in ("conf", "conflist", "json"):
        yield from sorted(file for file in conf_dir.glob(f"*.{ending}") if file.is_file())


def _names_us(file: Path) -> bool:
    """Whether a network configuration uses our executable."""
    try:
        document: Any = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, OSError):
        return False
    if not isinstance(document, dict):
        return False
    plugins = document.get("plugins")
    every = [document, *(plugins if isinstance(plugins, list) else ())]
    return any(isinstance(plugin, dict) and plugin.get("type") == install.PLUGIN for plugin in every)
