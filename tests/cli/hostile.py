"""A log whose every text does what it can to the terminal that it is shown on."""

from __future__ import annotations

import itertools
import json
import re
import time
import typing
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus import events as ev
from romana_bus.bus.api import Outgoing
from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, ROLES, codec
from romana_bus.printable import printable
from romana_bus.runtime.feed import outgoing
from tests.cli.logs import ago
from tests.conftest import run
from tests.identities import ADMINISTRATOR, access_to, log_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.processes import Done
    from tests.ipam.cluster import Cluster
    from tests.servers import NatsServer

#: Blinks, sets a title, rings, clears, ends the line, makes a column, reverses, and hides.
EVIL = "x\x1b[5;7m\x1b]0;t\x07\r\nq\t\x1b[2J\x9b3A\x7f\u202eb\u2066\u200b\ufeff\u2028\U000e0041z"
#: What is to be seen of it. A log of these has the same lines.
SHOWN = printable(EVIL)

#: What rich makes: colours, and in the live view the cursor and the screen.
_RICH = re.compile(
    r"\x1b\[(?:0|[1-9]|3[0-7]|[12];3[0-7])?m|\x1b\[\?(?:25|1049)[hl]|\x1b\[H|\r?\x1b\[(?:2K|1A)"
)

_clusters = itertools.count(1)


def steering(text: str, terminal: bool = False) -> list[str]:
    """The characters of an output that should not be there. `terminal`: what rich makes may be."""
    if terminal:
        text = _RICH.sub("", text.replace("\r\n", "\n"))
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return [repr(one) for one in text if one != "\n" and unicodedata.category(one) in kinds]


def harmless(result: Done) -> None:
    assert steering(result.out) == steering(result.err) == []


class Log(NamedTuple):
    """`options` reach it; `text` is in all that it holds; `document` is its topology."""

    options: tuple[str, ...]
    text: str
    document: dict[str, Any]

    def filled(self, line: str) -> list[str]:
        """A command line, with the log's text for each `@`."""
        return [word.replace("@", self.text) for word in line.split()]


def built(server: NatsServer, text: str) -> Log:
    """Nodes, groups, pods that have, want, or had an address, reports, and everything else."""
    cluster = live_cluster(text)
    _report(cluster, text)
    options = log_options(server.url, f"steered{next(_clusters)}")
    run(_publish(options, cluster, text))
    return Log(options, text, _document(text))


def live_cluster(text: str) -> Cluster:
    """That text is in every name and reason of it."""
    cluster = ago(3600, _document(text), block_owner="segment", cooldown=7_200_000_000)
    _live(cluster, text)
    return cluster


def _document(text: str) -> dict[str, Any]:
    groups = [
        {"name": f"{text}{name}", "assignment": {f"zone{text}": f"{name}{text}"}, "groups": []}
        for name in "ab"
    ]
    networks = [{"name": f"net{text}", "cidr": "10.0.0.0/24", "block_mask": 29}]
    return {"networks": networks, "topologies": [{"networks": [f"net{text}"], "map": groups}]}


def _live(cluster: Cluster, text: str) -> None:
    def node(name: str, **labels: str) -> None:
        labels = {f"{key}{text}": f"{value}{text}" for key, value in labels.items()}
        address = f"192.0.2.{len(cluster.log)}"
        cluster.send(
            ev.NodeSeen(
                resource_version=cluster.version(), uid=name, name=f"{name}{text}", addresses=(address,),
                labels=labels,
            )
        )  # fmt: skip

    def pod(name: str, on: str, **more: Any) -> None:
        cluster.pod(f"ns{text}/{name}{text}", f"{on}{text}", f"seg{text}", uid=name, **more)

    node("n1", zone="a")
    node("n2", zone="b")
    node("homeless")
    cluster.decide()
    pod("had", "n1")
    cluster.decide()
    cluster.send(ev.PodGone(resource_version="99", uid="had", namespace=f"ns{text}", name=f"had{text}"))
    cluster.decide()
    pod("p1", "n1")
    pod("p2", "n1")
    pod("host", "n1", host_network=True)
    pod("lost", "homeless")
    pod("denied", "n2", annotations={"romana.io/network": f"nowhere{text}"})
    pod("wrong", "n2", annotations={"romana.io/address": f"no address{text}"})
    cluster.decide()
    cluster.sandbox(f"ns{text}/early{text}", f"n1{text}", "early")
    cluster.send(ev.RangeReserved(cidr="10.0.0.0/29"))
    cluster.decide()


