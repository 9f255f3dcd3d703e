"""Names and their pseudonyms. Pure.

A pseudonym is a keyed hash of the name. The key is made for one bundle and thrown away: so a name has one
pseudonym throughout a bundle, and nobody can find the name by trying. In texts a name is found as a word, or
as parts of one between `.`, `_` and `-`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Namespaces that every cluster has, and values that many labels have: they tell nothing.
COMMON = frozenset(
    ("", "default", "kube-system", "kube-public", "kube-node-lease", "true", "false", "yes", "no", "*", "-")
)
#: Digits of a pseudonym.
DIGITS = 8
#: The most parts of a word in which names are looked for.
_PARTS = 64

_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_BETWEEN = re.compile(r"([._-])")


class Names:
    """The names of one bundle. `key`: secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._pseudonyms: dict[str, str] = {}
        self._phrases: list[str] = []
        self._words: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._pseudonyms)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pseudonyms)

    def add(self, kind: str, name: str) -> None:
        """Know a name. `kind`: with which its pseudonym begins; the first one counts."""
        if name in COMMON or name.isdecimal() or name in self._pseudonyms:
            return
        self._pseudonyms[name] = f"{kind}-{self._digest(name)}"
        if not _WORD.fullmatch(name):
            self._phrases.append(name)
        if "." in name:  # as in subjects
            self._pseudonyms.setdefault(name.replace(".", "_"), self._pseudonyms[name])

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of a name, known or not."""
        self.add(kind, name)
        return self._pseudonyms.get(name, name)

    def text(self, text: str) -> str:
        """The text with a pseudonym for each known name in it."""
        for phrase in self._phrases:
            if phrase in text:
                text = text.replace(phrase, self._pseudonyms[phrase])
        return _WORD.sub(lambda match: self._word(match[0]), text)

    def _digest(self, name: str) -> str:
        return hmac.new(self._key, name.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:DIGITS]

    def _word(self, word: str) -> str:
        found = self._pseudonyms.get(word)
        if found is not None:
            return found
        if word not in self._words:
            self._words[word] = self._in_parts(word)
        return self._words[word]

    def _in_parts(self, word: str) -> str:
        """The word, with the longest runs of its parts that are names replaced, from the left."""
        parts = _BETWEEN.split(word)
        if not 1 < len(parts) <= 2 * _PARTS:
            return word
        made, start = "", 0
        while start < len(parts):
            end = next(
                (
                    end
                    for end in range(len(parts), start, -2)
                    if "".join(parts[start:end]) in self._pseudonyms
                ),
                0,
            )
            if end:
                made += self._pseudonyms["".join(parts[start:end])]
            else:
                end = start + 1
                made += parts[start]
            made += "".join(parts[end : end + 1])
            start = end + 1
        return made
