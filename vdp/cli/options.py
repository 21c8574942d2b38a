"""Options that many commands have, in the same words."""

from __future__ import annotations

import argparse
import math
import re
from functools import partial
from pathlib import Path

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str, least: float = 0.0, most: float = math.inf) -> float:
    """Seconds of `60s`, `5m`, `1h`, or `60`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time, such as 60s, 5m or 1h")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not least <= seconds <= most:
        bounds = f"{least:g}s at least" if most == math.inf else f"{least:g}s to {most:g}s"
        raise argparse.ArgumentTypeError(f"found {text}, expected {bounds}")
    return seconds


def whole(text: str, least: int, most: int) -> int:
    """A number."""
    if not re.fullmatch(r"\d{1,12}", text) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from {least} to {most}")
    return int(text)


def add_config(parser: argparse.ArgumentParser, text: str = "configuration") -> None:
    # SUPPRESS: a default here would undo what was given before the noun.
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", metavar="PATH", help="the daemon's control socket")


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command has that asks a daemon: -c, --json, --socket."""
    add_config(parser)
    add_json(parser)
    add_socket(parser)


def add_flow_query(parser: argparse.ArgumentParser) -> None:
    """What `vdp flow dump` is asked for, and how it shows it."""
    parser.add_argument(
        "--explain", action="store_true", help="say which line of whose plugin made each guard and action"
    )
    parser.add_argument(
        "--filter", metavar="TERMS", help="only flows such as 'ip.proto=47, packets>10': all terms hold"
    )
    parser.add_argument(
        "--sort", choices=("packets", "bytes", "age", "used", "rate"),
        help="most packets, bytes or packets a second first, the oldest, or the last used",
    )  # fmt: skip
    most = partial(whole, least=0, most=1 << 31)
    parser.add_argument("--limit", type=most, metavar="N", help="the first N only")
    parser.add_argument("--rates", action="store_true", help="packets and bits a second, measured for 1 s")


def add_drop_rates(parser: argparse.ArgumentParser) -> None:
    """Of `vdp drop show`."""
    apart = partial(duration, least=0.1, most=3600)
    parser.add_argument(
        "--rates", dest="rates_s", nargs="?", type=apart, const=1.0, metavar="TIME",
        help="packets a second, measured for 1s or TIME; what is lost now comes first",
    )  # fmt: skip
