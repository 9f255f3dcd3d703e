"""Walks everything that an object holds, to any depth: whether it still holds names of what is gone, and how
much it is."""

from __future__ import annotations

import gc
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from prometheus_client import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Belongs to the interpreter or to a library, not to what is looked at.
_BEYOND = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType)
#: Holds nothing.
_PLAIN = (str, bytes, bytearray, int, float, type(None))


class Holding(NamedTuple):
    """`objects`: how many there are. `names`: the texts among them that contain the mark, each with the types
    on the way to it."""

    objects: int
    names: list[str]


def held(roots: Iterable[object], mark: str, but: tuple[object, ...] = ()) -> Holding:
    """What the roots hold. `mark`: a part of every name that is gone. `but`: objects and types of objects
    that are not looked into, such as the log itself."""
    skipped = {id(one) for one in but}
    beyond = (*_BEYOND, *(one for one in but if isinstance(one, type)))
    from_: dict[int, tuple[object, int]] = {}
    left: list[tuple[object, int]] = [(root, 0) for root in roots]
    names = []
    while left:
        one, holder = left.pop()
        if id(one) in from_ or id(one) in skipped or isinstance(one, beyond):
            continue
        from_[id(one)] = one, holder
        if isinstance(one, _PLAIN):
            if _has(one, mark):
                names.append(_path(from_, id(one)))
            continue
        left += [(inner, id(one)) for inner in _inside(one)]
    return Holding(len(from_), names)


def _has(one: object, mark: str) -> bool:
    if isinstance(one, str):
        return mark in one
    return isinstance(one, bytes | bytearray) and mark.encode() in one


def _inside(one: Any) -> list[Any]:
    if isinstance(one, msgspec.Struct):  # without gc, its fields are not referents
        return [getattr(one, name) for name in one.__struct_fields__] + list(getattr(one, "__dict__", ()))
    if isinstance(one, dict):  # texts that are keys are not referents
        return [*one, *one.values()]
    if isinstance(one, types.FunctionType):  # not its module, which is a root of its own
        return [one.__closure__, one.__defaults__, one.__kwdefaults__]
    return gc.get_referents(one)


def _path(from_: dict[int, tuple[object, int]], last: int) -> str:
    steps, text = [], repr(from_[last][0])
    while last:
        one, last = from_[last]
        steps.append(type(one).__name__)
    return f"{text} in {' < '.join(steps[1:13])}"


def of_the_process() -> list[object]:
    """What belongs to the whole process: metrics with their labels, and what modules hold (caches)."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("romana_bus")]
    return [REGISTRY, *(value for module in modules for value in vars(module).values())]
