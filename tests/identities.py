"""Who connects to the tests' NATS servers: the identities of `romana-bus auth`, with its permissions.

Tests share servers, and each takes a cluster of its own name. So the permissions here are those of the
cluster `*`: subjects are those of any cluster, and a request may name any stream. Which streams a role may
name is held by `tests/bus/auth`, and by the tests of the embedded server and of the lab, where there is one
cluster.
"""

from __future__ import annotations

import atexit
import base64
import functools
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import nkeys

from romana_bus.bus.auth import directory, server_file
from romana_bus.bus.auth.permissions import DECIDE, OPERATE, OPERATOR, READ, UP, WATCH, Identity, agent_of
from romana_bus.bus.connect import Access
from romana_bus.bus.credentials import seed_login

if TYPE_CHECKING:
    from nats.aio.client import Client

#: Of a test server alone: it may do everything. For what no role may do: to write as several at once, to fill
#: a server, to send what is hostile.
ADMINISTRATOR = Identity("administrator", (OPERATOR,))
#: Nodes whose agents have an identity, beside "me" of tests with one node.
NODES = tuple(f"node{number}" for number in range(10))


@functools.cache
def credentials() -> Path:
    """A directory with a seed file for each identity, and the servers' file."""
    made = Path(tempfile.mkdtemp(prefix="romana-identities-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    (made / directory.CREDS).mkdir()
    users = [(identity, [_key(made, identity)]) for identity in (WATCH, DECIDE, OPERATE, READ, UP)]
    users += [(agent_of(node), [_key(made, agent_of(node))]) for node in (*NODES, "me")]
    text = _of_any_cluster(server_file.server_file("*", users))
    everything = f"users: [\n{{ nkey: {_key(made, ADMINISTRATOR)} }}"
    (made / directory.SERVER).write_text(text.replace("users: [", everything, 1))
    return made


def permissions() -> str:
    """The part of a server's configuration."""
    return (credentials() / directory.SERVER).read_text()


def _key(made: Path, identity: Identity) -> str:
    new = directory.new_key(identity.name, "")
    directory.write_seed(made, identity.name, new.seed)
    return new.key.public


def _of_any_cluster(text: str) -> str:
    """The file with `*` for each stream's name, since a wildcard is a whole token: lists without the lines
    that are the same then, and without a leaf node's, since a subject with wildcards cannot be mapped."""
    lines: list[str] = []
    subjects: set[str] = set()
    for line in re.sub(r"ROMANA_\*_[A-Z_]+", "*", text).splitlines():
        if line.endswith("["):
            subjects = set()
        if '"' in line and (line in subjects or '"romana.*.api.' in line):
            continue
        subjects.add(line)
        lines.append(line)
    return "\n".join(lines)


def access_to(*urls: str, monitor: str = "") -> Access:
    return Access(servers=urls, creds=credentials(), monitor=monitor)


def log_options(url: str, cluster: str) -> tuple[str, ...]:
    """A command's, for a log on that server."""
    return ("--nats", url, "--cluster", cluster, "--creds", str(credentials()))


def login(who: Identity) -> dict[str, Any]:
    """nats-py's options."""
    return seed_login(directory.seed_file(credentials(), who.name)).options


def signature(who: Identity, nonce: str) -> dict[str, str]:
    """How to log in with CONNECT."""
    keys = nkeys.from_seed(bytearray(login(who)["nkeys_seed_str"], "ascii"))
    signed = base64.urlsafe_b64encode(keys.sign(nonce.encode())).rstrip(b"=")
    return {"nkey": keys.public_key.decode(), "sig": signed.decode()}


async def administrator(*urls: str) -> Client:
    """A plain client of the administrator."""
    return await nats.connect(list(urls), connect_timeout=10, **login(ADMINISTRATOR))
