"""What each role may publish and hear, and which account it lives in. Pure.

A permission names the subject of a request, and nats-server does not look at the subject of its reply:
whoever may ask JetStream for anything can have the answer published under any subject of his account, and a
stream there would store it. So three accounts share the log. LOG has the streams, the leaders and the
operators. Agents (NODES) and readers (READERS) have accounts of their own, which import only the requests and
subjects listed here; an answer that they send elsewhere reaches no stream, and no leader.
(`tests/bus/auth/test_stolen_agent.py` holds it.)

Agents may not read NODE by direct get: they write its bodies, and the answer, sent to a live subject, would
look like IPAM's own. (What a consumer delivers there has a reply subject, which republished messages lack:
whoever reads live subjects has to drop it.) They may not delete consumers, and do not learn others' names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, KUBE, NODE, ROLES, SETTINGS, compacted_by, token

if TYPE_CHECKING:
    from collections.abc import Iterable

WATCHER, IPAM_ROLE, OPERATOR, READER, AGENT, THIRD_PARTY, LEAF = (
    "watcher", "ipam", "operator", "reader", "agent", "third-party", "leaf",
)  # fmt: skip
API = "$JS.API."
#: The accounts (see above).
LOG, NODES, READERS = "ROMANA", "ROMANA_NODES", "ROMANA_READERS"
#: Role -> its account.
ACCOUNTS = {
    WATCHER: LOG, IPAM_ROLE: LOG, OPERATOR: LOG,
    AGENT: NODES, LEAF: NODES, READER: READERS, THIRD_PARTY: READERS,
}  # fmt: skip


class Identity(NamedTuple):
    """One who connects. `roles`: what he may do is the union. `nodes`: an agent's, by their Kubernetes names.
    `consumers`: the names of a third party's consumers."""

    name: str
    roles: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()

    @property
    def account(self) -> str:
        return ACCOUNTS[self.roles[0]]


class Grant(NamedTuple):
    """The subjects, with NATS' wildcards, that may be published and subscribed to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Interface(NamedTuple):
    """What an account takes from LOG. `requests`: subjects published there, with answers; `heard`: subjects
    published in LOG."""

    requests: tuple[str, ...]
    heard: tuple[str, ...]


#: The identities that every cluster has, and that of `up`, which does the work of three.
WATCH = Identity("watcher", (WATCHER,))
DECIDE = Identity("ipam", (IPAM_ROLE,))
OPERATE = Identity("operator", (OPERATOR,))
READ = Identity("reader", (READER,))
UP = Identity("up", (WATCHER, IPAM_ROLE, OPERATOR))
#: A leader's stream.
LEADS = {WATCHER: KUBE, IPAM_ROLE: IPAM}


def accounts_of(roles: Iterable[str]) -> set[str]:
    """The accounts that these roles need: one identity has one."""
    return {ACCOUNTS[role] for role in roles}


def agent_of(node: str) -> Identity:
    return Identity(f"agent-{node}", (AGENT,), (node,))


def alias(cluster: str) -> str:
    """The prefix of JetStream's API between leaf nodes and the servers behind them: nats-server does not pass
    the API on under its own name."""
    return f"romana.{cluster}.api."


def inbox_of(name: str) -> str:
    """The prefix of an identity's inboxes: nobody else may hear what is answered there."""
    return f"_INBOX_{token(name)}"


def grant(cluster: str, identity: Identity) -> Grant:
    """What the identity may do. Raises KeyError for an unknown role."""
    layout = Layout(cluster)
    publish: dict[str, None] = {}
    heard: dict[str, None] = {f"{inbox_of(identity.name)}.>": None}
    for role in identity.roles:
        granted = _GRANTS[role](layout, identity)
        publish |= dict.fromkeys(granted.publish)
        heard |= dict.fromkeys(granted.subscribe)
    return Grant(tuple(publish), tuple(heard))


