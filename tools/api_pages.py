"""docs/api/*.md, written from the code: `python -m tools.api_pages docs/api`.

Each public name and hook has its signature, its docstring, what stands beside it elsewhere (kernel
function, RFC), its members, and an example.  Examples are test functions in tests/api/examples,
under a comment `# shows: NAME, …`, and whole modules in tests/api/hooks; a page has each with the
imports and definitions that it needs, so that it runs as it stands there.  Tests hold the pages to
what this prints, run every example, and fail for a name without a place in `PAGES`, or an example.
"""

from __future__ import annotations

import argparse
import enum
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import vdp.testing
from tools.api_contents import PAGES, Page
from tools.api_examples import Example, examples, hook_examples
from vdp import api, hookspecs
from vdp.config.describe import describe
from vdp.counters import Counters
from vdp.header import Field, Header
from vdp.plugin_commands import Commands
from vdp.states import States

#: What is not imported, but had from a `Datapath`.
OBJECTS: dict[str, Any] = {"Commands": Commands, "Counters": Counters, "States": States}
#: Of a class of the dataplane's own wiring, the members that are for plugins.
ONLY = {
    "Datapath": {
        *(
            "settings",
            "kind",
            "has_kind",
            "add_cookie",
            "every",
            "send",
            "transmit",
            "invalidate",
            "revalidate",
        ),
        *(
            "say",
            "undoable",
            "retire",
            "number_of",
            "egress",
            "port_by_number",
            "set_link_up",
            "set_link_mtu",
        ),
        *("local_addresses", "is_local", "follow", "note_ecn"),
    },
    "NativeEngine": set(),
    "ReferenceEngine": set(),
    "StaticPaths": set(),
    "StaticGroups": set(),
    "Bits": set(),
    "Octets": set(),
}
#: What a plugin is given, and does not make.
GIVEN = {
    *("Packet", "Registry", "HandlerList", "SlotTable", "Pipeline", "Datapath", "Counters", "CounterFamily"),
    *("States", "Commands", "TunnelTable", "TunnelInfo", "Upcall", "IcmpError", "Traced", "PathPending"),
}
#: Members that the dataplane itself needs, and plugins do not.
HIDDEN = {"Packet": {"program", "tallies", "count_since"}}
#: Attributes that are not members of the class as Python sees it: name to what it is.
ATTRIBUTES = {
    "Datapath": {
        "registry": "`Registry`: the handler lists",
        "pipeline": "`Pipeline`: the stages",
        "counters": "`Counters`: a plugin's own counters",
        "states": "`States`: numbers that the engine keeps",
        "commands": "`Commands`: a plugin's own commands",
        "ports, links": "by name, as they are now",
        "paths": "ways out of the host: `lookup(packet, port, destination, source, tos=0)` is the way to a "
        "next hop or None where there is no route, and raises `PathPending` where it has to be asked for",
        "icmp": "ICMP errors to senders: `too_big(packet, mtu)`, `port_unreachable(packet)`",
        "identifications": "`of(source, destination)`: the engine state for `FillId` of an outer IPv4 header",
        "engine": "the engine: `clock()` in nanoseconds, `read_counter(number)`, and what `states` and "
        "`counters` make on it",
    },
    "Link": {
        "name, kind, parameters, mtu, up": "as they are now",
        "number": "the engine's port number of its GRO cell",
        "counters": "engine counters, named as in struct rtnl_link_stats64: `rx`, `tx`, `rx_errors` …",
    },
    "LinkKind": {
        "name": "what `kind = …` of a link says",
        "packet_type": "`PacketType`: what its links carry: packets (L3) or frames (L2)",
        "parameters": "the pydantic model of a link's other keys",
        "ip_protocol": "IP protocol of what its links send and receive on their underlay; else GRE's",
        "ip_version": "IP version of that underlay: 4 or 6; else 4",
    },
    "GreTunnelKind": {"tunnel": "the class of its links"},
    "EndpointParameters": {
        "has_fallback": "`False` of a kind without fallback links",
        "header_size": "bytes that `push_header` puts on; else those of a GRE header with its options",
        "input_key": "what tells links of the same ends apart, for `TunnelTable.lookup`; None: nothing",
        "sent_key": "what tells whose packet an ICMP error quotes; else as what is sent has",
    },
    "Packet": {"trace": "what was looked at; a handler leaves it alone"},
}
#: Python's own members of enums and exceptions say nothing here.
PYTHONS = {"with_traceback", "add_note", "args", "errno", "filename", "filename2", "strerror"}
WIDTH = 118


def public() -> dict[str, Any]:
    """Every public name and hook, by the name that its entry has."""
    hooks = {name: each for name, each in vars(hookspecs).items() if name.startswith("vdp_")}
    kit = {name: getattr(vdp.testing, name) for name in vdp.testing.PUBLIC}
    return hooks | {name: getattr(api, name) for name in api.__all__} | OBJECTS | kit


# -- signatures -----------------------------------------------------------------------------------


