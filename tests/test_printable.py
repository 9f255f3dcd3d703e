"""What a terminal may be shown of a text from outside."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from romana_bus.printable import printable, printable_lines

#: Nothing to see, though Unicode counts them as letters or marks (Default_Ignorable_Code_Point).
UNSEEN = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0}
SELECTORS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
#: Signs of Arabic, Syriac, Kaithi and hieroglyphs that are seen, though they are format characters.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}

ESCAPED = [
    ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
    ("one\ntwo\r\tthree\x0b\x0c\x08\x00\x7f", r"one\ntwo\r\tthree\x0b\x0c\x08\x00\x7f"),
    ("\x85\x9b2J\x9d0;t\x9c", r"\x85\x9b2J\x9d0;t\x9c"),
    ("exe\u202egnp.\u2066\u2069\u200e\u200f\u061c", r"exe\u202egnp.\u2066\u2069\u200e\u200f\u061c"),
    ("we\u200bb\u200c\u200d\u2060\ufeff\xad", r"we\u200bb\u200c\u200d\u2060\ufeff\xad"),
    ("a\u2028b\u2029", r"a\u2028b\u2029"),
    ("tag\U000e0041\U000e007f", r"tag\U000e0041\U000e007f"),
    ("\ud83d\udc9b", r"\ud83d\udc9b"),
    ("a\ufe0fb1\ufe0f", r"a\ufe0fb1\ufe0f"),
    ("❤\ufe0f\ufe0f", "❤\ufe0f" + r"\ufe0f"),
    ("葛\U000e0100\U000e0101", "葛\U000e0100" + r"\U000e0101"),
]
KEPT = [
    "web/frontend-6f889989b8-vx9hj gets 10.0.0.1",
    r"C:\new \x1b [red]not[/red]",
    "東京 データセンター １",
    "e\u0301 Ångström नमस्ते สวัสดี שלום سلام",
    "👍🏽 👩‍💻 👨‍👩‍👧 ❤️‍🔥 🏳️‍🌈 🇯🇵 1️⃣ ©️",
    "葛\U000e0100城",
    "█░░ ✓ ── ·",
    "",
]


@pytest.mark.parametrize(("text", "shown"), ESCAPED)
def test_control_and_invisible_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_only_newlines_stay_in_multiline_text() -> None:
    assert printable_lines("one\x1b\n\ttwo\n") == "one\\x1b\n\\ttwo\n"


def test_every_character_alone() -> None:
    """By the tables of Unicode, which the pattern does not ask."""
    for number in range(0x110000):
        character = chr(number)
        shown = printable(character)
        if forbidden(character):
            assert shown.isascii(), hex(number)
            assert shown.isprintable(), hex(number)
            assert shown.encode().decode("unicode_escape") == character
            for beside in (f"{character}\ufe0f", f"{character}\u200d💻", f"💻\u200d{character}"):
                assert character in "\u200d\ufe0f" or character not in printable(beside), hex(number)
        elif unicodedata.category(character) != "Cn":  # some of these are ignorable by plan
            assert shown == character, hex(number)


def forbidden(character: str) -> bool:
    number = ord(character)
    kind = unicodedata.category(character)
    return (
        kind in {"Cc", "Cs", "Zl", "Zp"}
        or (kind == "Cf" and number not in SEEN)
        or number in UNSEEN
        or number in SELECTORS
    )


#: Half of it is what matters.
texts = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from(
            "\x00\x07\n\r\t\x1b\x7f\x85\x9b\u200b\u200d\u202e\u2066\u2028\ufeff\ufe0f\u20e3\ud800"
        ),
        st.sampled_from("a1#\\[❤👩💻🏽葛\U000e0041\U000e0100"),
    )
)


@given(texts)
@example("\x10\ufe0f\u20e3")
@example("a\ufe0f\u200d💻")
def test_output_contains_nothing_to_escape(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    for at, character in enumerate(shown):
        if forbidden(character):  # part of an emoji or of an ideograph, which is before it
            assert character in "\u200d\ufe0e\ufe0f" or ord(character) in SELECTORS
            assert at
            assert not shown[at - 1].isascii() or shown[at + 1] == "\u20e3"
    shown.encode()


@given(texts)
def test_escaping_is_reversible(text: str) -> None:
    """Where no text of its own looks like an escape, the original can be had back."""
    text = text.replace("\\", "")
    shown = printable(text)
    back = shown.encode("raw_unicode_escape", "surrogatepass").decode("unicode_escape")
    assert back == text


@given(st.text(st.characters(exclude_categories=("C", "Z", "M", "Lo"), codec="utf-8")))
def test_other_characters_are_unchanged(text: str) -> None:
    assert printable(text) == text


@given(texts)
def test_output_is_one_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
