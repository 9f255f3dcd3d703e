"""A NATS or an API server that is not there, does not know us, or is not safe: exit code 1, one line."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cli.api import ApiThread
from tests.cli.logs import begun
from tests.identities import log_options
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home

_clusters = itertools.count(1)


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"connecting{next(_clusters)}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is just starting is waited for; here none is."""
    monkeypatch.setattr("romana_bus.bus.connect.CONNECT_WITHIN", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("line", ["status", "ipam show", "events tail", "run ipam"])
def test_connection_refused(line: str, call: Call) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    result = call(*line.split(), "--nats", url)
    result.complains(1, f"cannot reach NATS at {url}: ", "Connection refused")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "url",
    ["nats://127.0.0.1:1", "nats://h:99999", "nats://no.such.host.invalid"],
)
def test_unreachable_urls(url: str, call: Call) -> None:
    call("status", "--nats", url).complains(1, url)


@pytest.mark.parametrize("url", ["nats://[::1", "nonsense://"])
def test_invalid_url(url: str, call: Call) -> None:
    call("status", "--nats", url).complains(2, url)


@pytest.mark.usefixtures("impatient")
def test_server_that_is_not_nats(call: Call) -> None:
    with ApiThread() as api:
        call("status", "--nats", api.server.url.replace("http", "nats")).complains(1, "NATS at nats://127")


def test_refused_credentials(tmp_path: Path, call: Call) -> None:
    creds = tmp_path / "creds"
    creds.write_text(
        "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n"
        "-----BEGIN USER NKEY SEED-----\nSUnonsense\n------END USER NKEY SEED------\n"
    )
    with NatsServer(tmp_path / "nats", users='authorization { user: "a", password: "b" }') as server:
        call("status", "--nats", server.url).complains(1, "refuses these credentials: check --creds")
        result = call("status", "--nats", server.url.replace("//", "//a:secret@"))
        result.complains(1, "refuses these credentials")
        assert "secret" not in result.err
        result = call("status", "--nats", server.url, "--creds", str(creds))
        assert result.code in (1, 2)
        result.complains(result.code, "creds")


def test_server_that_does_not_sync(tmp_path: Path, call: Call) -> None:
    port = free_port()
    with NatsServer(tmp_path / "off", jetstream="off", users="") as server:
        call("status", "--nats", server.url).complains(1, "without JetStream: enable it in its config")
    http = f'http: "127.0.0.1:{port}"'
    with NatsServer(tmp_path / "lazy", extra=http, jetstream='sync_interval: "2m"', users="") as server:
        result = call("status", "--nats", server.url, "--nats-monitor", f"http://127.0.0.1:{port}")
        result.complains(1, "set `jetstream { sync_interval: always }`")
        call("status", "--nats", server.url, "--nats-monitor", "foo").complains(1, "--nats-monitor foo")


def test_read_only_command_is_not_warned_about_unsynced_writes(log: tuple[str, ...], home: Home) -> None:
    begun(log[1], log[3])
    assert home.run("status", *log).err == ""
    with home.start("run", "ipam", *log) as running:
        running.until(lambda: "sync_interval: always" in running.err, "a warning")


