"""A campaign: every harness for its share of the time, and what came of it."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import corpora, python_harnesses
from tests.fuzz.builds import BUILD, FUZZ, PLAIN, build, harnesses

#: Those that say "compared: N packets" at their end: the engine held against the twin.
DIFFERENTIAL = "execute"
MOST_LENGTH = 1024
#: Shares of the time; 1 where nothing is said.  The wider a harness, the more.
SHARES = {
    **{"execute": 3.0, "datapath": 3.0, "coalesce": 2.0, "parse": 2.0, "vnet": 2.0, "segment": 1.5},
    **{"filter": 0.7, "checksum": 0.7, "sequence": 0.7},
    **dict.fromkeys(("toml", "control", "expression", "filter-words", "summary", "metadata", "netlink"), 0.4),
    "handlers": 3.0,
}
ENVIRONMENT = {
    **os.environ,
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "ASAN_OPTIONS": "quarantine_size_mb=16:malloc_context_size=3",
}


@dataclass(slots=True)
class Result:
    """What a harness did."""

    name: str
    executions: int = 0
    seconds: float = 0.0
    processor: float = 0.0  # seconds of it; of one harness at a time
    compared: int = 0
    slowest: float = 0.0  # milliseconds of processor time that an input took, of those in Python
    report: str = ""  # the line that says what is wrong; empty: nothing is

    @property
    def line(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0
        told = self.report or "nothing found"
        return f"{self.name:12} {self.executions:11,} runs {rate:9,.0f}/s {self.seconds:6.1f} s  {told}"


def reported(output: str) -> str:
    """The first line that names a fault; empty: there is none."""
    found = re.search(
        r"^.*(broken law|runtime error|ERROR: (?:Address|Leak)Sanitizer|ERROR: libFuzzer).*$", output, re.M
    )
    return found[0].strip() if found else ""


def _processor() -> float:
    """Seconds that ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_libfuzzer(program: Path, name: str, seconds: float, folders: Sequence[Path], *options: str) -> Result:
    """One harness for that long.  What leads to something new is written into the first folder."""
    found = program.parents[3] / "found"
    found.mkdir(parents=True, exist_ok=True)
    command = [
        *(
            str(program),
            f"-max_total_time={max(1, int(seconds))}",
            f"-max_len={MOST_LENGTH}",
        ),
        *("-entropic=0", "-rss_limit_mb=2048", "-timeout=25", "-print_final_stats=1"),
        *(f"-artifact_prefix={found}/{name}-", *options, *map(str, folders)),
    ]
    begin, before = time.monotonic(), _processor()
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=seconds + 120,
        env=ENVIRONMENT,
        cwd=BUILD,
        errors="replace",
        text=True,
    )
    result = Result(name, seconds=time.monotonic() - begin, report=reported(done.stderr))
    result.processor = _processor() - before
    if executed := re.search(r"stat::number_of_executed_units: +(\d+)", done.stderr):
        result.executions = int(executed[1])
    if compared := re.search(r"compared: (\d+)", done.stderr):
        result.compared = int(compared[1])
    if done.returncode != 0 and not result.report:
        result.report = f"ended with {done.returncode}"
    return result


def run(seconds: float, jobs: int, names: list[str] | None = None) -> Iterator[Result]:
    """All harnesses, in C and in Python, for that long in all; each as it ends."""
    in_c = [name for name in names or harnesses() if name in harnesses()]
    in_python = [name for name in names or python_harnesses.NAMES if name in python_harnesses.NAMES]
    folder = build(FUZZ, [f"fuzz_{name}" for name in in_c])
    whole = sum(SHARES.get(name, 1.0) for name in (*in_c, *in_python))
    share = {name: seconds * jobs * SHARES.get(name, 1.0) / whole for name in (*in_c, *in_python)}

    def one(name: str) -> Result:
        if name in in_python:
            return run_python(name, share[name])
        return run_libfuzzer(folder / f"fuzz_{name}", name, share[name], [corpora.working(name)])

    yield from _each(one, sorted(share, key=lambda name: -share[name]), jobs)


def _each(one: Callable[[str], Result], names: Iterable[str], jobs: int) -> Iterator[Result]:
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, names)


def run_python(name: str, seconds: float) -> Result:
    """A harness in Python, in a process of its own."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.python_harnesses", name, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, env=ENVIRONMENT)
    result = Result(name, seconds=time.monotonic() - begin)
    if executed := re.search(r"(\d+) runs", done.stdout):
        result.executions = int(executed[1])
    if slowest := re.search(r"slowest ([\d.]+) ms", done.stdout):
        result.slowest = float(slowest[1])
    if done.returncode != 0:
        result.report = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return result


def compare(packets: int) -> Result:
    """Engine and twin, compiled as the product is, until so many packets were the same in both."""
    folder = build(PLAIN, [f"replay_{DIFFERENTIAL}", "worst"])
    total = Result("engine = twin")
    begin, seed = time.monotonic(), 0
    while total.compared < packets and not total.report:
        seed += 1
        command = [
            str(folder / f"replay_{DIFFERENTIAL}"),
            "-runs=100000",
            f"-seed={seed}",
        ]
        command.append(str(corpora.working(DIFFERENTIAL)))
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        found = re.search(r"compared: (\d+)", done.stderr)
        total.compared += int(found[1]) if found else 0
        total.executions += 100000
        total.report = reported(done.stderr) or (
            "" if done.returncode == 0 else f"ended with {done.returncode}"
        )
    total.seconds = time.monotonic() - begin
    return total


def worst() -> tuple[float, str]:
    """Microseconds of the most laborious packet; all that was measured, and the checksums of all lengths."""
    folder = build(PLAIN, ["worst"])
    done = subprocess.run([str(folder / "worst")], capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r"worst: ([\d.]+) us", done.stdout)
    assert found is not None
    return float(found[1]), done.stdout
