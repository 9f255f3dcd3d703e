"""`support-bundle` on a real log: what is in it, and that no name and no secret is."""

from __future__ import annotations

import itertools
import json
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth.directory import read_seed, seed_file
from romana_bus.bus.auth.permissions import READ
from romana_bus.cli.support import archive
from romana_bus.errors import BadInput
from romana_bus.events import ObjectSeen, SandboxRequested, TopologySet
from tests.cli.api import ApiThread
from tests.cli.logs import published
from tests.cli.processes import Home
from tests.identities import credentials, log_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Done
    from tests.servers import NatsServer

_clusters = itertools.count()

#: In no text of ours.
NODE, NAMESPACE, POD, TENANT = "kiwi-7.ec2.internal", "mangostore", "lychee-5c9-x2", "guavateam"
ZONE, NOTE, STATIC, OBJECT = "papaya-zone", "durian-note", "quince-static", "rambutan-object"
#: A pod that only the API server has: an audit finds that.
LATE = "tamarillo-late"
NAMES = (NODE, NODE.replace(".", "_"), NAMESPACE, POD, TENANT, ZONE, NOTE, STATIC, OBJECT, LATE)
PASSWORD, TOKEN = "jackfruit-password", "eyJhbGciOiJSUzI1NiIsIm.eyJpc3MiOiJrdWJlcm5l.c2lnbmF0dXJl"
TOPOLOGY = {
    "networks": [{"name": "pods", "cidr": "10.44.0.0/16", "block_mask": 28, "tenants": [TENANT]},
                 {"name": "all", "cidr": "10.45.0.0/16", "block_mask": 28}],
    "topologies": [{"networks": ["pods", "all"], "map": [
        {"name": "first", "assignment": {"topology.kubernetes.io/zone": ZONE}}]}],
}  # fmt: skip


@pytest.fixture(scope="module")
def api() -> Iterator[ApiThread]:
    with ApiThread() as made:
        made.node(NODE, ZONE, "192.0.2.77")
        made.pod(POD, NODE, NAMESPACE, segment=NOTE)
        yield made


