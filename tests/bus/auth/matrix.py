"""Roles x operations on a real server: what each role tries, and whether it may. Written by hand, so that a
change of `permissions.py` has to be a change here too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.bus.auth.permissions import UP
from romana_bus.events import ROLES
from tests.bus.auth.site import CLUSTER, WHO, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WATCH, IPAM, OPER, READ, AGENT, THIRD = "watcher", "ipam", "operator", "reader", "agent", "third-party"
ALL = {WATCH, IPAM, OPER, READ, AGENT, THIRD}
P = f"romana.{CLUSTER}."


class Operation(NamedTuple):
    """`act`: publish, subscribe or api. `allowed`: the roles that may."""

    act: str
    subject: str
    allowed: set[str]
    body: bytes = b"{}"


def operations() -> Iterator[Operation]:
    yield from _publishes()
    yield from _subscriptions()
    yield from _requests()


def _publishes() -> Iterator[Operation]:
    leaders, all_led = {WATCH, IPAM}, {WATCH, IPAM, OPER}
    for subject, allowed in {
        "kube.pod.web.a": {WATCH}, "kube.leader": {WATCH}, "kube.node.-.n1": {WATCH},
        "kube.synced.-.pods": {WATCH},
        "ipam.leader": {IPAM}, "ipam.map.host.n1": {IPAM}, "ipam.map.block.n1.b": {IPAM},
        "ipam.address.n1.web.a": {IPAM},
        "spec.topology": {OPER}, "spec.reserve.x": {OPER}, "spec.disowned.n1.web.a": {WATCH, OPER},
        "spec.listing.pods": {WATCH, OPER},
        "node.n1.routes": {AGENT}, "node.n1.cni.web.a": {AGENT, WATCH, OPER}, "node.n1.audit": {AGENT, WATCH},
        "node.n2.routes": set(), "node.n2.cni.web.a": {WATCH, OPER}, "node.-.parked.ipam": all_led,
        "node.-.refused.reader": all_led | {READ}, "node.-.refused.ext": all_led | {THIRD},
        "lease.kube": {WATCH}, "lease.ipam": {IPAM}, "lease.status": {OPER, READ},
        "alive.ipam": {IPAM}, "alive.kube": {WATCH}, "alive.ask": leaders | {OPER, READ, THIRD},
        "alive.node.n1.x": {AGENT}, "alive.node.n2.x": set(),
        "live.ipam.map.host.n1": set(), "live.kube.pod.web.a": set(), "live.node.n1.routes": set(),
    }.items():  # fmt: skip
        yield Operation("publish", P + subject, allowed, b'{"type":"None"}')
    for foreign in ("romana.other.kube.pod.web.a", "_INBOX_ipam.x", "$SYS.REQ.SERVER.PING", "elsewhere"):
        yield Operation("publish", foreign, set())


def _subscriptions() -> Iterator[Operation]:
    for role, identity in WHO.items():
        yield Operation("subscribe", f"_INBOX_{identity.name}.x", {role})
    for subject, allowed in {
        "kube.>": set(), "ipam.>": set(), "node.>": set(), "spec.>": set(), "lease.>": set(), ">": set(),
        "live.>": ALL - {AGENT}, "live.kube.>": ALL - {AGENT}, "live.ipam.map.>": ALL,
        "live.ipam.address.n1.>": ALL, "live.ipam.address.n2.>": ALL - {AGENT}, "live.ipam.>": ALL - {AGENT},
        "alive.ipam": ALL, "alive.kube": ALL - {AGENT}, "alive.ask": ALL, "alive.node.>": ALL - {AGENT},
    }.items():  # fmt: skip
        yield Operation("subscribe", P + subject, allowed)
    for everything in (">", "_INBOX.>", "*.x", "$JS.API.>", "$JS.EVENT.>", "$SYS.>"):
        yield Operation("subscribe", everything, set())


def _requests() -> Iterator[Operation]:
    api = "$JS.API."
    streams = {role: f"ROMANA_{CLUSTER}_{role}" for role in ROLES}
    lease = f"ROMANA_{CLUSTER}_LEASE"
    yield Operation("api", f"{api}INFO", ALL, b"")
    yield Operation("api", f"{api}STREAM.NAMES", {OPER, READ})
    for verb in ("STREAM.LIST", "CONSUMER.NAMES." + streams["KUBE"], "META.LEADER.STEPDOWN"):
        yield Operation("api", api + verb, {OPER})
    for role, stream in streams.items():
        for name in (stream, f"{stream}_LATEST"):
            reads = ALL if role == "IPAM" else ALL - {AGENT}
            nodes = ALL if role in ("IPAM", "NODE") else ALL - {AGENT}
            yield Operation("api", f"{api}STREAM.INFO.{name}", nodes, b"")
            yield Operation("api", f"{api}STREAM.MSG.GET.{name}", nodes - {THIRD}, b'{"seq":1}')
            yield Operation("api", f"{api}DIRECT.GET.{name}", reads - {THIRD}, b'{"seq":1}')
            yield Operation("api", f"{api}DIRECT.GET.{name}.{P}x.y", reads - {THIRD}, b"")
            yield Operation("api", f"{api}CONSUMER.LIST.{name}", {WATCH, IPAM, OPER, READ})
            create = f"{api}CONSUMER.CREATE.{name}"
            yield Operation("api", f"{create}.mine.{P}{role.lower()}.>", {WATCH, IPAM, OPER, READ})
            yield Operation("api", f"{create}.ext.{P}{role.lower()}.>", {WATCH, IPAM, OPER, READ, THIRD})
            yield Operation("api", f"{create}.mine", {OPER})
            yield Operation("api", f"{api}CONSUMER.DELETE.{name}.mine", {WATCH, IPAM, OPER}, b"")
            yield Operation("api", f"{api}CONSUMER.DELETE.{name}.ext", {WATCH, IPAM, OPER, THIRD}, b"")
            for verb in (
                "STREAM.DELETE",
                "STREAM.PURGE",
                "STREAM.UPDATE",
                "STREAM.SNAPSHOT",
                "STREAM.RESTORE",
            ):
                yield Operation("api", f"{api}{verb}.{name}x", {OPER})
            yield Operation("api", f"{api}STREAM.CREATE.{name}", {WATCH, IPAM, OPER})
            # Whoever leads compacts the table; no log loses a message.
            compacts = {WATCH if role == "KUBE" else IPAM} if name.endswith("_LATEST") else set()
            delete = f"{api}STREAM.MSG.DELETE.{name}"
            yield Operation("api", delete, {OPER} | compacts, b'{"seq":99999999}')
    for node, allowed in (("n1", ALL - {THIRD}), ("n2", ALL - {THIRD, AGENT})):
        create = f"{api}CONSUMER.CREATE.{streams['NODE']}_LATEST.mine.{P}node.{node}.cni.>"
        yield Operation("api", create, allowed)
    map_filter = f"{P}ipam.map.>"
    yield Operation("api", f"{api}CONSUMER.CREATE.{streams['IPAM']}.m.{map_filter}", ALL - {THIRD})
    yield Operation("api", f"{api}STREAM.MSG.GET.{lease}", {WATCH, IPAM, OPER, READ}, b'{"seq":1}')
    yield Operation("api", f"{api}STREAM.CREATE.elsewhere", {OPER})
    yield Operation("api", f"{api}STREAM.INFO.elsewhere", {OPER}, b"")


class Result(NamedTuple):
    role: str
    operation: Operation
    refused: str

    @property
    def as_told(self) -> bool:
        return bool(self.refused) != (self.role in self.operation.allowed)


async def tried(url: str, auth: Path, roles: Mapping[str, object] = WHO) -> list[Result]:
    """Every role tries every operation. The streams exist."""
    results, everybody = [], await Raw.connect(url, auth, UP)
    await everybody.client.subscribe(f"{P}alive.>")
    for role in ROLES:
        for stream in (f"ROMANA_{CLUSTER}_{role}", f"ROMANA_{CLUSTER}_{role}_LATEST"):
            info = json.loads((await everybody.ask(f"$JS.API.STREAM.INFO.{stream}")).answer)
            config = json.dumps(info["config"] | {"allow_direct": True}).encode()
            await everybody.ask(f"$JS.API.STREAM.UPDATE.{stream}", config)
    for role in roles:
        raw = await Raw.connect(url, auth, WHO[role])
        for operation in operations():
            if operation.act == "subscribe":
                refused = await raw.hear(operation.subject)
            else:
                body = _consumer(operation) if ".CONSUMER.CREATE." in operation.subject else operation.body
                within = 0.05 if ".alive." in operation.subject else 5.0
                refused = (await raw.ask(operation.subject, body, within=within)).refused
            results.append(Result(role, operation, refused))
        await raw.close()
    await everybody.close()
    return results


def _consumer(operation: Operation) -> bytes:
    stream, name, *subject = operation.subject.split(".")[4:]
    config = {"name": name, "filter_subject": ".".join(subject), "ack_policy": "none", "mem_storage": True}
    return json.dumps({"stream_name": stream, "config": config}).encode()