def _report(cluster: Cluster, text: str) -> None:
    covers = {"IPAM": cluster.seqs["IPAM"]}
    of: dict[str, Any] = {"node": f"n1{text}", "covers": covers}
    cluster.tick(time.time())
    cluster.send(
        ev.ApplyFailed(consumer=f"routes{text}", error=f"no buffer{text}", attempt=2, **of),
        ev.Applied(consumer=f"other{text}", standing={f"routes{text}": 3}, **of),
        ev.Wired(consumer=f"cni{text}", addresses={"10.0.0.1": f"ns{text}/p1{text}"}, **of),
        ev.ResourceListing(resource=f"things{text}", reason=f"because{text}"),
        ev.LeaderElected(stream="IPAM", term=1, holder=f"who{text}"),
    )


def every_event(text: str) -> Iterator[ev.Event]:
    """One of each kind, with that text in each string that it has."""
    for kind in ev.STORED:
        made: ev.Event = _made(kind, text)
        if isinstance(made, ev.ObjectSeen | ev.ObjectGone):
            made = msgspec.structs.replace(made, resource=f"a/v1/{text}")
        if isinstance(made, ev.LeaderElected):
            made = msgspec.structs.replace(made, stream="IPAM")
        yield made


def _made(of: Any, text: str) -> Any:
    """A value of a type."""
    arguments = typing.get_args(of)
    match typing.get_origin(of) or of:
        case ev.Settings:
            return ev.Settings(zone_label=text)  # its other texts are checked when they are read
        case made if isinstance(made, type) and issubclass(made, msgspec.Struct):
            hints = typing.get_type_hints(made)
            return made(**{name: _made(hints[name], text) for name in made.__struct_fields__})
        case made if made is dict:
            return {text: _made(arguments[1], text)}
        case made if made is tuple:
            return (_made(arguments[0], text),)
        case made if made in (int, bool):
            return made(1)
    return text


async def _publish(options: tuple[str, ...], cluster: Cluster, text: str) -> None:
    async with await open_store(
        access_to(options[1]), Layout(options[3]), "test", ROLES, who=ADMINISTRATOR
    ) as store:
        for one in cluster.log:
            role = one.role or IPAM  # elections are on the stream that they are about
            await store.publish(role, outgoing(one.event, one.cause, one.time, store.history))
        header = text.replace("\r\n", "").replace(r"\r\n", "")  # NATS has no such headers
        denied = ev.AddressDenied(
            namespace=f"ns{text}", name=f"p2{text}", uid="u", node=f"n2{text}", code="wish", reason=text
        )
        message = outgoing(denied, f"KUBE/{header}", time.time_ns() // 1000, store.history)
        await store.publish("IPAM", message)


def published_all(options: tuple[str, ...], text: str) -> int:
    """All kinds of events, and bodies that are none, on that log. Gives how many."""
    bodies = [
        ("kube.pod.a.b", json.dumps({"type": text}).encode()),
        ("kube.pod.a.c", json.dumps({"type": "PodSeen", "labels": {text: 3}}).encode()),
        ("kube.pod.a.d", text.encode()),
        ("ipam.map.group.a.b", json.dumps({"type": "GroupOpened", "prefix": text, "network": text}).encode()),
        *((re.sub(r"[^\w.%-]", "", event.subject()), codec.encode(event)) for event in every_event(text)),
    ]

    async def publish() -> None:
        access = access_to(options[1])
        async with await open_store(access, Layout(options[3]), "test", ROLES, who=ADMINISTRATOR) as store:
            for time, (subject, body) in enumerate(bodies, 1):
                await store.publish(subject.partition(".")[0].upper(), Outgoing(subject, body, time=time))

    run(publish())
    return len(bodies)
