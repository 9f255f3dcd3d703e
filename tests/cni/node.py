"""A node in a network namespace with its agent process, its pods, and CNI calls as libcni makes them."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus import codec
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.streams import Layout
from romana_bus.cni.install import source
from romana_bus.events import IPAM, NODE, AddressAssigned, AddressDenied, AddressReleased, PodAddress
from romana_bus.feed import outgoing
from romana_bus.lead import now
from tests.conftest import ROLES, run
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from romana_bus.bus.api import Store

ROMANA_BUS = str(Path(sys.executable).with_name("romana-bus"))
CLIENTS = {"c": source(), "python": source().with_name("client.py")}
PLUGINS = Path("/usr/lib/cni")

_numbers = itertools.count(1)


def unusable() -> str:
    """Why these tests cannot run here, or ''."""
    if os.geteuid() != 0:
        return "needs root: network namespaces"
    tried = f"rbtry{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", tried], capture_output=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "del", tried], check=False)
    return ""


class Answer(NamedTuple):
    """What an executable said."""

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


class Reachable(NatsServer):
    """Also from other network namespaces."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.extra = f'listen: "0.0.0.0:{self.port}"'


class Pod(NamedTuple):
    """A sandbox, as a runtime has it."""

    netns: str
    container: str
    name: str
    uid: str
    namespace: str = "default"

    @property
    def path(self) -> str:
        return f"/run/netns/{self.netns}"

    @property
    def arguments(self) -> str:
        parts = {"NAMESPACE": self.namespace, "NAME": self.name, "UID": self.uid}
        known = ";".join(f"K8S_POD_{what}={value}" for what, value in parts.items())
        return f"IgnoreUnknown=1;{known};K8S_POD_INFRA_CONTAINER_ID={self.container}"


class Attached(NamedTuple):
    network: str
    container: str


