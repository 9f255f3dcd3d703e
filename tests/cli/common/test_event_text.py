"""The sentence for each event."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.cli.common import event_text


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            ev.Applied(node="n1", consumer="routes", covers={"IPAM": 7}, changes=2, standing={"routes": 12}),
            "routes on n1 up to IPAM/7: 2 changes; 12 routes",
        ),
        (ev.Applied(node="n1", consumer="routes"), "routes on n1 up to nothing: no change"),
        (
            ev.Wired(node="n1", consumer="cni", covers={"IPAM": 7}, addresses={"10.0.0.1": "web/a"}),
            "cni on n1 up to IPAM/7: 1 addresses in the kernel",
        ),
        (
            ev.SandboxRequested(node="n1", namespace="web", name="a", uid="u", sandbox="0123456789abcdef"),
            "web/a starts on n1 in sandbox 0123456789ab",
        ),
        (
            ev.SandboxRemoved(node="n1", namespace="web", name="a", uid="u", sandbox="0123"),
            "web/a on n1: sandbox 0123 is gone",
        ),
        (
            ev.PodSeen(resource_version="1", uid="m", namespace="web", name="a", node="n1", static="u"),
            "web/a unknown, on n1, static",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ev.Event) else "",
)
def test_event_texts(event: ev.Event, sentence: str) -> None:
    assert event_text.sentence(event) == sentence
