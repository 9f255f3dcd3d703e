"""What is taken out of texts and documents, and what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from romana_bus import events as ev
from romana_bus.cli.support import support_bundle
from romana_bus.cli.support.collect.parts import Parts
from romana_bus.cli.support.known import add_event, add_line
from romana_bus.cli.support.names import Names
from romana_bus.cli.support.redact import REMOVED, Redaction

SEED = "SUAM" + "LK2ZNL5TYK7BI3SZQ2WJ6X4ABCDEF" * 2
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2U.c2lnbmF0dXJlLWJ5dGVz"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----"


def known(*names: tuple[str, str], key: bytes = b"key") -> Names:
    made = Names(key)
    for kind, name in names:
        made.add(kind, name)
    return made


def redaction(*names: tuple[str, str], addresses: bool = False) -> Redaction:
    return Redaction(known(*names), addresses=addresses)


NAMES = (
    ("pod", "shop-7d4"),
    ("namespace", "payments"),
    ("node", "ip-10-0-0-7.ec2.internal"),
    ("value", "a b c"),
)


@pytest.mark.parametrize(
    "text",
    [
        "pod payments/shop-7d4 on ip-10-0-0-7.ec2.internal",
        "ipam.address.ip-10-0-0-7_ec2_internal.payments.shop-7d4",
        "kube-proxy-ip-10-0-0-7.ec2.internal: x",
        "/etc/creds/agent-ip-10-0-0-7.ec2.internal.nk",
        '{"pod":"payments/shop-7d4"}',
        "payments.svc.cluster.local, label a b c",
        "shop-7d4-debug",
        "shop-7d4_payments.",
    ],
)
def test_no_name_is_left(text: str) -> None:
    taken = redaction(*NAMES).text(text)
    for _, name in NAMES:
        assert name not in taken
        assert name.replace(".", "_") not in taken
    assert taken != text


@pytest.mark.parametrize(
    "text",
    [
        "10.20.0.8/29 via 172.31.1.12 dev eth0 proto 82",
        "fd20::8 dev rb4f6a6c1160423",
        "KUBE/12: the table is 7 messages behind",
        "shop and pay, shop-7d45",
        "default/kube-system",
        "",
    ],
)
def test_what_is_no_name_stays(text: str) -> None:
    assert redaction(*NAMES).text(text) == text


def test_pseudonyms_are_stable_and_depend_on_the_key() -> None:
    names = known(*NAMES)
    assert names.text("shop-7d4") == names.text("shop-7d4") == names.of("pod", "shop-7d4")
    assert names.text("shop-7d4").startswith("pod-")
    assert known(*NAMES, key=b"another").text("shop-7d4") != names.text("shop-7d4")
    assert names.text("payments/shop-7d4") == f"{names.text('payments')}/{names.text('shop-7d4')}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"seed {SEED}.", SEED),
        (f"Authorization: Bearer {JWT}", JWT),
        (f"token {JWT}", JWT),
        (KEY, "MIIEowIBAAKCAQEA7"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7 cut", "MIIEowIBAAKCAQEA7"),
        ("nats://admin:hunter2@nats:4222", "hunter2"),
        ("nats://s3cr3ttoken@nats:4222", "s3cr3ttoken"),
        ('password: "hunter2"', "hunter2"),
        ("--token=hunter2", "hunter2"),
    ],
)
def test_no_secret_is_left(text: str, secret: str) -> None:
    assert secret not in redaction().text(text)
    assert REMOVED in redaction().text(text)


def test_values_of_secret_fields_are_removed() -> None:
    document = {"k8s_auth_token": "abc", "nested": [{"clientSecret": {"value": "abc"}}], "token_ttl": 5}
    assert redaction().document(document) == {
        "k8s_auth_token": REMOVED,
        "nested": [{"clientSecret": REMOVED}],
        "token_ttl": 5,
    }


def test_labels_and_annotations() -> None:
    pod = ev.PodSeen(
        resource_version="3", uid="u", namespace="payments", name="shop-7d4", node="n1",
        labels={"team": "fraud", "topology.kubernetes.io/zone": "berlin"},
        annotations={"romana.io/network": "cardholder data"},
    )  # fmt: skip
    names = known()
    add_event(names, pod)
    document = Redaction(names, addresses=False).event(pod)
    text = json.dumps(document)
    for name in ("payments", "shop-7d4", "n1", "team", "fraud", "berlin", "cardholder"):
        assert name not in text
    assert document["labels"]["topology.kubernetes.io/zone"].startswith("value-")
    assert document["annotations"]["romana.io/network"].startswith("value-")
    assert (document["type"], document["uid"], document["resource_version"]) == ("PodSeen", "u", "3")


def test_contents_of_objects_and_policies_are_removed() -> None:
    common: dict[str, Any] = {"resource_version": "3", "uid": "u", "namespace": "payments", "name": "x1y2"}
    policy = ev.PolicySeen(**common, spec={"podSelector": {"matchLabels": {"team": "fraud"}}})
    other = ev.ObjectSeen(**common, resource="core/v1/secrets", object={"data": {"pw": "aHVudGVyMg=="}})
    for event, field in ((policy, "spec"), (other, "object")):
        names = known()
        add_event(names, event)
        document = Redaction(names, addresses=False).event(event)
        assert document[field] == REMOVED
        assert "x1y2" not in json.dumps(document)


def test_topology_keeps_its_form() -> None:
    document = {
        "networks": [{"name": "pods", "cidr": "10.0.0.0/8", "tenants": ["payments"]}],
        "topologies": [
            {"map": [{"name": "g", "assignment": {"rack": "r17"}, "groups": [{"hosts": [{"name": "n1"}]}]}]}
        ],
    }
    names = known()
    add_event(names, ev.TopologySet(document=document))
    taken = Redaction(names, addresses=False).document(document)
    text = json.dumps(taken)
    for name in ("payments", "rack", "r17", "n1"):
        assert f'"{name}"' not in text
    assert taken["networks"][0]["cidr"] == "10.0.0.0/8"
    assert taken["networks"][0]["tenants"] == [names.text("payments")]


def test_names_in_lines_of_a_log_are_learned() -> None:
    names = known()
    line = '{"pod": "payments/shop-7d4", "node": "n17", "why": "ADD of fraud/scorer-0 failed: 10.0.0.0/8"}'
    add_line(names, line)
    taken = Redaction(names, addresses=False).text(line)
    for name in ("payments", "shop-7d4", "n17", "fraud", "scorer-0"):
        assert name not in taken
    assert "10.0.0.0/8" in taken


def test_addresses_are_replaced_if_wanted() -> None:
    text = "10.20.0.8/29 via 10.20.0.1 dev eth0, fd20::8 via fe80::1, at 12:30:01, ::ffff:10.0.0.1, for 1.2.3"
    assert redaction().text(text) == text
    taken = redaction(addresses=True).text(text)
    for address in ("10.20.0.8", "10.20.0.1", "fd20::8", "10.0.0.1"):
        assert address not in taken
    for kept in ("/29", "fe80::1", "12:30:01", "for 1.2.3", "dev eth0"):
        assert kept in taken
    assert redaction(addresses=True).text("10.20.0.8") == taken.split("/")[0]


def test_a_bundle_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file the end stays, whole lines of it; what does not fit is named."""
    monkeypatch.setattr(support_bundle, "MOST_FILE", 1_000)
    monkeypatch.setattr(support_bundle, "MOST_ALL", 1_100)
    parts = Parts()
    parts.texts = {"a.log": "old line\n" * 300, "b.log": "small\n", "c.log": "too much\n" * 20}
    files, manifest = support_bundle.packed(parts, redaction())
    assert files["a.log"] == b"old line\n" * (1_000 // 9)
    assert manifest["cut"] == {"a.log": 2700}
    assert files["b.log"] == b"small\n"
    assert files.keys() == {"a.log", "b.log"}
    assert "would be larger" in manifest["missing"]["c.log"]
