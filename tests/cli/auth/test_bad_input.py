"""What `romana-bus auth` refuses: exit code 2, one line, and nothing has changed."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth import directory
from tests.cli.auth.conftest import contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("init AUTH", ("is an authorization directory already", "auth add")),
        ("init AUTH/identities.json", ("identities.json", "File exists")),
        ("init NEW --cluster a.b", ("--cluster 'a.b'",)),
        ("add NEW reader", ("not an authorization directory", "auth init")),
        ("add AUTH", ("ROLE requires an argument",)),
        ("add AUTH king", ("king",)),
        ("add AUTH reader", ("there is an identity reader already", "auth rotate")),
        ("add AUTH agent", ("an agent has a --node",)),
        ("add AUTH agent --node n2 --node n1", ("there is an identity agent-n1 already",)),
        ("add AUTH reader --name ada --node n2", ("no other role has one",)),
        ("add AUTH reader agent --node n2", ("cannot be one identity",)),
        ("add AUTH reader --name ../up", ("--name '../up'",)),
        ("add AUTH reader --name a/b", ("--name 'a/b'",)),
        ("add AUTH reader --name .hidden", ("--name '.hidden'",)),
        (f"add AUTH reader --name {'x' * 254}", ("--name 'xxx",)),
        ("add AUTH agent --node a*b", ("--node 'a*b'",)),
        ("add AUTH agent --node n2 --node >", ("--node '>'",)),
        ("add AUTH reader --name ada --consumer c", ("--consumer is for the role third-party",)),
        ("add AUTH third-party --name a.b", ("give --consumer too",)),
        ("add AUTH third-party --name ada --consumer a.b", ("--consumer 'a.b'",)),
        ("rotate AUTH nobody", ("there is no identity nobody: there is watcher, ipam",)),
        ("rotate AUTH reader --finish", ("reader has one key",)),
        ("rotate NEW reader", ("not an authorization directory",)),
        ("revoke AUTH nobody", ("there is no identity nobody",)),
        ("revoke AUTH ../auth", ("there is no identity ../auth",)),
        ("revoke NEW reader", ("not an authorization directory",)),
        ("show NEW", ("not an authorization directory",)),
        ("show AUTH/identities.json", ("identities.json",)),
    ],
)
def test_refused(line: str, parts: tuple[str, ...], auth: Path, call: Call) -> None:
    places = {"AUTH": str(auth), "NEW": str(auth.parent / "new")}
    words = [
        word.replace(first, places.get(first, first))
        for word in line.split()
        for first in [word.partition("/")[0]]
    ]
    before = contents(auth.parent)
    call("auth", *words).complains(2, *parts)
    assert contents(auth.parent) == before


def test_a_second_rotation_waits_for_the_first(auth: Path, call: Call) -> None:
    assert call("auth", "rotate", str(auth), "reader").code == 0
    before = contents(auth)
    call("auth", "rotate", str(auth), "reader").complains(2, "reader has two keys already", "--finish")
    assert contents(auth) == before


# --- files that somebody has changed ----------------------------------------------------------------------


def changed(**fields: Any) -> Callable[[Path], None]:
    """The last identity has these fields."""

    def change(file: Path) -> None:
        document = json.loads(file.read_text())
        document["identities"][-1] |= fields
        file.write_text(json.dumps(document))

    return change


def doubled(file: Path) -> None:
    document = json.loads(file.read_text())
    document["identities"] *= 2
    file.write_text(json.dumps(document))


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


HOSTILE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "a list": lambda file: file.write_bytes(b"[]"),
    "not UTF-8": lambda file: file.write_bytes(b'{"cluster":"\xff"}'),
    "deep": lambda file: file.write_bytes(b"[" * 100_000),
    "zeros": lambda file: file.write_bytes(bytes(4096)),
    "a name outside": changed(name="../../outside"),
    "a name with a line": changed(name="x\n} accounts {"),
    "another role": changed(roles=["king"]),
    "no role": changed(roles=[]),
    "no key": changed(keys=[]),
    "a key with more": changed(keys=[{"public": "U" + "A" * 55 + " }"}]),
    "a node with a wildcard": changed(nodes=["*"]),
    "a consumer with a wildcard": changed(consumers=[">"]),
    "twice": doubled,
    "a pipe": a_pipe,
    "a directory": a_directory,
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("line", ["show", "add reader --name ada", "rotate agent-n1", "revoke agent-n1"])
def test_identities_that_cannot_be_used(hostile: str, line: str, auth: Path, call: Call) -> None:
    HOSTILE[hostile](auth / "identities.json")
    before = contents(auth.parent)
    verb, *rest = line.split()
    call("auth", verb, str(auth), *rest).complains(2, "identities.json")
    assert contents(auth.parent) == before


# --- what cannot be written -------------------------------------------------------------------------------

LINES = ["add agent --node n2 --node n3", "rotate reader", "revoke agent-n1"]
#: Root may write everywhere, unless it gives that up.
PLAIN = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""


@pytest.mark.parametrize("line", LINES)
def test_a_directory_that_may_not_be_written(line: str, auth: Path, home: Home) -> None:
    before = contents(auth)
    verb, *rest = line.split()
    auth.chmod(0o500)
    home.shell(f"{PLAIN}romana-bus auth {verb} {auth} {' '.join(rest)}").complains(2, "Permission denied")
    auth.chmod(0o755)
    assert contents(auth) == before


def test_init_where_nothing_may_be_written(tmp_path: Path, home: Home) -> None:
    tmp_path.chmod(0o500)
    done = home.shell(f"{PLAIN}romana-bus auth init {tmp_path}/auth")
    tmp_path.chmod(0o755)
    done.complains(2, "Permission denied")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("blocked", ["server.conf", "creds/agent-n3.nk", "creds/reader.nk"])
def test_a_change_that_fails_halfway_is_undone(line: str, blocked: str, auth: Path, call: Call) -> None:
    (auth / blocked).unlink(missing_ok=True)
    (auth / blocked).mkdir()  # in its place nothing can be written
    before = contents(auth)
    verb, *rest = line.split()
    done = call("auth", verb, str(auth), *rest)
    if done.code:
        done.complains(1, f"cannot write {auth}", "directory")
        assert contents(auth) == before
    else:
        assert verb not in blocked  # it has no need of that file


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What runs in the background of a shell ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", ["write", "write_seed"])
def test_an_interrupted_change_is_undone(
    name: str, auth: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, plain = contents(auth), getattr(directory, name)

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(directory, name, plain)
        plain(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(directory, name, interrupted)
    with pytest.raises(SystemExit, match="130"):
        call("auth", "add", str(auth), "reader", "--name", "ada")
    assert contents(auth) == before


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_init_can_be_repeated(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(directory, "write_seed", interrupted)
        with pytest.raises(SystemExit, match="130"):
            call("auth", "init", str(tmp_path / "auth"))
    assert call("auth", "init", str(tmp_path / "auth")).code == 0
    assert (tmp_path / "auth" / "creds" / "operator.nk").exists()
