"""`vdp trace`: what would become of a packet, and why.  Nothing of the daemon changes.

passage 0: 62 bytes received by underlay        a classification; one more for each GRO cell behind it
  asked     …                                   handlers in order, their verdicts, and why
  looked at …                                   the guards, with the line that read each
  did       …                                   the actions
  bytes     …                                   "-" taken off, "+" put on
  sent by lan, 34 bytes                         how it ended
forwarded to lan
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from vdp.cli import exits
from vdp.cli.options import add_common

Row = Mapping[str, Any]
FATES = {
    "forwarded": exits.OK,
    "dropped": exits.DROPPED,
    "held": exits.HELD,
    "consumed": exits.CONSUMED,
}
BYTES_A_LINE = 16
#: Bytes of a payload that are shown: the beginning says what it is.
MOST_PAYLOAD = 32
#: A column is not made wider for longer text (a pushed header in hex).
MOST_COLUMN = 60
_EXAMPLES = """\
examples:
  vdp trace --in underlay 'ip/gre(key=7)/ip/tcp(dport=80)'
  vdp trace --in tap0 'eth(dst=02:00:00:00:00:05)/vlan(id=7)/ip(src=10.0.0.1)/udp/"hello"'
  vdp trace --in underlay --pcap capture.pcapng:12
  vdp trace --in lan --segment-size 1400 'ip/tcp/payload(size=20000)'

