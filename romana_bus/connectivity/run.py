"""The test: listeners on the chosen nodes, then probes that connect to them, then the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.connectivity import checks, leftovers, manifests, script
from romana_bus.connectivity.choice import Choice, choose
from romana_bus.connectivity.model import KINDS, Outcome, host_of, pod_on
from romana_bus.connectivity.report import Report, judge
from romana_bus.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from romana_bus.connectivity.checks import Api
    from romana_bus.connectivity.cluster import Cluster
    from romana_bus.connectivity.model import Check
    from romana_bus.connectivity.pods import Progress

    #: Shows the user what is being done, while the context is open.
    Step = Callable[[str], AbstractContextManager[None]]

#: Seconds that the namespace may take to go.
_REMOVED_WITHIN = 60.0


class Options(NamedTuple):
    """What a user may choose. `wait`: seconds until a probe has to run."""

    image: str
    zone_label: str
    per_zone: int
    nodes: tuple[str, ...]
    skip: frozenset[str]
    host_port: int
    wait: float


async def run_test(cluster: Cluster, options: Options, step: Step, tell: Callable[[str], None]) -> Report:
    """Run the test, and remove everything again, however it ends. `tell`: for what a person should do. Raises
    BadInput if it cannot run."""
    choice = choose(await cluster.nodes(), options.zone_label, options.per_zone, options.nodes)
    api = await cluster.api()
    try:
        with step(f"namespace {cluster.namespace}"):
            await _begin(cluster, options, tell)
        return await _Test(cluster, options, choice, api).run(step)
    finally:
        if cluster.is_changed:
            await _end(cluster, step, tell)


async def _begin(cluster: Cluster, options: Options, tell: Callable[[str], None]) -> None:
    """Create the namespace, and remove those that killed tests left."""
    privileged = not {"host", "nodes", "api", "hostport"} <= options.skip
    who = leftovers.owner(), leftovers.started_by()
    ours = await cluster.create_namespace(manifests.namespace(cluster.namespace, *who, privileged))
    left = leftovers.sort(await cluster.namespaces(), ours)
    for name in left.dead:
        try:
            await cluster.remove(name)
            tell(f"removed namespace {name}, which a test left that was killed")
        except Failed as error:
            tell(f"namespace {name} of a test that was killed was not removed: {error}")
    for text in left.others:
        tell(text)


async def _end(cluster: Cluster, step: Step, tell: Callable[[str], None]) -> None:
    name = cluster.namespace
    try:
        with step("removing the probes"):
            await cluster.remove(name, _REMOVED_WITHIN)
    except Failed as error:
        tell(f"namespace {name} was not removed: {error}: run kubectl delete namespace {name}")


class _Test:
    """A test whose namespace exists."""

    def __init__(self, cluster: Cluster, options: Options, choice: Choice, api: Api) -> None:
        self._cluster, self._options, self._choice, self._api = cluster, options, choice, api
        self._problems: list[str] = []

    async def run(self, step: Step) -> Report:
        nodes = self._choice.nodes
        zones = len({node.zone for node in nodes})
        with step(f"listeners on {_many(len(nodes), 'node')} in {_many(zones, 'zone')}"):
            listeners = await self._listeners()
        options = self._options
        found = checks.plan(nodes, listeners, self._api, options.host_port, options.skip)
        self._problems += checks.missing_families(listeners)
        with step(_many(len(found), "check")):
            outcomes = await self._outcomes(found)
        return judge(outcomes, self._problems, self._skipped(), (node.name for node in nodes))

    async def _listeners(self) -> dict[str, tuple[str, ...]]:
        """Start a listener on each node; returns the addresses of those that run."""
        options = self._options
        port = 0 if "hostport" in options.skip else options.host_port
        pods = {
            node.name: manifests.listener(index, node.name, options.image, port)
            for index, node in enumerate(self._choice.nodes)
        }
        await self._cluster.create(list(pods.values()))
        names = {node: str(pod["metadata"]["name"]) for node, pod in pods.items()}

        def done(state: Progress) -> bool:
            return state.runs or state.is_over

        state = await self._cluster.until(list(names.values()), done, options.wait)
        for node, name in names.items():
            if not state[name].runs:
                why = await self._fatal(name) if state[name].is_over else ""
                self._problems.append(f"the listener on {node} does not run: {why or state[name].why}")
        return {node: state[name].addresses for node, name in names.items() if state[name].runs}

    async def _fatal(self, pod: str) -> str:
        """What the script of a pod that has ended says is wrong; '' if it says nothing."""
        try:
            return script.read(await self._cluster.log(pod), ()).why
        except Failed:
            return ""

    async def _outcomes(self, found: Iterable[Check]) -> list[Outcome]:
        """Make the checks, each by a probe of its source, and read what the probes print."""
        of: dict[str, tuple[str, tuple[Check, ...]]] = {}
        pods = []
        for index, node in enumerate(self._choice.nodes):
            for source in (pod_on(node.name), host_of(node.name)):
                mine = tuple(check for check in found if check.source == source)
                if mine:
                    on_host = source.kind == "node"
                    pod = manifests.probe(index, node.name, self._options.image, mine, on_host)
                    pods.append(pod)
                    of[pod["metadata"]["name"]] = (str(source), mine)
        await self._cluster.create(pods)
        longest = max((script.longest(len(mine)) for _, mine in of.values()), default=0.0)
        state = await self._cluster.until(list(of), lambda each: each.has_begun, self._options.wait)
        begun = [name for name, each in state.items() if each.has_begun]
        state |= await self._cluster.until(begun, lambda each: each.is_over, longest)
        outcomes: list[Outcome] = []
        for name, (prober, mine) in of.items():
            outcomes += await self._printed(name, prober, mine, state[name])
        return outcomes

    async def _printed(
        self, pod: str, source: str, mine: tuple[Check, ...], state: Progress
    ) -> tuple[Outcome, ...]:
        if not state.has_begun:
            self._problems.append(f"the probe of {source} does not run: {state.why}")
            return ()
        try:
            printed = script.read(await self._cluster.log(pod), mine)
        except Failed as error:
            self._problems.append(f"the log of the probe of {source} cannot be read: {error}")
            return ()
        if printed.why:
            self._problems.append(f"the probe of {source}: {printed.why}")
        return printed.outcomes

    def _skipped(self) -> list[str]:
        skip, api = self._options.skip, self._api
        told = [f"{KINDS[kind]}: by --skip" for kind in KINDS if kind in skip]
        if not api.addresses and "api" not in skip:
            told.append("API server: there is no Service default/kubernetes")
        if not api.named and "dns" not in skip:
            told.append("names: there is no Service kube-system/kube-dns")
        told += [f"node {name}: {why}" for name, why in self._choice.skipped]
        if self._choice.more:
            told.append(f"{_many(self._choice.more, 'more node')}: --nodes-per-zone tests more of each zone")
        return [*told, "egress and network policy: romana-bus does not enforce them yet"]


def _many(number: int, one: str) -> str:
    return f"{number} {one}{'s' * (number != 1)}"
