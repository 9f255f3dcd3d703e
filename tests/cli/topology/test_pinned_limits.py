"""The limits of fixed and sticky addresses in `topology plan` and `show`, and in `ipam show`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.logs import stored
from tests.ipam.allocate.annotations import annotated

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.servers import NatsServer

pytestmark = pytest.mark.usefixtures("as_written")


def row(text: str, name: str) -> Any:
    return next(line.split() for line in text.splitlines() if line.startswith(name))


def test_limits_of_fixed_and_sticky_addresses_are_shown(
    nats_server: NatsServer, tmp_path: Path, call: Call
) -> None:
    c = annotated.cluster(now=int(time.time()) - 60)
    for name in "abc":
        annotated.request(c, f"web/{name}", "n1", sticky="7d")
    c.no_pod("web/c")
    c.decide()
    options = stored(nats_server, c)
    path = tmp_path / "limits.json"
    stricter = {"fixed": ["db"], "max_per_namespace": 2, "max_retention": "10m"}
    path.write_text(json.dumps(annotated.racks(**stricter)))
    limits = (
        "fixed for db; sticky for everyone; 2 per namespace; kept for 10m at most; 10% of a group's blocks "
        "broken up at most"
    )
    plan = call("topology", "plan", str(path), *options)
    assert plan.code == 0
    assert f", with other limits: {limits}: changed" in plan.out
    over = (
        "more than 2 fixed and sticky addresses in network net: web (3); they keep them, and get no new ones"
    )
    assert over in plan.lines
    assert "1 address kept for pods that are gone: for a shorter time than now" in plan.lines
    assert plan.lines[-1] == "safe: no running pod is affected"
    show = call("ipam", "show", *options).out
    assert "fixed and sticky addresses\n" in show
    assert row(show, "namespace web")[2:] == ["net", "addresses", "3", "16"]
    assert row(show, "group a")[2:] == ["net", "broken", "blocks", "1", "1"]
    found = call("ipam", "show", "--json", *options).json["pinned"][0]
    assert (found["namespaces"], found["limits"]["max_per_namespace"]) == ({"web": 3}, 16)
    pod = call("ipam", "show", "--pod", "web/a", *options)
    assert "for 1h after the pod is gone (requested: 7d)" in pod.out
    assert "network net keeps addresses for 1h at most: request less, or raise" in " ".join(pod.out.split())
    applied = call("topology", "apply", str(path), *options)
    assert applied.code == 0
    assert f"fixed and sticky addresses: {limits}" in call("topology", "show", *options).out