class Node:
    """One namespace, joined to the tests' own by a veth pair, over which NATS is reached."""

    def __init__(self, directory: Path, nats: NatsServer, cluster: str, *options: str) -> None:
        self.directory, self.nats, self.cluster, self.options = directory, nats, cluster, options
        number = next(_numbers)
        self.name = f"node{number}"
        self.netns = f"rbt{os.getpid()}-{number}"
        self.uplink = f"rbt{os.getpid() % 100000}.{number}"
        net = random.Random(f"{os.getpid()} {number}").randrange(1 << 15) * 4
        first = ipaddress.ip_address("198.18.0.0") + net
        self.outside, self.address = str(first + 1), str(first + 2)
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        self.agent: subprocess.Popen[bytes] | None = None
        self.pods: list[Pod] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._made, self._given = itertools.count(1), itertools.count(1)

    def fresh(self) -> tuple[str, str]:
        """An address of each family that no pod here had yet."""
        number = next(self._given)
        return f"10.77.0.{number}", f"fd77::{number:x}"

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
        found = {}
        for family in ("-4", "-6"):
            for line in self.ip(family, "route", "show", "proto", "83").splitlines():
                words = line.split()
                found[words[0]] = words[words.index("dev") + 1]
        return found

    # --- its agent --------------------------------------------------------------------------------------

    def start(self, *options: str) -> Node:
        """The agent; gives when it serves."""
        with (self.directory / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, *self.command(*options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(
            lambda: self.agent and self.agent.poll() is None and self._listens(), "the agent serves", self.log
        )
        return self

    def command(self, *options: str) -> list[str]:
        return [
            ROMANA_BUS, "agent", "--node", self.name,
            "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir),
            "--nats", f"nats://{self.outside}:{self.nats.port}", "--cluster", self.cluster,
            "--listen", f"{self.address}:9600", *self.options, *options,
        ]  # fmt: skip

    def _listens(self) -> bool:
        answer = self.status()
        return answer.code == 0 or "does not answer" not in answer.out

    @property
    def pid(self) -> int:
        assert self.agent is not None
        return self.agent.pid

    def kill(self) -> None:
        """As the kernel would."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait(10)

    def stop(self) -> int | None:
        if self.agent is None:
            return None
        self.agent.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.agent.wait(20)
        self.kill()
        return None

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
        environment = {"CNI_COMMAND": command, "CNI_PATH": str(PLUGINS), "PATH": os.environ["PATH"]}
        if pod is not None:
            environment |= {
                "CNI_CONTAINERID": pod.container,
                "CNI_NETNS": pod.path,
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": pod.arguments,
            }
        return invoke(CLIENTS[client], environment, json.dumps(self.config(**fields)).encode())

    def invoke(self, environment: dict[str, str]) -> Answer:
        return invoke(CLIENTS["c"], environment, json.dumps(self.config()).encode())

    def attached(self) -> list[Attached]:
        """What its agent's files say."""
        found = [json.loads(file.read_text()) for file in sorted(self.run_dir.glob("attachments/*.json"))]
        return [Attached(one["network"], one["attached"]["containerID"]) for one in found]

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
        """GC, where that key says what stays."""
        fields: dict[str, Any] = {key: attachments}
        return self.call("GC", **fields)

    def status(self) -> Answer:
        return self.call("STATUS")

    # --- what the log says ------------------------------------------------------------------------------

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """The store that its agent follows."""
        return _opened(self.nats.url, self.cluster)

    def decided(self, pod: Pod, *addresses: str) -> tuple[str, ...]:
        """Decided as IPAM does, on the log."""

        async def decide() -> None:
            async with self.opened() as store:
                await self.decide(store, pod, *addresses)

        run(decide())
        return addresses

    def newest(self, subject: str) -> Any:
        """The newest event of a subject on the log, or None."""
        found: list[Any] = [None]

        async def look() -> None:
            async with self.opened() as store:
                message = await store.newest(NODE, subject)
                found[0] = codec.decode(message.body) if message else None

        run(look())
        return found[0]

    def newest_of(self, pod: Pod) -> Any:
        return self.newest(f"node.{self.name}.cni.{pod.namespace}.{pod.name}")

    async def decide(self, store: Store, pod: Pod, *addresses: str) -> None:
        """As IPAM does for a pod that the API shows."""
        given = tuple(PodAddress(address=one, network="net", block="10.77.0.0/24") for one in addresses)
        await publish(store, AddressAssigned(**self._pod(pod), tenant="default", addresses=given))

    async def deny(self, store: Store, pod: Pod, reason: str) -> None:
        await publish(store, AddressDenied(**self._pod(pod), code="exhausted", reason=reason))

    async def release(self, store: Store, pod: Pod) -> None:
        await publish(store, AddressReleased(**self._pod(pod)))

    def _pod(self, pod: Pod) -> dict[str, Any]:
        return {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "node": self.name}

    def until_folded(self, count: int) -> None:
        """Until the agent has read that many address events."""
        wanted = f'romana_events_folded_total{{consumer="cni",stream="IPAM"}} {count}.0'
        until(lambda: wanted in self.metrics(), f"{count} address events are read", self.log)

    def metrics(self) -> str:
        return fetched(f"http://{self.address}:9600/metrics")


@contextlib.asynccontextmanager
async def _opened(url: str, cluster: str) -> AsyncIterator[Store]:
    async with await open_store(Access(servers=(url,)), Layout(cluster), "test", ROLES) as store:
        yield store


async def publish(store: Store, event: Any) -> None:
    await store.publish(IPAM, outgoing(event, "", now(), store.history))


def invoke(executable: Path | str, environment: dict[str, str], stdin: bytes, *arguments: str) -> Answer:
    done = subprocess.run(
        [executable, *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=False
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
    return done.stdout.decode()


def execute(netns: str, *command: str) -> subprocess.CompletedProcess[str]:
    line = ["ip", "netns", "exec", netns, *command]
    return subprocess.run(line, capture_output=True, check=False, text=True, timeout=60)


def pings(netns: str, address: str) -> bool:
    """Whether a packet arrives and comes back."""
    return execute(netns, "ping", "-c", "1", "-W", "2", address).returncode == 0


def until(condition: Callable[[], Any], what: str, log: Callable[[], str] = str, within: float = 30.0) -> Any:
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}\n{log()}"
        time.sleep(0.02)
    return found


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text
