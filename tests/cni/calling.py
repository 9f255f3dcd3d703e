"""Calls as a runtime makes them, and what is looked at in a node's and in its pods' namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.cni.plugin.install import source
from tests import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = {"c": source(), "python": source().with_name("client.py")}
PLUGINS = Path("/usr/lib/cni")


class Answer(NamedTuple):
    """The result of an executable."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def fails(self, code: int, *parts: str) -> None:
        """A CNI error object with that code, whose text has all the parts."""
        assert self.code == 1, self
        said = self.json
        assert said["code"] == code, said
        text = f"{said['msg']}: {said.get('details', '')}"
        for part in parts:
            assert part in text, said


class Pod(NamedTuple):
    """A sandbox, as a runtime has it. `at`: the path of its namespace, where that is not its own."""

    netns: str
    container: str
    name: str
    uid: str
    namespace: str = "default"
    at: str = ""
    ifname: str = "eth0"

    @property
    def path(self) -> str:
        return self.at or f"/run/netns/{self.netns}"

    def links(self) -> dict[str, kernel.Link]:
        return kernel.links(self.netns)

    @property
    def arguments(self) -> str:
        parts = {"NAMESPACE": self.namespace, "NAME": self.name, "UID": self.uid}
        known = ";".join(f"K8S_POD_{what}={value}" for what, value in parts.items())
        return f"IgnoreUnknown=1;{known};K8S_POD_INFRA_CONTAINER_ID={self.container}"

    def environment(self, command: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.path,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": self.arguments,
            "CNI_PATH": str(PLUGINS),
            "PATH": os.environ["PATH"],
        }


def invoke(executable: Path | str, environment: dict[str, str], stdin: bytes, *arguments: str) -> Answer:
    done = subprocess.run(
        [executable, *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=False
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def unusable() -> str:
    """Why there can be no nodes and pods here, or ''."""
    if os.geteuid() != 0:
        return "needs root: network namespaces"
    tried = f"rbtry{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", tried], capture_output=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "del", tried], check=False)
    return ""


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
    return done.stdout.decode()


def execute(netns: str, *command: str) -> subprocess.CompletedProcess[str]:
    line = ["ip", "netns", "exec", netns, *command]
    return subprocess.run(line, capture_output=True, check=False, text=True, timeout=60)


def pings(netns: str, address: str, within: int = 5) -> bool:
    """Whether a packet arrives and comes back."""
    return execute(netns, "ping", "-c", "1", "-W", str(within), address).returncode == 0


def until(condition: Callable[[], Any], what: str, log: Callable[[], str] = str, within: float = 60.0) -> Any:
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}\n{log()[-4000:]}"
        time.sleep(0.02)
    return found


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text
