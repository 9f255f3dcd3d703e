"""Bytes that are to be read as JSON, and were made to do harm. From a seed alone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

#: Levels of nesting: more than anybody means, than CPython takes, and than a stack of C has room for.
DEPTHS = (150, 201, 980, 3000, 100_000)

#: Values in the place of any other.
VALUES: tuple[bytes, ...] = (
    b"null", b"true", b"false", b"0", b"-0", b"-1", b"1.5", b"1e5", b"1e999", b"-1e-999",
    b"%d" % 2**31, b"%d" % 2**53, b"%d" % 2**62, b"%d" % 2**63, b"%d" % 2**64, b"%d" % -(2**63),
    b"%d" % 10**18,
    b"9" * 5000, b"-" + b"9" * 5000, b"0." + b"1" * 5000, b"1e" + b"9" * 5000,
    b'""', b'" "', b'"-"', b'"."', b'".."', b'"/"', b'"a/b"', b'"*"', b'">"', b'"a b"',
    rb'"\u0000"', rb'"\ud800"', rb'"\udfff\ud800"', rb'"\u202e\u001b[2J"', b'"\xff\xfe"', b'"\xed\xa0\x80"',
    b'"\x00"', b'"\n"', b'"' + b"x" * 254 + b'"', b'"' + b"x" * 100_000 + b'"',
    b'"' + rb"\u0001" * 20_000 + b'"',
    b'"10.0.0.300"', b'"10.0.0.0/33"', b'"::/0"', b'"0.0.0.0/0"', b'"10.0.0.1/8"', b'"::ffff:1.2.3.4"',
    b'"fe80::1%eth0"',
    b"[]", b"{}", b"[null]", b"[[]]", b"[{}]", b'{"":null}', b'{"a":1,"a":2}', b'["a",1,{},[]]',
    b"NaN", b"Infinity", b"-Infinity", b"undefined", b"'a'", b"01", b"+1", b".5", b"",
    *(b"[" * depth + b"]" * depth for depth in DEPTHS),
    *(b'{"a":' * depth + b"1" + b"}" * depth for depth in DEPTHS),
    b"[" * 3000, b"[1," * 2000 + b"1" + b"]" * 2000, b"[" + b"0," * 50_000 + b"0]",
)  # fmt: skip

#: Bodies that are no object at all, or hardly one.
DOCUMENTS: tuple[bytes, ...] = (
    b"", b" ", b"\0", b"\0" * 1000, b"\xff" * 100, b"\xef\xbb\xbf{}", '{"type":"PodSeen"}'.encode("utf-16"),
    b"{", b"}", b"{]", b'{"type"', b'{"type":', b'{"type":"', b'"' * 1001, b"\\" * 1000, b'{"a":"\\',
    b'{"type":"FromTheFuture"}', b'{"type":"FromTheFuture","x":' + b"[" * 150 + b"]" * 150 + b"}",
    b'{"type":"' + b"T" * 100_000 + b'"}', b'{"type":"PodSeen","type":"NodeSeen"}',
    b'{"type":"SandboxRequested","x":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"x":"' + b"[" * 3000 + b'","type":"PodSeen"}', b"{} {}", b"{}\n{}", b"[" * 900_000, b'{"a":' * 150_000,
    b'{"' + b"k" * 900_000 + b'":1}', b"\x1f\x8b\x08\x00" + b"\0" * 60, b"---\nkind: Pod\n", b"<xml/>",
    b"GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip

_VALUE = re.compile(rb'(?<=":)(?:"(?:[^"\\]|\\.)*"|[^,{}\[\]"]+)')


def value(chance: random.Random) -> bytes:
    return chance.choice(VALUES)


def document(chance: random.Random) -> bytes:
    """A body that has nothing to do with what is expected."""
    match chance.randrange(4):
        case 0:
            return chance.choice(DOCUMENTS)
        case 1:
            return value(chance)
        case 2:
            return chance.randbytes(chance.choice((1, 7, 64, 1000)))
        case _:
            return b'{"type":%s,"%s":%s}' % (
                value(chance),
                chance.choice((b"x", b"name", b"type")),
                value(chance),
            )


def damaged(chance: random.Random, body: bytes) -> bytes:
    """A body that was well once."""
    at = chance.randrange(len(body) + 1)
    match chance.randrange(8):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + chance.randbytes(chance.randrange(1, 5)) + body[at + 1 :]
        case 2:
            return body + chance.choice((body, b"}", b",", b"\0", b" ", b"[]"))
        case 3:
            return body[:at] + body[at:][::-1]
        case 4:
            return body.replace(b":", b"::", 1) if chance.random() < 0.5 else body.replace(b'"', b"'")
        case 5:
            return (
                b"[" + body + b"]"
                if chance.random() < 0.5
                else json.dumps(body.decode(errors="replace")).encode()
            )
        case _:
            return with_another_value(chance, body)


def with_another_value(chance: random.Random, body: bytes) -> bytes:
    """Of one of its keys."""
    places = list(_VALUE.finditer(body))
    if not places:
        return body
    place = chance.choice(places)
    return body[: place.start()] + value(chance) + body[place.end() :]
