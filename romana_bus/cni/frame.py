"""One call between the executable and the agent, as bytes. Pure; client.c uses the same format.

A request is four bytes of length (big-endian), then NAME=VALUE strings, each with a NUL at its end, an empty
string, and the network configuration. An answer is four bytes of length, one byte of exit code, and the text
for stdout.
"""

from __future__ import annotations

from typing import NamedTuple

#: The most bytes of an answer, and of a request: a configuration of 1 MiB with its environment.
LARGEST_ANSWER, LARGEST = 1 << 20, (1 << 20) + (1 << 16)
HEAD = 4


class Request(NamedTuple):
    environment: dict[str, str]
    config: bytes


def request(body: bytes) -> Request:
    """Parse a request without its length. Raises ValueError."""
    environment: dict[str, str] = {}
    start = 0
    while True:
        end = body.find(b"\0", start)
        if end < 0:
            raise ValueError("the environment does not end")
        if end == start:
            return Request(environment, body[end + 1 :])
        name, equals, value = body[start:end].decode(errors="surrogateescape").partition("=")
        if not equals:
            raise ValueError("a variable without '='")
        environment[name] = value
        start = end + 1


def packed(environment: dict[str, str], config: bytes) -> bytes:
    """A request with its length, as the executable sends it."""
    pairs = "".join(f"{name}={value}\0" for name, value in environment.items())
    body = pairs.encode(errors="surrogateescape") + b"\0" + config
    return len(body).to_bytes(HEAD, "big") + body


def answer(code: int, text: bytes) -> bytes:
    """An answer with its length. A text that is too large for the executable is cut."""
    body = bytes([code]) + text[: LARGEST_ANSWER - 1]
    return len(body).to_bytes(HEAD, "big") + body
