"""Whatever a continue token is, it is read or refused."""

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
def test_token_round_trip(version: int, name: str) -> None:
    assert read_continue_token(continue_token(version, f"/web/{name}\0")) == (version, f"web/{name}\0")


@pytest.mark.parametrize("token", ["=", "abcde", "ü"])
def test_token_that_is_not_base64(token: str) -> None:
    assert refusal(token) == "illegal base64 data"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"[" * 3000, "invalid character '[' looking for beginning of value"),
        (b"{", "Input data was truncated"),
        (b'{"v":' + b"[" * 3000, ""),
        (b'{"x":' + b"[" * 3000, ""),
        (rb'{"v":"\ud800"}', ""),
        (b'{"v":"v2","rv":1,"start":"/a"}', "server does not recognize this encoded version v2"),
        (b'{"v":"meta.k8s.io/v1","rv":"7","start":"/a"}', "Expected `int`, got `str` - at `$.rv`"),
        (b'{"v":"meta.k8s.io/v1","rv":9223372036854775808,"start":"/a"}', "incorrect encoded start"),
        (b'{"v":"meta.k8s.io/v1","rv":0,"start":"/a"}', "incorrect encoded start"),
        (b'{"v":"meta.k8s.io/v1","rv":1,"start":""}', "incorrect encoded start"),
        (b'{"v":"meta.k8s.io/v1","rv":1,"start":"/../nodes/"}', "the start leads out of the collection"),
        (b'{"v":"meta.k8s.io/v1","rv":1,"start":"//a"}', "the start leads out of the collection"),
    ],
)
def test_invalid_tokens(body: bytes, said: str) -> None:
    assert said in refusal(encoded(body))


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
