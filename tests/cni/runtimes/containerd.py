"""Debian's containerd as a process of a machine, with directories of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tests.cni.calling import until
from tests.cni.runtimes import image
from tests.cni.runtimes.cri import Cri
from tests.cni.runtimes.machine import CONF_DIR

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cni.runtimes.machine import Machine

#: Native: overlayfs works only on some file systems. AppArmor and scores of the OOM killer are the host's.
_CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
address = "{directory}/s"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{conf_dir}"
"""
#: containerd's namespace of what the CRI makes.
_CRI = "k8s.io"


class Containerd:
    def __init__(self, machine: Machine, directory: Path, archive: Path, conf_dir: str = CONF_DIR) -> None:
        self._machine, self._directory, self._archive = machine, directory, archive
        self._conf_dir = conf_dir
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "s"

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        values = {"directory": self._directory, "image": image.NAME, "conf_dir": self._conf_dir}
        (self._directory / "config.toml").write_text(_CONFIG.format(**values))
        self.start()
        try:
            self.ctr("image", "import", "--snapshotter", "native", self._archive)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            command = ("containerd", "--config", self._directory / "config.toml")
            self._process = self._machine.start(*command, stdout=log, stderr=log)
        with self.cri() as cri:
            until(lambda: not cri.network_trouble(), "containerd has a network", self.log)

    def kill(self) -> None:
        """As the kernel would: its sandboxes stay."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def restart(self) -> None:
        """As systemd would."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)
        self.start()

    def cri(self) -> Cri:
        return Cri(self.socket)

    def ctr(self, *arguments: str | Path, **options: Any) -> str:
        return self._machine.run(*self.ctr_command(*arguments), **options)

    def ctr_command(self, *arguments: str | Path) -> tuple[str | Path, ...]:
        return "ctr", "--address", self.socket, "--namespace", _CRI, *arguments

    def log(self) -> str:
        return (self._directory / "log").read_text()
