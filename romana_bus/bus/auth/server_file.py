"""The server's file: accounts, users and their permissions, in nats-server's configuration language. Pure.

It holds public keys only. The streams' account must have JetStream, so the file goes where `jetstream` is set
up; leaf nodes, which have no streams, get a file without them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from romana_bus.bus.auth.permissions import API, LEAF, LOG, NODES, READERS, alias, grant, interface
from romana_bus.bus.parts import ALIVE
from romana_bus.bus.stream_config import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.bus.auth.permissions import Identity

HEAD = """\
# Written by `romana-bus auth`, which rewrites it as a whole: do not edit it.
# Cluster {cluster}. Include it in the configuration of every server{of}.
"""
#: Requests with more than one answer.
_MANY_ANSWERS = ("$JS.API.DIRECT.GET.", "$JS.API.CONSUMER.MSG.NEXT.")


def server_file(cluster: str, users: Sequence[tuple[Identity, Sequence[str]]]) -> str:
    """The text for servers with JetStream. `users`: identities with their public keys."""
    interfaces = [interface(cluster, account) for account in (NODES, READERS)]
    requests = dict.fromkeys(subject for asked in interfaces for subject in asked.requests)
    heard = dict.fromkeys(subject for asked in interfaces for subject in asked.heard)
    exports = [
        *(_block(f"stream: {_quoted(subject)}") for subject in heard),
        *(_block(f"service: {_quoted(subject)}{_answers(subject)}") for subject in requests),
    ]
    accounts = [_account(LOG, "jetstream: enabled", _users(cluster, LOG, users), exports=exports)]
    # nats-server passes on to an account what another one says in LOG only where it is said there itself.
    question, answers = (
        f"{Layout(cluster).prefix}{subject}" for subject in (f"{ALIVE}.ask", f"{ALIVE}.node.>")
    )
    says, hears = {NODES: answers, READERS: question}, {NODES: (READERS, question), READERS: (NODES, answers)}
    for account, asked in zip((NODES, READERS), interfaces, strict=True):
        other, subject_of_other = hears[account]
        imports = [
            *(_imported("stream", subject) for subject in asked.heard),
            _imported("stream", subject_of_other, of=other),
            *(_imported("service", subject) for subject in asked.requests),
        ]
        if account == NODES:  # once more, for leaf nodes
            imports += [
                _imported("service", subject, subject.replace(API, alias(cluster)))
                for subject in asked.requests
                if subject.startswith(API)
            ]
        exports = [_block(f"stream: {_quoted(says[account])}")]
        users_of = _users(cluster, account, users)
        accounts.append(_account(account, "", users_of, exports=exports, imports=imports))
    return (
        HEAD.format(cluster=cluster, of=" with JetStream") + _block("\n".join(accounts), "accounts ") + "\n"
    )


def leaf_file(cluster: str, identities: Sequence[tuple[Identity, Sequence[str]]]) -> str:
    """The text for leaf nodes, to which agents connect; their requests go to the servers behind."""
    agents = [(identity, keys) for identity, keys in identities if LEAF not in identity.roles]
    mapped = _block(f'"{API}>": "{alias(cluster)}>"', "mappings: ")
    # nats-server maps a subject before it looks at permissions.
    users = [text.replace(API, alias(cluster)) for text in _users(cluster, NODES, agents)]
    accounts = [_account(NODES, mapped, users)]
    return (
        HEAD.format(cluster=cluster, of=" that is a leaf node")
        + _block("\n".join(accounts), "accounts ")
        + "\n"
    )


def _users(cluster: str, account: str, users: Iterable[tuple[Identity, Sequence[str]]]) -> list[str]:
    return [
        f"# {identity.name}\n" + _user(cluster, identity, key)
        for identity, keys in users
        if identity.account == account
        for key in keys
    ]


def _user(cluster: str, identity: Identity, key: str) -> str:
    granted = grant(cluster, identity)
    permissions = "\n".join(
        f"{what}: [\n" + _indented("\n".join(map(_quoted, subjects))) + "\n]"
        for what, subjects in (("publish", granted.publish), ("subscribe", granted.subscribe))
    )
    return _block(f"nkey: {key}\n" + _block(permissions, "permissions: "))


def _account(name: str, first: str, users: list[str], **lists: Sequence[str]) -> str:
    parts = [first] if first else []
    for kind, entries in {"users": users, **lists}.items():
        parts.append(f"{kind}: [\n" + _indented("\n".join(entries)) + "\n]")
    return _block("\n".join(parts), f"{name} ")


def _imported(kind: str, subject: str, to: str = "", of: str = LOG) -> str:
    other = f", to: {_quoted(to)}" if to else ""
    return f"{{ {kind}: {{ account: {of}, subject: {_quoted(subject)} }}{other} }}"


def _answers(subject: str) -> str:
    return ", response_type: stream" if subject.startswith(_MANY_ANSWERS) else ""


def _block(text: str, head: str = "") -> str:
    return f"{head}{{ {text} }}" if "\n" not in text else f"{head}{{\n{_indented(text)}\n}}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _quoted(subject: str) -> str:
    return json.dumps(subject)
