#!/usr/bin/env -S python3 -I -S
"""romana-cni where no compiler was found: client.c beside this file, in Python.

Reads the CNI_* environment and the network configuration on stdin, of which it looks at nothing but three
top-level values: socket, timeout, cniVersion. Writes what the agent answers to stdout, and exits with the
code that the agent gives. Owns nothing, keeps nothing. Most of its time is the interpreter's start, so it
imports no more than what that has loaded already, and the C halves of `socket` and `signal`.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os

SOCKET = b"/run/romana-bus/cni.sock"
LARGEST = 1 << 20  # bytes of a configuration, and of an answer
ROOM = 1 << 16  # bytes of the environment that is passed on
WAITS, MARGIN = 10, 10  # seconds that the agent waits for an address, and in which it has to answer beyond
PASSED = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
SUPPORTED = '"0.4.0","1.0.0","1.1.0"'
ESCAPES = {0x22: 0x22, 0x5C: 0x5C, 0x2F: 0x2F, 0x62: 8, 0x66: 12, 0x6E: 10, 0x72: 13, 0x74: 9}
HEX, DIGITS = b"0123456789abcdefABCDEF", b"0123456789"


class Late(Exception):
    """The time for everything is over."""


def ring(*_: object) -> None:
    raise Late


def put(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def stdin() -> bytes:
    """Up to one byte more than is taken."""
    parts, size = [], 0
    while size <= LARGEST and (part := os.read(0, LARGEST + 1 - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def string(text: bytes, at: int) -> tuple[bytes, int]:
    """(the string behind the quote at `at`, where it ends); b"" where it is no plain text."""
    found, odd, end = bytearray(), False, len(text)
    at += 1
    while at < end and text[at] != 0x22:
        code = text[at]
        if code == 0x5C and at + 1 < end:
            at += 1
            code = ESCAPES.get(text[at], 0)
            if text[at] == 0x75:  # u
                first = at + 1
                while at + 1 < end and at + 1 - first < 4 and text[at + 1] in HEX:
                    at += 1
                code = int(text[first : at + 1] or b"0", 16)
            if code > 0x7F:
                code = 0
        odd |= not code
        found.append(code)
        at += 1
    return b"" if odd else bytes(found), min(at + 1, end)


def scan(text: bytes) -> dict[bytes, bytes]:
    """The top-level values that this program needs. Broken JSON is for the agent to refuse."""
    found: dict[bytes, bytes] = {}
    key, depth, behind, at, end = b"", 0, False, 0, len(text)
    while at < end:
        one = text[at : at + 1]
        if one == b'"':
            value, at = string(text, at)
            if not behind:
                key = value
            elif depth == 1:
                found[key] = value
            continue
        if one in b"{[":
            depth += 1
            behind = depth > 1
        elif one in b"}]":
            depth -= 1
        elif depth == 1 and one in b":,":
            behind = one == b":"
        elif depth == 1 and behind and key == b"timeout" and one in DIGITS:
            start = at
            while at < end and text[at] in b"0123456789.eE+-":
                at += 1
            found[b"waits"] = text[start:at]
            continue
        at += 1
    return found


def fail(version: str, code: int, text: str, about: str = "", why: str = "") -> int:
    """A CNI error object on stdout; what stands in `about` may be anything."""
    about = "".join(one if " " <= one <= "~" and one not in '"\\' else "?" for one in about[:255])
    msg = f"{text} {about}" if about else text
    _signal.setitimer(_signal.ITIMER_REAL, 1.0)
    put(1, f'{{"cniVersion":"{version}","code":{code},"msg":"{msg}","details":"{why}"}}\n'.encode())
    return 1


def take(agent: _socket.socket, size: int) -> bytes:
    parts = []
    while size and (part := agent.recv(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise ConnectionResetError(104, os.strerror(104))
    return b"".join(parts)


def ask(path: bytes, request: bytes) -> tuple[bytes, int]:
    """(text, exit code) of the agent. Raises OSError, Late."""
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    agent.connect(path)
    try:
        view = memoryview(request)
        while view:
            view = view[agent.send(view) :]
    except BrokenPipeError:
        pass  # it may have answered without reading all
    length = int.from_bytes(take(agent, 4), "big")
    if not 1 <= length <= LARGEST:
        raise OSError(71, os.strerror(71))
    answer = take(agent, length)
    return answer[1:], answer[0]


def plain(version: bytes) -> bool:
    return 0 < len(version) < 24 and not version.strip(b"0123456789.")


def main() -> int:
    _signal.signal(_signal.SIGALRM, ring)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.setitimer(_signal.ITIMER_REAL, WAITS + MARGIN, 1.0)
    version = "1.1.0"
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        return fail(version, 4, "CNI_COMMAND is not set: a container runtime calls this program")
    request = b""
    for name in PASSED:
        if (value := os.environb.get(name.encode())) is not None:
            if len(request) + len(value) + 20 > ROOM - 1:
                return fail(version, 4, "too long:", name)
            request += name.encode() + b"=" + value + b"\0"
    try:
        config = stdin()
    except Late:
        return fail(version, 5, "no configuration could be read from stdin:", os.strerror(110))
    except OSError as error:
        return fail(version, 5, "no configuration could be read from stdin:", os.strerror(error.errno or 0))
    if len(config) > LARGEST:
        return fail(version, 7, "the configuration on stdin has more than 1048576 bytes")
    found = scan(config)
    if plain(found.get(b"cniVersion", b"")):
        version = found[b"cniVersion"].decode()
    if command == "VERSION":
        put(1, f'{{"cniVersion":"{version}","supportedVersions":[{SUPPORTED}]}}\n'.encode())
        return 0
    path = found.get(b"socket", SOCKET)
    if not 0 < len(path) < 108:
        return fail(version, 7, "socket: give a path of at most 107 plain characters")
    try:
        waits = float(found.get(b"waits", WAITS))
    except ValueError:
        waits = 0.0
    _signal.setitimer(_signal.ITIMER_REAL, min(waits, 600) + MARGIN, 1.0)
    request += b"\0" + config
    try:
        text, code = ask(path, len(request).to_bytes(4, "big") + request)
    except Late:
        why = os.strerror(110)
    except OSError as error:
        why = os.strerror(error.errno or 0)
    else:
        put(1, text)
        return code
    code = 50 if command == "STATUS" else 11
    why += ": is `romana-bus agent` running on this node?"
    return fail(version, code, "the agent of romana-bus does not answer at", path.decode("latin-1"), why)


if __name__ == "__main__":
    try:
        exit_code = main()
    except (Late, OSError):  # nobody takes what is written
        exit_code = 1
    os._exit(exit_code)
