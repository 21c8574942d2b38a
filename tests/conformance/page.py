"""docs/conformance.md, from the rows, the tests that show them, and the tables of differences.

`python -m tests.conformance.page` prints it as it is when every marked test passes; the
plugin beside it makes it of a run.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.conformance.marks import by_row, marked
from tests.conformance.rows import Row, Section, rows, sections

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
INTEROP = Path(__file__).parents[1] / "interop"
WIDTH = 110
NEEDS = {"must": "as the kernel", "better": "more than the kernel", "optional": "optional"}
INTRODUCTION = """\
# Conformance

vdp follows the GRE of Linux 3.11 to 4.2 (`net/ipv4/ip_gre.c`, `ip_tunnel.c`, `gre_demux.c`; over IPv6
`net/ipv6/ip6_gre.c`), behaviour by behaviour. This page lists them: what the kernel does, what vdp does, and
the tests that show it.

It is made from a run of all tests (`make conformance`, as root): a test is named here only when it passed,
and the checks of this repository fail where a row that vdp must have is shown by no test, or the page is not
that of the run. Some of the tests send the same packets into a real kernel and into vdp, and compare what
comes out and which counters moved; where the two differ is below, from the tables that those tests assert.
"""


def page(shown: Mapping[str, Sequence[str]], differences: Iterable[tuple[str, Any]]) -> str:
    """The page; `shown`: the tests that show each row."""
    parts = [INTRODUCTION, *_overview(shown), *_differences(differences), *_open()]
    for section in sections():
        parts += [f"## {section.letter}. {section.title}\n"]
        parts += [_row(row, shown.get(row.id, ())) for row in section.rows]
    return "\n".join(parts)


def _overview(shown: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield (
        "| section | rows | "
        + " | ".join(NEEDS.values())
        + " | shown by tests |\n| --- | --- |"
        + (" --- |" * (len(NEEDS) + 1))
    )
    for section in sections():
        cells = [f"[{section.letter}. {section.title}](#{_anchor(section)})", str(len(section.rows))]
        cells += [str(sum(row.need == need for row in section.rows)) for need in NEEDS]
        cells += [str(sum(row.id in shown for row in section.rows))]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _anchor(section: Section) -> str:
    kept = "".join(c for c in f"{section.letter} {section.title}".lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _differences(differences: Iterable[tuple[str, Any]]) -> Iterator[str]:
    yield "## Where vdp differs, and why\n"
    for each in rows().values():
        if each.difference:
            yield _item(f"- **{each.id}** ({each.title}): {each.difference} *Why:* {each.reason}")
    yield "\n### Beside a later kernel\n"
    yield _fill(
        "The real kernel of the tests is a later one (6.1) than the one that vdp follows. Where the two do"
        " not agree, with the row, the reason, and the test that asserts it; of packets the name of their"
        " group there, and what became of them (`out`: passed on, `sent`: answered). All else was the same,"
        " field by field."
    )
    by_reason: dict[tuple[str, str, str], dict[tuple[str, str], list[str]]] = {}
    for file, difference in differences:
        outcomes = by_reason.setdefault((difference.row, difference.reason.rstrip("."), file), {})
        outcome = (_outcome(difference.kernel), _outcome(difference.vdp))
        outcomes.setdefault(outcome, []).append(_subject(difference))
    order = list(rows())
    for (row, reason, file), outcomes in sorted(by_reason.items(), key=lambda item: order.index(item[0][0])):
        yield _item(f"- **{row}**: {reason} ([{file}](../tests/interop/{file})).")
        for (kernel, vdp), subjects in outcomes.items():
            yield _item(f"  - {', '.join(subjects)}: kernel {kernel}, vdp {vdp}", "    ")
    yield ""


def _subject(difference: Any) -> str:
    """What a difference is about: packets by the name of their group, or a link by its parameters."""
    if hasattr(difference, "groups"):
        return f"`{difference.groups}`"
    parameters = ", ".join(f"{name} = {value}" for name, value in difference.parameters.items())
    return f"a {difference.kind} link with {f'`{parameters}`' if parameters else 'no parameters'}"


def _outcome(found: Mapping[str, object] | str) -> str:
    if isinstance(found, str):
        return f"`{found}`"
    words = [f"`{name}`" if count == -1 else f"`{name}` {count}" for name, count in found.items()]
    return ", ".join(words) or "nothing"


def _open() -> Iterator[str]:
    missing = [row for row in rows().values() if row.open]
    if missing:
        yield "## What is not built\n"
        yield from (_item(f"- **{row.id}** ({row.title}): {row.open}") for row in missing)
        yield ""


def _row(row: Row, tests: Sequence[str]) -> str:
    lines = [f"### {row.id}: {row.title}\n"]
    lines += [_item(f"- Kernel: {row.kernel}"), _item(f"- vdp: {row.vdp}")]
    if row.difference:
        lines += [_item(f"- Difference: {row.difference} Why: {row.reason}")]
    if row.open:
        lines += [_item(f"- Not built: {row.open}")]
    else:
        lines += ["- Shown by:" if tests else "- Shown by no test."]
    for file, names in groupby(tests, key=lambda test: test.partition("::")[0]):
        listed = ", ".join(f"`{name.partition('::')[2]}`" for name in names)
        lines += [_item(f"  - [{file}](../tests/{file}): {listed}", "    ")]
    return "\n".join(lines) + "\n"


def _fill(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _item(text: str, indent: str = "  ") -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def differences() -> list[tuple[str, Any]]:
    """Every entry of the tables of differences in tests/interop, and the file that asserts it."""
    from tests.interop.compare import Difference
    from tests.interop.configured import ConfigurationDifference

    found: list[tuple[str, Any]] = []
    for path in sorted(INTEROP.glob("test_*.py")):
        module = importlib.import_module(f"tests.interop.{path.stem}")
        for table in vars(module).values():
            if isinstance(table, list):
                entries = [e for e in table if isinstance(e, Difference | ConfigurationDifference)]
                found += [(path.name, entry) for entry in entries]
    return found


def expected() -> str:
    """The page as it is when every marked test passes."""
    return page(by_row(list(marked())), differences())


if __name__ == "__main__":
    print(expected(), end="")