@pytest.fixture(scope="module")
def log(nats_server: NatsServer, api: ApiThread, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The options of a log with all of these names."""
    options = log_options(nats_server.url, f"bundle{next(_clusters)}")
    home = Home(tmp_path_factory.mktemp("home"))
    with home.start("up", "--server", api.server.url, "--plain", *options) as up:
        up.until(lambda: up.out.count("AddressAssigned") == 1, "an address")
        assert up.stop().code == 0
    published(
        options,
        TopologySet(document=TOPOLOGY),
        SandboxRequested(node=NODE, namespace=NAMESPACE, name=STATIC, uid="u", sandbox="s"),
        ObjectSeen(
            resource="core/v1/secrets", resource_version="7", uid="o", namespace=NAMESPACE, name=OBJECT,
            object={"data": PASSWORD},
        ),
    )  # fmt: skip
    api.pod(LATE, NODE, NAMESPACE)
    return options


@pytest.fixture
def agent_log(tmp_path: Path) -> Path:
    file = tmp_path / "agent.log"
    lines = [
        json.dumps({"event": "attached", "pod": f"{NAMESPACE}/{POD}", "address": "10.44.0.1"}),
        json.dumps({"event": "failed", "why": f"nats://agent:{PASSWORD}@192.0.2.1: refused"}),
        f"token {TOKEN}",
        read_seed(seed_file(credentials(), READ.name))[0],
    ]
    file.write_text("\n".join(lines) + "\n")
    return file


def bundle(call: Call, path: Path, *options: str) -> Done:
    places = [f"--{name}-dir={path.parent / name}" for name in ("run", "bin", "conf")]
    return call("support-bundle", "--output", str(path), *places, *options)


def contents(path: Path) -> dict[str, str]:
    """File name without its folder -> text."""
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
    return found


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_no_name_and_no_secret_is_in_it(
    log: tuple[str, ...], api: ApiThread, agent_log: Path, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "out.tar.gz"
    done = bundle(call, path, "--server", api.server.url, "--agent-log", str(agent_log), "--node", NODE, *log)
    assert done.code == 0, done
    files = contents(path)
    everything = "\n".join([*files, *files.values(), done.out])
    seed = read_seed(seed_file(credentials(), READ.name))[0]
    for hidden in (*NAMES, PASSWORD, TOKEN, seed):
        assert hidden not in everything, hidden
    assert {
        "manifest.json", "doctor.json", "status.json", "ipam.json", "orders.jsonl", "versions.json",
        "configuration.json", "events/KUBE.jsonl", "events/SPEC.jsonl", "events/IPAM.jsonl",
        "events/NODE.jsonl", "node/sysctls.json", "node/plugin.json", "node/agent.log",
    } <= files.keys()  # fmt: skip
    assert "10.44.0.1" in files["node/agent.log"], "addresses are kept"
    assert "Addresses are kept" in json.loads(files["manifest.json"])["addresses"]
    assert "attachments" in str(json.loads(files["manifest.json"])["missing"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_name_is_the_same_everywhere(
    log: tuple[str, ...], agent_log: Path, call: Call, tmp_path: Path
) -> None:
    found = []
    for name in ("one.tar.gz", "two.tar.gz"):
        path = tmp_path / name
        assert bundle(call, path, "--agent-log", str(agent_log), *log).code == 0
        files = contents(path)
        events = [line["event"] for role in ("KUBE", "IPAM") for line in lines(files[f"events/{role}.jsonl"])]
        seen, assigned = (
            {(each["namespace"], each["name"], each["node"]) for each in events if each["type"] == kind}
            for kind in ("PodSeen", "AddressAssigned")
        )
        ((namespace, pod, node),) = seen
        assert seen == assigned
        assert f"{namespace}/{pod}" in files["node/agent.log"]
        assert node in files["ipam.json"]
        found.append(pod)
    assert found[0] != found[1], "the key is another one for each bundle"


def test_addresses_and_number_of_events(log: tuple[str, ...], call: Call, tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    assert bundle(call, path, "--redact-addresses", "--events", "3", *log).code == 0
    files = contents(path)
    assert "192.0.2.77" not in "\n".join(files.values())
    assert len(lines(files["events/KUBE.jsonl"])) == 3
    assert lines(files["events/KUBE.jsonl"])[-1]["event"]["type"] == "ObjectSeen", "the last ones"


def test_without_log_and_api_server(agent_log: Path, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    options = ("--nats", "nats://127.0.0.1:9", "--server", "http://127.0.0.1:9")
    done = bundle(call, path, *options, "--agent-log", str(agent_log))
    assert done.code == 0, done
    files = contents(path)
    missing = json.loads(files["manifest.json"])["missing"]
    assert {"status.json", "ipam.json", "events/IPAM.jsonl", "names of the log"} <= missing.keys()
    assert "out of reach" in missing["status.json"]
    checks = {row["check"]: row["state"] for row in json.loads(files["doctor.json"])["checks"]}
    assert checks["NATS"] == checks["API server"] == "wrong"
    assert POD not in "\n".join(files.values()), "known from the line of the log"
    assert "without status.json: the log is out of reach" in done.out


def test_nothing_is_overwritten(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    path.write_text("mine")
    bundle(call, path).complains(2, "out.tar.gz", "exists already")
    assert path.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name] == ["out.tar.gz"]


def test_default_name_has_cluster_and_time(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("support-bundle", "--json", "--run-dir", "run", "--conf-dir", "conf")
    assert done.code == 0, done
    (file,) = tmp_path.iterdir()
    assert done.json["file"] == file.name
    assert file.name.startswith("romana-bus-default-20")
    assert file.name.endswith(".tar.gz")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--output", "/nowhere/x.tar.gz"), "there is no directory /nowhere"),
        (("--events", "0"), "--events 0"),
        (("--agent-log", "/nowhere"), "--agent-log /nowhere"),
        (("--creds", "/nowhere"), "--creds /nowhere"),
    ],
)
def test_bad_usage(
    arguments: tuple[str, ...], part: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call("support-bundle", *arguments).complains(2, part)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    archive.check(path)
    path.write_text("another's")
    with pytest.raises(BadInput, match="exists already"):
        archive.write(path, {"a": b"a"}, 0.0)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.tar.gz", "another's")]
