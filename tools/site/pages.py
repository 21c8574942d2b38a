"""What is added to a page while Sphinx reads it: the order of the pages, and the options of commands."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from tools.site.options import reference

_PAGE = re.compile(r"\(([\w/-]+)\.md\)")
#: A link to a file of the tree that is no page, such as an example's README or SECURITY.md.
_FOLDERS = "(?:examples|etc|tests|tools|plugins|vdp)/"
_OUTSIDE = re.compile(rf"\[([^]\[]+)\]\((?:\.\./)+({_FOLDERS}[^)\s]+|[A-Z]+\.md)\)")


def with_order(index: str) -> str:
    """The index with a hidden table of contents: under each heading the pages that are linked there."""
    captions = re.split(r"^## ", index, flags=re.MULTILINE)[1:]
    tables = [
        f"```{{toctree}}\n:hidden:\n:caption: {part.splitlines()[0]}\n\n" + "\n".join(pages) + "\n```\n"
        for part in captions
        if (pages := _PAGE.findall(part))
    ]
    return index + "\n" + "\n".join(tables)


def without_files(page: str) -> str:
    """The page with the paths of such files in place of links, which lead nowhere on a site."""
    return _OUTSIDE.sub(r"\1 (`\2`)", page)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = without_files(source[0])
    if name == "index":
        source[0] = with_order(source[0])
    if name == "commands":
        source[0] += reference()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
