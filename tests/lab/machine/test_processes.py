"""Ending processes."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess

import pytest

from romana_bus.lab.machine import processes


def test_processes_are_ended_with_many_open_files() -> None:
    """select() knows no descriptor from 1024 on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("so many files cannot be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        children = [opened.enter_context(subprocess.Popen(["sleep", "600"])) for _ in range(3)]
        processes.end(child.pid for child in children)
        assert not any(os.path.exists(f"/proc/{child.pid}") for child in children)
