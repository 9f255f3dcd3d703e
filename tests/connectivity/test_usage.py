"""Options that cannot be used, and an API server that is not there: one line, exit code 2."""

from __future__ import annotations

import pytest

from romana_bus.cli.app import call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--skip", "ping"), "--skip ping: must be one of pod, node, host, nodes, api, hostport, dns"),
        (
            ("--skip", "pod node", "--skip", "node"),
            "--skip pod node: must be one of",
        ),
        (("--nodes-per-zone", "0"), "--nodes-per-zone 0: must be at least 1"),
        (("--host-port", "70000"), "--host-port 70000: must be between 1 and 65535"),
        (("--wait", "-1"), "--wait -1: must be between 0 and 86400 seconds"),
        (("--image", ""), "--image '': name an image"),
        (("--kubeconfig", "/nowhere"), "--kubeconfig /nowhere: there is no such file"),
        (("--server", "http://127.0.0.1:1"), "cannot connect to the API server at 127.0.0.1:1"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["connectivity", "test", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_something_has_to_be_tested(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("pod", "node", "host", "nodes", "api", "hostport", "dns")
    assert call(["connectivity", "test", *(f"--skip={kind}" for kind in kinds)]) == 2
    assert "nothing is left to test" in capsys.readouterr().err
