"""`python -m tests.fuzz run|planted|coverage|minimise|compare|worst`: what `make fuzz` does, and its parts.

What was found goes into build/score/fuzz.json, part by part, for the score sheet (make score).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from tests.fuzz import campaign, corpora, coverage, planted
from tests.fuzz.builds import SCORE, Missing, harnesses
from tests.fuzz.python_harnesses import NAMES

EXECUTIONS_LEAST, HARNESSES_LEAST, PACKETS_LEAST, PLANTED_LEAST = 30_000_000, 12, 20_000_000, 10
#: Microseconds that no packet may take in the engine.
MOST_US = 200.0
#: How long the most laborious packet is looked for in Python, whose limit is tests/fuzz/hostile.py's.
PYTHON_S = 20.0


def seconds_of(text: str) -> float:
    """15m, 90s, 1h, or seconds."""
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 15m or 1h")
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def note(part: str, figures: dict[str, Any]) -> None:
    """Keep what a part found, and say anew what the whole comes to."""
    SCORE.mkdir(parents=True, exist_ok=True)
    path = SCORE / "fuzz.json"
    known: dict[str, Any] = json.loads(path.read_text())["parts"] if path.exists() else {}
    known[part] = figures
    ran, compared, hunted = (known.get(name, {}) for name in ("run", "compare", "planted"))
    executions, count = ran.get("executions", 0), ran.get("harnesses", 0)
    found, bugs = hunted.get("found", 0), hunted.get("bugs", 0)
    packets, differences = compared.get("packets", 0), compared.get("differences", 0)
    reports = ran.get("reports", 0) + differences
    reached = known.get("coverage", {}).get("all", "not measured")
    score = {
        "R1": {
            "figure": reports if ran else None,
            "ok": bool(ran) and reports == 0,
            "detail": "reports of the fuzzers and sanitizers",
        },
        "R6": {
            "figure": f"{executions:,} runs, {count} harnesses, {found} of {bugs} planted bugs"
            if ran
            else None,
            "ok": executions >= EXECUTIONS_LEAST
            and count >= HARNESSES_LEAST
            and found == bugs >= PLANTED_LEAST,
            "detail": f"the corpora alone reach of the parsers: {reached}",
        },
        "R7": {
            "figure": f"{differences} in {packets:,} packets" if compared else None,
            "ok": differences == 0 and packets >= PACKETS_LEAST,
            "detail": "the same bytes, marks, reasons, counters (tests/fuzz/twin.h)",
        },
    }
    path.write_text(json.dumps({**score, "parts": known}, indent=2) + "\n")


def run(options: argparse.Namespace) -> bool:
    results = []
    for result in campaign.run(seconds_of(options.time), options.jobs, options.only or None):
        results.append(result)
        print(result.line, flush=True)
    executions, reports = sum(each.executions for each in results), [each for each in results if each.report]
    print(f"{len(results)} harnesses, {executions:,} runs, {len(reports)} reports")
    if not options.only:
        told = {each.name: each.executions for each in results}
        figures = {"executions": executions, "harnesses": len(results), "reports": len(reports), "by": told}
        note("run", figures)
    for each in reports:
        print(f"{each.name}: {each.report}\n    the input is in build/found", file=sys.stderr)
    return not reports


def compare(options: argparse.Namespace) -> bool:
    result = campaign.compare(options.packets)
    told = result.report or "no difference"
    print(f"engine = twin: {result.compared:,} packets in {result.seconds:.0f} s, {told}")
    figures = {"packets": result.compared, "differences": int(bool(result.report)), "seconds": result.seconds}
    note("compare", figures)
    return not result.report


def hunt(options: argparse.Namespace) -> bool:
    findings = []
    for finding in planted.hunt():
        findings.append(finding)
        print(finding.line, flush=True)
    found = [each for each in findings if each.harness and each.seconds <= planted.MOST_SECONDS]
    print(f"{len(found)} of {len(findings)} found within {planted.MOST_SECONDS:.0f} s each")
    slowest = max((each.seconds for each in found), default=0.0)
    note("planted", {"found": len(found), "bugs": len(findings), "slowest": slowest})
    return len(found) == len(findings)


def cover(options: argparse.Namespace) -> bool:
    figures = coverage.measure()
    for name, (lines, branches) in figures.items():
        print(f"{name:14} lines {lines:6.2f} %   branches {branches:6.2f} %")
    lines, branches = figures["all"]
    note("coverage", {"all": f"lines {lines:.1f} %, branches {branches:.1f} %"})
    return lines >= coverage.LEAST_LINES and branches >= coverage.LEAST_BRANCHES


def minimise(options: argparse.Namespace) -> bool:
    corpora.minimise(options.only or harnesses())
    size = corpora.size()
    print(f"{size:,} bytes of inputs in the tree, at most {corpora.MOST_BYTES:,}")
    return size <= corpora.MOST_BYTES


def worst(options: argparse.Namespace) -> bool:
    most, told = campaign.worst()
    print(told, end="")
    traced = campaign.run_python("handlers", PYTHON_S)
    found = traced.report or f"{traced.slowest:.2f} ms"
    print(f"worst in Python: {found} ({traced.executions:,} packets traced)")
    note("worst", {"microseconds": most, "milliseconds_in_python": traced.slowest})
    return most <= MOST_US and not traced.report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(
        name: str, function: Callable[[argparse.Namespace], bool], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.set_defaults(function=function)
        return made

    one = command("run", run, "all harnesses, for a time")
    one.add_argument("--for", dest="time", default="15m", metavar="TIME", help="90s, 15m, 1h (15m)")
    one.add_argument("--jobs", type=int, default=1, help="harnesses at a time (1)")
    one.add_argument("only", nargs="*", metavar="NAME", choices=[*harnesses(), *NAMES, []], help="only these")
    one = command("compare", compare, "the engine and its twin, on so many packets")
    one.add_argument("--packets", type=int, default=PACKETS_LEAST)
    command("planted", hunt, "are bugs found that are put in on purpose?")
    command("coverage", cover, "what the corpora reach")
    one = command("minimise", minimise, "the corpora anew, of what campaigns found")
    one.add_argument("only", nargs="*", metavar="NAME", choices=[*harnesses(), []])
    command("worst", worst, "the most laborious packets")
    options = parser.parse_args()
    try:
        is_good = options.function(options)
    except Missing as missing:
        raise SystemExit(str(missing)) from None
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
