"""What this agent has attached, one file each: whose it is, and what there is to undo.

Owns RUN_DIR/attachments, which is gone after a reboot, as the links are. A file is there before anything is
done for its attachment and until everything is undone, so a killed agent leaves nothing that no file names.
What has no address yet has nothing to undo, and its ADD fails with the agent.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from romana_bus.cni import disk
from romana_bus.cni.link.veth import veth
from romana_bus.cni.spec import Attached, Pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = structlog.get_logger(__name__)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses`: () until they are known. `requested`: it was asked for by event."""

    network: str
    attached: Attached
    netns: str
    pod: Pod
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    requested: bool = False

    @property
    def key(self) -> tuple[str, Attached]:
        return self.network, self.attached

    @property
    def path(self) -> str:
        return _path(self.network, self.attached)


class Attachments:
    """All of them in memory, in the order in which they were put, and on disk as they are there."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._all: dict[tuple[str, Attached], Attachment] = {}
        for file in sorted(directory.glob("*.json"), key=lambda one: (one.stat().st_mtime_ns, one.name)):
            try:
                one = msgspec.json.decode(file.read_bytes(), type=Attachment)
            except msgspec.DecodeError as error:
                log.error("not an attachment: left alone", file=str(file), why=str(error))
                continue
            if one.addresses:
                self._all[one.key] = one
            else:
                with contextlib.suppress(OSError):  # the next start removes it
                    file.unlink()

    def __iter__(self) -> Iterator[Attachment]:
        return iter(
            sorted(
                self._all.values(), key=lambda one: (one.network, one.attached.container, one.attached.ifname)
            )
        )

    def get(self, network: str, attached: Attached) -> Attachment | None:
        return self._all.get((network, attached))

    def newest(self, pod: Pod) -> Attachment | None:
        """What was put last for a pod of that name."""
        return next((one for one in reversed(self._all.values()) if one.pod.named(pod)), None)

    def put(self, one: Attachment) -> None:
        """Raises OSError."""
        disk.write(self._file(one.key), msgspec.json.encode(one))
        self._all.pop(one.key, None)
        self._all[one.key] = one

    def drop(self, network: str, attached: Attached) -> None:
        """One that is not there is dropped already. Raises OSError."""
        self._file((network, attached)).unlink(missing_ok=True)
        self._all.pop((network, attached), None)

    def pods(self) -> dict[str, str]:
        """The host's end of each link -> the pod that it leads to."""
        return {veth(one.attached.container, one.attached.ifname).host: str(one.pod) for one in self}

    def _file(self, key: tuple[str, Attached]) -> Path:
        digest = hashlib.sha1(_path(*key).encode(), usedforsecurity=False).hexdigest()
        return self._directory / f"{digest}.json"


def _path(network: str, attached: Attached) -> str:
    return f"{network}/{attached.container}/{attached.ifname}"
