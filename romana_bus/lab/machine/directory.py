"""A lab's directory, /run/romana-bus-lab/NAME: the lab's record, and what people and its processes read.

    lab.json        the spec, and facts recorded while it came up
    prefixes.json   the prefixes of each zone's pods
    env             to source: which log and which API server the commands mean
    kubeconfig      topology.yaml
    logs/           one file for each process
    processes/      one record for each process
    nats/           the embedded NATS server's store and credentials
    nodes/NODE/     run, state (the agent's), bin, net.d (CNI), sandboxes, cni, manifests (the kubelet's)

Making it takes the name: of two `lab up` at the same time, one fails here.
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

#: Where nodes find NATS, at their gateway.
RELAY_PORT = 4222

#: Set for every process of a lab, to its name.
MARK = "ROMANA_LAB"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`up`: it came up whole. `server`: URL of the API server, where it is our own."""

    spec: Spec
    up: bool = False
    server: str = ""


class NatsAccess(msgspec.Struct, frozen=True):
    """What the embedded server's keeper wrote down (bus/embedded/keeper.py)."""

    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        """From the machine itself."""
        return f"nats://{self.user}:{self.password}@127.0.0.1:{self.port}"

    def relayed(self, gateway: str) -> str:
        """From a node of that gateway."""
        return f"nats://{self.user}:{self.password}@{gateway}:{RELAY_PORT}"


class Lab:
    """`facts`: as they were when this was opened, or last written."""

    def __init__(self, directory: Path, facts: Facts) -> None:
        self.directory, self.facts = directory, facts

    @classmethod
    def make(cls, spec: Spec) -> Lab:
        """Make the directory. Raises BadInput where there is one already, Failed where it cannot be made."""
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
        """Raises BadInput where no such lab is up."""
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

    def node(self, name: str) -> Path:
        return self.directory / "nodes" / name

    def learn(self, **facts: object) -> None:
        """Record these facts in lab.json."""
        self.facts = msgspec.structs.replace(self.facts, **facts)
        write(self.directory / "lab.json", msgspec.json.encode(self.facts))

    def prefixes(self) -> dict[str, tuple[str, ...]]:
        """Zone -> the prefixes of its pods, as far as they are known."""
        try:
            body = (self.directory / "prefixes.json").read_bytes()
            return msgspec.json.decode(body, type=dict[str, tuple[str, ...]])
        except (OSError, msgspec.DecodeError):
            return {}

    def keep_prefixes(self, prefixes: dict[str, tuple[str, ...]]) -> None:
        write(self.directory / "prefixes.json", msgspec.json.encode(prefixes))

    def nats(self) -> NatsAccess:
        """Raises Failed as long as it was never started."""
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
    """A command for that lab as a user would type it: without the default name."""
    return f"romana-bus lab {text}{'' if lab == 'lab' else f' --name {lab}'}"


def write(path: Path, body: bytes | str) -> None:
    """Write a file atomically, readable by its owner alone. Raises OSError."""
    files.write(path, body.encode() if isinstance(body, str) else body, mode=0o600)
