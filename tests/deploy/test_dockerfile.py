"""The Dockerfile, without building it: its shell steps parse, what it copies exists and is not ignored, and
it starts what the manifests expect."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import tomllib
from typing import NamedTuple

from tests.deploy.manifests import ROOT, container

BASE = "python:3.11-slim-bookworm"


class Step(NamedTuple):
    instruction: str
    text: str


def steps() -> list[Step]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").split("\n")
    return [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]


def texts(instruction: str) -> list[str]:
    return [step.text for step in steps() if step.instruction == instruction]


def test_every_instruction_is_known_and_the_shell_parses_its_commands() -> None:
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "ENTRYPOINT"}
    assert {step.instruction for step in steps()} <= known
    assert texts("FROM") == [f"{BASE} AS build", BASE]
    for command in texts("RUN"):
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0, command


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    [everything, *rest] = ignored
    assert everything == "*"
    kept = [line[1:] for line in rest if line.startswith("!")]
    sources = [name for text in texts("COPY") if not text.startswith("--from") for name in text.split()[:-1]]
    assert sorted(sources) == sorted(kept)
    for name in sources:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch.fnmatch(name, line) for line in rest if not line.startswith("!"))


def test_the_build_has_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        project["project"]["readme"],
        project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["path"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
    }
    assert needed <= set(" ".join(texts("COPY")).split())


def test_the_image_starts_what_the_manifests_expect() -> None:
    assert json.loads(texts("ENTRYPOINT")[0]) == ["romana-bus"]
    user, _, group = texts("USER")[0].partition(":")
    context = container("one-node", "watcher").pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
