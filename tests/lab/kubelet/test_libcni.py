"""Plugins are called as libcni calls them: Debian's do their work, and one of ours writes down how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.lab.kubelet.libcni import Attachment, CniError, Plugins, load, read_list
from romana_bus.lab.machine import netns
from tests.lab import iproute
from tests.lab.conftest import DEBIAN_PLUGINS, needs_plugins, needs_root, ptp

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.lab.spec import Spec

ARGUMENTS = (("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", "web"), ("K8S_POD_NAME", "a"))

#: Writes a line for each call; answers ADD with its own name as an address' gateway, behind prevResult.
WRITER = """\
#!/usr/bin/env python3
import json, os, sys
config = json.load(sys.stdin)
environment = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
with open(os.path.dirname(__file__) + "/calls", "a") as calls:
    calls.write(json.dumps({"environment": environment, "config": config}) + "\\n")
if failure := config.get("fail", {}).get(os.environ["CNI_COMMAND"]):
    print(json.dumps({"cniVersion": config["cniVersion"], **failure}))
    sys.exit(1)
if os.environ["CNI_COMMAND"] == "ADD":
    before = config.get("prevResult", {"cniVersion": config["cniVersion"], "interfaces": []})
    before["interfaces"].append({"name": config["mark"]})
    print(json.dumps(before))
"""


class Written:
    """A directory of plugins with `writer` in it, and what it was called with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        plugin = directory / "writer"
        plugin.write_text(WRITER)
        plugin.chmod(0o755)
        self.plugins = Plugins([directory], directory / "cache")

    @property
    def calls(self) -> list[Any]:
        path = self.directory / "calls"
        return [msgspec.json.decode(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def order(self) -> list[tuple[str, str]]:
        return [(one["environment"]["CNI_COMMAND"], one["config"]["mark"]) for one in self.calls]

    def results(self) -> list[str]:
        return [path.name for path in (self.directory / "cache/results").glob("*")]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def chain(version: str = "1.1.0", **more: Any) -> Any:
    plugins = [
        {"type": "writer", "mark": "one", "capabilities": {"portMappings": True, "bandwidth": False}},
        {"type": "writer", "mark": "two"} | more,
    ]
    return read_list({"cniVersion": version, "name": "net", "plugins": plugins})


def attachment(**more: Any) -> Attachment:
    return Attachment("c0ffee", "/run/netns/x", arguments=ARGUMENTS, **more)


def test_add_hands_each_plugin_the_result_of_the_one_before(written: Written) -> None:
    result = written.plugins.add(chain(), attachment(capabilities={"portMappings": [{"hostPort": 80}]}))
    assert [one["name"] for one in result["interfaces"]] == ["one", "two"]
    first, second = written.calls
    assert first["environment"] == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c0ffee",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=a",
        "CNI_PATH": str(written.directory),
    }
    assert first["config"]["name"] == "net"
    assert first["config"]["cniVersion"] == "1.1.0"
    assert "prevResult" not in first["config"]
    assert first["config"]["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]}
    assert second["config"]["prevResult"]["interfaces"] == [{"name": "one"}]
    assert "runtimeConfig" not in second["config"]  # it does not say that it can


def test_del_goes_backwards_with_the_last_result_and_forgets_it(written: Written) -> None:
    result = written.plugins.add(chain(), attachment())
    written.plugins.delete(chain(), attachment())
    assert written.order == [("ADD", "one"), ("ADD", "two"), ("DEL", "two"), ("DEL", "one")]
    assert [one["config"]["prevResult"] for one in written.calls[2:]] == [result, result]
    assert written.results() == []
    written.plugins.delete(chain(), attachment())  # again, with nothing known
    assert "prevResult" not in written.calls[-1]["config"]


def test_del_uses_the_configuration_and_arguments_of_its_add(written: Written) -> None:
    written.plugins.add(chain(), attachment())
    changed = read_list(
        {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "writer", "mark": "new"}]}
    )
    written.plugins.delete(changed, Attachment("c0ffee", ""))
    assert written.order[2:] == [("DEL", "two"), ("DEL", "one")]
    assert "K8S_POD_NAME=a" in written.calls[-1]["environment"]["CNI_ARGS"]
    assert written.calls[-1]["environment"]["CNI_NETNS"] == ""


def test_a_del_that_fails_can_be_repeated(written: Written) -> None:
    conf = chain(fail={"DEL": {"code": 11, "msg": "later", "details": "the log is away"}})
    written.plugins.add(conf, attachment())
    with pytest.raises(
        CniError, match=r'plugin type="writer" failed \(delete\): later; the log is away'
    ) as error:
        written.plugins.delete(conf, attachment())
    assert error.value.code == 11
    assert written.order[2:] == [("DEL", "two")]
    assert written.results() == ["net-c0ffee-eth0"]


def test_failed_add_reports_the_plugin_error_and_keeps_nothing(written: Written) -> None:
    conf = chain(fail={"ADD": {"code": 11, "msg": "no address yet"}})
    with pytest.raises(CniError, match=r"failed \(add\): no address yet") as error:
        written.plugins.add(conf, attachment())
    assert error.value.code == 11
    assert written.results() == []


