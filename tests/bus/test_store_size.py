"""Sizes that a user writes, and what each log gets of a budget."""

from __future__ import annotations

import pytest

from romana_bus.bus.store_size import (
    LEAST,
    TABLES,
    UNKNOWN,
    Size,
    budget_from,
    budget_of,
    log_bytes,
    parse_size,
    tables_bytes,
)
from romana_bus.events import ROLES, STREAMS


def test_every_log_and_the_tables_have_a_share() -> None:
    assert all(stream.share > 0 for stream in STREAMS)
    assert TABLES >= 10
    budget = 1_000_000_000
    logs = {role: log_bytes(budget, role) for role in ROLES}
    assert sum(logs.values()) + tables_bytes(budget) == budget
    assert budget_from(logs) == budget


def test_a_log_without_a_limit_has_no_budget() -> None:
    assert budget_from({"KUBE": 1000, "IPAM": -1}) == 0
    assert budget_from({}) == 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", Size(20_000_000_000)),
        ("1.5 TB", Size(1_500_000_000_000)),
        ("512MiB", Size(512 << 20)),
        ("2g", Size(2 << 30)),
        ("600000000", Size(600_000_000)),
        ("50%", Size(percent=50.0)),
        (" 0.5 % ", Size(percent=0.5)),
    ],
)
def test_sizes(text: str, size: Size) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("511MB", "at least 512 MB"),
        ("0", "at least 512 MB"),
        ("0%", "above 0%"),
        ("101%", "at most 100%"),
        ("", "write bytes such as 20GB"),
        ("-5GB", "write bytes such as 20GB"),
        ("twenty", "write bytes such as 20GB"),
        ("1e9", "write bytes such as 20GB"),
        ("٣GB", "write bytes such as 20GB"),
        ("20 GB GB", "write bytes such as 20GB"),
    ],
)
def test_invalid_sizes(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_size(text)


def test_the_default_is_half_of_the_storage_or_a_stated_number() -> None:
    assert budget_of(Size(), 100_000_000_000) == 50_000_000_000
    assert budget_of(Size(), 0) == UNKNOWN
    assert budget_of(Size(), 600_000_000) == LEAST


def test_a_share_of_the_storage() -> None:
    assert budget_of(Size(percent=20), 10_000_000_000) == 2_000_000_000
    with pytest.raises(ValueError, match="not known: give bytes"):
        budget_of(Size(percent=20), 0)
    with pytest.raises(ValueError, match="at least 512 MB"):
        budget_of(Size(percent=1), 10_000_000_000)


def test_more_than_there_is() -> None:
    assert budget_of(Size(bytes=10**12), 0) == 10**12
    with pytest.raises(ValueError, match="1 TB is more than NATS can store here, 66 GB"):
        budget_of(Size(bytes=10**12), 66_000_000_000)
