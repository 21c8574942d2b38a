"""Which tests say that they show a row: `@pytest.mark.conformance("B21")`, read from the sources.

A test is named by its file in tests/ and its function, "links/test_life.py::test_x": one
name for all its parameters.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.conformance.rows import rows

TESTS = Path(__file__).parents[1]
#: What meson writes of a run of the C tests (make test-c).
C_LOG = TESTS.parent / "build" / "asan" / "meson-logs" / "testlog.json"
MARK = "pytest.mark.conformance"


@cache
def marked() -> dict[str, tuple[str, ...]]:
    """The rows that each marked test shows, as a marker says it or, for C tests, the row's own table."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for test, row in _marks(ast.parse(path.read_text())):
            found.setdefault(f"{path.relative_to(TESTS)}::{test}", []).append(row)
    for each in rows().values():
        for test in each.c:
            found.setdefault(f"c/{test.replace(':', '::')}", []).append(each.id)
    return {test: tuple(dict.fromkeys(shown)) for test, shown in found.items()}


def by_row(tests: Sequence[str]) -> dict[str, list[str]]:
    """The tests, out of these, that show each row; rows without one are left out."""
    found: dict[str, list[str]] = {}
    for test in sorted(tests):
        for row in marked()[test]:
            found.setdefault(row, []).append(test)
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(test, row) of every marker on a test function, its class or its module."""
    todo: list[tuple[ast.AST, tuple[str, ...]]] = [(tree, ())]
    while todo:
        node, outer = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "pytestmark":
                outer = (*outer, *_rows(child.value))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef) and child.name.startswith("Test"):
                todo.append((child, (*outer, *_decorated(child))))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith("test_"):
                yield from ((child.name, row) for row in (*outer, *_decorated(child)))


def _decorated(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    return tuple(row for decorator in node.decorator_list for row in _rows(decorator))


def _rows(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == MARK:
            yield from (str(ast.literal_eval(argument)) for argument in call.args)


def c_tests() -> set[str]:
    """The C tests that there are: those that a program of tests/c runs."""
    return {
        f"c/{path.name}::{name}"
        for path in sorted((TESTS / "c").glob("test_*.c"))
        for name in re.findall(r"cmocka_unit_test\w*\((\w+)", path.read_text())
    }


def c_passed() -> set[str]:
    """The C tests that passed when they ran last; none where they never did."""
    if not C_LOG.is_file():
        return set()
    passed = set()
    for line in C_LOG.read_text().splitlines():
        program = json.loads(line)
        if program["result"] == "OK":
            file = program["name"].rpartition(":")[2]
            ok = re.findall(r"^\[ +OK \] (\w+)", program.get("stdout") or "", re.MULTILINE)
            passed |= {f"c/{file}.c::{name}" for name in ok}
    return passed
