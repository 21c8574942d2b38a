"""A plugin's files as one number, so that a configuration can say which ones it trusts (`[plugins] hashes`).

The digest is over names and contents of all that the plugin's top-level package, or single
module, consists of; what Python compiled for itself is left out, and while a plugin with a
hash is imported it is not read either (`untouched`): it would run in place of what was looked at.
Nothing is imported here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

COMPILED = "__pycache__"
#: A place where Python finds no compiled file, and can not put one.
NOWHERE = "/proc/self/none"


def digest(module: str) -> str:
    """`sha256:…` of the package that a module belongs to.  LookupError where there is none."""
    package = module.partition(".")[0]
    spec = find_spec(package)
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    if spec is not None and not roots and spec.origin:
        roots = [Path(spec.origin)]
    if not roots:
        raise LookupError(f"there is no package {package}")
    whole = hashlib.sha256()
    for name, path in sorted(_files(roots)):
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _files(roots: list[Path]) -> Iterator[tuple[str, Path]]:
    for root in roots:
        if root.is_file():
            yield root.name, root
            continue
        for path in root.rglob("*"):
            if path.is_file() and COMPILED not in path.parts:
                yield str(path.relative_to(root.parent)), path


@contextmanager
def untouched() -> Iterator[None]:
    """Imports within run source files as they are, not what was compiled of them some time."""
    prefix, writes_none = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = NOWHERE, True
    try:
        yield
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = prefix, writes_none
