"""Texts in JSON and YAML: the line of each entry, and the keys that are repeated."""

from __future__ import annotations

import json

import pytest

from romana_bus.cli.common.positions import LONGEST_PLACE, Unreadable, parse


@pytest.mark.parametrize(
    "text",
    [
        '{"a":\n\t{"k": 1, "b": [1,\n[],\n{\n"c"\n:\n1}]}}',
        '{"a":\r\n\t{"k": 1, "b": [1,\r\n[],\r\n{\r\n"c"\r\n:\r\n1}]}}',
        '{"a":\r\t{"k": 1, "b": [1,\r[],\r{\r"c"\r:\r1}]}}',
        '{"a":\n\t{"k": "\\"]}\u2028\x85", "\\u0062": [1,\n[],\n{\n"c"\n:\n1}]}}',
        'a:\n  {"k": 1, "b": [1,\n[],\n{\n"c":\n1}]}',
    ],
    ids=["JSON", "CRLF", "CR", "escapes", "YAML"],
)
def test_line_of_an_entry(text: str) -> None:
    root = parse(text).root
    lines = {"": 1, "a": 1, "a.b": 2, "a.b[0]": 2, "a.b[1]": 3, "a.b[2]": 4, "a.b[2].c": 5}
    assert {place: root.line_of(place) for place in lines} == lines
    assert root.line_of("a.b[2].none") == root.line_of("a.b[2][0]") == 4
    assert root.line_of("a.b[1][7].c") == 3


def test_keys_of_any_length_have_a_line() -> None:
    """YAML allows 1,024 characters."""
    assert parse('{"%s":\n1,\n"b":2}' % ("k" * 5_000)).root.line_of("b") == 3


def test_a_repeated_key_has_its_own_line_whatever_its_name_is() -> None:
    said = "this key is given more than once"
    text = "a.b[0]: 1\na.b[0]:\n- c: 1\n  c: 2\n  c: 3\n"
    assert list(parse(text).repeated()) == [
        ("a.b[0]", 2, f"{said} (line 2)"),
        ("a.b[0][0].c", 4, f"{said} (line 4)"),
        ("a.b[0][0].c", 5, f"{said} (line 5)"),
    ]
    text = '{"a":{"b":1,"b":1},\n"c":[{"d":1,\n"d":1,"d":1}],\n"a":{"e":1,"e":1}}'
    assert list(parse(text).repeated()) == [("a", 4, said), ("a.e", 4, said), ("c[0].d", 3, said)]


def test_many_places_of_a_file_may_be_as_long_as_itself() -> None:
    """As text they would be 10 GB."""
    text = json.dumps({"k" * 400_000: [{"a": 1, "b": 2}] * 25_000}).replace('"b"', '"a"')
    places = [place for place, _, _ in parse(text).repeated()]
    assert len(places) == 25_000
    assert max(map(len, places)) == LONGEST_PLACE + len("...")


@pytest.mark.parametrize(
    "value", ["!!bool perhaps", "!!timestamp soon", "!!int ''", "!!float ''", "!!int [1]"]
)
def test_value_that_does_not_match_its_tag(value: str) -> None:
    with pytest.raises(Unreadable, match=r"^neither JSON nor YAML: ") as refused:
        parse(f"x: 1\na:\n- {value}\n")
    assert refused.value.line == 3


@pytest.mark.timeout(20)
def test_a_number_to_base_60_as_long_as_the_file() -> None:
    with pytest.raises(Unreadable, match="a number of more than 5,000 characters") as refused:
        parse("x: 1\na: 1" + ":1" * 400_000)
    assert refused.value.line == 2
