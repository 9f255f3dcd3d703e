"""A user, a log that a recorded cluster has filled, and commands in this process and in others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from romana_bus.bus.api import Message
from tests.cli.processes import RECORDINGS, Done, Home
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import NatsServer

Call = Callable[..., Done]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Nothing of it runs afterwards."""
    made = Home(tmp_path_factory.mktemp("home"))
    yield made
    for pid in made.left():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home) -> Iterator[Call]:
    """A command in this process, where what it does ends before it needs one of its own."""
    from romana_bus.cli import app

    for name in [name for name in os.environ if name.startswith(("ROMANA_", "KUBECONFIG"))]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, home.environment[name])
    monkeypatch.setenv("ROMANA_STORE_SIZE", home.environment["ROMANA_STORE_SIZE"])

    def called(*arguments: str) -> Done:
        capsys.readouterr()
        code = app.call(arguments)
        return Done(code, *capsys.readouterr())

    yield called
    structlog.reset_defaults()


@pytest.fixture
def as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """To this process, each message was stored when its writer wrote it: no real server's clock can be set
    back for a log that is hours old."""
    slot: Any = Message.__dict__["stored"]
    monkeypatch.setattr(Message, "stored", property(lambda self: self.time or slot.__get__(self)))


@pytest.fixture(scope="session")
def recorded(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The options of a log with a whole recorded cluster and no running process."""
    options = log_options(nats_server.url, "recorded")
    played = Home(tmp_path_factory.mktemp("played")).run(
        "up", "--recording", str(RECORDINGS), "--speed", "2000", "--plain", *options
    )
    assert played.code == 0, played
    return options
