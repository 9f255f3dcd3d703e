#!/usr/bin/env -S python3 -I -S
"""romana-cni where no compiler was found: client.c beside this file, in Python.

Reads the CNI_* environment and the network configuration on stdin. Of the configuration it uses only three
top-level values: socket, timeout, cniVersion. Writes the agent's answer to stdout, and exits with the code in
that answer. Without the agent, a DEL is kept in the directory `spool` beside the socket, and STATUS is
answered from the file `last-status` there. Most of its time is the start of the interpreter, so it imports
only modules that are loaded by then, and the C halves of `socket` and `signal`.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import os
import time

SOCKET = b"/run/romana-bus/cni.sock"
LARGEST = 1 << 20  # bytes of a configuration, and of an answer
ENVIRONMENT = 1 << 16  # bytes of the environment that is passed on
TIMEOUT, MARGIN = 10, 10  # seconds: that the agent waits for an address; after that, until it has to answer
SPOOLED, SPOOLED_BYTES = 1024, 8 << 20  # the most calls in the spool, and their bytes
PASSED = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
SUPPORTED = '"0.4.0","1.0.0","1.1.0"'
ESCAPES = {0x22: 0x22, 0x5C: 0x5C, 0x2F: 0x2F, 0x62: 8, 0x66: 12, 0x6E: 10, 0x72: 13, 0x74: 9}
LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PUNCTUATION = b"!\"#$%&'()*+,-.;<=>?@[\\]^_`{|}~"  # of interfaces: neither '/' nor ':'
HEX, DIGITS = b"0123456789abcdefABCDEF", b"0123456789"


class TimedOut(Exception):
    """The time for the whole call is over."""


def on_alarm(*_: object) -> None:
    raise TimedOut


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read_stdin() -> bytes:
    """The configuration; at most one byte more than LARGEST is read."""
    parts, size = [], 0
    while size <= LARGEST and (part := os.read(0, LARGEST + 1 - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def decode_string(text: bytes, quote: int) -> tuple[bytes, int]:
    """Decode the JSON string whose opening quote is at `quote`. Returns it and the position after its closing
    quote; b"" instead of a string that has characters other than ASCII."""
    decoded, unusable, end = bytearray(), False, len(text)
    position = quote + 1
    while position < end and text[position] != 0x22:
        code = text[position]
        if code == 0x5C and position + 1 < end:
            position += 1
            code = ESCAPES.get(text[position], 0)
            if text[position] == 0x75:  # u
                first = position + 1
                while position + 1 < end and position + 1 - first < 4 and text[position + 1] in HEX:
                    position += 1
                code = int(text[first : position + 1] or b"0", 16)
            if code > 0x7F:
                code = 0
        unusable |= not code
        decoded.append(code)
        position += 1
    return b"" if unusable else bytes(decoded), min(position + 1, end)


def scan(text: bytes) -> dict[bytes, bytes]:
    """The top-level values that this program needs. The agent refuses broken JSON."""
    values: dict[bytes, bytes] = {}
    key, depth, is_value, position, end = b"", 0, False, 0, len(text)
    while position < end:
        byte = text[position : position + 1]
        if byte == b'"':
            string, position = decode_string(text, position)
            if not is_value:
                key = string
            elif depth == 1:
                values[key] = string
            continue
        if byte in b"{[":
            depth += 1
            is_value = depth > 1
        elif byte in b"}]":
            depth -= 1
        elif depth == 1 and byte in b":,":
            is_value = byte == b":"
        elif depth == 1 and is_value and key == b"timeout" and byte in DIGITS:
            start = position
            while position < end and text[position] in b"0123456789.eE+-":
                position += 1
            values[b"waits"] = text[start:position]
            continue
        position += 1
    return values


def fail(version: str, code: int, text: str, about: str = "", why: str = "") -> int:
    """Write a CNI error object to stdout; returns the exit code. `about` may hold any characters: those that
    JSON or a terminal would misread are replaced by '?'."""
    about = "".join(char if " " <= char <= "~" and char not in '"\\' else "?" for char in about[:255])
    msg = f"{text} {about}" if about else text
    _signal.setitimer(_signal.ITIMER_REAL, 1.0)
    write_all(1, f'{{"cniVersion":"{version}","code":{code},"msg":"{msg}","details":"{why}"}}\n'.encode())
    return 1


def receive(agent: _socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises OSError."""
    parts = []
    while size and (part := agent.recv(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise ConnectionResetError(104, os.strerror(104))
    return b"".join(parts)


def call_agent(path: bytes, request: bytes) -> tuple[bytes, int]:
    """The text and the exit code of the agent's answer. Raises OSError, TimedOut."""
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    agent.connect(path)
    try:
        view = memoryview(request)
        while view:
            view = view[agent.send(view) :]
    except BrokenPipeError:
        pass  # it may answer without reading all
    length = int.from_bytes(receive(agent, 4), "big")
    if not 1 <= length <= LARGEST:
        raise OSError(71, os.strerror(71))
    answer = receive(agent, length)
    return answer[1:], answer[0]


def boot_clock() -> int:
    """Milliseconds since the machine started, also while it was suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def open_spool(parent: bytes) -> int:
    """Open the spool, and create it if there is none yet: after a reboot its parent is missing too. Raises
    OSError."""
    for directory in (parent, parent + b"spool"):
        try:  # noqa: SIM105  contextlib would have to be loaded
            os.mkdir(directory or b".", 0o700)
        except OSError:
            pass  # it is there, or cannot be opened below
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(parent + b"spool", flags)


def has_room(spool: int, name: bytes, size: int) -> bool:
    """Whether the spool has room for `size` bytes under a name; what that name has now does not count."""
    calls = 1
    for entry in os.scandir(spool):
        if entry.is_file(follow_symlinks=False) and os.fsencode(entry.name) != name:
            try:
                size += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # another call was just kept, or the agent took one
            calls += 1
    return calls <= SPOOLED and size <= SPOOLED_BYTES


def keep(parent: bytes, request: bytes) -> str:
    """Keep the request on disk for the agent, in a file CONTAINER:INTERFACE. A name that could lead out of
    the directory is not used: the agent refuses it too. Returns '', or why the request was not kept."""
    container = os.environb.get(b"CNI_CONTAINERID", b"")
    ifname = os.environb.get(b"CNI_IFNAME", b"")
    plain = not container.strip(LETTERS + b"_.-") and container[:1].strip(b"_.-")
    if not (plain and 0 < len(ifname) < 16) or ifname.strip(LETTERS + PUNCTUATION):
        return "CNI_CONTAINERID or CNI_IFNAME cannot be used"
    name, scratch = container + b":" + ifname, b".%d.%d" % (os.getpid(), boot_clock())
    try:
        spool = open_spool(parent)
        if not has_room(spool, name, len(request)):
            return "it is full"
        file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=spool)
        try:
            write_all(file, request)
            os.fsync(file)
            os.rename(scratch, name, src_dir_fd=spool, dst_dir_fd=spool)
            os.fsync(spool)
        except (OSError, TimedOut):
            try:  # noqa: SIM105
                os.unlink(scratch, dir_fd=spool)
            except OSError:
                pass
            raise
    except TimedOut:
        return os.strerror(110)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def last_status(parent: bytes) -> tuple[bytes, int] | None:
    """The text and the exit code of the agent's last answer to STATUS, while that counts. The file: exit
    code, time by the boot clock and how long it counts (both ms), a line end, and the text."""
    try:
        file = os.open(parent + b"last-status", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        head, _, text = os.read(file, LARGEST).partition(b"\n")
        code, said, counts = map(int, head.split())
    except (OSError, ValueError):
        return None
    return (text, code) if 0 <= boot_clock() - said < counts else None


def is_version(version: bytes) -> bool:
    return 0 < len(version) < 24 and not version.strip(b"0123456789.")


def main() -> int:
    _signal.signal(_signal.SIGALRM, on_alarm)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.setitimer(_signal.ITIMER_REAL, TIMEOUT + MARGIN, 1.0)
    version = "1.1.0"
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        return fail(version, 4, "CNI_COMMAND is not set: a container runtime calls this program")
    request = b""
    for name in PASSED:
        if (value := os.environb.get(name.encode())) is not None:
            if len(request) + len(value) + 20 > ENVIRONMENT - 1:
                return fail(version, 4, "too long:", name)
            request += name.encode() + b"=" + value + b"\0"
    try:
        config = read_stdin()
    except TimedOut:
        return fail(version, 5, "no configuration could be read from stdin:", os.strerror(110))
    except OSError as error:
        return fail(version, 5, "no configuration could be read from stdin:", os.strerror(error.errno or 0))
    if len(config) > LARGEST:
        return fail(version, 7, "the configuration on stdin has more than 1048576 bytes")
    values = scan(config)
    if is_version(values.get(b"cniVersion", b"")):
        version = values[b"cniVersion"].decode()
    if command == "VERSION":
        write_all(1, f'{{"cniVersion":"{version}","supportedVersions":[{SUPPORTED}]}}\n'.encode())
        return 0
    path = values.get(b"socket", SOCKET)
    if not 0 < len(path) < 108:
        return fail(version, 7, "socket: give a path of at most 107 plain characters")
    try:
        timeout = float(values.get(b"waits", TIMEOUT))
    except ValueError:
        timeout = 0.0
    if command == "STATUS":
        timeout = 0.0  # it waits for no address
    _signal.setitimer(_signal.ITIMER_REAL, min(timeout, 600) + MARGIN, 1.0)
    request += b"\0" + config
    request = len(request).to_bytes(4, "big") + request
    try:
        text, code = call_agent(path, request)
    except TimedOut:
        why = os.strerror(110)
    except OSError as error:
        why = os.strerror(error.errno or 0)
    else:
        write_all(1, text)
        return code
    _signal.setitimer(_signal.ITIMER_REAL, MARGIN, 1.0)
    why += ": is `romana-bus agent` running on this node?"
    parent = path[: path.rfind(b"/") + 1]
    if command == "STATUS" and (last := last_status(parent)):
        write_all(1, last[0])
        return last[1]
    if command == "DEL":
        not_kept = keep(parent, request)
        if not not_kept:
            return 0
        why += f" The call was not kept for it in the directory spool: {not_kept}"
    code = 50 if command == "STATUS" else 11
    return fail(version, code, "the agent of romana-bus does not answer at", path.decode("latin-1"), why)


if __name__ == "__main__":
    try:
        exit_code = main()
    except (TimedOut, OSError):  # stdout has no reader
        exit_code = 1
    os._exit(exit_code)
