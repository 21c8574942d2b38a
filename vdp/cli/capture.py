"""`vdp capture`, `vdp drop watch`, `vdp trace live`: real packets, at the points of their way."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from vdp.cli import exits
from vdp.cli.options import add_common, duration, whole

if TYPE_CHECKING:
    from vdp.capture.source import Seen, Source

SNAPLEN_MOST = 65792
#: Of packets that are only printed: what their headers need.
SNAPLEN_PRINTED = 256
DROPS_SNAPLEN = 256
TRACED = 10
#: A traced packet that nothing was seen of for so long is shown.
QUIET_S = 0.3
_NS = 1_000_000_000

Show = Callable[["Seen"], None]


def add_capture(parser: argparse.ArgumentParser) -> None:
    from vdp.capture.source import POINTS

    parser.add_argument(
        "--at", type=_points, default=["rx", "decap", "encap", "tx", "drop"], metavar="POINTS",
        help=f"where, with commas: {', '.join(POINTS)} (all but upcall)",
    )  # fmt: skip
    _add_choice(parser)
    parser.add_argument(
        "--reason", action="append", metavar="REASON", help="of drops only these; again for more"
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many packets")
    size = partial(whole, least=1, most=SNAPLEN_MOST)
    parser.add_argument("--snaplen", type=size, metavar="BYTES", help="copy no more of each packet")
    parser.add_argument("-w", dest="file", metavar="FILE", help="write pcapng to FILE, or with - to stdout")
    _finish(parser, _capture)


def add_watch(parser: argparse.ArgumentParser) -> None:
    _add_choice(parser)
    parser.add_argument("--reason", action="append", metavar="REASON", help="only these; repeat it")
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many packets")
    _finish(parser, _watch)


def add_live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--count", type=_count, default=TRACED, metavar="N", help=f"packets to follow ({TRACED})"
    )
    _add_choice(parser, link=False)
    _finish(parser, _live)


def _add_choice(parser: argparse.ArgumentParser, link: bool = True) -> None:
    parser.add_argument("--port", metavar="PORT", help="only at this port")
    if link:
        parser.add_argument("--link", metavar="LINK", help="only what this link receives or sends")
    parser.add_argument("--seconds", type=duration, metavar="TIME", help="end after so long: 10, 5m")
    parser.add_argument(
        "filter", nargs="*", metavar="FILTER", help="only packets that tcpdump would take: 'udp port 53'"
    )


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    add_common(parser)
    parser.set_defaults(run=lambda arguments: _asking(run, arguments))


def _points(text: str) -> list[str]:
    from vdp.capture.source import POINTS

    points = text.split(",")
    for point in points:
        if point not in POINTS:
            raise argparse.ArgumentTypeError(f"no point {point!r}: {', '.join(POINTS)}")
    return points


_count = partial(whole, least=1, most=1 << 31)


def _asking(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command, and say what went wrong; the exit code."""
    from vdp.capture.expression import ExpressionError
    from vdp.cli.commands import complain, refused
    from vdp.control.errors import ControlError, DaemonUnreachable

    try:
        return run(arguments)
    except ExpressionError as error:
        complain(str(error), error.hint)
        return exits.USAGE
    except (ControlError, DaemonUnreachable) as error:
        return refused(error)
    except BrokenPipeError:
        raise  # who reads our output has seen enough
    except OSError as error:
        name = error.filename or getattr(arguments, "file", None) or "stdout"
        complain(f"{name} can not be written: {error.strerror}")
        return exits.FAILED


def _open(arguments: argparse.Namespace, **wanted: Any) -> Source:
    from vdp.capture.expression import compile_expression
    from vdp.capture.source import Source
    from vdp.cli.commands import socket_path

    if arguments.filter:
        wanted["filters"] = compile_expression(" ".join(arguments.filter))
    for name, key in (("port", "port"), ("link", "link"), ("reason", "reasons")):
        value = getattr(arguments, name, None)
        if value:
            wanted[key] = value
    return Source(socket_path(arguments), wanted)


def _each(source: Source, arguments: argparse.Namespace, most: int | None) -> Iterator[Seen | None]:
    """Packets until there were enough, the time is over, or somebody pressed Ctrl-C; None: nothing new."""
    count = 0
    with _ending_by_ctrl_c(source):
        for chunk in source.packets(arguments.seconds):
            for seen in chunk:
                if most is None or count < most:
                    count += 1
                    yield seen
            if most is not None and count >= most:
                source.end()
            yield None


