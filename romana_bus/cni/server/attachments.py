"""The attachments of this node, one file each: the pod, and what has to be undone.

Owns RUN_DIR/attachments, which does not survive a reboot, as the links do not. A file exists before anything
is done for its attachment, and until everything is undone, so after a killed agent a file names everything
that is left. An attachment without addresses has nothing to undo; its ADD ended with the agent.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from romana_bus import files
from romana_bus.cni.link.veth import veth
from romana_bus.cni.spec import Attached, Pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = structlog.get_logger(__name__)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of a sandbox. `addresses`: () until they are known. `requested`: whether SandboxRequested
    was published for it."""

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


def stored(directory: Path) -> Iterator[tuple[Path, Attachment]]:
    """The attachments in a directory with their files, the oldest first. Raises OSError."""
    for file in sorted(directory.glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name)):
        try:
            yield file, msgspec.json.decode(file.read_bytes(), type=Attachment)
        except msgspec.DecodeError as error:
            log.error("not an attachment: ignored", file=str(file), why=str(error))


class Attachments:
    """All attachments, in memory in the order in which they were put, and on disk."""

    def __init__(self, directory: Path) -> None:
        """Load the directory. Raises OSError."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._all: dict[tuple[str, Attached], Attachment] = {}
        for file, attachment in stored(directory):
            if attachment.addresses:
                self._all[attachment.key] = attachment
            else:
                with contextlib.suppress(OSError):  # the next start removes it
                    file.unlink()

    def __iter__(self) -> Iterator[Attachment]:
        """By network, container and interface."""
        return iter(
            sorted(
                self._all.values(),
                key=lambda each: (each.network, each.attached.container, each.attached.ifname),
            )
        )

    def by_age(self) -> list[Attachment]:
        """All, in the order in which they were put."""
        return list(self._all.values())

    @property
    def have_six(self) -> bool:
        """Whether one has an IPv6 address."""
        return any(":" in address for each in self._all.values() for address in each.addresses)

    def get(self, network: str, attached: Attached) -> Attachment | None:
        return self._all.get((network, attached))

    def newest(self, pod: Pod) -> Attachment | None:
        """The last attachment that was put for a pod of that name."""
        return next((each for each in reversed(self._all.values()) if each.pod.named(pod)), None)

    def put(self, attachment: Attachment) -> None:
        """Store an attachment. Raises OSError."""
        files.write(self._file(attachment.key), msgspec.json.encode(attachment))
        self._all.pop(attachment.key, None)
        self._all[attachment.key] = attachment

    def drop(self, network: str, attached: Attached) -> None:
        """Delete an attachment; a missing one is not an error. Raises OSError."""
        self._file((network, attached)).unlink(missing_ok=True)
        self._all.pop((network, attached), None)

    def keep(self) -> None:
        """Write them again if somebody has deleted the directory. Raises OSError."""
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for key, attachment in self._all.items():
                files.write(self._file(key), msgspec.json.encode(attachment))
            log.warning("the attachments were deleted: written again", directory=str(self._directory))

    def pods(self) -> dict[str, str]:
        """The host's end of each link -> its pod."""
        return {veth(each.attached.container, each.attached.ifname).host: str(each.pod) for each in self}

    def _file(self, key: tuple[str, Attached]) -> Path:
        digest = hashlib.sha1(_path(*key).encode(), usedforsecurity=False).hexdigest()
        return self._directory / f"{digest}.json"


def _path(network: str, attached: Attached) -> str:
    return f"{network}/{attached.container}/{attached.ifname}"
