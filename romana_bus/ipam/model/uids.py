"""Uids, stored compactly: a UUID (RFC 9562) as an integer takes half the memory of its text. Any other uid
stays text."""

from __future__ import annotations

import re

Ident = int | str

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def ident_of(uid: str) -> Ident:
    return int(uid.replace("-", ""), 16) if len(uid) == 36 and _UUID.match(uid) else uid


def text_of(ident: Ident) -> str:
    if isinstance(ident, str):
        return ident
    text = f"{ident:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