@contextmanager
def _ending_by_ctrl_c(source: Source) -> Iterator[None]:
    """Wherever it comes: what is left is shown, and what was lost; another Ctrl-C ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        source.end()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _capture(arguments: argparse.Namespace) -> int:
    from vdp.cli.text import talk

    is_printed = arguments.file is None
    snaplen = arguments.snaplen or (SNAPLEN_PRINTED if is_printed else SNAPLEN_MOST)
    count = 0
    with _open(arguments, at=arguments.at, snaplen=snaplen) as source:
        if is_printed:
            show = _print_json if arguments.json else _print_line
            for seen in _each(source, arguments, arguments.count):
                if seen is None:
                    sys.stdout.flush()
                else:
                    show(seen)
                    count += 1
        else:
            with _output(arguments.file) as stream:
                count = _write(stream, source, arguments, snaplen)
        lost = sum(source.losses.values())
        note = f", {lost} lost: they came faster than they were read" if lost else ""
        talk(f"{count} {'packet' if count == 1 else 'packets'}{note}")
    return exits.OK


def _output(name: str) -> BinaryIO:
    if name == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    # Packets are nobody else's business: a file that is not there yet is its owner's alone.
    return open(name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


def _write(stream: BinaryIO, source: Source, arguments: argparse.Namespace, snaplen: int) -> int:
    from vdp import __version__
    from vdp.capture.pcapng import PcapngWriter

    writer = PcapngWriter(stream, f"vdp {__version__}", (arguments.snaplen and snaplen) or 0)
    stream.flush()
    count = 0
    for seen in _each(source, arguments, arguments.count):
        if seen is None:
            stream.flush()
        else:
            writer.write(seen, seen.comment)
            count += 1
    writer.finish(source.losses)
    return count


def _watch(arguments: argparse.Namespace) -> int:
    show = _print_json if arguments.json else _print_drop
    with _open(arguments, at=["drop"], snaplen=DROPS_SNAPLEN) as source:
        for seen in _each(source, arguments, arguments.count):
            if seen is None:
                sys.stdout.flush()
            else:
                show(seen)
        _tell_losses(source)
    return exits.OK


def _tell_losses(source: Source) -> None:
    from vdp.cli.text import talk

    lost = sum(source.losses.values())
    if lost:
        talk(f"{lost} not shown: they came faster than they were read")


def _live(arguments: argparse.Namespace) -> int:
    """Follow packets, and show each when nothing more comes of it."""
    journeys: dict[str, list[Seen]] = {}
    shown: set[str] = set()
    with _open(arguments, follow=True, count=arguments.count, snaplen=SNAPLEN_PRINTED) as source:
        quiet_since = time.monotonic()
        for seen in _each(source, arguments, None):
            now = time.monotonic()
            if seen is not None:
                journeys.setdefault(seen.number, []).append(seen)
                quiet_since = now
                continue
            if now - quiet_since > QUIET_S:
                for number in [each for each in journeys if each not in shown]:
                    shown.add(number)
                    _print_journey(number, journeys[number], arguments.json)
                sys.stdout.flush()
                if len(shown) >= arguments.count:
                    source.end()
        for number, steps in journeys.items():
            if number not in shown:
                _print_journey(number, steps, arguments.json)
        _tell_losses(source)
    return exits.OK


def _clock(time_ns: int) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(time_ns // _NS))}.{time_ns % _NS // 1000:06d}"


def _summary(seen: Seen) -> str:
    from vdp.capture.summary import summary

    record = seen.record
    size = f"{record.length} bytes" + (f" in {record.segments} segments" if record.segments > 1 else "")
    return f"{summary(record.data, record.packet_type)}, {size}"


def _where(seen: Seen) -> str:
    link = f" ({seen.link})" if seen.link and seen.link != seen.port else ""
    return f"{seen.point} {seen.port}{link}"


def _print_line(seen: Seen) -> None:
    from vdp.cli.text import escaped

    reason = f" {seen.reason}:" if seen.reason else ""
    print(escaped(f"{_clock(seen.record.time_ns)} {seen.number} {_where(seen)}{reason} {_summary(seen)}"))


def _print_drop(seen: Seen) -> None:
    from vdp.cli.text import escaped

    print(escaped(f"{_clock(seen.record.time_ns)} {seen.port} {seen.reason}: {_summary(seen)} ({seen.text})"))


def _print_json(seen: Seen) -> None:
    print(json.dumps(_row(seen)))


def _row(seen: Seen) -> dict[str, Any]:
    record = seen.record
    return {
        "time_ns": record.time_ns,
        "packet": seen.number,
        "point": seen.point,
        "port": seen.port,
        "in_port": seen.in_port,
        "link": seen.link or None,
        "reason": seen.reason or None,
        "text": seen.text or None,
        "asked": seen.asked,
        "flow": record.flow or None,
        "packet_type": "l3" if record.packet_type else "l2",
        "length": record.length,
        "segments": record.segments,
        "summary": _summary(seen),
        "data": record.data.hex(),
    }


def _print_journey(number: str, steps: list[Seen], as_json: bool) -> None:
    """A packet's way: a line a point, with the time since the first of them."""
    from vdp.cli.text import aligned, escaped

    if as_json:
        print(json.dumps({"packet": number, "steps": [_row(seen) for seen in steps]}))
        return
    steps = sorted(steps, key=lambda seen: seen.record.time_ns)
    first = steps[0].record.time_ns
    print(f"packet {number} at {_clock(first)}")
    rows = []
    for seen in steps:
        said = f"{seen.reason}: {seen.text}" if seen.reason else ""
        after_us = (seen.record.time_ns - first) / 1000
        rows.append([f"  +{after_us:.1f} us", _where(seen), "; ".join(filter(None, (said, _summary(seen))))])
    for line in aligned(rows, [True, False, False]):
        print(escaped(line))
    asked = list(dict.fromkeys(seen.asked for seen in steps if seen.asked))
    for each in asked:
        print(escaped(f"  asked: {each}"))
