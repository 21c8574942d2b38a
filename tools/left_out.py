"""Print what of a source tree is not for installing: C sources, build files, caches.

reasons.def stays: Python reads it (vdp.testing.reference).

Called by meson.build with the tree's path; one line each, "d PATH" or "f PATH",
relative to the tree.  A directory that holds nothing else is left out as a whole.
"""

from __future__ import annotations

import sys
from pathlib import Path

SUFFIXES = {".c", ".h", ".so", ".pyc", ".orig", ".rej"}
NAMES = {"meson.build", "build_native.py"}


def main(root: Path) -> None:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if "__pycache__" in relative.parts[:-1]:
            continue
        if path.is_dir():
            if path.name == "__pycache__":
                print("d", relative)
        elif path.suffix in SUFFIXES or path.name in NAMES:
            print("f", relative)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
