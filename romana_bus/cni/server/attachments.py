"""The attachments of this node, one file each: the pod, and what has to be undone.

Owns RUN_DIR/attachments, which does not survive a reboot, as the links do not. A file exists before anything
is done for its attachment, and until everything is undone, so after a killed agent a file names everything
that is left. An attachment without addresses has nothing to undo; its ADD ended with the agent.

A container's interface has one attachment, whatever the name of the network: its link is named after these
two, and a network may be renamed between ADD and DEL.
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
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of a sandbox. `netns`, `netns_inode`: path and inode of its network namespace, 0 if not
    known. `addresses`: () until they are known. `requested`: whether SandboxRequested was published for
    it."""

    network: str
    attached: Attached
    netns: str
    netns_inode: int = 0
    pod: Pod
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    requested: bool = False

    @property
    def link(self) -> str:
        """The host's end of its link."""
        return veth(self.attached.container, self.attached.ifname).host


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
        self._all: dict[Attached, Attachment] = {}
        self._by_link: dict[str, Attachment] = {}
        for file, attachment in stored(directory):
            if attachment.addresses:
                self._replace(attachment)
            else:
                _remove(file)

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

    def get(self, attached: Attached) -> Attachment | None:
        return self._all.get(attached)

    def other_of(self, attached: Attached) -> Attachment | None:
        """Another interface of the same sandbox, or None."""
        for other in self._all.values():
            if other.attached.container == attached.container and other.attached != attached:
                return other
        return None

    def newest(self, pod: Pod) -> Attachment | None:
        """The last attachment that was put for a pod of that name."""
        return next((each for each in reversed(self._all.values()) if each.pod.named(pod)), None)

    def put(self, attachment: Attachment) -> None:
        """Store an attachment. Raises OSError."""
        files.write(self._file(attachment), msgspec.json.encode(attachment))
        self._replace(attachment)

    def _replace(self, attachment: Attachment) -> None:
        """Make it the newest one, in memory; a file of the same interface in another network is removed."""
        before = self._all.pop(attachment.attached, None)
        if before is not None and before.network != attachment.network:
            _remove(self._file(before))
        self._all[attachment.attached] = self._by_link[attachment.link] = attachment

    def drop(self, attached: Attached) -> None:
        """Delete an attachment; a missing one is not an error. Raises OSError."""
        if attachment := self._all.get(attached):
            self._file(attachment).unlink(missing_ok=True)
            del self._all[attached], self._by_link[attachment.link]

    def keep(self) -> None:
        """Write them again if somebody has deleted the directory. Raises OSError."""
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for attachment in self._all.values():
                files.write(self._file(attachment), msgspec.json.encode(attachment))
            log.warning("the attachments were deleted: written again", directory=str(self._directory))

    def of_links(self) -> Mapping[str, Attachment]:
        """The host's end of each link -> its attachment."""
        return self._by_link

    def _file(self, attachment: Attachment) -> Path:
        attached = attachment.attached
        path = f"{attachment.network}/{attached.container}/{attached.ifname}"
        digest = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
        return self._directory / f"{digest}.json"


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):  # the next start removes it
        file.unlink()
