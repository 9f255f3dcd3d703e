"""What an API server may answer that means harm, or has lost its mind."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from tests.fuzz import hostile_json
from tests.fuzz.hostile_events import GHOST
from tests.lab.faults import Fault

if TYPE_CHECKING:
    import random

EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"too old resource version: 1 (2)","reason":"Expired","code":410}}'
)
#: Nothing that is real begins to look like one of these before it is damaged.
_OBJECTS = (
    b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%s","namespace":"%s","uid":"u","resourceVersion":"1",'
    b'"labels":{"a":"b"},"annotations":{"romana.io/address":"10.0.0.9"}},"spec":{"nodeName":"%s","hostNetwork":false},'
    b'"status":{"phase":"Running","podIPs":[{"ip":"10.0.0.9"}]}}',
    b'{"kind":"Node","apiVersion":"v1","metadata":{"name":"%s","namespace":"","uid":"%s","resourceVersion":"1",'
    b'"labels":{"topology.kubernetes.io/zone":"%s"}},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.9"}]}}',
    b'{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{"name":"%s","namespace":"%s","uid":"%s",'
    b'"resourceVersion":"1"},"spec":{"podSelector":{"matchLabels":{"a":"b"}},"policyTypes":["Ingress"]}}',
    b'{"kind":"Status","apiVersion":"v1","metadata":{"name":"%s","x":"%s"},"status":"Failure","reason":"%s","code":410}',
)  # fmt: skip
_LONG = b"n" * 100_000
_DEEP = b"[" * 980 + b"]" * 980
_TYPES = (b"ADDED", b"MODIFIED", b"DELETED", b"BOOKMARK", b"ERROR", b"", b"added", b"X" * 5000)

#: Sent into a watch as they are.
_LINES = (
    EXPIRED, b"", b"\r", b"{}", b"null", b"[]", b'{"type":"ADDED"}', b'{"object":{}}',
    b'{"type":"ADDED","object":null}',
    b'{"type":"ADDED","object":{"metadata":null}}', b'{"type":"BOOKMARK","object":{"metadata":null}}',
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"yesterday"}}}',
    b'{"type":"ERROR","object":null}',
    b'{"type":"ERROR","object":{"kind":"Status","message":"' + b"m" * 100_000 + b'","code":500}}',
    b'{"type":"ERROR","object":{"kind":"Status","code":' + b"9" * 5000 + b"}}",
    b'{"type":"ERROR","object":{"kind":"Status","details":' + _DEEP + b',"code":500}}',
    b'{"type":"ERROR","object":{"kind":"Status","details":' + b"[" * 3000 + b"]" * 3000 + b',"code":410}}',
    b'{"type":"ADDED","object":{"metadata":{"name":"ghost","resourceVersion":"1"},"spec":' + _DEEP + b"}}",
    b'{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"1","name":"' + _LONG + b'"}}}',
    b'{"type":"ADDED","object":{"metadata":{"name":"ghost","resourceVersion":"1"}},"type":"DELETED"}',
    b'{"type":"ADDED","object":{"metadata":{"name":"ghost","resourceVersion":"1","resourceVersion":"2"}}}',
    b"x" * 3_000_000,
)  # fmt: skip


def _object(chance: random.Random) -> bytes:
    template = chance.choice(_OBJECTS)
    return template % ((GHOST.encode(),) * template.count(b"%s"))


def _item(chance: random.Random) -> bytes:
    """One that JSON takes, or a whole list would not be read for it."""
    return chance.choice(
        (
            b"17", b"null", b"[]", b'"x"', b"{}", b'{"metadata":null}', b'{"metadata":{"name":["x"]}}',
            _object(chance),
            b'{"metadata":{"name":"ghost","namespace":"ghost"},"spec":' + _DEEP + b"}",
            b'{"metadata":{"name":"' + _LONG + b'","namespace":"ghost"}}',
            b'{"metadata":{"name":"ghost","namespace":"ghost","labels":{"' + b"l" * 950_000 + b'":"1"}}}',
        )
    )  # fmt: skip


def line(chance: random.Random) -> bytes:
    """Of a watch, without its end. About nothing real."""
    match chance.randrange(5):
        case 0:
            found = chance.choice(_LINES)
        case 1:
            found = b'{"type":"%s","object":%s}' % (chance.choice(_TYPES), hostile_json.value(chance))
        case 2:
            found = hostile_json.document(chance)
        case 3:
            changed = hostile_json.with_another_value(chance, _object(chance))
            found = b'{"type":"%s","object":%s}' % (chance.choice(_TYPES), changed)
        case _:
            found = hostile_json.damaged(chance, b'{"type":"ADDED","object":%s}' % _object(chance))
    return found.replace(b"\n", b" ")


def page(chance: random.Random) -> bytes:
    """The body of a list."""
    items = b",".join(_item(chance) for _ in range(chance.randrange(4)))
    whole = (
        b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":""},"items":[%s]}'
        % items
    )
    match chance.randrange(4):
        case 0:
            return hostile_json.document(chance)
        case 1:
            return hostile_json.damaged(chance, whole)
        case 2:
            return b'{"metadata":%s,"items":%s}' % (hostile_json.value(chance), hostile_json.value(chance))
        case _:
            token = chance.choice((b"x", b"t" * 20_000, b"", rb"\u0000", b"same"))
            return whole.replace(b'"continue":""', b'"continue":"%s"' % token)


def bomb(megabytes: int) -> bytes:
    """A gzip body that is a thousand times as large."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(megabytes)) + packer.flush()


