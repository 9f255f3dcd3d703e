"""How to reach NATS: what the user named, as options of nats-py."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from romana_bus.bus.auth import directory as authorization
from romana_bus.bus.auth.permissions import inbox_of
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.auth.permissions import Identity

#: Of the URLs of servers. (With ws:// nats-py never gets past the server's first line.)
SCHEMES = ("", "nats", "tls")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach NATS. No `servers`: the embedded one, in `state`. `tls_*`: PEM files; `creds`: a file with
    an nkey seed, or a NATS JWT and its seed, or a directory with a seed file for each identity; `monitor`:
    the URL of a server's monitoring port."""

    servers: tuple[str, ...] = ()
    creds: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    monitor: str = ""
    state: Path | None = None


def url_credentials(servers: Iterable[str]) -> dict[str, Any]:
    """The credentials in the URLs, decoded, to be used for every server: nats-py does not decode them, and
    has none for a server that another one announces. Raises BadInput."""
    found: list[dict[str, Any]] = []
    for server in servers:
        try:
            url = urlsplit(server if "//" in server else f"//{server}")
        except ValueError as error:
            raise BadInput(f"--nats {without_password(server)}: {error}") from None
        if url.scheme not in SCHEMES:
            raise BadInput(f"--nats {without_password(server)}: give nats://HOST:PORT or tls://HOST:PORT")
        if url.password is not None:
            found.append({"user": unquote(url.username or ""), "password": unquote(url.password)})
        elif url.username:
            found.append({"token": unquote(url.username)})
    if any(other != found[0] for other in found):
        raise BadInput("--nats: the URLs name different users, and one is used for all servers")
    return found[0] if found else {}


class Login(NamedTuple):
    """How to log in: nats-py's options, and as whom (`Identity.name`)."""

    options: dict[str, Any]
    name: str


def login(access: Access, who: Identity) -> Login:
    """How to log in on the servers that the user named. Files are checked first, so that the error names the
    option. Raises BadInput."""
    options, name = url_credentials(access.servers), who.name
    if access.creds is not None and access.creds.is_dir():
        access = msgspec.structs.replace(access, creds=_seed_in(access.creds, who))
    for field, path in (
        ("--creds", access.creds),
        ("--tls-ca", access.tls_ca),
        ("--tls-cert", access.tls_cert),
        ("--tls-key", access.tls_key),
    ):
        if path is not None and not path.is_file():
            raise BadInput(f"{field} {path}: there is no such file")
    if access.creds is not None:
        text = access.creds.read_text(errors="replace")
        if "BEGIN NATS USER JWT" in text and "BEGIN USER NKEY SEED" in text:
            options["user_credentials"] = str(access.creds)
        else:
            more, name = seed_login(access.creds)
            options |= more
    if access.tls_ca or access.tls_cert:
        try:
            options["tls"] = ssl.create_default_context(cafile=access.tls_ca)
            if access.tls_cert:
                options["tls"].load_cert_chain(access.tls_cert, access.tls_key)
        except (ssl.SSLError, OSError) as error:
            raise BadInput(f"--tls-ca/--tls-cert/--tls-key: {error}") from None
    return Login(options, name)


def _seed_in(directory: Path, who: Identity) -> Path:
    """The seed file of an identity in an authorization directory, or in one with seed files alone. Raises
    BadInput."""
    files = (authorization.seed_file(directory, who.name), directory / f"{who.name}.nk")
    if file := next((file for file in files if file.is_file()), None):
        return file
    what = "".join(f" --node {node}" for node in who.nodes)
    raise BadInput(
        f"--creds {directory}: has no identity {who.name}: make it with `romana-bus auth add {directory} "
        f"{' '.join(who.roles)}{what or f' --name {who.name}'}`"
    )


def seed_login(file: Path) -> Login:
    """How to log in with a seed file. Raises BadInput."""
    seed, name = authorization.read_seed(file)
    if not seed:
        raise BadInput(f"--creds {file}: not a NATS credentials file: it has neither an nkey seed nor a JWT")
    return Login({"nkeys_seed_str": seed} | ({"inbox_prefix": inbox_of(name)} if name else {}), name)


def without_password(url: str) -> str:
    before, separator, rest = url.rpartition("@")
    return url if not separator else f"{before.partition('://')[0]}://***@{rest}"