def test_check_wants_the_result_in_every_plugin(written: Written) -> None:
    result = written.plugins.add(chain(), attachment())
    written.plugins.check(chain(), attachment())
    assert written.order[2:] == [("CHECK", "one"), ("CHECK", "two")]
    assert [one["config"]["prevResult"] for one in written.calls[2:]] == [result, result]
    with pytest.raises(CniError, match=r"0\.3\.1 does not support the CHECK"):
        written.plugins.check(chain("0.3.1"), attachment())


def test_status_and_gc_are_of_1_1_0(written: Written) -> None:
    written.plugins.status(chain("1.0.0"))
    assert written.calls == []
    written.plugins.status(chain())
    assert written.order == [("STATUS", "one"), ("STATUS", "two")]
    with pytest.raises(CniError, match="not in sync") as error:
        written.plugins.status(chain(fail={"STATUS": {"code": 50, "msg": "not in sync"}}))
    assert error.value.code == 50


def test_gc_deletes_invalid_attachments_and_passes_the_valid_ones(written: Written) -> None:
    kept, gone = attachment(), Attachment("dead", "/run/netns/y")
    for one in (kept, gone):
        written.plugins.add(chain(), one)
    written.plugins.collect(chain(), [("c0ffee", "eth0")])
    assert written.order[4:] == [("DEL", "two"), ("DEL", "one"), ("GC", "one"), ("GC", "two")]
    assert written.calls[4]["environment"]["CNI_CONTAINERID"] == "dead"
    valid = [{"containerID": "c0ffee", "ifname": "eth0"}]
    assert written.calls[-1]["config"]["cni.dev/valid-attachments"] == valid
    assert written.results() == ["net-c0ffee-eth0"]


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("#!/bin/sh\necho oh no >&2; exit 3\n", "netplugin failed: oh no"),
        ("#!/bin/sh\nexit 3\n", "no error message"),
        ("#!/bin/sh\necho no json; exit 3\n", "error parsing its diagnostic message"),
        ("#!/bin/sh\necho no json\n", "no result"),
        ("no program", "cannot be run"),
    ],
)
def test_a_plugin_that_behaves_badly_is_one_line(written: Written, plugin: str, words: str) -> None:
    (written.directory / "writer").write_text(plugin)
    with pytest.raises(CniError, match=words) as error:
        written.plugins.add(chain(), attachment())
    assert "\n" not in str(error.value)


def test_a_plugin_that_is_nowhere_is_named_with_the_places(written: Written) -> None:
    conf = read_list({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "nowhere"}]})
    with pytest.raises(CniError, match='failed to find plugin "nowhere" in path') as error:
        written.plugins.add(conf, attachment())
    assert str(written.directory) in str(error.value)


def test_the_first_usable_configuration_of_a_directory_counts(tmp_path: Path) -> None:
    assert load(tmp_path / "none") is None
    (tmp_path / "05-broken.conflist").write_text("{")
    (tmp_path / "06-nameless.conflist").write_text('{"plugins": [{"type": "a"}]}')
    (tmp_path / "07-text.txt").write_text("{}")
    assert load(tmp_path) is None
    (tmp_path / "20-late.conflist").write_text('{"name": "late", "plugins": [{"type": "a"}]}')
    (tmp_path / "10-single.conf").write_text('{"name": "single", "cniVersion": "0.4.0", "type": "a"}')
    found = load(tmp_path)
    assert found is not None
    assert (found.name, found.version, [one["type"] for one in found.plugins]) == ("single", "0.4.0", ["a"])


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({"cniVersion": "1.0.0"}, "1.0.0"),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0"]}, "1.1.0"),
        ({"cniVersions": ["1.0.0", "2.0.0"]}, "1.0.0"),
        ({}, "0.2.0"),
    ],
)
def test_the_newest_version_that_both_know_is_used(versions: dict[str, Any], chosen: str) -> None:
    assert read_list({"name": "n", "plugins": [{"type": "a"}], **versions}).version == chosen


@needs_root
@needs_plugins
def test_debians_plugins_give_a_namespace_its_network_and_take_it_back(lab: Spec, tmp_path: Path) -> None:
    node, pod = lab.namespace("n1"), lab.namespace("n1-pod-x")
    netns.add(node)
    netns.add(pod)
    conf = read_list(ptp(tmp_path))
    plugins = Plugins([DEBIAN_PLUGINS], tmp_path / "cache", node)
    one = Attachment("c0ffee", str(netns.path(pod)), arguments=ARGUMENTS)
    result = plugins.add(conf, one)
    assert result["ips"][0]["address"].startswith("10.20.0.")
    assert links(pod) == {"lo": 65536, "eth0": 1300}  # the chain was gone through
    assert len(links(node)) == 2  # in the node's namespace, not in ours
    plugins.check(conf, one)
    iproute.ip("-n", pod, "address", "flush", "dev", "eth0")
    with pytest.raises(CniError):
        plugins.check(conf, one)
    plugins.delete(conf, one)
    plugins.delete(conf, one)
    assert links(pod).keys() == {"lo"}
    assert links(node).keys() == {"lo"}
    assert not list((tmp_path / "host-local/ptp").glob("10.*"))


def links(name: str) -> dict[str, int]:
    return {link["ifname"]: link["mtu"] for link in iproute.asked(name, "link", "show")}
