"""`romana-bus auth`: what each command makes."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth.directory import read_seed, seed_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def identity(call: Call, auth: Path, name: str) -> dict[str, Any]:
    """As `auth show --json` has it."""
    shown = call("auth", "show", str(auth), "--json").json
    found: dict[str, Any] = next(each for each in shown["identities"] if each["name"] == name)
    return found


def test_init(call: Call, tmp_path: Path) -> None:
    auth = tmp_path / "new" / "auth"
    done = call("auth", "init", str(auth), "--cluster", "c1")
    assert done.code == 0
    assert [line.split()[0] for line in done.lines[:4]] == ["watcher", "ipam", "reader", "operator"]
    assert f"{auth}/server.conf again" in done.out
    assert {path.name for path in auth.iterdir()} == {"identities.json", "server.conf", "leaf.conf", "creds"}
    assert (mode(auth / "creds"), mode(auth / "server.conf")) == (0o700, 0o644)
    for name in ("watcher", "ipam", "reader", "operator"):
        assert mode(seed_file(auth, name)) == 0o600
        seed, named = read_seed(seed_file(auth, name))
        assert (seed[:2], named) == ("SU", name)
        assert seed not in done.out


def test_show(auth: Path, call: Call) -> None:
    shown = call("auth", "show", str(auth), "--json").json
    assert set(shown) == {"cluster", "server", "leaf", "identities"}
    assert (shown["cluster"], shown["server"]) == ("c1", str(auth / "server.conf"))
    names = [each["name"] for each in shown["identities"]]
    assert names == ["watcher", "ipam", "reader", "operator", "agent-n1"]
    agent = shown["identities"][-1]
    assert (agent["roles"], agent["nodes"], agent["account"]) == (["agent"], ["n1"], "ROMANA_NODES")
    assert agent["file"] == str(seed_file(auth, "agent-n1"))
    table = call("auth", "show", str(auth)).out
    assert "agent-n1" in table
    assert "SU" not in table


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("agent", "--node", "n2", "--node", "n3.example.com"), ["agent-n2", "agent-n3.example.com"]),
        (("agent", "--node", "n2", "--name", "mine"), ["mine"]),
        (("reader", "--name", "ada"), ["ada"]),
        (("operator", "--name", "ada"), ["ada"]),
        (("watcher", "ipam", "--name", "both"), ["both"]),
        (("third-party", "--name", "audit"), ["audit"]),
        (("third-party", "--name", "a.b", "--consumer", "one", "--consumer", "two"), ["a.b"]),
        (("leaf",), ["leaf"]),
    ],
    ids=" ".join,
)
def test_add(options: tuple[str, ...], names: list[str], auth: Path, call: Call) -> None:
    before = (auth / "server.conf").read_text()
    done = call("auth", "add", str(auth), *options, "--json")
    assert done.json["changed"] == names
    for name in names:
        added = identity(call, auth, name)
        assert len(added["keys"]) == 1
        assert read_seed(seed_file(auth, name))[1] == name
        assert added["keys"][0]["public"] in (auth / "server.conf").read_text()
    assert (auth / "server.conf").read_text() != before


def test_rotate_and_finish(auth: Path, call: Call) -> None:
    [old] = identity(call, auth, "reader")["keys"]
    seed, _ = read_seed(seed_file(auth, "reader"))
    done = call("auth", "rotate", str(auth), "reader")
    assert f"romana-bus auth rotate {auth} reader --finish" in done.out
    both = identity(call, auth, "reader")["keys"]
    assert (len(both), both[0]) == (2, old)
    assert all(key["public"] in (auth / "server.conf").read_text() for key in both)
    assert read_seed(seed_file(auth, "reader"))[0] != seed
    assert call("auth", "rotate", str(auth), "reader", "--finish").code == 0
    assert identity(call, auth, "reader")["keys"] == both[1:]
    assert old["public"] not in (auth / "server.conf").read_text()


def test_revoke(auth: Path, call: Call) -> None:
    [key] = identity(call, auth, "agent-n1")["keys"]
    done = call("auth", "revoke", str(auth), "agent-n1")
    assert (done.code, done.lines[0].split()) == (0, ["agent-n1", "revoked"])
    assert "agent-n1" not in call("auth", "show", str(auth)).out
    assert not seed_file(auth, "agent-n1").exists()
    for name in ("identities.json", "server.conf", "leaf.conf"):
        assert key["public"] not in (auth / name).read_text()


def test_the_file_of_the_servers_is_made_again(auth: Path, call: Call) -> None:
    """Whatever somebody did to it: it follows from identities.json."""
    written = (auth / "server.conf").read_text()
    (auth / "server.conf").write_text("half of")
    (auth / "leaf.conf").unlink()
    call("auth", "add", str(auth), "reader", "--name", "ada")
    call("auth", "revoke", str(auth), "ada")
    assert (auth / "server.conf").read_text() == written
    assert (auth / "leaf.conf").exists()