def annotation(value: Any) -> str:
    """A type as its source says it."""
    if isinstance(value, str):
        return value.strip("'\"").replace("act.Program", "Program").replace("_State", "object")
    return value.__name__ if isinstance(value, type) else str(value).replace("typing.", "")


def _parameter(each: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(each.kind, "")
    text = stars + each.name
    if each.annotation is not inspect.Parameter.empty:
        text += f": {annotation(each.annotation)}"
    if each.default is not inspect.Parameter.empty:
        shown = _default(each.default)
        text += f" = {shown}" if ": " in text else f"={shown}"
    return text


def _default(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    return f"{value:#x}" if type(value) is int and value >= 0xFFFF else repr(value)


def signature(name: str, function: Callable[..., Any]) -> str:
    """`name(parameters) -> answer`, without self."""
    found = inspect.signature(function)
    parameters = [each for each in found.parameters.values() if each.name not in ("self", "cls")]
    parts: list[str] = []
    has_star = False
    for each in parameters:
        has_star = has_star or each.kind is inspect.Parameter.VAR_POSITIONAL
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not has_star:
            parts.append("*")
            has_star = True
        parts.append(_parameter(each))
    answers = found.return_annotation
    answer = "" if answers is inspect.Signature.empty else f" -> {annotation(answers)}"
    line = f"{name}({', '.join(parts)}){answer}"
    if len(line) <= 100:
        return line
    return f"{name}(\n    " + ",\n    ".join(parts) + f",\n){answer}"


def head(name: str, value: Any) -> str:
    """The entry's first line of code."""
    if inspect.isclass(value):
        bases = ", ".join(each.__name__ for each in value.__bases__ if each is not object)
        made = ""
        is_made = not issubclass(value, BaseModel | enum.Enum | BaseException | Header)
        is_made = is_made and not inspect.isabstract(value) and not getattr(value, "_is_protocol", False)
        if is_made and name not in GIVEN and "__init__" in vars(value):
            made = "\n" + signature(name, value.__init__).removesuffix(" -> None")
        return f"class {name}({bases})".replace("()", "") + made
    if inspect.isroutine(value):
        return signature(name, value)
    if inspect.ismodule(value):
        return f"import {value.__name__}"
    return f"{name} = {value!r}" if isinstance(value, int) else name


# -- members --------------------------------------------------------------------------------------


def members(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """Signature, docstring and name of each public member of a class's own, in the order of the source."""
    for member, found in vars(value).items():
        if member.startswith("_") or member in PYTHONS or member in HIDDEN.get(name, ()):
            continue
        if member not in ONLY.get(name, (member,)):
            continue
        if isinstance(found, property):
            answer = inspect.signature(found.fget).return_annotation if found.fget else ""
            yield f"{member}: {annotation(answer)}", inspect.getdoc(found) or "", member
        elif isinstance(found, classmethod | staticmethod) or inspect.isfunction(found):
            text = signature(member, getattr(value, member))
            text = f"async {text}" if inspect.iscoroutinefunction(found) else text
            yield text, inspect.getdoc(getattr(value, member)) or "", member


def _tables(name: str, value: Any) -> Iterator[str]:
    if issubclass(value, Header) and value.fields():
        yield from ("| field | bits | from bit |", "| --- | --- | --- |")
        fields: dict[str, Field[Any]] = value.fields()
        yield from (f"| `{each}` | {field.width} | {field.start} |" for each, field in fields.items())
        yield ""
    elif issubclass(value, enum.Enum):
        numbers = [f" = {each.value:#x}" if isinstance(each.value, int) else "" for each in value]
        shown = [f"`{each.name}`{number}" for each, number in zip(value, numbers, strict=True)]
        yield from (wrapped(", ".join(shown)), "")
    elif issubclass(value, BaseModel):
        yield from ("| key | takes | meaning |", "| --- | --- | --- |")
        for key, field in value.model_fields.items():
            yield f"| `{key}` | {describe(field)} | {field.description or ''} |"
        yield ""
    elif hasattr(value, "__dataclass_fields__"):
        fields_of = value.__dataclass_fields__.items()
        yield from (wrapped(", ".join(f"`{key}: {annotation(f.type)}`" for key, f in fields_of)), "")


def flat(text: str) -> str:
    """A paragraph of a docstring in one line."""
    return " ".join(text.split())


def wrapped(text: str) -> str:
    """A paragraph in lines."""
    return "\n".join(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def prose(text: str) -> str:
    """A docstring as the page has it: drawings and code keep their lines."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        drawn = [line.startswith(("    ", "|", "0   ")) for line in lines]
        if any(drawn):
            at = drawn.index(True)
            said = flat("\n".join(lines[:at]))
            drawing = inspect.cleandoc("\n".join(["", *lines[at:]]))
            paragraphs += [*([wrapped(said)] if said else []), f"```text\n{drawing}\n```"]
        else:
            paragraphs.append(wrapped(flat(paragraph)))
    return "\n\n".join(paragraphs)


# -- what is missing ------------------------------------------------------------------------------


def misplaced() -> list[str]:
    """Public names and hooks without a page, or with two; entries of pages that are none."""
    placed = [name for each in PAGES.values() for name in each.entries]
    return sorted({*(name for name in placed if placed.count(name) > 1), *(set(placed) ^ public().keys())})


def unexplained() -> list[str]:
    """Names without an example, hooks without a plugin that has a test, names and members without a word."""
    found, shown = public(), {**examples(), **hook_examples()}
    missing = [name for name in found if name not in shown or "def test_" not in shown[name].text]
    silent = [name for name, value in found.items() if name not in SAID and not _said(value)]
    for name, value in found.items():
        if inspect.isclass(value):
            silent += [f"{name}.{member}" for _, text, member in members(name, value) if not text]
    return [*missing, *silent]


def _said(value: Any) -> str:
    """Its own docstring."""
    if inspect.isclass(value) and "__doc__" not in vars(value):
        return ""
    return "" if isinstance(value, int) else inspect.cleandoc(value.__doc__ or "")


# -- pages ----------------------------------------------------------------------------------------


def entry(name: str, beside: str, value: Any, example: Example | None) -> Iterator[str]:
    """Everything about one name."""
    yield from (f"## {name}", "", "```python", head(name, value), "```", "")
    said = SAID.get(name, _said(value))
    if said:
        yield from (prose(said), "")
    if beside:
        yield from (wrapped(f"Beside it: {beside}."), "")
    if inspect.isclass(value):
        yield from _tables(name, value)
        rows = [(f"`{attribute}`", text) for attribute, text in ATTRIBUTES.get(name, {}).items()]
        found = list(members(name, value))
        if rows:
            yield from (f"- {attribute}: {text}" for attribute, text in rows)
        for text, documentation, _ in found:
            one_line = flat(text).replace("( ", "(").replace(", )", ")")
            yield f"- `{one_line}`: {flat(documentation)}"
        if rows or found:
            yield ""
    if example is not None:
        yield from ("```python", example.text.rstrip("\n"), "```", "")


#: Of names whose docstring is another's (a number, an alias, pluggy's marker): what they are.
SAID = {
    "API_VERSION": "The version of all that is here; a plugin says `vdp_api = 1`. One that is made for "
    "another version, or does not say, is not loaded: one line in the log.",
    "hookimpl": "Marks a function of the plugin's module as its implementation of the hook of that name.",
    "Address": "Type of a setting: an IPv4 address, as text in the file.",
    "Address6": "Type of a setting: an IPv6 address, as text in the file.",
    "Mac": "Type of a setting: a MAC address of a station.",
    "LinkName": "Type of a setting: the name of a link that the file has. Also in lists, and as the keys of "
    "`dict[LinkName, …]`.",
    "PortName": "Type of a setting: the name of a port that the file has; likewise.",
}


def page(name: str) -> str:
    """One page."""
    found, shown = public(), {**examples(), **hook_examples()}
    made: Page = PAGES[name]
    lines = [f"# {made.title}", "", wrapped(made.intro), ""]
    lines += [wrapped(" · ".join(f"[`{each}`](#{each.lower()})" for each in made.entries)), ""]
    stands: dict[str, str] = {}
    for each, beside in made.entries.items():
        example = shown.get(each)
        lines += entry(each, beside, found[each], example if example and example.text not in stands else None)
        if example is not None and stands.setdefault(example.text, each) != each:
            lines += [f"Example: that of [`{stands[example.text]}`](#{stands[example.text].lower()}).", ""]
    return "\n".join(lines).rstrip() + "\n\n" + _FOOT


_FOOT = "This page is written by `make docs` from the code and its examples.\n"


def index() -> str:
    """The page of pages."""
    lines = [_INDEX]
    for name, each in PAGES.items():
        lines.append(f"- [{each.title}]({name}.md): " + ", ".join(f"`{entry}`" for entry in each.entries))
    return "\n".join(lines) + "\n\n" + _FOOT


_INDEX = """\
# The public API

What a plugin may import is in `vdp.api`, what its tests may is in `vdp.testing`; all of it is on these
pages, with an example each that the tests run. Nothing else is public. How to put it together is in the
[cookbook](../cookbook.md).

- **Versions.** A plugin says `vdp_api = 1`. Within version 1 names are added, and none is taken away but by
  way of a deprecation: for one minor version of vdp it works and warns, at the plugin's line, in pytest and
  in the daemon's log.
- **Examples** are test functions. They run as they stand here where vdp is installed: `pytest FILE`.
"""


def write(folder: Path) -> None:
    """All pages into a folder."""
    folder.mkdir(exist_ok=True)
    for name in PAGES:
        (folder / f"{name}.md").write_text(page(name))
    (folder / "index.md").write_text(index())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.api_pages", description="Write the pages of the API."
    )
    parser.add_argument("folder", type=Path, help="where to: docs/api")
    write(parser.parse_args().folder)
