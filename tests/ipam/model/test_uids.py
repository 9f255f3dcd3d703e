"""Uids as they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.ipam.model.uids import ident_of, text_of

if TYPE_CHECKING:
    import uuid


@given(st.uuids())
def test_uuid_round_trip(uid: uuid.UUID) -> None:
    assert isinstance(ident_of(str(uid)), int)
    assert text_of(ident_of(str(uid))) == str(uid)


@given(st.text(max_size=40))
def test_other_uid_round_trip(uid: str) -> None:
    assert text_of(ident_of(uid)) == uid


@pytest.mark.parametrize(
    "uid",
    [
        "8F14E45F-CEEA-467F-A9F1-3F0F0D2C5A11",
        "8f14e45fceea467fa9f13f0f0d2c5a11",
        "8f14e45f-ceea-467f-a9f1-3f0f0d2c5a1\n",
        "8f14e45f-ceea-467f-a9f1-3f0f0d2c5a1\u0661",
        "8f14e45f-ceea-467f-a9f13-f0f0d2c5a11",
    ],
)
def test_text_that_only_looks_like_a_uuid(uid: str) -> None:
    assert text_of(ident_of(uid)) == uid
