"""Unusual environments: a command works in them, or prints in one line what to do."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.processes import Done, Home

#: A user whom /etc/passwd does not know, and who may read what we do.
STRANGER = (
    "env -u HOME -u XDG_STATE_HOME setpriv --reuid 54321 --regid 54321 --clear-groups "
    "--inh-caps=+dac_override --ambient-caps=+dac_override"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, and mount")

DOCUMENT = """\
networks: [{name: pods, cidr: 10.20.0.0/16}]
topologies: [{networks: [pods], map: [{name: a, groups: []}]}]
"""


def works(done: Done) -> None:
    assert (done.code, done.err) == (0, ""), done
    assert done.out


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@as_root
@pytest.mark.parametrize("line", ["status", "watch --server http://127.0.0.1:1", "run ipam"])
def test_missing_home_is_reported_with_what_to_set(line: str, home: Home) -> None:
    home.shell(f"{STRANGER} romana-bus {line}").complains(2, "set HOME or XDG_STATE_HOME", "--nats URL")


@as_root
def test_commands_without_state_work_without_a_home(home: Home) -> None:
    works(home.shell(f"{STRANGER} romana-bus up --recording {RECORDINGS} --speed 5000 --plain 2>/dev/null"))
    done = home.shell(f"{STRANGER} romana-bus watch")
    done.complains(2, "no kubeconfig", "set KUBECONFIG")
    done = home.shell(f"{STRANGER} romana-bus --install-completion --shell bash")
    done.complains(2, "there is no home directory: set HOME")


@pytest.mark.parametrize("value", ["x/y", ".", "/dev/null"])
def test_invalid_home(value: str, home: Home) -> None:
    home.run("status", HOME=value, XDG_STATE_HOME="").complains(2, "set HOME or XDG_STATE_HOME")


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_YY.NONE"])
@pytest.mark.parametrize("name", ["hömé", "日本", "\udcff\udcfe"], ids=ascii)
def test_a_home_of_any_name(name: str, locale: str, home: Home) -> None:
    directory = str(home.directory / name)
    works(home.run("status", HOME=directory, XDG_STATE_HOME="", LC_ALL=locale))
    assert (home.directory / name / ".local/state/romana-bus/default/nats.conf").is_file()


def test_a_temporary_directory_of_any_name(home: Home) -> None:
    directory = home.directory / "é\udcff"
    directory.mkdir()
    line = f"romana-bus up --recording {RECORDINGS} --speed 5000 --plain 2>/dev/null"
    works(home.shell(line, TMPDIR=str(directory), LC_ALL="C"))
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("value", ["abc", "-5", "0", "00", "²", "1e3", "", "9" * 20, "9" * 5000, "1"])
@pytest.mark.parametrize("line", ["--help", "topology validate -"])
def test_a_terminal_of_any_size(value: str, line: str, home: Home) -> None:
    works(home.run(*line.split(), stdin=DOCUMENT, COLUMNS=value, LINES=value))


@pytest.mark.parametrize("zone", ["No/Such", ":../../etc/passwd", "A9999999999B", ""])
def test_a_time_zone_of_any_name(zone: str, home: Home, recorded: tuple[str, ...]) -> None:
    works(home.run("events", "tail", "--all", "--no-follow", *recorded, TZ=zone))


@pytest.mark.parametrize("number", [5, 12, 16, 20, 32, 63])
def test_too_few_file_descriptors(number: int, home: Home) -> None:
    done = home.shell(f"ulimit -n {number}; romana-bus status")
    done.complains(2, f"no more than {number} files can be open at once", "ulimit -n 1024")


@pytest.mark.parametrize("number", [5, 16, 40])
def test_soft_descriptor_limit_is_raised(number: int, home: Home) -> None:
    works(home.shell(f"ulimit -S -n {number}; romana-bus status"))
    works(home.shell("ulimit -n 64; romana-bus status"))


@as_root
def test_too_few_threads(home: Home) -> None:
    state = home.directory / "state"
    state.mkdir()
    os.chown(state, 54321, 54321)
    home.directory.chmod(0o755)
    limited = f"{STRANGER} bash -c 'ulimit -u 1; exec env XDG_STATE_HOME={state} romana-bus status'"
    home.shell(limited).complains(1, "no more threads can be started here", "ulimit -u")


def test_too_little_memory_for_the_server(home: Home) -> None:
    done = home.shell("ulimit -v 300000; romana-bus status")
    done.complains(1, "nats-server ends as soon as it starts: ", "memory")


def test_a_working_directory_that_was_removed(home: Home) -> None:
    gone = "mkdir gone && cd gone && rmdir ../gone"
    works(home.shell(f"cd {home.directory}; {gone}; romana-bus status"))
    done = home.shell(f"cd {home.directory}; {gone}; ROMANA_NATS_SERVER=./x romana-bus status")
    works(done)  # there is none of that name, so that another one is taken


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "0>/dev/null", "1</dev/null"])
def test_closed_or_wrong_standard_streams(closed: str, home: Home) -> None:
    done = home.shell(f"romana-bus status {closed}")
    if closed == "1</dev/null":
        done.complains(1, "the output cannot be written")
    else:
        assert (done.code, done.err) == (0, "")
    done = home.shell(f"romana-bus topology validate - {closed}")
    assert done.code in (1, 2)
    assert "Traceback" not in done.err


@as_root
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_unwritable_state_directory(state: str, disk: Path, home: Home) -> None:
    if state == "full":
        with contextlib.suppress(OSError):
            (disk / "other").write_bytes(b"x" * (1 << 20))
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    what = {"full": "No space left on device", "read-only": "Read-only file system"}[state]
    home.run("status", XDG_STATE_HOME=str(disk)).complains(1, str(disk), what)


def test_state_directory_accessible_to_others(home: Home) -> None:
    loose = home.directory / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    home.run("status", XDG_STATE_HOME=str(loose)).complains(2, f"`chmod go-w {loose}`", "XDG_STATE_HOME")
    assert list(loose.iterdir()) == []
    line = f"umask 0; XDG_STATE_HOME={shlex.quote(str(home.directory / 'new'))} romana-bus status"
    works(home.shell(line))
    assert all(one.stat().st_mode & 0o077 == 0 for one in (home.directory / "new").rglob("*"))


def test_broken_pipe_elsewhere_is_a_failure() -> None:
    """Only a closed stdout means that all wanted output was written."""
    from romana_bus.cli.common.exit import report

    assert report(BrokenPipeError(32, "Broken pipe")) == 1
