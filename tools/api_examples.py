"""The examples of docs/api: functions of tests/api/examples, and the modules of tests/api/hooks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests" / "api"
_SHOWS = re.compile(r"^# shows: (.+)$")


@dataclass(frozen=True, slots=True)
class Example:
    """One example: runs as it is, as a file of its own."""

    shows: tuple[str, ...]
    text: str
    path: Path


def examples() -> dict[str, Example]:
    """By the name that it shows; one that shows several stands at each."""
    found: dict[str, Example] = {}
    for path in sorted((FOLDER / "examples").glob("*.py")):
        for example in _of(path):
            for name in example.shows:
                if name in found:
                    raise ValueError(f"{path}: {name} has an example in {found[name].path} already")
                found[name] = example
    return found


def hook_examples() -> dict[str, Example]:
    """By hook: a plugin's module, with the test of it."""
    return {
        path.stem: Example((path.stem,), path.read_text(), path)
        for path in sorted((FOLDER / "hooks").glob("vdp_*.py"))
    }


def _of(path: Path) -> Iterator[Example]:
    source = path.read_text()
    lines, tree = source.splitlines(), ast.parse(source)
    defined = {name: node for node in tree.body for name in _names(node)}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        said = _SHOWS.match(lines[_first(node) - 2])
        if said is None:
            raise ValueError(f"{path}:{node.lineno}: {node.name} says not what it shows: # shows: NAME")
        yield Example(tuple(re.split(r",\s*", said.group(1))), _whole(node, tree, defined, lines), path)


def _whole(node: ast.FunctionDef, tree: ast.Module, defined: dict[str, ast.stmt], lines: list[str]) -> str:
    """The function, behind the imports and definitions that it needs, in their order."""
    needed: set[ast.stmt] = {node}
    todo: list[ast.AST] = [node]
    used: set[str] = set()
    while todo:
        for each in ast.walk(todo.pop()):
            if isinstance(each, ast.Name) and each.id in defined and each.id not in used:
                used.add(each.id)
                if defined[each.id] not in needed:
                    needed.add(defined[each.id])
                    todo.append(defined[each.id])
    text, before = "", None
    for each in tree.body:
        if each not in needed:
            continue
        if isinstance(each, ast.Import | ast.ImportFrom):
            part = "\n".join(_import(each, used))
        else:
            part = "\n".join(lines[_first(each) - 1 : each.end_lineno])
        text += _gap(before, each, lines) + part + "\n"
        before = each
    return text


def _gap(before: ast.stmt | None, each: ast.stmt, lines: list[str]) -> str:
    """Blank lines between two parts: two around functions and classes, one where the source has some."""
    if before is None:
        return ""
    if not all(isinstance(part, ast.Import | ast.ImportFrom | ast.Assign) for part in (before, each)):
        return "\n\n"
    return "\n" if "" in lines[before.end_lineno or 0 : _first(each) - 1] else ""


def _import(node: ast.Import | ast.ImportFrom, used: set[str]) -> list[str]:
    """The import of what is used, in lines of at most 110."""
    names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
    if isinstance(node, ast.Import):
        return [f"import {ast.unparse(alias)}" for alias in names]
    told = ", ".join(ast.unparse(alias) for alias in names)
    line = f"from {node.module} import {told}"
    if len(line) <= 110:
        return [line]
    return [f"from {node.module} import (", *(f"    {ast.unparse(alias)}," for alias in names), ")"]


def _names(node: ast.stmt) -> list[str]:
    """What a statement of a module defines."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets = [each for target in node.targets for each in ast.walk(target)]
        return [each.id for each in targets if isinstance(each, ast.Name)]
    return []


def _first(node: ast.stmt) -> int:
    """Its first line, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])
