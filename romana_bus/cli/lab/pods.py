"""`romana-bus lab pod`: runs, deletes and lists pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.session import run as run_session
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.lab.commands import Which
from romana_bus.errors import BadInput, Failed
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubelet import pods
from romana_bus.lab.kubelet.node import is_ready
from romana_bus.lab.machine.directory import Lab

if TYPE_CHECKING:
    from romana_bus.kubernetes.client import KubeClient

app = App(name="pod", help="Run, delete and list pods.", group_parameters=OPTIONS, sort_key=3)

Json = dict[str, Any]


@app.command(sort_key=1)
def run(
    pod: str,
    *,
    zone: str = "",
    node: str = "",
    count: int = 1,
    namespace: str = "default",
    annotation: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    label: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    wait: float = 30.0,
    which: Which = Which(),
    output: Output = Output(),
) -> None:
    """Run pods, and wait until they have their network.

    Parameters
    ----------
    pod
        Name of the pod; with --count the first is POD-1.
    zone
        Only on nodes of this zone.
    node
        On this node.
    count
        Number of pods.
    namespace
        Kubernetes namespace; it is created if it does not exist.
    annotation
        KEY=VALUE, such as romana.io/address=10.20.0.9. Repeatable.
    label
        KEY=VALUE. Repeatable.
    wait
        Seconds to wait for them.
    """
    lab = which.opened()
    if zone:
        lab.spec.zone(zone)
    if node:
        lab.spec.node(node)
    if not 1 <= count <= 1000:
        raise BadInput(f"--count {count}: must be between 1 and 1000")
    from romana_bus.lab.inspect.workloads import pod_object

    names = [pod] if count == 1 else [f"{pod}-{number}" for number in range(1, count + 1)]
    metadata = {
        "namespace": namespace,
        "labels": {"app": pod} | _pairs("--label", label),
        "annotations": _pairs("--annotation", annotation),
    }
    wanted = [pod_object(name, metadata, zone, node) for name in names]
    run_session(_run(lab, wanted, wait, output), output)


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise BadInput(f"{option} {text}: write KEY=VALUE")
        pairs[key] = value
    return pairs


async def _run(lab: Lab, wanted: list[Json], wait: float, output: Output) -> None:
    from romana_bus.cli.lab.kubelet import client_of
    from romana_bus.lab.cluster import power
    from romana_bus.lab.inspect import workloads

    async with client_of(lab) as client:
        await workloads.create(client, wanted)
        try:
            running = await workloads.until_running(client, [pods.key(pod) for pod in wanted], wait)
        except Failed as error:
            raise Failed(". ".join(filter(None, [str(error), power.what_to_do(lab)]))) from None
    _show(lab, running, output)


@app.command(sort_key=2)
def delete(
    *pod: str,
    namespace: str = "default",
    all: Annotated[bool, Parameter(negative="")] = False,
    which: Which = Which(),
    output: Output = Output(),
) -> None:
    """Delete pods, and wait until they are gone.

    Parameters
    ----------
    pod
        Names of pods: NAME, or NAMESPACE/NAME.
    namespace
        Kubernetes namespace of pods that are given without one.
    all
        Delete all pods of the lab's nodes.
    """
    lab = which.opened()
    if bool(pod) == all:
        raise BadInput("name the pods to delete, or give --all")
    keys = [_key(text, namespace) for text in pod]
    run_session(_delete(lab, keys, output), output)


def _key(text: str, namespace: str) -> tuple[str, str]:
    first, slash, second = text.partition("/")
    return (first, second) if slash else (namespace, first)


async def _delete(lab: Lab, keys: list[tuple[str, str]], output: Output) -> None:
    from romana_bus.cli.lab.kubelet import client_of
    from romana_bus.lab.inspect import workloads

    async with client_of(lab) as client:
        known = {pods.key(pod): pod for pod in await client.objects(PODS)}
        if missing := [key for key in keys if key not in known]:
            raise BadInput(f"there is no pod {', '.join('/'.join(key) for key in missing)}")
        deleted = [known[key] for key in keys] or await _of_lab(client, lab)
        await workloads.delete(client, deleted)
    if output.json:
        console.as_json({"deleted": ["/".join(pods.key(pod)) for pod in deleted]})
    else:
        console.console.print(f"{console.many(len(deleted), 'pod')} deleted.")


async def _of_lab(client: KubeClient, lab: Lab) -> list[Json]:
    names = {node.name for node in lab.spec.nodes}
    known = await client.objects(PODS)
    ours = not lab.spec.kubeconfig  # then pods that are on no node yet are ours too
    return [pod for pod in known if pod["spec"].get("nodeName", "") in names | ({""} if ours else set())]


@app.command(name="list", sort_key=3)
def list_(*, which: Which = Which(), output: Output = Output()) -> None:
    """List the pods with their nodes, addresses and states, and why a pod does not run."""
    lab = which.opened()
    run_session(_list(lab, output), output)


async def _list(lab: Lab, output: Output) -> None:
    from romana_bus.cli.lab.kubelet import client_of

    async with client_of(lab) as client:
        listed = await _of_lab(client, lab)
        nodes = {node["metadata"]["name"]: is_ready(node) for node in await client.objects(NODES)}
    _show(lab, sorted(listed, key=pods.key), output, nodes)


def _show(lab: Lab, listed: list[Json], output: Output, nodes: dict[str, bool] | None = None) -> None:
    rows = [_row(lab, pod, nodes) for pod in listed]
    if output.json:
        console.as_json(rows)
        return
    table = console.table("pod", "zone", "node", "address", "state")
    for row in rows:
        name = f"{row['namespace']}/{row['name']}".removeprefix("default/")
        state = Text(row["state"], "" if row["state"] == "Running" else "yellow")
        if row["why"]:
            state.append(f": {row['why']}")
        table.add_row(name, row["zone"], row["node"], ", ".join(row["addresses"]), state)
    console.section("pods", table if rows else f"no pods: run some with {lab.command('pod run NAME')}")


def _row(lab: Lab, pod: Json, nodes: dict[str, bool] | None) -> Json:
    namespace, name = pods.key(pod)
    status, on = pod.get("status", {}), pod["spec"].get("nodeName", "")
    zones = {node.name: node.zone for node in lab.spec.nodes}
    state = "Terminating" if pods.is_ending(pod) else status.get("phase", "Pending")
    lost = ""
    if nodes is not None and on and not nodes.get(on):
        lost = f"node {on} is not ready" if on in nodes else f"node {on} is not in the API"
    return {
        "namespace": namespace,
        "name": name,
        "node": on,
        "zone": zones.get(on, ""),
        "addresses": [ip["ip"] for ip in status.get("podIPs") or ()],
        "state": state,
        "why": ("" if state == "Running" else pods.why_waiting(pod)) or lost,
    }
