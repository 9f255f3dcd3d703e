"""The pages that MkDocs builds from the code, and from the texts in the repository's root.

`mkdocs.yml` names this module as a hook, so these pages are made anew in every build and nothing of them is
stored: the commands (from the command line's own definition), the events (from the stored types), the
metrics (from the metrics that the processes register), and README, DESIGN, CONTRIBUTING, SECURITY and
CHANGELOG. A link that leaves `docs/` becomes a link into the site or into the repository; where its file
does not exist, the build says so, and fails with `--strict`.
"""

from __future__ import annotations

import inspect
import logging
import posixpath
import re
import typing
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import prometheus_client
from mkdocs.structure.files import File

from romana_bus import metrics
from romana_bus.bus.space.server_settings import SETTINGS
from romana_bus.cli.app import HELP, app
from romana_bus.cni.server import server
from romana_bus.consumers import audit, ipam_metrics
from romana_bus.events import LED, STORED, STREAMS, Event
from romana_bus.runtime.process import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page
    from prometheus_client import Metric

log = logging.getLogger("mkdocs.hooks.generate")

ROOT = Path(__file__).parent.parent
#: Texts of the repository's root that are pages of the site too.
TEXTS = {
    "README.md": "index.md",
    **{name: name for name in ("DESIGN.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")},
}

#: Folders that DESIGN.md keeps ready.
COMING = ("speakers/", "cloud/", "nft/", "replay/", "sdk/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {
        "reference/commands.md": commands(),
        "reference/events.md": events(),
        "reference/metrics.md": measured(),
        "reference/nats-settings.md": nats_settings(),
    }
    for name, page in TEXTS.items():
        pages[page] = (ROOT / name).read_text()
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


# --- links ----------------------------------------------------------------------------------------------

