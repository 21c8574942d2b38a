"""How Sphinx reads docs/: the site and the man pages, from the pages that a forge shows as they are."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from vdp import __version__  # noqa: E402 - found by the line above

project = "vdp"
author = "the authors of vdp"
version = release = __version__
extensions = ["myst_parser", "tools.site.pages", "tools.site.man"]
root_doc = "index"
source_suffix = {".md": "markdown"}
templates_path: list[str] = []

myst_heading_anchors = 4  # as a forge makes them: #exit-codes
highlight_language = "none"
nitpicky = True
smartquotes = False  # "tap" is a value to be typed

html_theme = "furo"
html_title = f"vdp {__version__}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

#: Page, name, what it is, authors, section.
man_pages: list[tuple[str, str, str, list[str], int]] = [
    ("commands", "vdp", "a dataplane in which every protocol is a Python plugin", [], 8),
    ("configuration", "vdp.toml", "the configuration of vdp", [], 5),
    ("protocols", "vdp-protocols", "the protocols that come with vdp", [], 7),
    ("plugins", "vdp-plugin", "protocols of your own for vdp", [], 7),
]
man_show_urls = True
