"""Write the C source of vdp.engine._native: the declarations of engine.h, bound by cffi.

Called by the build: build_native.py ENGINE_H OUTPUT_C.  What stands between the two
cffi lines of engine.h is all that is bound.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cffi

BEGIN, END = "/* cffi:begin */", "/* cffi:end */"


def declarations(header: str) -> str:
    """The part of engine.h that cffi reads."""
    _, _, rest = header.partition(BEGIN)
    body, end, _ = rest.partition(END)
    if not end:
        raise SystemExit(f"{BEGIN} or {END} is missing")
    return body


def main(header: Path, output: Path) -> None:
    builder = cffi.FFI()
    builder.cdef(declarations(header.read_text(encoding="utf-8")))
    builder.set_source("vdp.engine._native", '#include "engine.h"', py_limited_api=True)
    builder.emit_c_code(str(output))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
