"""The house rules: which way imports point, how long files are, what the documents must name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.lab import REPOSITORY
from tools import drops_page, protocols_page
from vdp.testing.dataplane import Dataplane

#: From the bottom up: a room (a package or module of vdp) imports what stands before it, never behind.
ROOMS = [
    *("verdict", "log", "hookspecs", "version", "engine", "service"),
    *("last_words", "start", "time_limit", "saying", "histogram", "deprecation"),
    *("quarantine", "registrations", "called"),
    *("rehearsal", "cookies", "trace", "header", "checkpoint", "packet", "protocols", "registry", "stages"),
    "capabilities",
    *("config", "netlink", "drops", "counters", "states", "plugin_commands", "plugin_contract"),
    *("flows", "flow_limit", "sweep"),
    *("ports", "links", "forwarding", "expressions"),
    *("plugin_files", "loader", "metadata", "chores", "refusals", "confined"),
    *("slowpath", "discipline", "datapath", "plugin_change"),
    *("overload", "running", "devices", "reload", "api", "testing"),
    *("control", "capture", "flow_words", "imaginary", "inspector", "status", "perf", "metrics"),
    *("explain", "doctor", "daemon", "demo", "cli", "__main__"),
]
MOST_LINES = 600
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}
#: Folders of what was built or installed.
OUTSIDE = {"build", "dist", ".venv", "__pycache__", ".hypothesis"}
SOURCES = (".py", ".pyi", ".c", ".h")


def tracked() -> list[Path]:
    """Every file of the tree that belongs to it: known to git, or new and not ignored."""
    if not (REPOSITORY / ".git").exists():  # an unpacked source archive
        return [path for path in REPOSITORY.rglob("*.*") if path.is_file() and not OUTSIDE & set(path.parts)]
    git = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", str(REPOSITORY)]
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    paths = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def modules() -> dict[str, Path]:
    """The Python modules of vdp and of the built-in plugins, by name."""
    found = {}
    for root, trees in ((REPOSITORY, ["vdp"]), (REPOSITORY / "plugins", ["."])):
        for path in chain.from_iterable((root / tree).rglob("*.py") for tree in trees):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """What a module imports when it runs; what only the type checker sees is left out."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "vdp":
                yield from (f"vdp.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""
        todo.extend(ast.iter_child_nodes(node))


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "version"  # vdp/__init__.py holds the version and nothing else


PLUGINS = [name for name in modules() if not name.startswith("vdp.") and name != "vdp"]


@pytest.mark.parametrize("name", [name for name in modules() if name == "vdp" or name.startswith("vdp.")])
def test_imports_point_one_way(name: str) -> None:
    allowed = ROOMS[: ROOMS.index(room(name)) + 1]
    found = [other for other in imported(modules()[name]) if other == "vdp" or other.startswith("vdp.")]
    upwards = [other for other in found if room(other) not in allowed and other != "vdp.__version__"]
    assert not upwards, f"{name} stands below {', '.join(upwards)}"


@pytest.mark.parametrize("name", PLUGINS)
def test_built_in_plugins_use_public_names_only(name: str) -> None:
    own = name.split(".")[0]
    for other in imported(modules()[name]):
        inside = other.split(".")[0] in ("vdp", *(plugin.split(".")[0] for plugin in PLUGINS))
        assert not inside or other == "vdp.api" or other.split(".")[0] == own, f"{name} imports {other}"


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(REPOSITORY)): lines
        for path in tracked()
        if path.suffix in SOURCES and (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long, "a file past 600 lines is two files"


def test_file_names_say_what_is_inside() -> None:
    assert not [path for path in tracked() if path.stem.lower() in VAGUE or path.parent.name.lower() in VAGUE]


def test_no_work_is_left_for_later() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX)\b")
    texts = {
        path: path.read_text() for path in tracked() if path.suffix in (*SOURCES, ".md", ".toml", ".build")
    }
    assert not [path for path, text in texts.items() if unfinished.search(text) and path != Path(__file__)]


def test_every_drop_reason_is_documented() -> None:
    page = (REPOSITORY / "docs" / "drops.md").read_text()
    assert page == drops_page.page(), "docs/drops.md is behind reasons.def: make docs"
    assert len(drops_page.reasons()) == len(
        re.findall(r"^VDP_REASON", drops_page.REASONS.read_text(), re.MULTILINE)
    )


def test_every_built_in_handler_is_documented() -> None:
    page = (REPOSITORY / "docs" / "handler-lists.md").read_text()
    with Dataplane(plugins=protocols_page.built_in()) as plane:
        registered = list(plane.datapath.registry)
    assert len(registered) > 5
    for each in registered:
        row = re.search(rf"^\| (?:table|list) `{each.list}` .*$", page, re.MULTILINE)
        assert row, f"the table of handler lists has no {each.list}"
        assert f"{each.priority} `{each.name}`" in row.group(), (
            f"{each.list}: {each.priority} {each.name} is missing"
        )


def test_the_protocols_page_is_that_of_the_plugins() -> None:
    page = (REPOSITORY / "docs" / "protocols.md").read_text()
    assert page == protocols_page.page(), "docs/protocols.md is behind the plugins: make docs"


@pytest.mark.parametrize("page", [p for p in tracked() if p.suffix == ".md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]
