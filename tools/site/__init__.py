"""The site and the man pages, both from docs/: `python -m tools.site OUT` (`make site`).

The pages are Markdown that a forge shows as it is; what only Sphinx needs is added here
while it reads them.  A warning, such as a link to nothing, is an error.
"""
