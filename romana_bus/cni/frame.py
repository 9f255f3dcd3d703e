"""One call between the executable and the agent, as bytes. Pure; client.c says it the same way.

A request is four bytes of length (big-endian), then NAME=VALUE strings with a NUL behind each, one empty
string, and the network configuration. An answer is four bytes of length, one byte of exit code, and the text
for stdout.
"""

from __future__ import annotations

from typing import NamedTuple

#: Bytes of an answer; and of a request: a configuration of 1 MiB with its environment.
LARGEST_ANSWER, LARGEST = 1 << 20, (1 << 20) + (1 << 16)
HEAD = 4


class Request(NamedTuple):
    environment: dict[str, str]
    config: bytes


def request(body: bytes) -> Request:
    """Raises ValueError where it is none."""
    environment: dict[str, str] = {}
    at = 0
    while True:
        end = body.find(b"\0", at)
        if end < 0:
            raise ValueError("the environment does not end")
        if end == at:
            return Request(environment, body[end + 1 :])
        name, equals, value = body[at:end].decode(errors="surrogateescape").partition("=")
        if not equals:
            raise ValueError("a variable without '='")
        environment[name] = value
        at = end + 1


def packed(environment: dict[str, str], config: bytes) -> bytes:
    """A request with its length, as the executable sends it."""
    pairs = "".join(f"{name}={value}\0" for name, value in environment.items())
    body = pairs.encode(errors="surrogateescape") + b"\0" + config
    return len(body).to_bytes(HEAD, "big") + body


def answer(code: int, text: bytes) -> bytes:
    """With its length. One that would be too large for the executable is cut: it is no JSON either way."""
    body = bytes([code]) + text[: LARGEST_ANSWER - 1]
    return len(body).to_bytes(HEAD, "big") + body
