"""docs/errors.md, written from vdp/explain: `python -m tools.errors_page > docs/errors.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

from vdp.explain.configuration import CONFIGURATION

_HEAD = """\
# Configuration errors

A configuration with mistakes is refused, by `vdp -c FILE`, `vdp check` and `vdp reload` alike, with all of
them at once. Each names file, line and column, what was found and expected, and mostly what to write:

    vdp.toml:4:1: error: port[0].adress: unknown key [unknown-key]
        4 | adress = ["10.0.0.1/24"]
          | ^^^^^^
          = hint: did you mean "address"?

The word in brackets is the kind of mistake; `vdp explain KIND` prints its row of this table.

| kind | meaning | where it comes from | what to do |
| --- | --- | --- | --- |
"""

_TAIL = """
This page is written by `make docs` from `vdp/explain/configuration.py`.
"""


def page() -> str:
    """The whole page."""
    return (
        _HEAD
        + "".join(f"| `{kind}` | {' | '.join(texts)} |\n" for kind, texts in CONFIGURATION.items())
        + _TAIL
    )


if __name__ == "__main__":
    print(page(), end="")
