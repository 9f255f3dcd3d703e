"""The limits of fixed and sticky addresses, as a topology document has them."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus.events.base import SECOND
from romana_bus.ipam import parse
from romana_bus.ipam.topology.pinned_limits import DEFAULT_LIMITS, PinnedLimits, duration, duration_text
from tests.ipam.cluster import topology


def limits(written: Any) -> PinnedLimits:
    document = topology()
    document["networks"][0]["wishes"] = written
    return parse(document).networks[0].limits


def test_every_limit_is_read() -> None:
    written = {
        "fixed": ["db", "web", "db"], "sticky": [], "max_per_namespace": 3, "max_retention": "2h",
        "max_broken_blocks": "25%",
    }  # fmt: skip
    assert limits(written) == PinnedLimits(
        fixed=("db", "web"), sticky=(), max_per_namespace=3, max_retention=7_200 * SECOND,
        max_broken_blocks=25,
    )  # fmt: skip
    assert str(limits(written)) == (
        "fixed for db, web; sticky for nobody; 3 per namespace; kept for 2h at most; 25% of a group's blocks "
        "broken up at most"
    )


@pytest.mark.parametrize("written", [None, {}])
def test_a_document_without_limits_has_safe_ones(written: Any) -> None:
    assert limits(written) == DEFAULT_LIMITS
    assert parse(topology()).networks[0].limits == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("percent", "blocks", "allowed"), [(10, 256, 25), (10, 5, 1), (0, 256, 0), (100, 3, 3), (1, 1, 1)]
)
def test_share_of_the_blocks_is_at_least_one(percent: int, blocks: int, allowed: int) -> None:
    assert PinnedLimits(max_broken_blocks=percent).breakable(blocks) == allowed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7_200), ("7d", 604_800), ("365d", None)],
)
def test_a_duration_is_written_as_it_is_read(text: str, seconds: int | None) -> None:
    time = duration(text)
    assert time is not None
    assert seconds is None or time == seconds * SECOND
    assert duration_text(time) == text


@pytest.mark.parametrize("text", ["", "1", "-1s", "1w", "1.5h", "366d", "99999999d", " 1s", "1s\n"])
def test_what_is_not_a_duration(text: str) -> None:
    assert duration(text) is None