Layers go from the outside in: eth, vlan, arp, ip, ip6, gre, udp, tcp, icmp, icmp6, payload(size=, hex=)
or "text", and every header that a loaded plugin declares, by its name. What is not said follows from the
port, its links and the other layers. exit codes: 0 forwarded, 10 dropped, 11 held, 12 consumed"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "--in",
        dest="member",
        metavar="PORT",
        required=True,
        help="port that it comes in by, or link whose cell",
    )
    packet = parser.add_mutually_exclusive_group(required=True)
    packet.add_argument("expression", nargs="?", metavar="EXPR", help="the packet, layer by layer")
    packet.add_argument("--hex", metavar="HEX", help="the packet's bytes")
    packet.add_argument("--pcap", metavar="FILE:N", help="frame N of a capture (pcap, pcapng)")
    parser.add_argument(
        "--segment-size", type=int, default=0, metavar="N", help="a super-packet, with segments of N bytes"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask the daemon, and print what it answers; the exit code says the fate."""
    from vdp.cli.commands import complain, refused, socket_path
    from vdp.cli.pages import print_json
    from vdp.control.client import call
    from vdp.control.errors import ControlError, DaemonUnreachable

    try:
        params = _params(arguments)
    except OSError as error:
        complain(f"{error.filename} can not be read: {error.strerror}")
        return exits.USAGE
    except ValueError as error:
        complain(str(error))
        return exits.USAGE
    try:
        answer = call(socket_path(arguments), "trace", params)
    except DaemonUnreachable as error:
        return refused(error)
    except ControlError as error:
        code = refused(error)
        column = re.match(r"column (\d+): ", error.message)
        if column and arguments.expression:
            _point(arguments.expression, int(column.group(1)))
        return code
    if arguments.json:
        print_json(answer, sys.stdout)
    else:
        page(answer, sys.stdout)
    return FATES[answer["fate"]]


def _params(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the daemon is asked.  ValueError, OSError for a capture or bytes that are none."""
    params: dict[str, Any] = {"in": arguments.member}
    if arguments.segment_size:
        params["segment_size"] = arguments.segment_size
    if arguments.expression is not None:
        return params | {"expression": arguments.expression}
    if arguments.hex is not None:
        return params | {"hex": _hex(arguments.hex)}
    from vdp.imaginary.captured import frame

    path, _, number = arguments.pcap.rpartition(":")
    if not path or not number.isdigit():
        raise ValueError(f"--pcap {arguments.pcap}: expected FILE:N, where N counts frames from 1")
    found = frame(Path(path), int(number))
    return params | {"hex": found.data.hex(), "ethernet": found.is_ethernet}


def _hex(text: str) -> str:
    """Bytes as tools print them: spaces, colons and 0x between them."""
    digits = re.sub(r"0x|[\s:,|-]", "", text)
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise ValueError(f"--hex: found {wrong.group()!r}, expected hexadecimal digits")
    if len(digits) % 2:
        raise ValueError(f"--hex: {len(digits)} digits; a byte has two")
    return digits


def _point(expression: str, column: int) -> None:
    """Show the place in the expression."""
    from vdp.cli.text import escaped, talk

    talk(f"  {escaped(expression)}")
    talk("  " + " " * (column - 1) + "^")


# -- as text -----------------------------------------------------------------------------------


def page(answer: Row, stream: TextIO) -> None:
    """The whole answer, the fate last."""
    from vdp.cli.text import escaped

    for passage in answer["passages"]:
        for line in _passage(passage, answer["passages"]):
            print(escaped(line), file=stream)
    print(escaped(answer["sentence"]), file=stream)


def _passage(passage: Row, passages: Sequence[Row]) -> Iterator[str]:
    packet = passage["packet"]
    how = {
        "received": "received by",
        "cell": "out of the GRO cell of link",
        "flooded": "flooded towards",
        "answer": "sent by vdp itself towards",
    }[passage["cause"]]
    yield f"passage {passage['number']}: {_size(packet)} {how} {passage['member']}"
    asked = [
        [_who(offer), offer["verdict"], offer["reason"], offer["source"]] for offer in passage["handlers"]
    ]
    yield from _block("asked", asked)
    yield from _block("looked at", [[guard["text"], guard["source"]] for guard in passage["match"]])
    yield from _block("did", [[action["text"], action["source"]] for action in passage["actions"]])
    yield from (f"  would log: {line}" for line in passage["log"])
    if passage["flow"] is not None:
        flow = passage["flow"]
        yield f"  megaflow {flow['id']} of worker {flow['worker']} takes such packets" + (
            "" if flow["agrees"] else "; it does otherwise than would be decided now (it is run here)"
        )
    elif passage["cause"] != "answer":
        yield "  no megaflow takes such packets yet" + (
            "" if passage["cacheable"] else ", nor will one: each comes to Python"
        )
    for end in passage["ends"]:
        yield from _end(end, packet)


def _block(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, the title in front of the first."""
    widths = [min(MOST_COLUMN, max(map(len, column))) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'' if number else title:<9}  {cells}".rstrip()


def _who(offer: Row) -> str:
    indent = "  " * int(offer["depth"])
    return indent + f"{offer['list']}/{offer['priority']} {offer['name']}"


def _size(packet: Row) -> str:
    text = f"{packet['length']} bytes"
    if packet["segments"] > 1:
        text += f" (a super-packet: {packet['segments']} segments of {packet['segment_size']})"
    return text


def _end(end: Row, before: Row) -> Iterator[str]:
    packet = end["packet"]
    match end["kind"]:
        case "sent":
            yield f"  sent by {end['member']}: {_size(packet)}"
        case "entered" | "merged":
            joined = ", joined with what is there" if end["kind"] == "merged" else ""
            yield f"  into the GRO cell of link {end['member']}{joined}: {_size(packet)}"
        case "dropped":
            yield f"  dropped at {end['member']} as {end['reason']}: {end['text']}"
            return
        case "held":
            yield f"  held: {end['text']}"
            return
        case "unsent":
            yield f"  not sent: {end['text']}"
            return
        case _:
            more = f" (passage {end['passage']})" if end["passage"] is not None else ""
            yield f"  a copy to the slow path: {end['text']}{more}"
            return
    yield from _difference(before, packet)


def _difference(before: Row, after: Row) -> Iterator[str]:
    """Header by header; "-" what is no more there, "+" what was not."""
    olds, news = _parts(before), _parts(after)
    matcher = difflib.SequenceMatcher(None, olds, news, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            for part in olds[a:b]:
                yield from _dump(" ", part)
            continue
        for part in olds[a:b]:
            yield from _dump("-", part)
        for part in news[c:d]:
            yield from _dump("+", part)


def _parts(packet: Row) -> list[tuple[str, bytes]]:
    data = bytes.fromhex(packet["hex"])
    return [(span["header"], data[span["start"] : span["end"]]) for span in packet["headers"]]


def _dump(sign: str, part: tuple[str, bytes]) -> Iterator[str]:
    name, data = part
    shown = data[:MOST_PAYLOAD] if name == "payload" else data
    for at in range(0, len(shown), BYTES_A_LINE):
        label = name if at == 0 else ""
        yield f"    {sign} {label:<10} {shown[at : at + BYTES_A_LINE].hex(' ')}"
    if len(shown) < len(data):
        yield f"    {sign} {'':<10} and {len(data) - len(shown)} more"
