"""CNI calls and results, parsed and encoded: pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from romana_bus.cni import frame, spec
from romana_bus.cni.spec import CniError

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;K8S_POD_UID=u1",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG: dict[str, Any] = {"cniVersion": "1.1.0", "name": "pods", "type": "romana-cni"}


def parsed(environment: dict[str, str] | None = None, **fields: Any) -> spec.Call:
    return spec.parse(ENVIRONMENT | (environment or {}), json.dumps(CONFIG | fields).encode())


def refused(code: int, *parts: str, environment: dict[str, str] | None = None, **fields: Any) -> None:
    with pytest.raises(CniError) as caught:
        parsed(environment, **fields)
    assert caught.value.code == code, caught.value
    for part in parts:
        assert part in str(caught.value)


def test_valid_call() -> None:
    call = parsed(mtu=1400, timeout=3, unknown={"x": [1]}, runtimeConfig={})
    assert (call.command, call.container, call.netns, call.ifname) == ("ADD", "abc", "/run/netns/x", "eth0")
    assert call.pod == spec.Pod("ns", "web", "u1")
    assert (call.config.mtu, call.config.timeout) == (1400, 3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [("", "abc"), ("IgnoreUnknown=1;K8S_POD_NAME=web", "web"), ("K8S_POD_UID=1", "abc")],
)
def test_container_that_no_kubelet_runs(arguments: str, name: str) -> None:
    """As `ctr` and podman call: it has the container's name where that is told, and its id as uid."""
    assert parsed({"CNI_ARGS": arguments}).pod == spec.Pod("_containers", name, "abc")


@pytest.mark.parametrize("command", ["", "add", "VERSION", "NONE"])
def test_unknown_command(command: str) -> None:
    refused(4, "CNI_COMMAND", environment={"CNI_COMMAND": command})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../x"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_CONTAINERID", "x" * 300),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "sixteenletters00"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "relative"),
        ("CNI_NETNS", "/x\udcff"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=x"),
        ("CNI_ARGS", "K8S_POD_NAME=x;K8S_POD_NAMESPACE=a b"),
        ("CNI_ARGS", "K8S_POD_NAME=x;K8S_POD_NAMESPACE=\udcff"),
    ],
)
def test_invalid_environment(name: str, value: str) -> None:
    refused(4, name, environment={name: value})


@pytest.mark.parametrize("version", ["", "0.3.1", "0.2.0", "1.2.0", "2.0.0", "x"])
def test_unsupported_version(version: str) -> None:
    refused(1, "0.4.0", "1.1.0", cniVersion=version)


@pytest.mark.parametrize("command", ["STATUS", "GC"])
def test_command_of_a_later_version(command: str) -> None:
    refused(1, command, "1.1.0", environment={"CNI_COMMAND": command}, cniVersion="1.0.0")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": 7}, "$.name"),
        ({"mtu": "1500"}, "$.mtu"),
        ({"mtu": 10}, "mtu 10"),
        ({"mtu": 70000}, "mtu 70000"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 1e9}, "timeout"),
        ({"prevResult": {}}, "first"),
        ({"cni.dev/valid-attachments": [{"ifname": 1}]}, "valid-attachments"),
    ],
)
def test_invalid_configuration(fields: dict[str, Any], said: str) -> None:
    refused(7, said, **fields)


OPTIONAL = ["mtu", "timeout", "dns", "prevResult", "cni.dev/valid-attachments", "cni.dev/attachments"]


@pytest.mark.parametrize("field", [*OPTIONAL, "runtimeConfig", "capabilities", "unknown"])
def test_null_is_the_same_as_absent(field: str) -> None:
    assert parsed(**{field: None}) == parsed()


def test_null_of_a_needed_field_is_as_if_it_were_missing() -> None:
    refused(1, "without cniVersion", cniVersion=None)
    refused(7, "name ''", name=None)
    collect = {"CNI_COMMAND": "GC"}
    refused(7, "valid-attachments", environment=collect, **{"cni.dev/valid-attachments": None})
    refused(7, "containerID", environment=collect, **{"cni.dev/valid-attachments": [{"containerID": None}]})


def test_null_inside_a_previous_result_is_the_same_as_absent() -> None:
    given: dict[str, Any] = {
        "interfaces": [{"name": "eth0", "mac": None, "mtu": None, "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.0.0.1/32", "gateway": None, "interface": None}],
        "routes": None,
        "dns": None,
    }
    call = parsed({"CNI_COMMAND": "CHECK"}, prevResult=given, mtu=1400)
    assert spec.previous(call.config) == spec.Result(
        interfaces=(spec.Interface(name="eth0", sandbox="/run/netns/x"),),
        ips=(spec.Address(address="10.0.0.1/32"),),
    )
    assert call.config.mtu == 1400


def test_null_does_not_hide_what_is_wrong_elsewhere() -> None:
    refused(7, "$.mtu", mtu="1500", dns=None)
    refused(7, "name", name="a/b", dns=None)


@pytest.mark.parametrize("text", [b"null", b"[null]", b'{"x":[' * 500 + b"null", b'{"a":null,' * 100_000])
def test_null_in_what_is_no_configuration(text: bytes) -> None:
    with pytest.raises(CniError) as caught:
        spec.parse(ENVIRONMENT, text)
    assert caught.value.code in (6, 7)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":' * 100_000, b"\xff", b'{"name": tru}'])
def test_invalid_json(text: bytes) -> None:
    with pytest.raises(CniError) as caught:
        spec.parse(ENVIRONMENT, text)
    assert caught.value.code == 6
    assert spec.version_of(text) == "1.1.0"


def test_del_needs_neither_a_namespace_nor_a_pod() -> None:
    assert parsed({"CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_ARGS": ""}).netns == ""
    call = parsed({"CNI_COMMAND": "DEL", "CNI_ARGS": "K8S_POD_NAMESPACE=ns"})
    assert call.pod == spec.Pod("ns")


def test_status_and_gc_need_no_container() -> None:
    only = dict.fromkeys(ENVIRONMENT, "")
    assert parsed(only | {"CNI_COMMAND": "STATUS"}).command == "STATUS"
    call = parsed(
        only | {"CNI_COMMAND": "GC"},
        **{"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0", "more": 1}]},
    )
    assert call.config.valid == (spec.Attached("a", "eth0"),)


def test_an_error_in_every_version() -> None:
    for version in spec.VERSIONS:
        said = json.loads(spec.failure(version, CniError(11, 'not "yet"', "why")))
        assert said == {"cniVersion": version, "code": 11, "msg": 'not "yet"', "details": "why"}
    assert "details" not in json.loads(spec.failure("1.0.0", CniError(11, "x")))


def test_a_request_goes_through_its_frame() -> None:
    packed = frame.packed({"A": "b=c", "CNI_ARGS": ""}, b"\0{}\0")
    assert int.from_bytes(packed[:4], "big") == len(packed) - 4
    assert frame.request(packed[4:]) == frame.Request({"A": "b=c", "CNI_ARGS": ""}, b"\0{}\0")
    for broken in (b"", b"A=b", b"A\0\0", b"A=b\0"):
        with pytest.raises(ValueError):
            frame.request(broken)