def test_unusable_state_directory(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = home.run("status", XDG_STATE_HOME=str(tmp_path / "file"))
    result.complains(1, f"cannot use the state directory {tmp_path}/file/romana-bus/default: Not a directory")


def test_relative_state_directory_is_ignored(home: Home) -> None:
    """As the XDG Base Directory Specification has it."""
    assert home.run("status", XDG_STATE_HOME="somewhere").code == 0
    assert (home.directory / ".local" / "state" / "romana-bus" / "default").is_dir()


def test_a_nats_server_that_cannot_be_started(home: Home, tmp_path: Path) -> None:
    broken = tmp_path / "nats-server"
    broken.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    result = home.run("status", ROMANA_NATS_SERVER=str(broken))
    result.complains(1, "ends as soon as it starts: no space left on device", "nats.log")


def kubeconfig(folder: Path, url: str, token: str) -> str:
    path = folder / "config"
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("command", ["watch", "up"])
def test_api_server_answers_unauthorized(
    command: str, log: tuple[str, ...], tmp_path: Path, home: Home
) -> None:
    with ApiThread(token="secret") as api:
        config = kubeconfig(tmp_path, api.server.url, "wrong")
        arguments = (command, "--kubeconfig", config, "--log-level", "error", *log)
        result = home.run(*arguments, *(["--json"] if command == "up" else []))
        result = result._replace(out="".join(line for line in result.lines if not line.startswith("{")))
        result.complains(1, "does not accept our credentials", "check the kubeconfig's user")


def test_api_server_answers_forbidden(log: tuple[str, ...], home: Home) -> None:
    with ApiThread() as api:
        api.do(lambda: api.server.forbid("list", "pods"))
        api.do(lambda: api.server.forbid("watch", "pods"))
        result = home.run("watch", "--server", api.server.url, *log)
        result.complains(
            1, "pods is forbidden", 'rule: {apiGroups: [""], resources: ["pods"], verbs: ["list"'
        )
        for plural in ("nodes", "networkpolicies"):
            api.do(partial(api.server.forbid, "list", plural))
        for command in ("watch", "up"):
            result = home.run(command, "--server", api.server.url, *log)
            rules = [
                f'{{apiGroups: ["{group}"], resources: ["{plural}"], verbs: ["list", "watch"]}}'
                for group, plural in (("", "nodes"), ("", "pods"), ("networking.k8s.io", "networkpolicies"))
            ]
            result.complains(1, "Allow it with these rules: " + ", ".join(rules))


def test_unknown_resource_of_the_api_server(log: tuple[str, ...], home: Home) -> None:
    with ApiThread() as api:
        result = home.run("watch", "--server", api.server.url, "--resource", "example.org/v1/things", *log)
        result.complains(1, "the API server has no resource example.org/v1/things")


def test_invalid_kubeconfig(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "config"
    for text in ("clusters: [", "apiVersion: v1\n", "", "[]", "\0"):
        path.write_text(text)
        call("watch", "--kubeconfig", str(path)).complains(2, f"kubeconfig {path}: ")
    path = tmp_path / "good"
    path.mkdir()
    config = kubeconfig(path, "https://127.0.0.1:1", "x")
    call("watch", "--kubeconfig", config, "--context", "other").complains(2, "other")


def test_an_api_server_out_of_reach_is_waited_for(log: tuple[str, ...], home: Home) -> None:
    """It may come up later. The problem is logged, and /readyz shows it."""
    from tests.cli.serve.test_endpoints import ask

    arguments = ("--server", f"http://127.0.0.1:{free_port()}", "--listen", "127.0.0.1:0")
    with home.start("watch", *arguments, *log) as watching:
        trouble = watching.until_logged("watch network")
        assert "cannot connect to the API server at 127.0.0.1:" in trouble["why"]
        assert trouble["why"].endswith("Connection refused")
        url = watching.until_logged("serving /healthz, /readyz and /metrics")["url"]
        watching.until(lambda: "watch pods: cannot connect" in ask(url, "/readyz", 503), "/readyz")
        assert watching.stop().code == 0


def test_port_in_use_or_invalid(nats_server: NatsServer, log: tuple[str, ...], home: Home) -> None:
    taken = f"127.0.0.1:{nats_server.port}"
    home.run("run", "ipam", "--listen", taken, *log).complains(1, f"--listen {taken}: ", "in use")
    home.run("run", "ipam", "--listen", "9600", *log).complains(2, "--listen 9600: write HOST:PORT")
    home.run("run", "ipam", "--listen", "h:99999", *log).complains(2, "--listen h:99999: write HOST:PORT")
    home.run("run", "ipam", "--listen", "no.invalid:0", *log).complains(1, "--listen no.invalid:0: ")
