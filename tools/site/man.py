"""What a man page is made of, from a page of the site.

It begins with SYNOPSIS and DESCRIPTION and ends with SEE ALSO.  It has no links to other pages.
Tables become lists, a row an item named by its first cell: a terminal is too narrow for columns
of prose.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_LOAD = '[plugins]\nload = ["NAME", ...]'
#: By page, what stands under SYNOPSIS.
SYNOPSES = {
    "commands": "vdp -c FILE [--log-level LEVEL] [--strict]\nvdp NOUN [VERB] [NAME] [OPTION ...]",
    "configuration": "/etc/vdp/vdp.toml",
    "protocols": f'{_LOAD}\n\n[[link]]\nkind = "KIND"',
    "plugins": _LOAD,
}
SEE_ALSO = (
    "vdp(8), vdp.toml(5), vdp-protocols(7), vdp-plugin(7). The operator's guide and the plugin author's are "
    "in docs/ of the sources, to be read as they are, or as a site: make site."
)


def _content(entry: nodes.Element) -> list[nodes.Node]:
    """What is in a cell, without the paragraph round it."""
    return [node for child in entry.children for node in child.children]


def _item(heads: list[str], cells: list[list[nodes.Node]]) -> nodes.definition_list_item:
    """The first cell as the term; behind it the others after their heads, and last what it means."""
    body = nodes.definition()
    *facts, last = list(zip(heads[1:], cells[1:], strict=True)) or [("", [])]
    told = nodes.paragraph()
    for head, cell in facts:
        if cell:
            told.extend([nodes.Text(("; " if told.children else "") + (f"{head}: " if head else "")), *cell])
    head = "" if not facts or last[0] == "meaning" else f"{last[0]}: "
    body.extend([*([told] if told.children else []), nodes.paragraph("", "", nodes.Text(head), *last[1])])
    return nodes.definition_list_item("", nodes.term("", "", *cells[0]), body)


def as_list(table: nodes.table) -> nodes.definition_list:
    """The table as a list; its first row names the columns."""
    head, *rows = [
        [entry for entry in row.children if isinstance(entry, nodes.Element)]
        for row in table.findall(nodes.row)
    ]
    heads = [entry.astext() for entry in head]
    return nodes.definition_list("", *(_item(heads, [_content(entry) for entry in row]) for row in rows))


def _section(title: str, *content: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title(title, title), *content, ids=[nodes.make_id(title)])


def in_sections(page: nodes.section, synopsis: str) -> None:
    """Give the page its first sections, and the last."""
    title, *rest = page.children
    before = next(
        (place for place, node in enumerate(rest) if isinstance(node, nodes.section)),
        len(rest),
    )
    page.children = []
    page.extend(
        [
            title,
            _section("Synopsis", nodes.literal_block(synopsis, synopsis)),
            _section("Description", *rest[:before]),
            *rest[before:],
            _section("See also", nodes.paragraph("", SEE_ALSO)),
        ]
    )


class ManPage(SphinxPostTransform):
    """All of it, where a man page is written."""

    default_priority = 900
    builders = ("man",)

    def run(self, **kwargs: object) -> None:
        for reference in list(self.document.findall(nodes.reference)):
            if "://" not in reference.get("refuri", ""):
                reference.replace_self(reference.children)
        for table in list(self.document.findall(nodes.table)):
            table.replace_self(as_list(table))
        synopsis = SYNOPSES.get(self.env.current_document.docname)
        page = next(self.document.findall(nodes.section), None)
        if synopsis is not None and page is not None:
            in_sections(page, synopsis)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(ManPage)
    return {"parallel_read_safe": True}
