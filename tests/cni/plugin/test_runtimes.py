"""Where runtimes look for plugins, by configurations as containerd, Debian and CRI-O have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.plugin import runtimes
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

TWO = """
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/other.d"
"""
THREE = """
version = 3
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/a/bin', '/opt/b/bin']
  conf_dir = '/etc/a'
"""
CRIO = """
[crio.network]
network_dir = "/etc/crio-net.d/"
plugin_dirs = ["/usr/libexec/cni", "/opt/cni/bin"]
"""
USUAL = ("/opt/cni/bin", "/etc/cni/net.d")
CONTAINERD, CRIO_FILE, CRIO_MORE = (
    "etc/containerd/config.toml",
    "etc/crio/crio.conf",
    "etc/crio/crio.conf.d/10-net.conf",
)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ("the runtime", *USUAL)),
        ({CONTAINERD: ""}, ("containerd", *USUAL)),
        ({CONTAINERD: 'version = 2\ndisabled_plugins = ["cri"]'}, ("containerd", *USUAL)),
        ({CONTAINERD: TWO}, ("containerd", "/usr/lib/cni", "/etc/cni/other.d")),
        ({CONTAINERD: THREE}, ("containerd", "/opt/a/bin", "/etc/a")),
        ({CONTAINERD: TWO, CRIO_FILE: CRIO}, ("containerd", "/usr/lib/cni", "/etc/cni/other.d")),
        (
            {CONTAINERD: 'version = 2\nimports = ["/etc/more/*.toml"]', "etc/more/a.toml": TWO},
            ("containerd", "/usr/lib/cni", "/etc/cni/other.d"),
        ),
        (
            {CONTAINERD: 'version = 3\nimports = ["more/*.toml"]', "etc/containerd/more/a.toml": THREE},
            ("containerd", "/opt/a/bin", "/etc/a"),
        ),
        ({CRIO_FILE: CRIO}, ("CRI-O", "/usr/libexec/cni", "/etc/crio-net.d")),
        ({CRIO_MORE: CRIO}, ("CRI-O", "/usr/libexec/cni", "/etc/crio-net.d")),
        ({CRIO_FILE: "", CRIO_MORE: CRIO}, ("CRI-O", "/usr/libexec/cni", "/etc/crio-net.d")),
        ({"usr/lib/cni/portmap": ""}, ("the runtime", "/usr/lib/cni", "/etc/cni/net.d")),
        ({"usr/lib/cni/portmap": "", "opt/cni/bin/x": ""}, ("the runtime", *USUAL)),
        ({CONTAINERD: "plugins = 7"}, ("containerd", *USUAL)),
        ({CRIO_FILE: "[crio.network]\nplugin_dirs = 7\nnetwork_dir = []"}, ("CRI-O", *USUAL)),
    ],
)  # fmt: skip
def test_found(files: dict[str, str], expected: tuple[str, str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    runtime = runtimes.found(tmp_path)
    assert (runtime.name, str(runtime.bin_dir), str(runtime.conf_dir)) == expected


@pytest.mark.parametrize("body", [b"[plugins", b"\xff\xfe", b"a = " + b"[" * 100_000])
def test_a_broken_configuration_is_told(body: bytes, tmp_path: Path) -> None:
    file = tmp_path / CONTAINERD
    file.parent.mkdir(parents=True)
    file.write_bytes(body)
    with pytest.raises(BadInput, match=r"config\.toml: .*--bin-dir"):
        runtimes.found(tmp_path)
