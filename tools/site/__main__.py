"""`python -m tools.site OUT`: OUT/html and OUT/man; the exit code is Sphinx's."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

CONF = Path(__file__).parent
DOCS = CONF.parents[1] / "docs"


def build(out: Path, docs: Path = DOCS) -> int:
    """Build both from one reading of the pages; 0, or the exit code of the first that fails."""
    options = ["--quiet", "--fail-on-warning", "-j", "auto", "-d", str(out / "doctrees"), "-c", str(CONF)]
    # -E: read all anew, for what is generated is not seen to be newer.
    for builder, again in (("html", ["-E"]), ("man", [])):
        code = sphinx_build([*options, *again, "-b", builder, str(docs), str(out / builder)])
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(build(*map(Path, sys.argv[1:])))
