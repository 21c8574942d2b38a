"""How much of the engine's parsers the corpora reach by themselves (llvm-cov, lines and branches)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz import corpora
from tests.fuzz.builds import COVERAGE, Missing, build, harnesses

#: What reads bytes that somebody else wrote: packets, marks, programs, filters, control messages.
PARSERS = (
    *("cell", "checksum", "execute", "filter", "fragment", "lookup", "mask", "offload", "offload_gre"),
    *("port_ip", "port_ip6", "port_packet", "port_socket", "port_tap", "program", "segment", "train", "udp"),
)
LEAST_LINES, LEAST_BRANCHES = 95.0, 90.0


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is missing: apt-get install llvm")
    return found


def measure() -> dict[str, tuple[float, float]]:
    """Percent of lines and of branches, by file, and of all of them as "all"."""
    names = harnesses()
    folder = build(COVERAGE, [f"replay_{name}" for name in names])
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            inputs = corpora.unpacked(name, Path(scratch) / "inputs" / name)
            raw = {**os.environ, "LLVM_PROFILE_FILE": f"{scratch}/{name}.profraw"}
            subprocess.run(
                [str(folder / f"replay_{name}"), str(inputs)],
                env=raw,
                check=True,
                capture_output=True,
                timeout=300,
            )
        merged = f"{scratch}/all.profdata"
        raws = sorted(str(path) for path in Path(scratch).glob("*.profraw"))
        subprocess.run([_tool("llvm-profdata"), "merge", "-o", merged, *raws], check=True, timeout=300)
        first, *others = (str(folder / f"replay_{name}") for name in names)
        export = [_tool("llvm-cov"), "export", "-summary-only", f"-instr-profile={merged}", first]
        for other in others:
            export += ["-object", other]
        told = subprocess.run(export, check=True, capture_output=True, text=True, timeout=300)
    files = json.loads(told.stdout)["data"][0]["files"]
    summaries = {
        path.stem: each["summary"]
        for each in files
        if (path := Path(each["filename"])).parent.name == "engine"
        and path.stem in PARSERS
        and path.suffix == ".c"
    }
    found = {
        name: (_percent([summaries[name]], "lines"), _percent([summaries[name]], "branches"))
        for name in PARSERS
    }
    whole = list(summaries.values())
    return {**found, "all": (_percent(whole, "lines"), _percent(whole, "branches"))}


def _percent(summaries: list[Any], kind: str) -> float:
    count = sum(each[kind]["count"] for each in summaries)
    covered = sum(each[kind]["covered"] for each in summaries)
    return 100.0 * float(covered) / float(count) if count else 100.0
