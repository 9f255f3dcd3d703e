"""Takes names, secrets and, if wanted, addresses out of documents and texts. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus import events as ev
from romana_bus.cli.support.known import is_public
from romana_bus.inet import parse_address

if TYPE_CHECKING:
    from romana_bus.cli.support.names import Names

REMOVED = "[removed]"
#: Fields with labels or annotations: key -> value.
_LABELS = ("labels", "annotations", "matchLabels", "assignment")
#: Fields of events with what a user wrote into objects.
_OBJECTS: dict[type, tuple[str, ...]] = {ev.ObjectSeen: ("object",), ev.PolicySeen: ("spec",)}
#: Keys of our documents, which stay, also where a pod is called so.
_KEYS = frozenset(field for event in ev.STORED for field in event.__struct_fields__) | {
    "type", "event", "stream", "seq", "time", "cause", "pod", "host", "text", "details", "found", "state",
}  # fmt: skip

#: Seeds of nkeys; PEM; JWTs, which service account tokens and NATS credentials are; passwords in URLs.
_SECRETS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\bS[A-Z][A-Z2-7]{50,}\b",
        r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)",
        r"\bey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?",
        r"(?<=://)[^\s/@\"']+(?=@)",
        r"(?i)(?<=bearer )\S+",
        r"(?i)\b(?:password|passwd|secret|token|seed)\b[\"']?\s*[=:]\s*[\"']?[^\s\"',}]+",
    )
)
#: Keys whose values are secrets.
_SECRET_KEY = re.compile(r"(?i)passw|secret|token|seed|authorization|private|credential|api.?key")

_FOUR = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"
_SIX = r"(?<![\w:.])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])"
_ADDRESS = re.compile(f"{_FOUR}|{_SIX}")
#: Addresses that every node has.
_EVERYWHERE = ("0.0.0.0", "::", "127.0.0.1", "::1", "169.254.1.1", "fe80::1")


class Redaction:
    """`names`: all of them are known. `addresses`: whether addresses are replaced too."""

    def __init__(self, names: Names, *, addresses: bool) -> None:
        self._names, self._addresses = names, addresses

    def event(self, event: Any) -> Any:
        """An event as a document."""
        document = msgspec.to_builtins(event)
        for field in _OBJECTS.get(type(event), ()):
            document[field] = REMOVED
        return self.document({"type": type(event).__name__} | document)

    def document(self, value: Any) -> Any:
        """A JSON document."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.document(each) for each in value]
        if isinstance(value, dict):
            return {self._key(key): self._value(str(key), inner) for key, inner in value.items()}
        return value

    def text(self, text: str) -> str:
        for pattern in _SECRETS:
            text = pattern.sub(REMOVED, text)
        text = self._names.text(text)
        return _ADDRESS.sub(self._address, text) if self._addresses else text

    def _key(self, key: Any) -> str:
        return str(key) if key in _KEYS else self.text(str(key))

    def _value(self, key: str, value: Any) -> Any:
        if key in _LABELS and isinstance(value, dict):
            return {
                each if is_public(each) else self._names.of("label", each): self._names.of(
                    "value", str(inner)
                )
                for each, inner in value.items()
            }
        if _SECRET_KEY.search(key) and isinstance(value, str | list | dict):
            return REMOVED
        return self.document(value)

    def _address(self, match: re.Match[str]) -> str:
        try:
            width, _ = parse_address(match[0])
        except ValueError:
            return match[0]
        if match[0] in _EVERYWHERE:
            return match[0]
        return self._names.of("ipv4" if width == 32 else "ipv6", match[0])