_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Rewrites the links that leave `docs/`."""
    source = {page: name for name, page in TEXTS.items()}.get(page.file.src_uri)
    here = posixpath.dirname(source or f"docs/{page.file.src_uri}")
    start = posixpath.dirname(page.file.src_uri) or "."

    _check_paths(markdown, source or page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[2]))
        if target in TEXTS:
            target = f"docs/{TEXTS[target]}"
        if target.startswith("docs/"):
            return f"{match[1]}{posixpath.relpath(target[5:], start)}{match[3] or ''})"
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which does not exist", source or page.file.src_uri, target)
        return f"{match[1]}{config.repo_url}/blob/main/{target}{match[3] or ''})"

    return _LINK.sub(rewritten, markdown)


#: A source file or a folder that a text names.
_PATH = re.compile(r"`([a-z_]+/(?:[a-z_0-9]+/)*(?:[a-z_0-9]+\.(?:py|c|txt|conf))?)`")


def _check_paths(markdown: str, name: str) -> None:
    """Says which of the files and folders that a text names do not exist, from here or in the package."""
    for path in _PATH.findall(markdown):
        if path not in COMING and not any((ROOT / base / path).exists() for base in ("", "romana_bus")):
            log.warning("%s names %s, which does not exist", name, path)


# --- commands -------------------------------------------------------------------------------------------

_GROUP = re.compile(r"^\*\*([A-Z][a-z]+)\*\*:\n\n((?:\*.*\n(?: +.*\n)*)+)", re.MULTILINE)

#: Groups that are a command's own, even where other commands have the same.
OWN = ("Arguments", "Options")
#: Defaults that say nothing.
_NO_DEFAULT = re.compile(r' \*\[default: (?:\(\)|""|False|None)\]\*')


def commands() -> str:
    """Every command with its options. A group of options that many commands share is described once."""
    text = app.generate_docs(output_format="markdown").replace(HELP.strip(), f"```text\n{HELP}```")
    text = re.sub(r"\.0\]\*$", "]*", _NO_DEFAULT.sub("", text), flags=re.MULTILINE)
    groups = Counter((match[1], match[2]) for match in _GROUP.finditer(text))
    shared = sorted(group for group, count in groups.items() if count > 3 and group[0] not in OWN)
    titles = {group: _title(group[0], shared.index(group), shared) for group in shared}

    def referred(match: re.Match[str]) -> str:
        title = titles.get((match[1], match[2]))
        return f"**{match[1]}**: [{title}](#{_anchor(title)})\n" if title else match[0]

    sections = [f"## {titles[group]}\n\n{group[1]}" for group in shared]
    return "\n".join([_GROUP.sub(referred, text), *sections])


def _title(name: str, at: int, groups: list[tuple[str, str]]) -> str:
    """A heading of its own for each group, also where two have one name."""
    before = sum(other == name for other, _ in groups[:at])
    return f"{name} options" + (f" ({before + 1})" if before else "")


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", title.lower().replace(" ", "-"))


# --- events ---------------------------------------------------------------------------------------------


def events() -> str:
    """Every stored type, by stream: what it means, its subject and its fields."""
    parts = [
        "# Events",
        "Every message on the log is one of these types, as JSON with the type's name in `type`. Generated "
        "from `romana_bus/events/`. How streams and headers work is in [the log](../design/log.md).",
        "A subject is written here without its prefix `romana.CLUSTER.`; a word in capitals stands for the "
        "field of that name, in which `.` is written as `_`. Times and durations are microseconds; times "
        "count from the Unix epoch. A *tombstone* says that the entity is gone, and leaves the table "
        "an hour later. A field is left out of the JSON if it has its default value.",
    ]
    leaders = " and ".join(f"on {stream.name} as `{stream.token}.leader`" for stream in LED)
    sections = {stream.name: stream.meaning for stream in STREAMS} | {"": f"{leaders.capitalize()}."}
    for role, text in sections.items():
        parts += [f"## {role or 'Every fenced stream'}", text]
        parts += _common(role)
        parts += [part for event in STORED if event.role == role for part in _event(event)]
    parts += ["## Parts of events"]
    parts += [
        part for struct in _nested() for part in (f"### {struct.__name__}", _doc(struct), _fields(struct))
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _event(event: type[Event]) -> Iterator[str]:
    yield f"### {event.__name__}"
    yield f"Subject: `{_subject(event)}`" + ("  \nA tombstone." if event.tombstone else "")
    yield _doc(event)
    yield _fields(event)


def _doc(struct: type) -> str:
    """Its own docstring."""
    return inspect.cleandoc(struct.__dict__.get("__doc__") or "")


def _common(role: str) -> Iterator[str]:
    """What is said of the fields that several types of a stream have."""
    members = [event for event in STORED if event.role == role]
    bases = dict.fromkeys(base for event in members for base in event.__mro__[1:] if issubclass(base, Event))
    for base in bases:
        if base is not Event and base not in STORED and (text := _doc(base)):
            names = ", ".join(f"`{event.__name__}`" for event in members if issubclass(event, base))
            yield f"Common to {names}: {text}"


def _subject(event: type[Event]) -> str:
    """The subject of an event whose every text is the name of its field, in capitals."""
    values: dict[str, Any] = {
        field.name: "GROUP/VERSION/PLURAL"
        if event.__name__.startswith("Object") and field.name == "resource"
        else field.name.upper()
        for field in msgspec.structs.fields(event)
        if field.type is str
    }
    empty = {
        field.name: None
        for field in msgspec.structs.fields(event)
        if field.required and field.type is not str
    }
    return event(**values, **empty).subject()


def _fields(struct: type[msgspec.Struct]) -> str:
    rows = ["| field | type | default |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else f"`{_json(field)}`"
        rows.append(f"| `{field.name}` | {_type(field.type)} | {default} |")
    return "\n".join(rows)


def _json(field: msgspec.structs.FieldInfo) -> str:
    made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.json.encode(made).decode()


_NAMES = {str: "string", bool: "boolean", int: "integer", Any: "any"}


def _type(kind: Any) -> str:
    """The type of a field in the JSON."""
    if typing.get_origin(kind) is typing.Annotated:
        return "integer, at least 0"
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if typing.get_origin(kind) is tuple:
        return f"list of {_type(arguments[0])}"
    if typing.get_origin(kind) is dict:
        return f"object of {_type(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return _NAMES[kind]


def _nested() -> list[type[msgspec.Struct]]:
    """The structs that events contain."""
    kinds = {
        argument
        for event in STORED
        for field in msgspec.structs.fields(event)
        for argument in (field.type, *typing.get_args(field.type))
        if isinstance(argument, type) and issubclass(argument, msgspec.Struct)
    }
    return sorted(kinds, key=lambda kind: kind.__name__)


# --- settings of the NATS server --------------------------------------------------------------------------


def nats_settings() -> str:
    """What a NATS server of the user's own has to be set to."""
    rows = ["| setting | needs | why | read from | without it |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        without = "refused" if setting.fatal else "a warning"
        cells = (f"`{setting.name}`", setting.needs, setting.why, setting.source, without)
        rows.append(f"| {' | '.join(cells)} |")
    parts = [
        "# Settings of the NATS server",
        "What a NATS server of your own has to be set to. The embedded server and the examples under `nats/` "
        "have it. `romana-bus status` checks each row: ok, wrong and what to set, or not checkable. `/varz` "
        "is read only if `--nats-monitor` names the monitoring port.",
        "\n".join(rows),
    ]
    return "\n\n".join(parts) + "\n"


# --- metrics --------------------------------------------------------------------------------------------


#: The modules that register metrics.
MEASURING = (metrics, audit, server, logs)


def measured() -> str:
    """Every metric of our own that `/metrics` serves."""
    labels = {
        metric._name: metric._labelnames
        for module in MEASURING
        for metric in vars(module).values()
        if isinstance(metric, prometheus_client.metrics.MetricWrapperBase)
    }
    families = [each for each in prometheus_client.REGISTRY.collect() if each.name.startswith("romana_")]
    rows = [_row(family, labels.get(family.name, ())) for family in families]
    parts = [
        "# Metrics",
        "What `/metrics` serves, beside the process metrics of the Prometheus client. Generated from the "
        "code. `consumer` is a name such as `ipam` or `watch`; `stream` is a name such as `KUBE`. "
        "A process serves those of them that concern it.",
        "\n".join(["| metric | labels | kind | what it is |", "|---|---|---|---|", *rows]),
        "## The process that decides addresses",
        f"```text\n{inspect.getdoc(ipam_metrics)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _row(family: Metric, labels: tuple[str, ...]) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {shown} | {family.type} | {family.documentation} |"
