"""Bad input: exit code 2, one line on stderr that says what to do, nothing on stdout, no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home

COMMANDS = (
    "up",
    "watch",
    "run",
    "topology plan",
    "topology apply",
    "topology set",
    "topology show",
    "ipam show",
    "ipam reserve",
    "ipam unreserve",
    "events tail",
    "status",
)
#: Those that need no store.
APART = ("ipam simulate",)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("nope", ("nope", "up, watch, run, agent, topology, ipam, events, status", "romana-bus --help")),
        ("topology nope", ("nope", "plan, apply, set, validate, show", "romana-bus topology --help")),
        ("up --nope", ("--nope", "romana-bus up --help")),
        ("status extra", ("extra: more than romana-bus status takes",)),
        ("status --cluster", ("--cluster", "requires an argument")),
        ("status --log-level loud", ("loud", "debug", "warning")),
        ("run", ("romana-bus run ipam",)),
        ("run nope", ("there is no consumer nope: name one of ipam",)),
        ("run ipam nope other", ("no consumer nope, other",)),
        ("run ipam --cooldown -1", ("--cooldown -1", "between 0 and")),
        ("run ipam --cooldown nan", ("--cooldown nan", "between 0 and")),
        ("run ipam --cooldown inf", ("--cooldown inf", "between 0 and")),
        ("run ipam --warm-blocks -1", ("--warm-blocks -1", "between 0 and")),
        ("run ipam --network everything", ("not an IP address: write a CIDR such as 100.64.0.0/10",)),
        ("run ipam --network=", ("--network : a network needs its CIDR: write a CIDR such as",)),
        ("run ipam --network 10/8", ("--network 10/8: '10' is not an IP address: write a CIDR such as",)),
        ("run ipam --network 10.0.0.0", ("'10.0.0.0' is not a CIDR: write it like 10.0.0.0/16",)),
        ("run ipam --network 10.0.0.1/24", ("has host bits set: write 10.0.0.0/24",)),
        ("run ipam --network ::ffff:10.0.0.0/104", ("contains IPv4 addresses: write 10.0.0.0/8",)),
        ("run ipam --network 10.0.0.0/30", ("10.0.0.0/30: too small for 8 zones: give /29 or shorter",)),
        ("run ipam --network fd20::/126", ("fd20::/126: too small for 8 zones: give /125 or shorter",)),
        ("run ipam --network 0.0.0.0/0", ("addresses of 0.0.0.0/8 (unspecified)", "choose another")),
        ("run ipam --network 224.0.0.0/8", ("addresses of 224.0.0.0/4 (multicast)", "fd00:1::/64")),
        ("run ipam --network fe80::/64", ("addresses of fe80::/10 (link-local)", "choose another")),
        ("up --network ::/64", ("addresses of ::/127 (unspecified and loopback)", "choose another")),
        ("run ipam --block-owner pod", ("pod", "host", "tenant", "segment")),
        ("up --speed 0", ("--speed 0", "above 0")),
        ("up --speed fast", ("--speed", "fast")),
        ("up --recording r --server http://x", ("--recording replaces a cluster",)),
        ("up --recording /none", ("/none: no recording",)),
        ("watch", ("no kubeconfig", "--kubeconfig FILE", "KUBECONFIG")),
        ("watch --kubeconfig /none", ("--kubeconfig /none: there is no such file",)),
        ("watch --server localhost:8001", ("--server localhost:8001", "http://127.0.0.1:8001")),
        ("watch --server http://[x", ("--server http://[x", "a URL such as")),
        ("watch --server http://x --context c", ("either --server, or --kubeconfig",)),
        ("watch --resource pods", ("--resource pods", "GROUP/VERSION/PLURAL")),
        ("watch --resource core/v1/pods", ("core/v1/pods", "watched already")),
        ("ipam nope", ("nope", "show", "reserve", "unreserve", "romana-bus ipam --help")),
        ("ipam show --ip 10.0.0", ("--ip 10.0.0: not an IP address", "10.20.0.7 or fd00::7")),
        ("ipam show --ip=", ("--ip : not an IP address",)),
        ("ipam show --pod api-0", ("--pod api-0: write NAMESPACE/NAME", "default/web-0")),
        ("ipam show --pod a/b/c", ("--pod a/b/c: write NAMESPACE/NAME",)),
        ("ipam show --pod a/b --ip ::1", ("--pod and --ip: give only one of them",)),
        ("ipam show --host a --pod a/b --ip ::1", ("--host and --pod and --ip: give only one",)),
        ("ipam show --window 0", ("--window 0: must be between 0.17 (ten minutes) and 8760 hours",)),
        ("ipam show --window nan", ("--window nan",)),
        ("ipam reserve", ("CIDR", "romana-bus ipam reserve --help")),
        ("ipam reserve nonsense", ("'nonsense' is not an IP address",)),
        ("ipam reserve 10.0.0.1/24", ("'10.0.0.1/24' has host bits set: write 10.0.0.0/24",)),
        ("ipam reserve fd00::1/64", ("has host bits set: write fd00::/64",)),
        ("ipam reserve 10.0.0.0/33", ("'10.0.0.0/33' is not a CIDR: write it like 10.0.0.0/16",)),
        ("ipam unreserve 10.0.0.0/-1", ("'10.0.0.0/-1' is not a CIDR",)),
        ("ipam unreserve --nope", ("unknown option: --nope", "romana-bus ipam unreserve --help")),
        ("events tail --subject nope", ("--subject 'nope'", "spec, kube, ipam, node, or be '>'")),
        ("events tail --subject kube..x", ("tokens with dots between them",)),
        ("events tail --subject kube.>.x", ("'>' must be the last token",)),
        ("events tail --subject kube", ("'kube.>'",)),
        ("events tail --last -1", ("--last -1: must be 0 or more",)),
        ("events tail --last many", ("--last", "many")),
        ("status --cluster a.b", ("--cluster 'a.b'", "letters, digits and '-'")),
        ("status --cluster é", ("letters, digits and '-'",)),
        (f"status --cluster {'a' * 65}", ("at most 64",)),
        ("status --replicas 2", ("--replicas 2: must be 1, 3 or 5",)),
        ("status --history-days nan", ("--history-days nan", "between a minute and ten years")),
        ("status --nats=", ("--nats ''", "nats://")),
        ("status --creds /none", ("--creds /none: there is no such file",)),
        ("status --tls-ca /none", ("--tls-ca /none: there is no such file",)),
        ("status --tls-key /dev/null", ("--tls-cert and --tls-key go together",)),
        ("topology set", ("FILE",)),
        ("topology apply", ("FILE",)),
        ("topology plan --nope", ("unknown option: --nope", "romana-bus topology plan --help")),
        ("topology apply - --evict", ("--evict", "requires an argument")),
        ("topology set --nope", ("unknown option: --nope", "romana-bus topology set --help")),
        ("topology set /none", ("/none: No such file or directory",)),
    ],
)
def test_bad_input_is_a_one_line_error_with_what_to_do(line: str, parts: tuple[str, ...], call: Call) -> None:
    call(*line.split(" ")).complains(2, *parts)


def test_usage_errors_as_a_process(home: Home) -> None:
    home.run("nope").complains(2, "nope", "romana-bus --help")
    home.run("run", "nope").complains(2, "there is no consumer nope")
    home.run("\udcff").complains(2, "unknown command")


def test_invalid_creds_file(tmp_path: Path, call: Call) -> None:
    (tmp_path / "creds").write_text("hello")
    call("status", "--creds", str(tmp_path / "creds")).complains(2, "not a NATS credentials file")


def test_options_are_taken_from_the_environment(home: Home) -> None:
    home.run("status", ROMANA_CLUSTER="a b").complains(2, "--cluster 'a b'")


@pytest.mark.parametrize("command", [*COMMANDS, *APART])
def test_every_command_has_json_and_explains_itself(command: str, call: Call) -> None:
    result = call(*command.split(), "--help")
    assert result.code == 0
    assert "--json" in result.out
    assert ("--cluster" in result.out) == (command in COMMANDS)
    assert f"Usage: romana-bus {command}" in result.out
    for noise in ('[default: ""]', "[default: ()]", "[default: False]"):
        assert noise not in result.out


def test_top_level_help_explains_the_first_steps(call: Call) -> None:
    result = call("--help")
    assert result.code == 0
    order = [result.out.index(f"│ {name} ") for name in ("up", "watch", "run", "topology", "ipam", "events")]
    assert order == sorted(order)
    for part in ("romana-bus up --recording DIR", "Without --nats", "Exit codes: 0 done, 1 failed, 2 bad"):
        assert part in result.out
    assert max(map(len, result.lines)) <= 80
    assert call().out == result.out


def test_version_option(call: Call) -> None:
    assert call("--version").out == "0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str, tmp_path: Path, home: Home) -> None:
    script = tmp_path / "completion"
    assert home.run("--install-completion", "--shell", shell, "--output", str(script)).code == 0
    for name in ("topology", "--recording", "status"):
        assert name.lstrip("-") in script.read_text()
