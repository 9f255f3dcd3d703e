"""Events of the stream NODE: reports, and the requests of a node's CNI server."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from romana_bus.events.base import Count, Event, Micros, token
from romana_bus.inet import covering, parse_address

NODE = "NODE"


class Report(Event, frozen=True, kw_only=True):
    """The base of reports. `covers`: stream -> its last sequence that the report contains."""

    role: ClassVar[str] = NODE

    node: str
    consumer: str
    covers: dict[str, Count] = {}

    def subject(self) -> str:
        return f"node.{token(self.node)}.{token(self.consumer)}"


class Applied(Report, frozen=True, kw_only=True):
    """The desired state was applied. `changes`: how many changes were made. `took`: µs. `standing`: the
    actual state in numbers that `status` shows, such as `routes` or `hosts off link`. `refused`: what of the
    desired state the node refuses, since it would take away what it lives on: the first prefixes -> why."""

    changes: Count = 0
    took: Micros = 0
    standing: dict[str, Count] = {}
    refused: dict[str, str] = {}


class ApplyFailed(Report, frozen=True, kw_only=True):
    """The desired state could not be applied. `attempt`: how often in a row."""

    error: str
    attempt: Count = 1


class Wired(Report, frozen=True, kw_only=True):
    """What a node's kernel has, for audits. `addresses`: each address that is routed to a pod there -> the
    pod (NAMESPACE/NAME; '' where the agent does not know it)."""

    addresses: dict[str, str] = {}


class NodeNetwork(Report, frozen=True, kw_only=True):
    """What a node lives on, so that no pod network takes it away. All sorted, in canonical text, without what
    is link-local, loopback, or of pods. `addresses`: its own. `connected`: the prefixes of its links.
    `gateways`: of its default routes and of its ways to `reached`: where it reaches the log and the API
    server, addresses. At most 1,000 of each."""

    addresses: tuple[str, ...] = ()
    connected: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()

    def flaw(self) -> str:
        try:
            for address in (*self.addresses, *self.gateways, *self.reached):
                parse_address(address)
            for prefix in self.connected:
                covering(prefix)
        except ValueError as error:
            return str(error)
        return ""


class NodeChecked(Report, frozen=True, kw_only=True):
    """What an agent found on its node that keeps packets of pods from their ways, each as what it is, what
    that means, and what to do. `problems`: sysctls, and what others have set up. `notes`: what only matters
    to pods that need what is missing."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class AgentUninstalled(Report, frozen=True, kw_only=True):
    """The agent was removed from the node: its report under this subject holds no longer."""


class Audited(Report, frozen=True, kw_only=True):
    """An audit was done. `findings`: kind -> how many. `repaired`: how many of them it corrected."""

    findings: dict[str, Count] = {}
    repaired: Count = 0


class ParkedMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message that could not be used, by its place on the log."""

    stream: str
    seq: Count
    subject: str
    reason: str


class MessagesParked(Report, frozen=True, kw_only=True):
    """The leader of `consumer` cannot use `count` of the newest messages of the log, and goes on without
    them. `parked`: the last of them, by stream and place. `node`: '', since the node of the leader does not
    matter."""

    node: str = ""
    count: Count
    parked: tuple[ParkedMessage, ...] = ()

    def subject(self) -> str:
        return f"node.-.parked.{token(self.consumer)}"


class ForeignWriteSeen(Report, frozen=True, kw_only=True):
    """Somebody other than the leader wrote message `seq` of `stream`, under the subject `written`."""

    node: str = ""
    stream: str
    seq: Count
    written: str

    def subject(self) -> str:
        return f"node.-.foreign.{token(self.stream)}"


class RefusedSubject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A subject that NATS did not let an identity use. `act`: `publish` or `subscribe to`. `count`: how often
    since its process started."""

    act: str
    subject: str
    count: Count = 1


class PermissionRefused(Report, frozen=True, kw_only=True):
    """NATS refused subjects to an identity, whose name is in `consumer`. `node`: an agent's, or ''.
    `refused`: the newest of them."""

    node: str = ""
    refused: tuple[RefusedSubject, ...] = ()

    def subject(self) -> str:
        return f"node.{token(self.node)}.refused.{token(self.consumer)}"


class SandboxEvent(Event, frozen=True, kw_only=True):
    """The base of sandbox events. The entity is a pod's name on a node. `uid`: the pod's uid as its kubelet
    knows it (CNI_ARGS, K8S_POD_UID); for a static pod, that is not the uid of its mirror pod in the API.
    `sandbox`: the container id (CNI_CONTAINERID)."""

    role: ClassVar[str] = NODE

    node: str
    namespace: str
    name: str
    uid: str
    sandbox: str

    def subject(self) -> str:
        return f"node.{token(self.node)}.cni.{token(self.namespace)}.{token(self.name)}"


class SandboxRequested(SandboxEvent, frozen=True, kw_only=True):
    """The kubelet starts a pod for which nothing is decided yet: the API shows it later, or it is a static
    pod. The pod keeps its address until SandboxRemoved, whatever the API shows. When one of two sandboxes of
    a name is removed, the request of the other one is published again."""


class SandboxRemoved(SandboxEvent, frozen=True, kw_only=True):
    """The sandbox was removed from the node (CNI DEL or GC), and the node has no other request of that
    name."""

    tombstone: ClassVar[bool] = True


#: All events of NODE.
EVENTS: tuple[type[Event], ...] = (
    Applied, ApplyFailed, Wired, NodeNetwork, NodeChecked, AgentUninstalled, Audited, MessagesParked,
    ForeignWriteSeen,
    PermissionRefused, SandboxRequested, SandboxRemoved,
)  # fmt: skip
