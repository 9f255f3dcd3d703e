"""NODE: reports, and what a node's CNI server asks for."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from romana_bus.events.base import NODE, Count, Event, Micros, token


class Report(Event, frozen=True, kw_only=True):
    """`covers`: for each stream that the reconciler reads, the last sequence that is contained."""

    role: ClassVar[str] = NODE

    node: str
    consumer: str
    covers: dict[str, Count] = {}

    def subject(self) -> str:
        return f"node.{token(self.node)}.{token(self.consumer)}"


class Applied(Report, frozen=True, kw_only=True):
    """`changes`: how many changes were made outside; `took`: microseconds. `standing`: how it stands there
    now, in numbers that `status` shows, such as `routes` or `hosts off link`."""

    changes: Count = 0
    took: Micros = 0
    standing: dict[str, Count] = {}


class ApplyFailed(Report, frozen=True, kw_only=True):
    error: str
    attempt: Count = 1


class Wired(Report, frozen=True, kw_only=True):
    """What a node's kernel has: the addresses of pods that are routed to a pod there, each with its pod
    (NAMESPACE/NAME; '' where the agent does not know whose it is). An audit holds the log against it."""

    addresses: dict[str, str] = {}


class Audited(Report, frozen=True, kw_only=True):
    """An audit has looked. `findings`: kind -> how many; `repaired`: how many of them it has corrected."""

    findings: dict[str, Count] = {}
    repaired: Count = 0


class ParkedMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One that could not be used, by its place on the log."""

    stream: str
    seq: Count
    subject: str
    reason: str


class MessagesParked(Report, frozen=True, kw_only=True):
    """What of the log's newest messages the leader of `consumer` cannot use: `count` of them, and the newest
    by stream and place. It goes on without them. `node`: '', as it does not matter where it leads."""

    node: str = ""
    count: Count
    parked: tuple[ParkedMessage, ...] = ()

    def subject(self) -> str:
        return f"node.-.parked.{token(self.consumer)}"


class ForeignWriteSeen(Report, frozen=True, kw_only=True):
    """Somebody wrote message `seq` of `stream`, which only its leader may write, under `written`."""

    node: str = ""
    stream: str
    seq: Count
    written: str

    def subject(self) -> str:
        return f"node.-.foreign.{token(self.stream)}"


class SandboxEvent(Event, frozen=True, kw_only=True):
    """The entity is a pod's name on a node, as the kubelet there knows it. `uid`: the pod's, in the kubelet's
    words (CNI_ARGS, K8S_POD_UID; of a static pod that is not the uid of its mirror in the API). `sandbox`:
    the container id of CNI_CONTAINERID."""

    role: ClassVar[str] = NODE

    node: str
    namespace: str
    name: str
    uid: str
    sandbox: str

    def subject(self) -> str:
        return f"node.{token(self.node)}.cni.{token(self.namespace)}.{token(self.name)}"


class SandboxRequested(SandboxEvent, frozen=True, kw_only=True):
    """The kubelet starts this pod, and nothing is decided for it yet: the API may show it later. Or it is a
    static pod. It holds its address until SandboxRemoved, whatever the API shows. Where one of two sandboxes
    of a name ends, the other one's is said again."""


class SandboxRemoved(SandboxEvent, frozen=True, kw_only=True):
    """The sandbox is gone from the node (CNI DEL or GC), and none of its name is there that has a wish."""

    tombstone: ClassVar[bool] = True
