"""Defects that the system once had, each put back by a switch: a simulation that does not find them is of no
use."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from romana_bus.bus.clock import LogClock
from romana_bus.bus.writing import write
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.events import PodSeen, codec, version_number
from romana_bus.ipam.model.nodes import pod_key
from romana_bus.producers.kubernetes.absence import Absences
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from romana_bus.producers.kubernetes.responses import Action, Verdict
from romana_bus.producers.kubernetes.server_version import ServerVersion
from romana_bus.producers.kubernetes.watch_stream import WatchStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from romana_bus.bus.api import Outgoing
    from romana_bus.ipam import State


def _one_list_is_believed(patch: pytest.MonkeyPatch) -> None:
    """What a list lacks is gone, without a second look (7)."""

    def listed(_: Absences, missing: Any, *__: Any) -> list[str]:
        return sorted(missing)

    patch.setattr(Absences, "listed", listed)


def _every_deletion_is_believed(patch: pytest.MonkeyPatch) -> None:
    """Also that of a whole kind within a second (7)."""
    patch.setattr(Absences, "deleted", lambda *_: True)


def _a_tombstone_outlives_the_truth(patch: pytest.MonkeyPatch) -> None:
    """IPAM ignores a fact that is no newer than the tombstone before it (9)."""
    folds = importlib.import_module("romana_bus.ipam.fold.evolve")._FOLDS
    plain = folds[PodSeen]

    def pod_seen(state: State, event: PodSeen, seq: int) -> None:
        key = pod_key(event.namespace, event.name)
        if key in state.pods or version_number(event.resource_version) > state.gone_pods.version(key):
            plain(state, event, seq)

    patch.setitem(folds, PodSeen, pod_seen)


def _a_fact_is_its_version(patch: pytest.MonkeyPatch) -> None:
    """The same object told again has the same message id, which the server refuses for two minutes (9)."""
    plain = FencedWriter._numbered

    def numbered(self: FencedWriter, messages: list[Outgoing]) -> list[Outgoing]:
        return [
            message._replace(id=f"{message.subject}/{event.uid}/{event.resource_version}")
            if isinstance(event := codec.decode(message.body), PodSeen)
            else message
            for message in plain(self, messages)
        ]

    patch.setattr(FencedWriter, "_numbered", numbered)


def _an_error_is_a_broken_line(patch: pytest.MonkeyPatch) -> None:
    """A watch that is told that its version is too old asks for the same version again (9)."""
    plain = WatchStream._line

    def line(self: WatchStream, line: bytes, events: Any) -> Verdict | None:
        verdict = plain(self, line, events)
        return verdict and Verdict(Action.RETRY, verdict.why)

    patch.setattr(WatchStream, "_line", line)
    patch.setattr(ResourceWatch, "_again", lambda _, verdict: verdict)  # what cannot be read twice is listed


def _no_version_probe(patch: pytest.MonkeyPatch) -> None:
    """A watch for a version that the restored server has yet to reach is waited for (9)."""

    async def keep_asking(_: ServerVersion) -> None:
        await asyncio.Event().wait()

    patch.setattr(ServerVersion, "keep_asking", keep_asking)


def _the_last_place_is_enough(patch: pytest.MonkeyPatch) -> None:
    """Of what was sent, only the last is compared with what stands on the log (10)."""

    def expected_ids(_: object, unsure: Sequence[Outgoing], acknowledged: int, count: int) -> dict[int, str]:
        at = min(count, len(unsure))
        return {acknowledged + at: unsure[at - 1].id} if at else {}

    patch.setattr(write, "expected_ids", expected_ids)


def _the_wall_clock_decides(patch: pytest.MonkeyPatch) -> None:
    """Now is what the leader's machine takes it for (12)."""
    patch.setattr(LogClock, "now", lambda self: self._wall())


DEFECTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    one.__name__.strip("_"): one
    for one in (
        _one_list_is_believed, _every_deletion_is_believed, _a_tombstone_outlives_the_truth,
        _a_fact_is_its_version, _an_error_is_a_broken_line, _no_version_probe,
        _the_last_place_is_enough, _the_wall_clock_decides,
    )
}  # fmt: skip
