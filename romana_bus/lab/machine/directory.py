"""A lab's directory, /run/romana-bus-lab/NAME: the lab's record, and files for its processes and for people.

    lab.json        the spec, and facts recorded while it came up
    prefixes.json   the prefixes of each zone's pods
    env             for a shell to source: the log and the API server that commands use
    kubeconfig      topology.yaml
    logs/           one file for each process
    processes/      one record for each process
    nats/           the embedded NATS server's store, and the credentials of everybody (auth/)
    nodes/NODE/     run, state (the agent's), bin, net.d (CNI), sandboxes, cni, manifests (the kubelet's)

Creating it reserves the name: of two concurrent `lab up`, one fails here.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from romana_bus import files
from romana_bus.errors import BadInput, Failed
from romana_bus.lab.spec import Spec

ROOT = Path("/run/romana-bus-lab")

#: The port of NATS at the nodes' gateway.
RELAY_PORT = 4222

#: The environment variable that holds the lab's name in each of its processes.
MARK = "ROMANA_LAB"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`up`: the lab came up completely. `server`: URL of the lab's own API server; '' if it has none."""

    spec: Spec
    up: bool = False
    server: str = ""


class NatsAccess(msgspec.Struct, frozen=True):
    """The address of NATS, as the embedded server's keeper writes them
    (bus/embedded/keeper.py)."""

    port: int

    @property
    def url(self) -> str:
        """The URL for processes in the machine's own namespace."""
        return f"nats://127.0.0.1:{self.port}"

    def relayed(self, gateway: str) -> str:
        """The URL for nodes with that gateway."""
        return f"nats://{gateway}:{RELAY_PORT}"


class Lab:
    """A lab's directory. `facts`: as of the last read or write of lab.json by this process."""

    def __init__(self, directory: Path, facts: Facts) -> None:
        self.directory, self.facts = directory, facts

    @classmethod
    def make(cls, spec: Spec) -> Lab:
        """Create the directory. Raises BadInput if it exists already, Failed if it cannot be created."""
        directory = ROOT / spec.name
        try:
            ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
        except FileExistsError:
            state = "is up already" if _is_up(directory) else "is on its way up, or was left half up"
            raise BadInput(
                f"lab {spec.name} {state}: `{command(spec.name, 'status')}` says whether something "
                f"has ended, `{command(spec.name, 'down')}` takes it down"
            ) from None
        except OSError as error:
            raise Failed(f"cannot make {directory}: {error.strerror}") from None
        lab = cls(directory, Facts(spec=spec))
        for part in ("logs", "processes", "nats"):
            (directory / part).mkdir(mode=0o700, parents=True)
        lab.learn()
        return lab

    @classmethod
    def open(cls, name: str) -> Lab:
        """The lab of that name. Raises BadInput if it is not up."""
        directory = ROOT / name
        facts = _facts(directory)
        if facts is None:
            raise BadInput(f"lab {name} is not up: start it with {command(name, 'up')}")
        return cls(directory, facts)

    @property
    def spec(self) -> Spec:
        return self.facts.spec

    def command(self, text: str) -> str:
        """A command for this lab, as a user would type it."""
        return command(self.spec.name, text)

    @property
    def credentials(self) -> Path:
        """The authorization directory of the lab's NATS server (bus/auth)."""
        return self.directory / "nats/auth"

    def node(self, name: str) -> Path:
        return self.directory / "nodes" / name

    def learn(self, **facts: object) -> None:
        """Record these facts in lab.json."""
        self.facts = msgspec.structs.replace(self.facts, **facts)
        write(self.directory / "lab.json", msgspec.json.encode(self.facts))

    def prefixes(self) -> dict[str, tuple[str, ...]]:
        """Zone -> the prefixes of its pods; zones whose prefixes are not known yet are missing."""
        try:
            body = (self.directory / "prefixes.json").read_bytes()
            return msgspec.json.decode(body, type=dict[str, tuple[str, ...]])
        except (OSError, msgspec.DecodeError):
            return {}

    def keep_prefixes(self, prefixes: dict[str, tuple[str, ...]]) -> None:
        write(self.directory / "prefixes.json", msgspec.json.encode(prefixes))

    def nats(self) -> NatsAccess:
        """How to reach the lab's NATS server. Raises Failed if it was never started."""
        try:
            return msgspec.json.decode((self.directory / "nats/server.json").read_bytes(), type=NatsAccess)
        except (OSError, msgspec.DecodeError):
            raise Failed("the lab's NATS server has not started") from None

    def forget(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            raise Failed(f"cannot remove {self.directory}")
        with contextlib.suppress(OSError):  # there are other labs
            ROOT.rmdir()


def _facts(directory: Path) -> Facts | None:
    try:
        return msgspec.json.decode((directory / "lab.json").read_bytes(), type=Facts)
    except (OSError, msgspec.DecodeError):
        return None


def _is_up(directory: Path) -> bool:
    facts = _facts(directory)
    return facts is not None and facts.up


def command(lab: str, text: str) -> str:
    """A command for that lab as a user would type it: --name is left out for the default lab."""
    return f"romana-bus lab {text}{'' if lab == 'lab' else f' --name {lab}'}"


def write(path: Path, body: bytes | str) -> None:
    """Write a file atomically, readable only by its owner. Raises OSError."""
    files.write(path, body.encode() if isinstance(body, str) else body, mode=0o600)
