r"""Escapes control and invisible characters in text from outside, for a terminal. Pure.

A name, a reason or an error can come from anybody who may write an annotation. Unescaped, it could move the
cursor, set colours or the window title, ring, add a line, reverse the text around it, or look like another
name. Escaped (`\x1b`, `\n`, `\u202e`) it cannot.
"""

from __future__ import annotations

import re

#: C0, DEL and C1; lone surrogates; line and paragraph separators; bidirectional controls; and what Unicode
#: shows as nothing (Default_Ignorable_Code_Point): zero widths, fillers, variation selectors, tags.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff"
)
#: Some of these stay where they belong to a visible character: in emoji, and behind an ideograph, where a
#: variation selector chooses the form, for example in a person's name.
_SYMBOL = r"[\xa9\xae\u203c\u2049\u2100-\u2bff\u3030-\u303d\u3297-\u3299\U0001f000-\U0001faff]"
_JOINED = rf"\u200d{_SYMBOL}[\ufe0e\ufe0f]?"
_EMOJI = rf"{_SYMBOL}(?:[\ufe0e\ufe0f]|{_JOINED})(?:{_JOINED})*|[#*0-9]\ufe0f\u20e3"
_IDEOGRAPH = r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff][\ufe00-\ufe0f\U000e0100-\U000e01ef]"
_CONTROL = re.compile(f"({_EMOJI}|{_IDEOGRAPH})|[{_CONTROLS}]")


def printable(text: str) -> str:
    """One line, in which every control or invisible character is a Python escape."""
    if text.isascii() and text.isprintable():  # nearly all texts
        return text
    return _CONTROL.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback: its newlines stay."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(match: re.Match[str]) -> str:
    kept: str | None = match[1]
    return kept or match[0].encode("unicode_escape").decode()
