"""The real kubectl, run against the small API server: a transcript line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from romana_bus.kubernetes.kubeconfig import kubeconfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.lab.apiserver import ApiServer

#: Other versions than that on the PATH may be named, separated by colons.
FOUND = [
    path
    for path in (shutil.which("kubectl"), *os.environ.get("ROMANA_KUBECTLS", "").split(":"))
    if path and Path(path).is_file()
]

needs_kubectl = pytest.mark.skipif(not FOUND, reason="kubectl is not installed (kubernetes-client)")

each_kubectl = pytest.mark.parametrize("path", FOUND or [""])


class Output(NamedTuple):
    code: int
    out: str
    err: str


class Kubectl:
    """`await kubectl("get pods -n web")` gives what it printed; it has to succeed. `home` holds its
    configuration and its caches."""

    def __init__(self, path: str, server: ApiServer, home: Path) -> None:
        self._path, self._home = path, home
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / "config"
        self._config.write_text(kubeconfig(server.url, namespace="web"))

    async def __call__(self, line: str, stdin: str = "") -> str:
        said = await self.ask(*line.split(), stdin=stdin)
        assert said.code == 0, said
        return said.out

    async def fails(self, line: str, stdin: str = "") -> str:
        """The output of kubectl."""
        said = await self.ask(*line.split(), stdin=stdin)
        assert said.code != 0, said
        return said.err

    async def ask(self, *arguments: str, stdin: str = "") -> Output:
        async with self.started(*arguments) as process:
            out, err = await process.communicate(stdin.encode())
        return Output(process.returncode or 0, out.decode(), err.decode())

    @contextlib.asynccontextmanager
    async def started(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """It runs; what is left of it at the end is ended."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self._path,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={"HOME": str(self._home), "KUBECONFIG": str(self._config), "PATH": os.environ["PATH"]},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def columns(table: str) -> list[list[str]]:
    """What is printed, cell by cell, without ages: they depend on the hour."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()]
    return [["AGE" if re.fullmatch(r"\d+[smhd]", cell) else cell for cell in row] for row in rows]
