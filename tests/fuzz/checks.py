"""What has to hold behind hostile input."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from romana_bus.events import IPAM, KUBE, NODE, SPEC
from tests.cli.processes import ROMANA_BUS
from tests.cni.calling import until
from tests.conftest import run
from tests.fuzz.hostile_messages import Sent
from tests.fuzz.plain_client import PlainClient
from tests.fuzz.site import CLUSTER, WITHIN, Site
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.standing import Standing

#: What people look with; `@`: the API server.
COMMANDS = (
    "status", "ipam show --json", "events tail --no-follow --last 500", "ipam check --server @",
    "status --json", "ipam show", "events tail --no-follow --last 500 --json", "topology show",
)  # fmt: skip
#: Junk by which `status` is tried, in each stream.
MARKS = {
    SPEC: b"spec.reserve.marked", KUBE: b"kube.pod.marked.marked", IPAM: b"ipam.map.block.marked.marked",
    NODE: b"node.marked.cni.marked.marked",
}  # fmt: skip


class Checks:
    """Of a site, against how it stood `before`."""

    def __init__(self, site: Site) -> None:
        self.site, self.before = site, site.stands()
        self._added = set[str]()  # pods that came afterwards

    def all(self) -> None:
        """All live, all is as it was, whoever looks sees that, and what is new is served."""
        self.look(COMMANDS[::2])
        self.site.until_ready()
        self.stands_as_before()
        self.junk_is_named()
        pods = self.serve()
        if self.site.node:
            self.site.wired(pods[-1])
        self.stands_as_before()
        self.look(COMMANDS[1::2])
        assert not self.site.ended(), self.site.words()
        assert not (said := self.site.tracebacks()), "\n".join(said[:5])

    def takeover(self) -> None:
        """Who has followed all of it goes on in the same state."""
        self.site.stop_leader()
        self.serve()
        self.stands_as_before()

    def serve(self) -> list[str]:
        """A new pod on each node has an address; gives their names."""
        pods = [self.site.pod(node) for node in self.site.nodes]
        self._added |= {f"web/{pod}" for pod in pods}
        self.site.until_ready()
        return pods

    def stands_as_before(self) -> None:
        """Soon: it may have to be told anew."""
        last = [""]

        def same() -> bool:
            last[0] = self._difference()
            return not last[0]

        until(same, "all is as it was", lambda: f"{self.site.words()}\n{last[0]}", WITHIN)

    def _difference(self) -> str:
        now: Standing = self.site.stands().without(self._added)
        pairs = zip(self.before, now, strict=True)
        return "\n".join(f"{was}\nis now\n{one}" for was, one in pairs if was != one)

    # --- looking --------------------------------------------------------------------------------------------

    def look(self, commands: Sequence[str]) -> None:
        """Each says something, and ends by itself."""
        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(self.command, commands))
        for line, one in zip(commands, done, strict=True):
            said = one.stderr.decode(errors="replace")[-3000:]
            assert "Traceback" not in said, f"{line}: {said}"
            assert one.returncode in ((0, 1) if "check" in line else (0,)), f"{line}: {said}"
            assert one.stdout, line

    def command(self, line: str) -> subprocess.CompletedProcess[bytes]:
        words = line.replace("@", self.site.api.server.url).split()
        command = [ROMANA_BUS, *words, *log_options(self.site.nats.url, CLUSTER)]
        return subprocess.run(command, capture_output=True, timeout=120, check=False)

    def junk_is_named(self) -> None:
        """`status` gives stream and number of what cannot be used."""
        with PlainClient(self.site.nats.port, f"romana.{CLUSTER}.") as client:
            for subject in MARKS.values():
                client.send(Sent(subject, b"", b'{"type":"PodSeen","x":' + b"[" * 3000))
            client.flush()
        marks: set[tuple[str, int]] = set()

        async def find() -> None:
            async with await self.site.opened() as store:
                for role, subject in MARKS.items():
                    found = await store.newest(role, subject.decode())
                    assert found is not None, role
                    marks.add((role, found.seq))

        run(find())
        shown: list[Any] = []

        def named() -> bool:
            shown[:] = json.loads(self.command("status --json").stdout)["flaws"]["parked"]
            return marks <= {(one["stream"], one["seq"]) for one in shown}

        until(named, f"status names {marks}", lambda: f"{self.site.words()}\n{shown[-9:]}", WITHIN)
