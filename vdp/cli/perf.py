"""`vdp perf show`: what packets cost, and where: workers, stages, cache, cells, handlers, plugins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vdp.cli import exits
from vdp.cli.commands import complain, refused, socket_path
from vdp.cli.options import add_common, duration
from vdp.cli.text import Cell, escaped, print_table, talk
from vdp.control.client import call
from vdp.control.errors import ControlError, DaemonUnreachable

Row = Mapping[str, Any]
#: Handlers and links that are shown; --json has all.
MOST_ROWS = 20
#: What the answer may take on top of the measuring.
PATIENCE_S = 10.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for", dest="for_s", type=duration, metavar="TIME",
        help="measure for so long (5s, 1m), with the time of each stage of the workers; without it, all "
        "since the start, without stages",
    )  # fmt: skip
    parser.add_argument("-H", "--histograms", action="store_true", help="also sizes of batches")
    add_common(parser)
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> int:
    """Ask, and print; the exit code."""
    for_s = arguments.for_s
    if arguments.histograms and for_s is None:
        complain("sizes of batches are counted while somebody measures", "vdp perf show -H --for 5s")
        return exits.USAGE
    if for_s is not None and sys.stderr.isatty():
        talk(f"measuring for {for_s:g} s")
    try:
        params = {} if for_s is None else {"for_s": for_s}
        report = call(socket_path(arguments), "perf.show", params, timeout_s=PATIENCE_S + (for_s or 0.0))
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    if arguments.json:
        from vdp.cli.pages import print_json

        print_json(report, sys.stdout)
    else:
        _print(report, histograms=arguments.histograms)
    return exits.OK


def _print(report: Row, *, histograms: bool) -> None:
    span = f"measured for {report['seconds']:.1f} s" if report["timed"] else f"in {report['seconds']:.0f} s"
    for sentence in report["findings"]:
        print(escaped(sentence))
    _table(f"workers, {span}", WORKER_HEADS, [_worker(row) for row in report["workers"]])
    if report["timed"]:
        _table("stages of all workers", STAGE_HEADS, [_stage(row) for row in report["stages"]])
    else:
        print("\nstages: only while they are timed: vdp perf show --for 5s")
    if histograms:
        sizes = report["batch_sizes"]
        _table("batches received, by packets", [f"to {size}" for size in sizes], [list(sizes.values())])
    cache = report["cache"]
    _table("flow cache", CACHE_HEADS, [_cache(cache)])
    if report["cells"]:
        _table("cells of links", CELL_HEADS, [_cell(row) for row in report["cells"][:MOST_ROWS]])
        _more(len(report["cells"]), "links")
        closed = report["cells_closed"]
        _table("why joining ended", list(closed), [list(closed.values())])
    _table("slow path", UPCALL_HEADS, [_upcalls(report["upcalls"])])
    called = [row for row in report["handlers"] if row["count"] or any(row["packets"].values())]
    if called:
        _table("handlers", HANDLER_HEADS, [_handler(row) for row in called[:MOST_ROWS]])
        _more(len(called), "handlers")
    plugins = [row for row in report["plugins"] if row["upcalls"]]
    if plugins:
        _table("plugins", PLUGIN_HEADS, [_plugin(row) for row in plugins])


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    print(f"\n{title}:")
    print_table(list(heads), rows, sys.stdout)


def _more(count: int, what: str) -> None:
    if count > MOST_ROWS:
        print(f"and {count - MOST_ROWS} more {what}: --json has all")


def _share(part: float | None) -> str | None:
    return None if part is None else f"{part:.1%}"


def _number(value: float | None, digits: int = 1) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


WORKER_HEADS = ("worker", "busy", "iterations", "packets", "packets/iteration", "ns/packet", "hits")


def _worker(row: Row) -> list[Cell]:
    return [
        row["worker"], _share(row["busy"]), row["iterations"], row["packets"],
        _number(row["packets_an_iteration"]), _number(row["ns_a_packet"], 0), _share(row["hit_ratio"]),
    ]  # fmt: skip


STAGE_HEADS = ("stage", "time", "batches", "packets", "packets/batch", "ns/packet")


def _stage(row: Row) -> list[Cell]:
    return [
        row["stage"], _share(row["share"]), row["batches"], row["packets"],
        _number(row["packets_a_batch"]), _number(row["ns_a_packet"], 0),
    ]  # fmt: skip


CACHE_HEADS = ("lookups", "previous flow", "table", "missed", "hits", "probes/lookup", "flows", "masks")


def _cache(row: Row) -> list[Cell]:
    return [
        row["lookups"], row["previous_hits"], row["table_hits"], row["misses"], _share(row["hit_ratio"]),
        _number(row["probes_a_lookup"], 2), row["flows"], row["masks"],
    ]  # fmt: skip


CELL_HEADS = ("link", "offered", "joined", "frames out", "packets/frame")


def _cell(row: Row) -> list[Cell]:
    return [row["link"], row["offered"], row["merged"], row["frames"], _number(row["segments_a_frame"])]


UPCALL_HEADS = ("upcalls", "misses", "by actions", "lost", "busy", "mean us", "p50 us", "p99 us")


def _upcalls(row: Row) -> list[Cell]:
    total = row["total"]
    return [row["count"], total["miss"], total["action"], row["lost"], _share(row["share"]), *_times(row)]


def _times(row: Row) -> list[Cell]:
    return [_number(row[name]) for name in ("mean_us", "p50_us", "p99_us")]


HANDLER_HEADS = (
    "list", "handler", "plugin", "upcalls", "received", "reject", "drop", "fault", "packets", "own ms",
    "mean us", "p50 us", "p99 us",
)  # fmt: skip


def _handler(row: Row) -> list[Cell]:
    """Verdicts are of upcalls; packets are also those of the flows that they made."""
    verdicts = row["upcalls"]
    faults = verdicts.get("error", 0) + verdicts.get("timeout", 0)
    return [
        row["list"], row["name"], row["plugin"], row["count"], verdicts.get("received", 0),
        verdicts.get("reject", 0), verdicts.get("drop", 0), faults, sum(row["packets"].values()),
        _number(row["seconds"] * 1000), *_times(row),
    ]  # fmt: skip


PLUGIN_HEADS = ("plugin", "handlers", "upcalls", "own ms", "us/upcall", "time")


def _plugin(row: Row) -> list[Cell]:
    return [
        row["plugin"], row["handlers"], row["upcalls"], _number(row["seconds"] * 1000),
        _number(row["us_an_upcall"]), _share(row["share"]),
    ]  # fmt: skip
