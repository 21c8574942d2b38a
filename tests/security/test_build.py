"""What the compiler was told, read off the extension that runs: the house's answer to an overflow."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from vdp.engine import _native


def read(*options: str) -> str:
    command = ["readelf", "--wide", *options, str(Path(_native.__file__))]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_no_table_of_the_linker_can_be_written() -> None:
    """Full RELRO: read-only after relocation, and all symbols bound by then."""
    assert "GNU_RELRO" in read("--program-headers")
    assert "BIND_NOW" in read("--dynamic") or "NOW" in read("--dynamic").partition("FLAGS_1")[2][:60]


def test_no_memory_is_both_written_and_run() -> None:
    segments = [line.split() for line in read("--program-headers").splitlines()]
    stack = [fields for fields in segments if fields[:1] == ["GNU_STACK"]]
    assert len(stack) == 1
    assert "RWE" not in stack[0]
    loaded = ["".join(fields[6:-1]) for fields in segments if fields[:1] == ["LOAD"]]
    assert loaded
    assert not [flags for flags in loaded if "W" in flags and "E" in flags]


def test_functions_guard_their_stack_and_copies_their_bounds() -> None:
    symbols = read("--dyn-syms")
    assert "__stack_chk_fail" in symbols
    assert any(f"__{name}_chk" in symbols for name in ("memcpy", "memset", "snprintf", "memmove"))


#: What an indirect branch may land on, by machine: endbr64, and bti c in front of or in paciasp.
LANDINGS = {"x86_64": (b"\xf3\x0f\x1e\xfa",), "aarch64": (b"\x5f\x24\x03\xd5", b"\x3f\x23\x03\xd5")}


def test_branches_land_where_they_should() -> None:
    """Nearly each function begins so; the note that has it checked needs a C library built likewise."""
    code = Path(_native.__file__).read_bytes()
    assert sum(map(code.count, LANDINGS[platform.machine()])) > 100


def test_nothing_but_the_modules_entry_is_seen_from_outside() -> None:
    lines = [line.split() for line in read("--dyn-syms").splitlines()]
    own = {fields[7] for fields in lines if len(fields) == 8 and fields[4] == "GLOBAL" and fields[6] != "UND"}
    assert {name for name in own if name.startswith("vdp")} == set()
    assert "PyInit__native" in own
