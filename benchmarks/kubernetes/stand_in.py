"""A stand-in API server that only writes: its answers are made before it is asked, so that what is
measured is who reads them. `python -m benchmarks.kubernetes.stand_in --pods N --changes M`.

A streaming list of pods gives N pods and the bookmark that ends it; a line on stdin then lets M changes
of them go out on it, or on any watch. Everything else is an empty list.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvloop

from benchmarks import sample

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Bytes in one chunk of the answer: a real server flushes after every event, or after some.
CHUNK = 1 << 18


class Standin:
    def __init__(self, pods: int, changes: int) -> None:
        self.listing = _chunks([sample.pod_line(n, 10 + n, "ADDED", "Pending") for n in range(pods)])
        self.listing += _chunks([sample.bookmark(10 + pods, initial=True)])
        first = 10 + pods
        phases = ("Running", "Pending")
        self.changes = _chunks(
            [
                sample.pod_line(n % pods, first + n + 1, "MODIFIED", phases[n // pods % 2])
                for n in range(changes)
            ]
        )
        self.go = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode():
                await self._one(request.split(" ")[1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, target: str, writer: asyncio.StreamWriter) -> None:
        path, _, query = target.partition("?")
        if "watch=" not in query:
            body = b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"10"},"items":[]}'
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            await writer.drain()
            return
        writer.write(HEAD)
        ours = path == "/api/v1/pods"
        if "sendInitialEvents=true" in query:
            for chunk in self.listing if ours else _chunks([sample.bookmark(10, initial=True)]):
                writer.write(chunk)
                await writer.drain()
        if not ours:
            await asyncio.Event().wait()
        await self.go.wait()
        for chunk in self.changes:
            writer.write(chunk)
            await writer.drain()
        await asyncio.Event().wait()


def _chunks(lines: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for line in [*lines, b""]:
        if part and (not line or size + len(line) > CHUNK):
            found.append(b"%x\r\n%s\r\n" % (size, b"".join(part)))
            part, size = [], 0
        part.append(line)
        size += len(line)
    return found


async def _main(pods: int, changes: int) -> None:
    standin = Standin(pods, changes)
    server = await asyncio.start_server(standin.answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    standin.go.set()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=100_000)
    asked = parser.parse_args()
    uvloop.run(_main(asked.pods, asked.changes))
