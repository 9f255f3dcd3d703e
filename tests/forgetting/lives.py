"""The names of lives that come and go."""

from __future__ import annotations

#: A part of every name; and how many lives there are, unless a consumer says so.
GONE, LIVES = "gone-", 10_000


class Names:
    """Of the life with this number."""

    def __init__(self, number: int) -> None:
        self.pod, self.uid = f"{GONE}pod{number}", f"{GONE}uid{number}"
        self.namespace, self.node, self.group = (
            f"{GONE}tenant{number // 10}", f"{GONE}node{number // 20}", f"{GONE}group{number // 100}",
        )  # fmt: skip
        self.number = number
        self.begins, self.ends = number % 20 == 0, number % 20 == 19  # a node
        self.block = f"10.{number // 20 % 4 + 1}.{number // 20 // 4 % 250}.0/28"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.pod}"
