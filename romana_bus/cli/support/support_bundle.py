"""`romana-bus support-bundle`: collects what helps to find a fault, in one archive without names and
secrets."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from romana_bus import __version__
from romana_bus.cli.common import console
from romana_bus.cli.common.options import RUN_DIR, Connection, Kubernetes, Output, host_node
from romana_bus.cli.common.session import run
from romana_bus.cli.doctor.examine import examine
from romana_bus.cli.doctor.finding import CLUSTER, NODE
from romana_bus.cli.doctor.gather.context import Context, Wanted, identity, opened
from romana_bus.cli.doctor.view import document
from romana_bus.cli.serve.watch import all_kinds
from romana_bus.cli.support import archive
from romana_bus.cli.support.collect import log as from_log
from romana_bus.cli.support.collect import node as from_node
from romana_bus.cli.support.collect.parts import Parts
from romana_bus.cli.support.names import Names
from romana_bus.cli.support.redact import Redaction
from romana_bus.errors import BadInput
from romana_bus.events import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The most events of each stream; bytes of one file, and of all files, before they are compressed.
MOST_EVENTS, MOST_FILE, MOST_ALL = 100_000, 16 << 20, 64 << 20
#: Seconds between two looks of `doctor`.
PAUSE = 2.0

NAMES = (
    "Names of nodes, namespaces and pods, and labels and annotations, are replaced by pseudonyms: the same "
    "name has the same pseudonym throughout this bundle, and in no other. The key was thrown away."
)
KEPT = "Addresses are kept (--redact-addresses replaces them)."
REPLACED = "Addresses are replaced likewise, except those that every node has."


def support_bundle(
    *,
    output_file: Annotated[Path | None, Parameter(name="--output")] = None,
    events: int = 1000,
    redact_addresses: Annotated[bool, Parameter(negative="")] = False,
    node: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    run_dir: Path = RUN_DIR,
    bin_dir: Path | None = None,
    conf_dir: Path | None = None,
    agent_log: Path | None = None,
    kubernetes: Kubernetes = Kubernetes(),
    log: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Collect what helps to find a fault into one .tar.gz, with names replaced and without secrets.

    It has what `doctor`, `status` and `ipam show` say, the topology and settings,
    the last events, and of this node routes, rules, links, sysctls, the plugin and
    the agent's log. What cannot be had is named in manifest.json, with the reason.
    Names of pods, namespaces and nodes, labels and annotations are replaced by
    pseudonyms, which nobody can turn back. Addresses stay.

    Parameters
    ----------
    output_file
        File to write, which must not exist; by default romana-bus-CLUSTER-TIME.tar.gz here.
    events
        How many of the last events of each stream.
    redact_addresses
        Replace addresses too.
    node
        Name of this node in Kubernetes; by default the host name in lower case.
    run_dir
        The agent's --run-dir.
    bin_dir
        Directory of the runtime's plugins; without it, as in the runtime's configuration.
    conf_dir
        Directory of the runtime's network configurations; likewise.
    agent_log
        File with the agent's log; by default that of its container, else of its systemd unit.
    """
    if not 1 <= events <= MOST_EVENTS:
        raise BadInput(f"--events {events}: must be between 1 and {MOST_EVENTS}")
    if agent_log and not agent_log.is_file():
        raise BadInput(f"--agent-log {agent_log}: there is no such file")
    named = bool(kubernetes.server or kubernetes.kubeconfig or kubernetes.context)
    wanted = Wanted(
        (NODE, CLUSTER), node or host_node(), run_dir, bin_dir, conf_dir, log.access, log.layout,
        kubernetes.target, named, tuple(all_kinds(kubernetes)), (), PAUSE,
    )  # fmt: skip
    identity(wanted)
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    path = output_file or Path(f"romana-bus-{wanted.layout.cluster}-{stamp}.tar.gz")
    archive.check(path)
    run(_bundle(path, wanted, events, redact_addresses, agent_log, now, output), output)


async def _bundle(
    path: Path,
    wanted: Wanted,
    events: int,
    redact_addresses: bool,
    agent_log: Path | None,
    now: float,
    output: Output,
) -> None:
    parts, names = Parts(), Names(secrets.token_bytes(32))
    async with opened(wanted) as context:
        await _collect(context, parts, names, events, agent_log)
    redaction = Redaction(names, addresses=redact_addresses)
    files, manifest = packed(parts, redaction)
    manifest = {
        "version": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "names": NAMES,
        "addresses": REPLACED if redact_addresses else KEPT,
    } | manifest
    files = {"manifest.json": _json(manifest)} | files
    archive.write(path, files, now)
    if output.json:
        console.as_json({"file": str(path)} | manifest)
        return
    console.console.print(f"{path}: {console.many(len(files), 'file')}, {path.stat().st_size / 1e6:,.2f} MB")
    for name, why in manifest["missing"].items():
        console.console.print(console.dim(f"without {name}: {why}"))
    console.console.print(f"{NAMES} {manifest['addresses']} Look through it before you send it.")


async def _collect(context: Context, parts: Parts, names: Names, events: int, agent_log: Path | None) -> None:
    wanted = context.wanted

    async def examined() -> Any:
        return document(await examine(context), wanted.node, wanted.layout.cluster)

    await parts.document("doctor.json", examined)
    await from_node.collect(context, parts, names, agent_log)
    await from_log.collect(context, parts, names, events)


def packed(parts: Parts, redaction: Redaction) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files, without names and secrets, and what the manifest says of them. Of a file that is too large
    the end stays, and the last files are left out where all are too large. Pure."""
    made: dict[str, bytes] = {}
    missing, cut = dict(parts.missing), dict[str, int]()
    left = MOST_ALL
    for name, body in _bodies(parts, redaction):
        if len(body) > MOST_FILE:
            cut[name] = len(body)
            body = body[-MOST_FILE:]
            body = body[body.find(b"\n") + 1 :]
        if len(body) > left:
            missing[name] = f"the bundle would be larger than {MOST_ALL >> 20} MiB"
            continue
        left -= len(body)
        made[name] = body
    return made, {
        "files": {name: len(body) for name, body in made.items()},
        "missing": redaction.document(missing),
        "cut": cut,
    }


def _bodies(parts: Parts, redaction: Redaction) -> Iterator[tuple[str, bytes]]:
    for name, document_ in parts.documents.items():
        if name.endswith(".jsonl"):
            lines = (_stored(each, redaction) for each in document_)
            yield name, b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        else:
            yield name, _json(redaction.document(msgspec.to_builtins(document_, str_keys=True)))
    for name, text in parts.texts.items():
        yield name, redaction.text(text).encode(errors="replace")


def _stored(stored: from_log.Stored, redaction: Redaction) -> dict[str, Any]:
    place = {"stream": stored.stream, "seq": stored.seq, "time": stored.time, "cause": stored.cause}
    if isinstance(stored.event, codec.Parked):
        return place | {"parked": redaction.text(stored.event.reason)}
    return place | {"event": redaction.event(stored.event)}


def _json(document_: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document_), indent=2) + b"\n"
