"""The live view on a terminal: what a person sees there, in every size, and that the terminal comes back."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.api import ApiThread
from tests.cli.processes import RECORDINGS, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.processes import Home, Running

ENTER, LEAVE, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.fixture
def api() -> Iterator[ApiThread]:
    with ApiThread() as made:
        for number, zone in enumerate(("zone-a", "zone-a", "zone-b")):
            made.node(f"n{number}", zone, f"192.0.2.{number}")
            made.pod(f"p{number}", f"n{number}")
        yield made


def picture(running: Running, *parts: str) -> str:
    """The first whole one that shows all of them."""

    def found() -> str:
        whole = running.frames[1:-1]
        return next((frame for frame in whole if all(part in frame for part in parts)), "")

    return str(running.until(found, f"a picture with {parts}"))


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (40, 120)])
def test_zones_with_prefixes_nodes_and_usage(rows: int, columns: int, api: ApiThread, home: Home) -> None:
    with home.start_on_terminal(rows, columns, "up", "--server", api.server.url) as up:
        shown = picture(up, "3 of 3 have an address", "lag 0", "web/p2 gets")
        lines = shown.splitlines()
        assert len(lines) <= rows
        assert max(map(len, lines)) <= columns
        [zone] = [line for line in lines if "zone-a (2 nodes)" in line]
        for part in ("100.64.0.0/13", "█░░░░  <1%"):
            assert part in zone
        [node] = [line for line in lines if line.startswith("│   n2 ")]
        assert "192.0.2.2" in node
        assert ("100.72.0.0/28" in node) is (columns == 120)
        assert "3 nodes  ·  3 pods" in lines[1]
        assert any("AddressAssigned" in line for line in lines)
        assert up.stop().code == 0


def test_terminal_is_restored(api: ApiThread, home: Home) -> None:
    with home.start_on_terminal(24, 80, "up", "--server", api.server.url) as up:
        picture(up, "3 of 3 have an address")
        result = up.stop(signal.SIGINT)
    assert result.code == 0
    assert result.out.count(ENTER) == result.out.count(LEAVE) == 1
    assert result.out.rindex(LEAVE) > result.out.rindex(ENTER)
    assert CURSOR in result.out
    assert "Traceback" not in result.out


def test_problems_are_on_the_screen(api: ApiThread, home: Home) -> None:
    with home.start_on_terminal(24, 120, "up", "--server", api.server.url) as up:
        picture(up, "3 of 3 have an address")
        api.close()
        picture(up, "watch pods: cannot connect to the API server", "watch network")
        assert up.stop().code == 0


def test_error_is_printed_after_the_screen_is_restored(home: Home) -> None:
    """After the screen is given back, not on it."""
    with ApiThread() as api:
        api.do(lambda: api.server.forbid("watch", "pods"))
        with home.start_on_terminal(24, 80, "up", "--server", api.server.url) as up:
            result = up.wait()
    assert result.code == 1
    assert "romana-bus: pods is forbidden" in result.out.rpartition(LEAVE)[2]


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (8, 30)])
def test_recording_and_its_result(rows: int, columns: int, home: Home) -> None:
    """However small the window is."""
    arguments = ("up", "--recording", str(RECORDINGS), "--speed", "400")
    with home.start_on_terminal(rows, columns, *arguments) as up:
        result = up.wait()
        frames = [frame for frame in up.frames[1:] if "zones and nodes" in frame]
    assert result.code == 0
    assert "Traceback" not in result.out
    assert frames
    words = plain(result.out.rpartition(LEAVE)[2]).split()
    assert "ended." in words
    if columns == 80:
        assert any("us-east-1c (3 nodes)" in frame for frame in frames)
        assert {"us-east-1a", "us-east-1b", "us-east-1c"} <= set(words)


def test_more_nodes_than_rows(home: Home) -> None:
    """Zones stay; nodes are left out before any of them."""
    with ApiThread() as api:
        for number in range(60):
            api.node(f"n{number}", f"zone-{number % 4}", f"192.0.2.{number}")
        with home.start_on_terminal(24, 80, "up", "--server", api.server.url) as up:
            shown = picture(up, *(f"zone-{number} (15 nodes)" for number in range(4)))
            assert "n59" not in shown.partition("events (")[0]
            assert up.stop().code == 0
