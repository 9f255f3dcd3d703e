"""The executable, in C and in Python, and a socket that does what agents may do."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.cni.calling import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["c", "python"])
def client(request: pytest.FixtureRequest) -> Path:
    if request.param == "c" and CLIENTS["c"] == CLIENTS["python"]:
        pytest.skip("no compiler was found when this was installed")
    return CLIENTS[request.param]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    """Listens, and treats each caller as configured."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(10)
    threads: list[threading.Thread] = []

    def serve(do: Callable[[socket.socket], None]) -> Path:
        def loop() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    do(caller)

        threads.append(threading.Thread(target=loop, daemon=True))
        threads[-1].start()
        return tmp_path / "s"

    yield serve
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(20)
