"""A large cluster made from what a real API server said: its nodes and pods under thousands of names."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from romana_bus.events import NodeSeen, PodSeen

RECORDINGS = Path(__file__).parent.parent / "recordings"
ZONES = 4


@functools.cache
def recorded_pod() -> tuple[bytes, str, str, str]:
    """A watch line about a running pod, as it was recorded, with its name, uid and resource version."""
    with (RECORDINGS / "pods.jsonl").open("rb") as lines:
        for line in lines:
            record = msgspec.json.decode(line)
            if record["kind"] != "watch":
                continue
            event = msgspec.json.decode(record["body"])
            pod = event["object"]
            if (
                event["type"] == "MODIFIED"
                and pod["status"].get("podIPs")
                and pod["status"]["phase"] == "Running"
            ):
                meta = pod["metadata"]
                return record["body"].encode(), meta["name"], meta["uid"], meta["resourceVersion"]
    raise SystemExit("the recordings hold no running pod")


def pod_line(number: int, version: int, kind: str = "MODIFIED", phase: str = "Running") -> bytes:
    """The recorded watch line under another name, uid and version: one watch event, with its newline."""
    line, name, uid, recorded_version = recorded_pod()
    line = line.rstrip(b"\n").replace(b'"MODIFIED"', f'"{kind}"'.encode(), 1)
    line = line.replace(f'"{name}"'.encode(), f'"pod-{number}"'.encode())
    line = line.replace(uid.encode(), f"{number:08x}-0000-4000-8000-000000000000".encode())
    line = line.replace(b'"phase":"Running"', f'"phase":"{phase}"'.encode())
    return (
        line.replace(
            f'"resourceVersion":"{recorded_version}"'.encode(), f'"resourceVersion":"{version}"'.encode()
        )
        + b"\n"
    )


def bookmark(version: int, initial: bool = False) -> bytes:
    notes = ',"annotations":{"k8s.io/initial-events-end":"true"}' if initial else ""
    return (
        '{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":'
        f'{{"resourceVersion":"{version}"{notes}}}}}}}\n'
    ).encode()


def node(number: int, version: int) -> NodeSeen:
    return NodeSeen(
        resource_version=str(version),
        uid=f"{number:08x}-1111-4000-8000-000000000000",
        name=f"node-{number}.example.internal",
        addresses=(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",),
        labels={
            "kubernetes.io/hostname": f"node-{number}",
            "topology.kubernetes.io/region": "eu-1",
            "topology.kubernetes.io/zone": f"eu-1{'abcd'[number % ZONES]}",
        },
    )


def pod(number: int, version: int, on: int, phase: str = "Running") -> PodSeen:
    """Pod `number` on node `on`."""
    return PodSeen(
        resource_version=str(version),
        uid=f"{number:08x}-2222-4000-8000-000000000000",
        namespace=f"team-{number % 97}",
        name=f"web-{number % 1009:x}-{number:06x}",
        node=f"node-{on}.example.internal",
        phase=phase,
        labels={"app": f"web-{number % 1009:x}", "pod-template-hash": f"{number % 1009:09x}"},
    )
