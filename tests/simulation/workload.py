"""What users, controllers and kubelets do to a cluster: pods and nodes come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.machine import Machine
    from tests.simulation.site import Site

#: Pods at once, for each machine: on most days, and on those when it is crowded; seconds until the garbage
#: collector takes the pods of a node that is gone.
PODS, COLLECTED = (5, 5, 5, 12), 40.0


class Workload:
    """`quiet`: nothing more is done."""

    def __init__(self, site: Site) -> None:
        self.site, self.quiet = site, False
        self._most = site.chance.choice(PODS) * len(site.machines)
        self._number = 0
        self._missing: dict[str, float] = {}  # node of which there is no object -> since when

    async def run(self) -> None:
        chance = self.site.chance
        for _ in range(chance.randint(3, self._most)):
            self.create()
        acts: list[Callable[[], None]] = [
            *[self.create] * 6, *[self.delete] * 3, self.force_delete, self.finish, self.again,
        ]  # fmt: skip
        while True:
            await asyncio.sleep(chance.choice([0.05, 0.5, 2.0, 5.0]) * chance.random())
            if not self.quiet:
                chance.choice(acts)()

    def set_up_again(self) -> None:
        """Whoever runs the cluster starts kubelets again whose nodes a restored etcd does not know."""
        for machine in self.site.machines.values():
            if machine.on and machine.name not in self.site.kube.truth["nodes"]:
                self.site.register(machine)

    async def collect_garbage(self) -> None:
        """Runs forever, as the pod garbage collector does, also when nothing else happens."""
        kube = self.site.kube
        while True:
            await asyncio.sleep(1.0)
            nodes = {pod["spec"]["nodeName"] for pod in kube.truth["pods"].values()} - {*kube.truth["nodes"]}
            now = self.site.time
            self._missing = {node: self._missing.get(node, now) for node in sorted(nodes)}
            for key, pod in [*kube.truth["pods"].items()]:
                if now - self._missing.get(pod["spec"]["nodeName"], now) >= COLLECTED:
                    kube.delete("pods", key)

    # --- what is done ---------------------------------------------------------------------------------------

    def create(self, key: str = "") -> None:
        site = self.site
        machines = [one for one in site.machines.values() if one.on and one.name in site.kube.truth["nodes"]]
        if not machines or len(site.kube.truth["pods"]) >= self._most:
            return
        self._number += 1
        key = key or f"ns/p{self._number}"
        self._put(key, site.chance.choice(machines))

    def _put(self, key: str, machine: Machine) -> None:
        namespace, _, name = key.partition("/")
        host = self.site.chance.random() < 0.05
        pod: dict[str, Any] = {
            "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{self._number}"},
            "spec": {"nodeName": machine.name, **({"hostNetwork": True} if host else {})},
            "status": {"phase": "Pending"},
        }
        self.site.say(f"create {key} on {machine.name}" + (", host network" if host else ""))
        self.site.kube.put("pods", key, pod)

    def _one(self) -> str:
        pods = sorted(self.site.kube.truth["pods"])
        return self.site.chance.choice(pods) if pods else ""

    def delete(self) -> None:
        """It ends, then the object goes."""
        if key := self._one():
            pod = self.site.kube.truth["pods"][key]
            self.site.say(f"delete {key}")
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            pod["status"] = {"phase": "Succeeded"}
            self.site.kube.put("pods", key, pod)
            self.site.later(self.site.chance.uniform(0.1, 3.0), lambda: self._delete(key, pod))

    def _delete(self, key: str, pod: dict[str, Any]) -> None:
        if self.site.kube.truth["pods"].get(key) is pod:
            self.site.kube.delete("pods", key)

    def force_delete(self) -> None:
        """The object is deleted before its kubelet knows."""
        if key := self._one():
            self.site.say(f"force-delete {key}")
            self.site.kube.delete("pods", key)

    def finish(self) -> None:
        """A job's pod has done its work."""
        if key := self._one():
            pod = self.site.kube.truth["pods"][key]
            self.site.say(f"{key} has finished")
            pod["status"] = {**pod["status"], "phase": "Succeeded"}
            self.site.kube.put("pods", key, pod)

    def again(self) -> None:
        """A StatefulSet's pod: another one of the same name, perhaps elsewhere."""
        if key := self._one():
            self.site.say(f"{key} again")
            self.site.kube.delete("pods", key)
            self.site.later(self.site.chance.uniform(0.0, 1.0), lambda: self._again(key))

    def _again(self, key: str) -> None:
        if key not in self.site.kube.truth["pods"]:
            self.create(key)
