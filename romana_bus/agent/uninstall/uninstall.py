"""Uninstalls the agent of this node, step by step: each is told when it is done."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.agent.uninstall import steps
from romana_bus.agent.uninstall.requests import Outcome, end_requests
from romana_bus.agent.uninstall.survey import look
from romana_bus.cni.server.attachments import Attachments
from romana_bus.cni.server.journal import Journal
from romana_bus.errors import BadInput, Failed
from romana_bus.events import SandboxRequested
from romana_bus.files import single_holder
from romana_bus.netlink.fib_apply import Unapplied
from romana_bus.netlink.socket import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.agent.uninstall.steps import Step
    from romana_bus.agent.uninstall.survey import Places, Survey
    from romana_bus.bus.connect import Access
    from romana_bus.bus.stream_config import Layout

#: How many running pods an error names.
NAMED = 5


class Result(NamedTuple):
    """`removed`, `left`: texts; of what is left also why. `kept`: link -> pod, of pods that run on. `log`:
    None where nothing was said to it."""

    removed: tuple[str, ...]
    left: tuple[str, ...]
    kept: dict[str, str]
    log: Outcome | None


class Uninstaller:
    """`node`: its name in Kubernetes. `keep_pods`, `force`: what happens if pods run: they are kept, or cut
    off. `tell`: gets each thing that was removed, when it is."""

    def __init__(
        self, node: str, places: Places, *, keep_pods: bool, force: bool, tell: Callable[[str], object]
    ) -> None:
        self.node, self.places = node, places
        self._keep_pods, self._force, self._tell = keep_pods, force, tell
        self._refused: list[str] = []

    def planned(self) -> Result:
        """What `run` would do; changes nothing. Raises BadInput, Failed."""
        with self._alone(), _told():
            survey = self._survey()
            keeps = bool(survey.running) and self._keep_pods
            every = [*self._local(survey, keeps), *steps.of_state_dir(self.places)]
            return Result(
                tuple(step.what for step in every), survey.plugin.left, survey.running if keeps else {}, None
            )

    async def run(self, access: Access, layout: Layout) -> Result:
        """Uninstall. Raises BadInput, and nothing was changed; Failed, and the next run completes it."""
        with self._alone(), _told():
            survey = self._survey()
            keeps = bool(survey.running) and self._keep_pods
            removed = self._done(self._local(survey, keeps))
            strangers = keeps and not all(survey.running.values())
            outcome, waits = await self._end_requests(access, layout, strangers)
            left = [*survey.plugin.left, *self._refused]
            if waits and keeps:
                left.append(
                    f"{self.places.state_dir}: requests of running pods, which the log does not have yet"
                )
            else:
                removed += self._done(steps.of_state_dir(self.places))
            left += [
                f"{directory}: others have files there, or it is a mount"
                for directory in (self.places.state_dir, *(() if keeps else (self.places.run_dir,)))
                if directory.is_dir() and not (waits and keeps)
            ]
            return Result(tuple(removed), tuple(left), survey.running if keeps else {}, outcome)

    def _local(self, survey: Survey, keeps: bool) -> list[Step]:
        return [
            *steps.of_node(survey, keeps=keeps),
            *steps.of_run_dir(self.places, keeps=keeps),
        ]

    def _done(self, planned: Iterable[Step]) -> list[str]:
        done = []
        for step in planned:
            try:
                step.do()
            except Unapplied as error:  # a nexthop that a foreign route uses: no reason to leave the rest
                self._refused.append(str(error))
            self._tell(step.what)
            done.append(step.what)
        return done

    def _survey(self) -> Survey:
        """Raises BadInput if pods run, and were not to be kept or cut off."""
        survey = look(self.places)
        if survey.running and not (self._keep_pods or self._force):
            named = [pod or f"an unknown pod on {link}" for link, pod in survey.running.items()]
            count = "1 pod runs" if len(named) == 1 else f"{len(named)} pods run"
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            raise BadInput(
                f"{count} here with our network: {', '.join(named[:NAMED])}{more}. Drain the node "
                f"(kubectl drain {self.node}), or keep them connected with --keep-pods, or cut them off with "
                "--force"
            )
        return survey

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the agent's locks where it has any. Raises BadInput if it runs."""
        with contextlib.ExitStack() as stack:
            for option, directory, name in (
                ("--run-dir", self.places.run_dir, "lock"),
                ("--state-dir", self.places.state_dir, "journal.lock"),
            ):
                if (directory / name).exists():
                    try:
                        stack.enter_context(single_holder(option, directory, name))
                    except Failed:
                        raise BadInput(
                            f"the agent runs ({option} {directory}): stop it first, with `systemctl disable "
                            "--now romana-bus-agent`, or `kubectl label node "
                            f"{self.node} romana-bus/agent=off`"
                        ) from None
            yield

    async def _end_requests(self, access: Access, layout: Layout, strangers: bool) -> tuple[Outcome, bool]:
        """Tell the log; returns also whether requests wait for it."""
        with tempfile.TemporaryDirectory(prefix="romana-bus-") as scratch:
            attachments = Attachments(_existing(self.places.run_dir / "attachments", scratch))
            journal = Journal(_existing(self.places.state_dir / "journal", scratch))
            outcome = await end_requests(self.node, attachments, journal, access, layout, strangers=strangers)
            return outcome, any(isinstance(each.event, SandboxRequested) for each in journal.waiting())


def _existing(directory: Path, scratch: str) -> Path:
    """The directory, or another one if it does not exist: it shall not be made."""
    return directory if directory.is_dir() else Path(scratch) / directory.name


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raises Failed for what the kernel or the disk refuses."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Failed(f"{where}{error.strerror or error}: mend it, and run this again") from None
    except Interrupted as error:
        raise Failed(f"{error}: run this again") from None