def interface(cluster: str, account: str) -> Interface:
    """What NODES or READERS may ask LOG, and hear from it, whoever asks."""
    layout = Layout(cluster)
    prefix = layout.prefix
    if account == NODES:
        filters = {IPAM: ("ipam.map.>", "ipam.address.*.>"), NODE: ("node.*.cni.>",)}
        return Interface(
            (
                "$JS.API.INFO",
                *_asks("STREAM.INFO", [*_both(layout, IPAM, NODE), layout.lease]),
                *_asks("STREAM.MSG.GET", _both(layout, IPAM, NODE)),
                *_asks("DIRECT.GET", _both(layout, IPAM)),
                *_asks("DIRECT.GET", [f"{stream}.>" for stream in _both(layout, IPAM)]),
                *(
                    f"$JS.API.CONSUMER.CREATE.{stream}.*.{prefix}{subject}"
                    for role, subjects in filters.items()
                    for stream in _both(layout, role)
                    for subject in subjects
                ),
                *_asks("CONSUMER.MSG.NEXT", [f"{stream}.*" for stream in _both(layout, IPAM, NODE)]),
                f"{prefix}node.*.>",
                f"{prefix}alive.node.*.>",
            ),
            (f"{prefix}live.ipam.>", f"{prefix}alive.ipam", f"{prefix}alive.ipam.>", f"{prefix}alive.ask"),
        )
    return Interface(
        (
            *_reads(layout),
            "$JS.API.STREAM.NAMES",
            *_asks("CONSUMER.INFO", [f"{stream}.*" for stream in _both(layout, *ROLES)]),
            *(f"$JS.ACK.{stream}.>" for stream in _both(layout, *ROLES)),
            f"{prefix}node.-.refused.*",
            f"{prefix}lease.status",
            f"{prefix}alive.ask",
        ),
        (f"{prefix}live.>", f"{prefix}alive.ipam", f"{prefix}alive.kube", f"{prefix}alive.node.>"),
    )


# --- roles ------------------------------------------------------------------------------------------------


def _leader(role: str, layout: Layout) -> Grant:
    prefix, subject = layout.prefix, LEADS[role].lower()
    return Grant(
        (
            f"{prefix}{subject}.>",
            f"{prefix}lease.{subject}",
            f"{prefix}node.-.>",
            f"{prefix}alive.{subject}",
            f"{prefix}alive.{subject}.>",
            f"{prefix}alive.ask",
            *_reads(layout),
            *_asks("STREAM.CREATE", [*_both(layout, *ROLES), layout.lease]),
            *_asks("STREAM.MSG.DELETE", [layout.table(name) for name in compacted_by(LEADS[role])]),
        ),
        _hears(layout),
    )


def _watcher(layout: Layout, _: Identity) -> Grant:
    """The watcher's audits also report, order corrections, and remove the sandboxes of nodes that are
    gone."""
    granted = _leader(WATCHER, layout)
    audits = ("spec.disowned.>", "spec.listing.*", "node.*.audit", "node.*.cni.>")
    return granted._replace(publish=(*granted.publish, *(layout.prefix + subject for subject in audits)))


def _ipam(layout: Layout, _: Identity) -> Grant:
    """IPAM's leader also writes the settings, where there are none."""
    granted = _leader(IPAM_ROLE, layout)
    return granted._replace(publish=(*granted.publish, f"{layout.prefix}{SETTINGS}"))


def _operator(layout: Layout, _: Identity) -> Grant:
    prefix = layout.prefix
    return Grant(
        (
            f"{prefix}spec.>",
            f"{prefix}node.-.>",
            f"{prefix}node.*.cni.>",  # `ipam release` of a node that is gone
            f"{prefix}lease.status",
            f"{prefix}alive.ask",
            "$JS.API.>",
        ),
        _hears(layout),
    )


def _reader(layout: Layout, identity: Identity) -> Grant:
    prefix = layout.prefix
    refused = f"{prefix}node.-.refused.{token(identity.name)}"
    return Grant(
        (
            *_asks("STREAM.INFO", ["*"]),
            *_asks("STREAM.MSG.GET", ["*"]),
            *_asks("DIRECT.GET", ["*", "*.>"]),
            *_asks("CONSUMER.CREATE", ["*.*.>"]),
            *_asks("CONSUMER.MSG.NEXT", ["*.*"]),
            *_asks("CONSUMER.LIST", ["*"]),
            "$JS.API.INFO", "$JS.API.STREAM.NAMES", refused, f"{prefix}lease.status", f"{prefix}alive.ask",
        ),
        _hears(layout),
    )  # fmt: skip


