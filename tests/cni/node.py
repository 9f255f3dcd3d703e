"""A node in a network namespace with its agent process, its pods, and CNI calls as libcni makes them."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests import kernel
from tests.cni.calling import CLIENTS, PLUGINS, Answer, Pod, execute, fetched, invoke, sh, until
from tests.cni.deciding import NodeLog
from tests.identities import NODES, log_options
from tests.kernel import BLOCKS, PODS, gateways
from tests.servers import NatsServer

if TYPE_CHECKING:
    from tests.kernel import Address, Link

ROMANA_BUS = str(Path(sys.executable).with_name("romana-bus"))

#: The same program, whose outbox holds nothing back, and which looks at its links all the time.
HASTY = """
from romana_bus.agent import node_check
from romana_bus.cli.main import main
from romana_bus.cni.server import link_reconciler
from romana_bus.cni.server.outbox import Outbox
Outbox.hold_down, link_reconciler.EVERY, node_check.EVERY = 0.0, 0.2, 0.2
main()
"""

_numbers = itertools.count(1)


class Reachable(NatsServer):
    """Also from other network namespaces."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.extra = f'listen: "0.0.0.0:{self.port}"'


class Attached(NamedTuple):
    network: str
    container: str


class Node(NodeLog):
    """One namespace, joined to the tests' own by a veth pair, over which NATS is reached."""

    def __init__(self, directory: Path, nats: NatsServer, cluster: str, *options: str) -> None:
        number = next(_numbers)
        super().__init__(NODES[number % len(NODES)], nats, cluster)
        self.directory, self.options = directory, options
        self.netns = f"rbt{os.getpid()}-{number}"
        self.uplink = f"rbt{os.getpid() % 100000}.{number}"
        net = random.Random(f"{os.getpid()} {number}").randrange(1 << 15) * 4
        first = ipaddress.ip_address("198.18.0.0") + net
        self.outside, self.address = str(first + 1), str(first + 2)
        self.log_address = self.outside
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        self.hasty = False
        self.agent: subprocess.Popen[bytes] | None = None
        self.pods: list[Pod] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._made = itertools.count(1)

    # --- the node ---------------------------------------------------------------------------------------

    def __enter__(self) -> Node:
        self.directory.mkdir(parents=True, exist_ok=True)
        sh("ip", "netns", "add", self.netns)
        try:
            self.ip("link", "set", "lo", "up")
            sh("ip", "link", "add", self.uplink, "type", "veth", "peer", "name", "eth0", "netns", self.netns)
            sh("ip", "addr", "add", f"{self.outside}/30", "dev", self.uplink)
            sh("ip", "link", "set", self.uplink, "up")
            self.ip("addr", "add", f"{self.address}/30", "dev", "eth0")
            self.ip("link", "set", "eth0", "mtu", "1450", "up")
            self.ip("route", "add", "default", "via", self.outside)
            self.placed(self.address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for one in self._running:
            one.kill()
            one.wait()
        for pod in self.pods:
            subprocess.run(["ip", "netns", "del", pod.netns], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.uplink], capture_output=True, check=False)

    def ip(self, *arguments: str) -> str:
        return sh("ip", "-n", self.netns, *arguments)

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return execute(self.netns, *command)

    def background(self, netns: str, *command: str) -> subprocess.Popen[bytes]:
        """Ended with the node."""
        self._running.append(subprocess.Popen(["ip", "netns", "exec", netns, *command]))
        return self._running[-1]

    def routes(self) -> dict[str, str]:
        """The addresses of pods that it routes, with their links."""
        return {route.destination: route.link for route in kernel.routes(self.netns, PODS)}

    def blocks(self) -> set[str]:
        """The blocks of other nodes that it has a route to."""
        return set(gateways(kernel.routes(self.netns, BLOCKS)))

    def links(self) -> dict[str, Link]:
        return kernel.links(self.netns)

    def addresses(self, link: str = "") -> set[Address]:
        """Of one link, or of all."""
        return kernel.addresses(self.netns, link)

    # --- its agent --------------------------------------------------------------------------------------

    def start(self, *options: str, behind: tuple[str, ...] = ()) -> Node:
        """The agent; gives when it serves. `behind`: a command that starts it."""
        with (self.directory / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, *behind, *self.command(*options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._serves, "the agent serves", self.log)
        return self

    def command(self, *options: str) -> list[str]:
        """The agent's, where these come behind what it is started with here, or stand for it."""
        program = [sys.executable, "-c", HASTY] if self.hasty else [ROMANA_BUS]
        kept = {
            "--run-dir": str(self.run_dir), "--state-dir": str(self.state_dir), "--status-grace": "0",
        }  # fmt: skip
        return [
            *program, "agent", "--node", self.name,
            *(word for one in kept.items() if one[0] not in options for word in one),
            *log_options(f"nats://{self.log_address}:{self.nats.port}", self.cluster),
            "--listen", f"{self.address}:9600", *self.options, *options,
        ]  # fmt: skip

    def _serves(self) -> bool:
        assert self.agent is not None
        assert self.agent.poll() is None, self.log()
        with socket.socket(socket.AF_UNIX) as caller:
            return caller.connect_ex(str(self.run_dir / "cni.sock")) == 0

    @property
    def pid(self) -> int:
        assert self.agent is not None
        return self.agent.pid

    def signal(self, number: int) -> None:
        assert self.agent is not None
        self.agent.send_signal(number)

    def kill(self) -> None:
        """As the kernel would."""
        self.signal(signal.SIGKILL)
        assert self.agent is not None
        self.agent.wait(10)

    def stop(self) -> int | None:
        if self.agent is None:
            return None
        self.signal(signal.SIGCONT)
        self.agent.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.agent.wait(20)
        self.kill()
        return None

    def restart(self, *, hasty: bool = False) -> Node:
        """After a kill. `hasty`: from now on, delayed removals are published at once."""
        self.kill()
        self.hasty = hasty
        return self.start()

    def log(self) -> str:
        return (self.directory / "agent.log").read_text()

    def until_synced(self) -> Node:
        until(lambda: self.status().code == 0, "the agent is in sync", self.log)
        return self

    # --- pods -------------------------------------------------------------------------------------------

    def pod(self, name: str = "", uid: str = "") -> Pod:
        """A new sandbox, of a pod of that name."""
        number = next(self._made)
        netns = f"{self.netns}-p{number}"
        sh("ip", "netns", "add", netns)
        name = name or f"pod-{number}"
        made = Pod(netns, f"{self.netns}sandbox{number}", name, uid or f"uid-{name}")
        self.pods.append(made)
        return made

    def config(self, **fields: Any) -> dict[str, Any]:
        ours = {
            "cniVersion": "1.1.0",
            "name": "pods",
            "type": "romana-cni",
            "socket": str(self.run_dir / "cni.sock"),
        }
        return ours | fields

    def call(self, command: str, pod: Pod | None = None, client: str = "c", **fields: Any) -> Answer:
        """As libcni does: the environment of a runtime, the configuration on stdin."""
        without = {"CNI_COMMAND": command, "CNI_PATH": str(PLUGINS), "PATH": os.environ["PATH"]}
        environment = pod.environment(command) if pod else without
        return invoke(CLIENTS[client], environment, json.dumps(self.config(**fields)).encode())

    def invoke(self, environment: dict[str, str]) -> Answer:
        return invoke(CLIENTS["c"], environment, json.dumps(self.config()).encode())

    def journal(self) -> list[Path]:
        return sorted(self.state_dir.glob("journal/*.json"))

    def until_published(self) -> Node:
        """Waits until the agent has published its whole journal."""
        until(lambda: not self.journal(), "the journal is empty", self.log)
        return self

    def until_knowing(self) -> Node:
        """Until its agent, which is in sync, knows what the log has of this node: then it writes nothing for
        the end of a pod that was never asked for, and has nothing more to do with earlier ones."""
        nobody = Pod("none", f"{self.netns}nobody", "nobody", "uid-nobody")

        def knows() -> bool:
            before = self._written()
            self.delete(nobody)
            return self._written() == before and not self._waits_for(nobody)

        until(knows, "the agent has read what the log has", self.log)
        return self

    def _written(self) -> tuple[int, int]:
        """Changes whenever it writes its journal, or fails to."""
        return self.journal_written, self.log().count("the journal cannot be written")

    def _waits_for(self, pod: Pod) -> bool:
        """Whether an event of the pod is in the journal."""
        with contextlib.suppress(FileNotFoundError):  # it was published meanwhile: look again
            return any(pod.uid in file.read_text() for file in self.journal())
        return True

    @property
    def journal_written(self) -> int:
        """When a file came or went there, ns."""
        return (self.state_dir / "journal").stat().st_mtime_ns

    def attached(self) -> list[Attached]:
        """What its agent's files say."""
        found = []
        for file in sorted(self.run_dir.glob("attachments/*.json")):
            with contextlib.suppress(FileNotFoundError):  # a DEL has removed it meanwhile
                one = json.loads(file.read_text())
                found.append(Attached(one["network"], one["attached"]["containerID"]))
        return found

    def add(self, pod: Pod, **fields: Any) -> Answer:
        return self.call("ADD", pod, **fields)

    def added(self, pod: Pod, **fields: Any) -> Any:
        """The result of an ADD that went well."""
        answer = self.add(pod, **fields)
        assert answer.code == 0, f"{answer}\n{self.log()}"
        return answer.json

    def delete(self, pod: Pod, **fields: Any) -> None:
        answer = self.call("DEL", pod, **fields)
        assert answer == (0, "", ""), f"{answer}\n{self.log()}"

    def check(self, pod: Pod, result: Any, **fields: Any) -> Answer:
        return self.call("CHECK", pod, prevResult=result, **fields)

    def collect(self, key: str, attachments: list[dict[str, str]]) -> Answer:
        """GC with the valid attachments under that key."""
        fields: dict[str, Any] = {key: attachments}
        return self.call("GC", **fields)

    def status(self) -> Answer:
        return self.call("STATUS")

    def until_read(self) -> None:
        """Until the agent, which runs for as long as this node has pods, has read what was decided."""
        self.until_folded(self.addressed)

    def until_folded(self, count: int) -> None:
        """Until the agent has read that many address events."""
        wanted = f'romana_events_folded_total{{consumer="cni",stream="IPAM"}} {count}.0'
        until(lambda: wanted in self.metrics(), f"{count} address events are read", self.log)

    def boots(self, consumer: str, why: str = "") -> int:
        """How often this agent has read the tables, for this reason or for any."""
        pattern = rf'romana_boots_total{{consumer="{consumer}",why="{why or "[a-z]+"}"}} (\d+)'
        return sum(map(int, re.findall(pattern, self.metrics())))

    def metrics(self) -> str:
        return self.fetches("metrics")

    def fetches(self, path: str) -> str:
        """The body of the answer, behind the status where that is not 200; '' before it is up."""
        try:
            return fetched(f"http://{self.address}:9600/{path}")
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"
        except urllib.error.URLError:
            return ""


class Governed(Node):
    """One whose place is decided by a real decider."""

    def placed(self, *_: object, **__: object) -> None: ...
