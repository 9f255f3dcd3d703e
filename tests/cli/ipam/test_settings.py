"""The settings of IPAM: the same for every replica and every command, whatever their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.logs import begun, stored, with_nodes
from tests.cli.processes import until
from tests.ipam.cluster import Cluster

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer


def shown(call: Call, options: tuple[str, ...]) -> dict[str, Any]:
    result = call("ipam", "settings", "show", "--json", *options)
    assert (result.code, result.err) == (0, "")
    settings: dict[str, Any] = result.json["settings"]
    return settings


def blocks(call: Call, options: tuple[str, ...]) -> int:
    [host] = call("ipam", "show", "--json", *options).json["hosts"]
    return len(host["blocks"])


def test_the_first_leader_writes_its_options_and_others_are_told_that_theirs_do_not_count(
    nats_server: NatsServer, home: Home, call: Call
) -> None:
    options = stored(nats_server, with_nodes("n1"))
    before = call("ipam", "settings", "show", *options)
    assert "these are the defaults" in before.out
    with home.start("run", "ipam", "--cooldown", "5", "--warm-blocks", "2", *options) as leader:
        leader.until_logged("leading")
        until(lambda: shown(call, options)["cooldown"] == 5_000_000, "the leader's options are on the log")
        until(lambda: blocks(call, options) == 2, "its spare blocks are open")
        with home.start("run", "ipam", "--cooldown", "7", *options) as standby:
            warning = standby.until_logged("an option differs from the settings on the log, which count")
            told = {name: warning[name] for name in ("setting", "option", "log", "change")}
            assert told == {
                "setting": "cooldown", "option": 7_000_000, "log": 5_000_000,
                "change": "romana-bus ipam settings set",
            }  # fmt: skip
            leader.stop()
            standby.until_logged("leading")
            assert shown(call, options)["cooldown"] == 5_000_000
            assert blocks(call, options) == 2, "--warm-blocks was not given: the log's value counts"


def test_a_change_has_an_effect_at_once(nats_server: NatsServer, home: Home, call: Call) -> None:
    options = stored(nats_server, with_nodes("n1"))
    with home.start("run", "ipam", *options) as leader:
        leader.until_logged("leading")
        until(lambda: blocks(call, options) == 1, "a spare block is open")
        result = call("ipam", "settings", "set", "--warm-blocks", "4", "--cooldown", "0.5", *options)
        assert (result.code, result.err) == (0, "")
        assert result.lines == ["cooldown: 30 s -> 0.5 s", "warm-blocks: 1 -> 4"]
        until(lambda: blocks(call, options) == 4, "four are")
        call("ipam", "settings", "set", "--warm-blocks", "0", *options)
        until(lambda: blocks(call, options) == 0, "none is")
        assert shown(call, options)["cooldown"] == 500_000, "what is not named stays"
    again = call("ipam", "settings", "set", "--warm-blocks", "0", *options)
    assert again.lines == ["unchanged"]


def test_a_plan_follows_the_settings_on_the_log(nats_server: NatsServer, call: Call, tmp_path: Any) -> None:
    """Without any option: it opens as many blocks as the leader would."""
    options = stored(nats_server, with_nodes("n1"))
    call("ipam", "settings", "set", "--warm-blocks", "5", *options)
    file = tmp_path / "topology.json"
    file.write_text('{"networks": [{"name": "net", "cidr": "10.1.0.0/16", "block_mask": 28}], "topologies": '
                    '[{"networks": ["net"], "map": [{"name": "all", "groups": []}]}]}')  # fmt: skip
    plan = call("topology", "plan", str(file), "--json", *options).json["plan"]
    assert plan["blocks_opened"] == 5


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("", ("no setting is named", "--cooldown 60")),
        ("--cooldown -1", ("--cooldown -1", "between 0 and")),
        ("--warm-blocks 65", ("--warm-blocks 65", "between 0 and 64")),
        ("--block-owner pod", ("pod", "host", "tenant", "segment")),
        ("--network 127.0.0.0/8", ("loopback",)),
        ("--network 10.0.0.0/30", ("too small",)),
    ],
)
def test_bad_settings_are_refused_and_change_nothing(
    nats_server: NatsServer, call: Call, line: str, parts: tuple[str, ...]
) -> None:
    options = begun(nats_server.url, "badsettings")
    call("ipam", "settings", "set", *line.split(), *options).complains(2, *parts)
    assert call("ipam", "settings", "show", "--json", *options).json["seq"] == 0


def test_the_default_network_stays_while_pods_have_addresses_in_it(
    nats_server: NatsServer, call: Call
) -> None:
    c = Cluster(now=1_700_000_000)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    options = stored(nats_server, c)
    refused = call("ipam", "settings", "set", "--network", "10.0.0.0/8", *options)
    refused.complains(2, "--network 10.0.0.0/8", "1 address of 100.64.0.0/10", "topology apply")
    c.no_pod("web/a")
    c.decide()
    options = stored(nats_server, c)
    changed = call("ipam", "settings", "set", "--network", "10.0.0.0/8", *options)
    assert changed.lines == ["network: 100.64.0.0/10 -> 10.0.0.0/8"]