def _head(*lines: bytes, code: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s\r\n" % (
        code,
        b"".join(one + b"\r\n" for one in lines),
    )


def raw(chance: random.Random) -> bytes:
    """A whole answer."""
    body = page(chance)[:2_000_000]
    right = b"Content-Length: %d" % len(body)
    gzipped = b"Content-Encoding: gzip"
    return chance.choice(
        (
            _head(right) + body,
            _head(b"Content-Length: %d" % (len(body) + 900)) + body,
            _head(b"Content-Length: 1") + body + b"x",
            _head(b"Content-Length: -1") + body,
            _head(b"Content-Length: " + b"9" * 5000) + body,
            _head(b"Transfer-Encoding: chunked") + b"5\r\nab",
            _head(b"Transfer-Encoding: chunked") + b"zz\r\n" + body,
            _head(b"Transfer-Encoding: chunked", right) + body,
            _head(gzipped, right) + body,
            _head(gzipped) + gzip.compress(body)[:-5],
            _head(gzipped) + bomb(64),
            _head(b"Content-Encoding: br", right) + body,
            _head(right, b"X: " + b"h" * 100_000) + body,
            _head(right, b"\xff\xfe: \xff") + body,
            _head(b"Retry-After: " + b"9" * 5000, right, code=b"429 Slow") + body,
            _head(b"Retry-After: 1", right, code=b"503 No") + body,
            _head(right, code=b"410 Gone") + body,
            _head(right, code=b"500 \xff") + body,
            _head(right, code=b"299 Odd") + body,
            _head(b"Location: http://127.0.0.1:1/", b"Content-Length: 0", code=b"302 Found"),
            _head(right, code=b"999 What") + body,
            b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 1000, b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.1 200 OK\r\n",
            b" ",
        )
    )  # fmt: skip


def fault(chance: random.Random, plural: str) -> Fault:
    """What happens to the next list or watch of it."""
    match chance.randrange(6):
        case 0:
            return Fault(plural=plural, items=tuple(_item(chance) for _ in range(chance.randrange(1, 4))))
        case 1:
            return Fault(plural=plural, version=chance.choice(("", "abc", "0", "-1", "9" * 30, "\u0000")))
        case 2:
            return Fault(plural=plural, same_page=True)
        case 3:
            return Fault(plural=plural, cut_at=chance.randrange(300), reset=chance.random() < 0.5)
        case _:
            return Fault(plural=plural, raw=raw(chance))
