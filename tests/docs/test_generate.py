"""The pages that are made from the code have all of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docs import generate
from romana_bus.cli.app import app
from romana_bus.events import STORED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App


def paths(command: App, above: str = "romana-bus") -> Iterator[str]:
    for name in command:
        if not name.startswith("-"):
            yield f"{above} {name}"
            yield from paths(command[name], f"{above} {name}")


def test_every_command_has_its_heading() -> None:
    headings = {line.lstrip("# ") for line in generate.commands().splitlines() if line.startswith("#")}
    wanted = set(paths(app))
    assert len(wanted) > 30
    assert wanted <= headings


def test_options_that_many_commands_share_are_described_once() -> None:
    page = generate.commands()
    own = page.index("* `--cluster-name STR`")  # doctor's group is another one: --cluster is a scope there
    assert page.count("* `--nats-monitor STR`", own - 3000, own) == 1
    assert page.count("* `--nats-monitor STR`") == 2
    assert page.count("**Store**: [Store options](#store-options)") > 10
    assert page.count("\n## Store options\n") == 1


def test_every_event_has_its_heading_subject_and_fields() -> None:
    page = generate.events()
    assert {event.__name__ for event in STORED} <= {
        line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")
    }
    assert "### AddressAssigned\n\nSubject: `ipam.address.NODE.NAMESPACE.NAME`" in page
    assert "| `addresses` | list of [PodAddress](#podaddress) | `[]` |" in page
    assert "### PodAddress" in page


def test_every_metric_is_there_under_the_name_that_prometheus_sees() -> None:
    page = generate.measured()
    sources = (generate.ROOT / "romana_bus").rglob("*.py")
    named = {
        name
        for file in sources
        for name in re.findall(r'^ *(?:\w+ = \w+\()?"(romana_(?!bus")\w+)"', file.read_text(), re.MULTILINE)
    }
    assert {"romana_events_folded", "romana_cni_calls", "romana_exhausted"} <= named
    assert {name for name in named if name not in page} == set()
    assert "| `romana_events_folded_total` | `consumer`, `stream` | counter |" in page
    assert "| `romana_audit_findings` | `kind` | gauge |" in page
    assert "| `romana_log_lines_dropped_total` |" in page
    assert "romana_exhausted{network,group,scope}" in page
