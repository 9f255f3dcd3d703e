"""An image of one static program, which answers at a port, as an OCI image layout in a tar archive.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAME = "localhost/program:1"
PORT = 8080
#: Says its host name to everyone who connects; runs until it is killed.
_PROGRAM = (
    b"""
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(%d)};
    char name[65] = "";
    int caller, listener = socket(AF_INET, SOCK_STREAM, 0);
    gethostname(name, sizeof name - 1);
    bind(listener, (struct sockaddr *)&any, sizeof any);
    listen(listener, 16);
    for (;;)
        if ((caller = accept(listener, 0, 0)) >= 0) {
            send(caller, name, sizeof name, MSG_NOSIGNAL);
            close(caller);
        } else
            pause();
}
"""
    % PORT
)
_TYPE = "application/vnd.oci.image"
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def build(directory: Path) -> Path:
    """The archive, which containerd and podman load."""
    program = directory / "program"
    command = ["gcc", "-static", "-Os", "-s", "-x", "c", "-", "-o", str(program)]
    subprocess.run(command, input=_PROGRAM, check=True)
    layer = _tar({"program": program.read_bytes()})
    config = _json(
        architecture=_ARCHITECTURE,
        os="linux",
        config={"Entrypoint": ["/program"]},
        rootfs={"type": "layers", "diff_ids": [_digest(layer)]},
    )
    manifest = _json(
        schemaVersion=2,
        mediaType=f"{_TYPE}.manifest.v1+json",
        config=_descriptor("config.v1+json", config),
        layers=[_descriptor("layer.v1.tar", layer)],
    )
    named = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME}
    index = _json(
        schemaVersion=2, manifests=[_descriptor("manifest.v1+json", manifest) | {"annotations": named}]
    )
    blobs = {f"blobs/{_digest(blob).replace(':', '/')}": blob for blob in (layer, config, manifest)}
    archive = directory / "image.tar"
    archive.write_bytes(_tar({"oci-layout": _json(imageLayoutVersion="1.0.0"), "index.json": index} | blobs))
    return archive


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"{_TYPE}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(body)
            archive.addfile(entry, io.BytesIO(body))
    return out.getvalue()
