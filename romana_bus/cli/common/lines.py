"""Where in a file something stands: the line of a place such as `networks[0].cidr`."""

from __future__ import annotations

import re
from typing import Any

import yaml

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
#: Only looks: what it is given was read by a loader that takes no aliases.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Lines:
    """Of a document that was read already, as JSON or YAML. Made only when somebody asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root: Any = None

    def of(self, place: str) -> int:
        """Counted from 1; 0 where nobody knows. What is missing is where it would have to be."""
        if self._root is None:
            self._root = _composed(self._text)
        line, node = 0, self._root or None
        if node is not None:
            line = node.start_mark.line + 1
        for name, number in _STEP.findall(place):
            found = _entry(node, name, number)
            if found is None:
                break
            line, node = found
        return line


def _composed(text: str) -> Any:
    """Tabs are space in JSON and an error in YAML; in a string of JSON there is none."""
    for attempt in (text, text.replace("\t", " ")):
        try:
            return yaml.compose(attempt.lstrip("\ufeff"), Loader=_Loader) or ()
        except (yaml.YAMLError, RecursionError, ValueError):
            continue
    return ()


def _entry(node: Any, name: str, number: str) -> tuple[int, Any] | None:
    """The line and the node of one step down."""
    if isinstance(node, yaml.MappingNode) and name:
        pairs = [(key, value) for key, value in node.value if getattr(key, "value", None) == name]
        return (pairs[-1][0].start_mark.line + 1, pairs[-1][1]) if pairs else None
    if isinstance(node, yaml.SequenceNode) and number and int(number) < len(node.value):
        inner = node.value[int(number)]
        return inner.start_mark.line + 1, inner
    return None
