"""The steps of an uninstallation. Each may be repeated: what was interrupted is completed by the next run.

The configuration goes first, so that the runtime starts no more pods with it; the state directory last. What
is not ours in a directory stays, and the directory with it.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from romana_bus.cni.link import attach
from romana_bus.cni.link import removal as links
from romana_bus.netlink.fib import Forwarding
from romana_bus.routing import Delta, Kernel, plan_removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from romana_bus.agent.uninstall.survey import Places, Survey

T = TypeVar("T")

#: What the agent writes into RUN_DIR and STATE_DIR. On the nodes of NATS, STATE_DIR also has the log.
_IN_RUN_DIR = ("attachments", "spool", "cni.sock", "last-status", "last-status.new", "lock")
_IN_STATE_DIR = ("journal", "journal.lock")
#: How many names a step tells.
NAMED = 5


class Step(NamedTuple):
    """`what` is removed, as a text. `do` removes it; raises OSError, Interrupted, and Unapplied, and then all
    is done but what that names."""

    what: str
    do: Callable[[], object]


def of_node(survey: Survey, *, keeps: bool) -> Iterator[Step]:
    """All but the directories. `keeps`: links of running pods stay, with the routes that they use, and the
    executable, which the runtime calls at their end."""
    for file in (*survey.plugin.configurations, *(() if keeps else survey.plugin.executables)):
        yield Step(str(file), functools.partial(_delete, file))
    gone = [*survey.over, *(() if keeps else survey.running)]
    if gone:
        yield Step(_named("link", gone), lambda: _each(attach.detach, gone))
    if survey.astray:
        yield Step(_counted(len(survey.astray), "route to a pod", "routes to pods"), _remove_astray)
    if keeps and (groups := survey.routes.reachable):
        what = f"{_counted(len(groups), 'unreachable route')}: what is not known goes to the router"
        yield Step(what, lambda: _remove_routes(kept=True))
    routes, nexthops = len(survey.routes) - len(survey.routes.deleted), len(survey.routes.deleted)
    if not keeps and (routes or nexthops):
        what = f"{_counted(routes, 'route')} to other nodes' pods, and {_counted(nexthops, 'nexthop')}"
        yield Step(what, _remove_routes)
    if keeps and (files := survey.over_files()):
        yield Step(_counted(len(files), "attachment"), lambda: _each(_delete, files))


def of_run_dir(places: Places, *, keeps: bool) -> Iterator[Step]:
    """`keeps`: the attachments of running pods stay, and the DELs that wait for them."""
    stays = ("attachments", "spool") if keeps else ()
    yield from _of_directory(places.run_dir, [name for name in _IN_RUN_DIR if name not in stays])


def of_state_dir(places: Places) -> Iterator[Step]:
    yield from _of_directory(places.state_dir, _IN_STATE_DIR)


def _remove_astray() -> None:
    present = links.read()
    ours = frozenset(present.links.values())
    links.remove_routes((address, link) for address, all_ in present.routes.items() for link in all_ - ours)


def _remove_routes(*, kept: bool = False) -> None:
    """`kept`: those to other nodes' pods stay."""
    kernel = Kernel()
    with Forwarding() as forwarding:
        for _ in forwarding.read(kernel):
            pass
        every = plan_removal(kernel)
        for _ in forwarding.apply(Delta(reachable=every.reachable) if kept else every, kernel):
            pass


def _of_directory(directory: Path, names: list[str] | tuple[str, ...]) -> Iterator[Step]:
    """Nothing to do where it has nothing of ours, unless it is empty."""
    if not directory.is_dir():
        return
    there = {path.name for path in directory.iterdir()}
    what = str(directory) if there <= {*names} else f"the agent's files in {directory}"
    if not there or there.intersection(names):
        yield Step(what, lambda: _remove(directory, names))


def _remove(directory: Path, names: list[str] | tuple[str, ...]) -> None:
    """Remove what is ours in a directory, and the directory if nothing else is in it."""
    for name in names:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(directory.iterdir()):
        with contextlib.suppress(OSError):  # a mount, in a container
            directory.rmdir()


def _each(remove: Callable[[T], object], things: Iterable[T]) -> None:
    for thing in things:
        remove(thing)


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)


def _named(what: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{_counted(len(names), what)}: {', '.join(names[:NAMED])}{more}"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
