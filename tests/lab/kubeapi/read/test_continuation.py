"""Whatever a continue token is, it is read or refused, in the words of the real server."""

from __future__ import annotations

import base64
import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.lab.kubeapi.read.continuation import continue_token, read_continue_token
from romana_bus.lab.kubeapi.status import Refused


def refusal(token: str) -> str:
    """What it says, without the beginning that all share."""
    with pytest.raises(Refused) as caught:
        read_continue_token(token)
    assert caught.value.code == 400
    message = msgspec.json.decode(caught.value.body)["message"]
    start = "invalid continue token: continue key is not valid: "
    assert message.startswith(start)
    return str(message.removeprefix(start))


def encoded(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


@given(st.integers(1, 2**63 - 1) | st.just(-1), st.from_regex(r"[a-z0-9.-]*[a-z0-9]", fullmatch=True))
def test_what_was_written_is_read(version: int, name: str) -> None:
    assert read_continue_token(continue_token(version, f"/web/{name}\0")) == (version, f"web/{name}\0")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("=", "illegal base64 data at input byte 0"),
        ("abcde", "illegal base64 data at input byte 4"),
        ("ab==", "illegal base64 data at input byte 2"),
        ("a+bc", "illegal base64 data at input byte 1"),
        ("ü", "illegal base64 data at input byte 0"),
        ("\n", "unexpected end of JSON input"),
    ],
)
def test_what_is_not_base64(token: str, said: str) -> None:
    assert refusal(token) == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b" ", "unexpected end of JSON input"),
        (b"{", "unexpected end of JSON input"),
        (b'{"v":"', "unexpected end of JSON input"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"'", r"invalid character '\'' looking for beginning of value"),
        (b"\0", r"invalid character '\x00' looking for beginning of value"),
        (b"\xf9", "invalid character 'ù' looking for beginning of value"),
        (b"\x9e", r"invalid character '\u009e' looking for beginning of value"),
        (b"{,}", "invalid character ',' looking for beginning of object key string"),
        (b'{"v" 1}', "invalid character '1' after object key"),
        (b'{"v":1 2}', "invalid character '2' after object key:value pair"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"[" * 3000, "exceeded max depth"),
        (b"null", "server does not recognize this encoded version "),
        (b'{"v":"\xff"}', "server does not recognize this encoded version �"),
        (rb'{"v":"\ud800"}', "server does not recognize this encoded version �"),
        (b"[1]", "json: cannot unmarshal array into Go value of type continueToken"),
        (b'{"v":7}', "json: cannot unmarshal number into Go struct field continueToken.v of type string"),
        (
            b'{"rv":"7"}',
            "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
        ),
        (
            b'{"rv":9223372036854775808}',
            "json: cannot unmarshal number into Go struct field continueToken.rv of type int64",
        ),
        (
            b'{"v":"meta.k8s.io/v1"}',
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        (b'{"v":"meta.k8s.io/v1","rv":1}', "encoded start key empty (version meta.k8s.io/v1)"),
        (b'{"v":"meta.k8s.io/v1","rv":1,"start":"/../nodes/"}', "/../nodes/"),
        (b'{"v":"meta.k8s.io/v1","rv":1,"start":"//a"}', "//a"),
    ],
)
def test_what_is_no_token_inside(body: bytes, said: str) -> None:
    assert refusal(encoded(body)) == said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["v", "rv", "start"]), inner),
    max_leaves=6,
)


@given(
    st.text(max_size=20)
    | st.binary(max_size=40).map(encoded)
    | _JSON.map(lambda value: encoded(msgspec.json.encode(value)))
)
def test_any_token_is_read_or_refused(token: str) -> None:
    with contextlib.suppress(Refused):
        version, start = read_continue_token(token)
        assert version
        assert not start.startswith("/")