def _third_party(layout: Layout, identity: Identity) -> Grant:
    names = identity.consumers
    return Grant(
        (
            "$JS.API.INFO",
            *_asks("STREAM.INFO", ["*"]),
            *_asks("CONSUMER.CREATE", [f"*.{name}.>" for name in names]),
            *_asks("CONSUMER.INFO", [f"*.{name}" for name in names]),
            *_asks("CONSUMER.MSG.NEXT", [f"*.{name}" for name in names]),
            *_asks("CONSUMER.DELETE", [f"*.{name}" for name in names]),
            *(f"$JS.ACK.*.{name}.>" for name in names),
            f"{layout.prefix}node.-.refused.{token(identity.name)}",
            f"{layout.prefix}alive.ask",
        ),
        _hears(layout),
    )


def _agent(layout: Layout, identity: Identity) -> Grant:
    """Verbs with wildcards, since the account imports no other streams: each subject costs nats-server
    1.6 KB for each agent."""
    prefix, nodes = layout.prefix, [token(node) for node in identity.nodes]
    return Grant(
        (
            *(f"{prefix}node.{node}.>" for node in nodes),
            *(f"{prefix}alive.node.{node}.>" for node in nodes),
            "$JS.API.INFO",
            *_asks("STREAM.INFO", ["*"]),
            *_asks("STREAM.MSG.GET", ["*"]),
            *_asks("DIRECT.GET", [">"]),
            *_asks("CONSUMER.CREATE", [f"*.*.{prefix}ipam.>"]),
            *_asks("CONSUMER.CREATE", [f"*.*.{prefix}node.{node}.cni.>" for node in nodes]),
            *_asks("CONSUMER.MSG.NEXT", ["*.*"]),
        ),
        (
            f"{prefix}live.ipam.map.>",
            *(f"{prefix}live.ipam.address.{node}.>" for node in nodes),
            *(f"{prefix}alive.ipam.address.{node}" for node in nodes),
            f"{prefix}alive.ipam",
            f"{prefix}alive.ask",
        ),
    )


def _leaf(layout: Layout, _: Identity) -> Grant:
    """A leaf node speaks for the agents that connect to it."""
    requests = interface(layout.cluster, NODES).requests
    return Grant(tuple(subject.replace(API, alias(layout.cluster)) for subject in requests), (">",))


_GRANTS = {
    WATCHER: _watcher, IPAM_ROLE: _ipam, OPERATOR: _operator, READER: _reader, AGENT: _agent,
    THIRD_PARTY: _third_party, LEAF: _leaf,
}  # fmt: skip


# --- requests of JetStream's API ----------------------------------------------------------------------------


def _asks(verb: str, of: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"$JS.API.{verb}.{what}" for what in of)


def _both(layout: Layout, *roles: str) -> tuple[str, ...]:
    """The logs and tables of these roles."""
    return tuple(name for role in roles for name in (layout.stream(role), layout.table(role)))


def _reads(layout: Layout) -> tuple[str, ...]:
    """Everything that a reader of all streams asks for."""
    streams = _both(layout, *ROLES)
    return (
        "$JS.API.INFO",
        *_asks("STREAM.INFO", [*streams, layout.lease]),
        *_asks("STREAM.MSG.GET", [*streams, layout.lease]),
        *_asks("DIRECT.GET", streams),
        *_asks("DIRECT.GET", [f"{stream}.>" for stream in streams]),
        *_asks("CONSUMER.CREATE", [f"{stream}.*.>" for stream in streams]),
        *_asks("CONSUMER.MSG.NEXT", [f"{stream}.*" for stream in streams]),
        *_asks("CONSUMER.DELETE", [f"{stream}.*" for stream in streams]),
        *_asks("CONSUMER.LIST", streams),
    )


def _hears(layout: Layout) -> tuple[str, ...]:
    """What everybody but an agent hears; see `interface` for the readers' account."""
    prefix = layout.prefix
    return f"{prefix}live.>", f"{prefix}alive.>"
