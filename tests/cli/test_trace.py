"""`vdp trace`: its text, its JSON, exit codes that say a packet's fate; the page shows what it prints."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.cli.conftest import Vdp
from tests.plane import L2, L3, A, B
from vdp.cli import exits
from vdp.control.server import ControlServer
from vdp.imaginary.captured import CaptureError, frame
from vdp.imaginary.method import trace
from vdp.testing.builders import ethernet, gre, icmp, ipv4, udp
from vdp.testing.dataplane import Dataplane
from vdp.testing.paths import StaticPaths

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
PACKET = ipv4(B, A, gre(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2)), key=7), protocol=47)


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """A control socket with a dataplane behind it: gre7 between underlay and lan, gt1 in a bridge."""
    path = tmp_path / "vdp.sock"
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    with Dataplane(paths=StaticPaths(silent={IPv4Address("203.0.113.9")})) as plane:
        for name in ("underlay", "lan", "lan2"):
            plane.port(name, L3)
        for name in ("wire", "tap0"):
            plane.port(name, L2, mac=bytes(5) + b"\1")
        plane.link("gre7", "gre", local=A, remote=B, key=7)
        plane.link("gt1", "gretap", local=A, remote=B, key=8)
        plane.link("far", "gre", underlay="wire", local=A, remote="203.0.113.9")
        plane.connect("gre7", "lan")
        plane.connect("far", "lan2")
        plane.bridge("br0", "tap0", "gt1")
        thread.start()
        server = ControlServer(path, {"trace": lambda params: trace(plane.datapath, params)})
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        try:
            yield str(path)
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


@pytest.mark.parametrize(
    ("member", "expression", "code", "last"),
    [
        ("underlay", "ip/gre(key=7)/ip/udp", exits.OK, "forwarded to lan"),
        ("underlay", "ip/gre(key=9)/ip/udp", exits.DROPPED, "dropped (tunnel_no_link: "),
        ("lan2", "ip/udp", exits.HELD, "held: wire: the way to 203.0.113.9"),
    ],
)
def test_the_exit_code_says_the_fate(
    vdp: Vdp, socket: str, member: str, expression: str, code: int, last: str
) -> None:
    result = vdp("trace", "--socket", socket, "--in", member, expression)
    assert (result.code, result.err) == (code, "")
    assert result.out.splitlines()[-1].startswith(last)


def test_what_ends_here_is_consumed(vdp: Vdp, socket: str) -> None:
    error = ipv4(B, A, icmp(3, 1, payload=ipv4(A, B, PACKET[20:], protocol=47)), protocol=1)
    result = vdp("trace", "--socket", socket, "--in", "underlay", "--hex", error.hex(" "))
    assert result.code == exits.CONSUMED
    assert result.out.splitlines()[-1].startswith("consumed (icmp_error: not lost")


def test_json_says_the_same(vdp: Vdp, socket: str) -> None:
    result = vdp("trace", "--socket", socket, "--json", "--in", "underlay", "--hex", "0x" + PACKET.hex())
    answer = json.loads(result.out)
    assert (result.code, answer["fate"], answer["outputs"]) == (exits.OK, "forwarded", ["lan"])
    assert list(answer) == ["fate", "sentence", "outputs", "reasons", "passages"]


def test_a_mistake_in_an_expression_is_pointed_at(vdp: Vdp, socket: str) -> None:
    result = vdp("trace", "--socket", socket, "--in", "underlay", "ip/gre/ip/tcp(dporrt=80)")
    assert (result.code, result.out) == (exits.USAGE, "")
    assert result.err.splitlines() == [
        "vdp: error: column 15: tcp has no field 'dporrt'",
        "hint: did you mean 'dport'?",
        "  ip/gre/ip/tcp(dporrt=80)",
        "                ^".replace("  ", "  ", 1),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--in", "underlai", "ip"), exits.NOT_FOUND, 'did you mean "underlay"?'),
        (("--in", "underlay", "--hex", "0x12 3"), exits.USAGE, "3 digits"),
        (("--in", "underlay", "--hex", "12 xy"), exits.USAGE, "found 'x'"),
        (("--in", "underlay", "--pcap", "file"), exits.USAGE, "FILE:N"),
        (("--in", "underlay", "--pcap", "/nowhere:1"), exits.USAGE, "error: /nowhere can not be read: "),
        (("--in", "underlay"), exits.USAGE, "required"),
        (("ip",), exits.USAGE, "--in"),
    ],
)
def test_what_can_not_be_asked_is_said(
    vdp: Vdp, socket: str, arguments: tuple[str, ...], code: int, text: str
) -> None:
    result = vdp("trace", "--socket", socket, *arguments)
    assert result.code == code
    assert text in result.err


def test_without_a_daemon(vdp: Vdp, tmp_path: Path) -> None:
    result = vdp("trace", "--socket", str(tmp_path / "none"), "--in", "underlay", "ip")
    assert result.code == exits.UNREACHABLE


def pcap(order: str, link_type: int, *packets: bytes) -> bytes:
    records = [struct.pack(order + "IIII", 1, 2, len(packet), len(packet)) + packet for packet in packets]
    return struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type) + b"".join(records)


def pcapng(order: str, link_type: int, *packets: bytes) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    blocks = [
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack(order + "HHI", link_type, 0, 0)),
        block(5, bytes(12)),  # statistics, which nobody asked for
        block(3, struct.pack(order + "I", len(packets[0])) + packets[0]),
    ]
    for packet in packets[1:]:
        blocks.append(block(6, struct.pack(order + "IIIII", 0, 0, 0, len(packet), len(packet)) + packet))
    return b"".join(blocks)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("write", [pcap, pcapng])
def test_a_frame_of_a_capture(vdp: Vdp, socket: str, tmp_path: Path, order: str, write: object) -> None:
    path = tmp_path / "some.cap"
    path.write_bytes(write(order, 1, ethernet(b"\x45"), ethernet(PACKET)))  # type: ignore[operator]
    assert frame(path, 2).data == ethernet(PACKET)
    result = vdp("trace", "--socket", socket, "--in", "underlay", "--pcap", f"{path}:2")
    assert (result.code, result.out.splitlines()[-1]) == (exits.OK, "forwarded to lan")
    with pytest.raises(CaptureError, match="there is no frame 3: it has 2"):
        frame(path, 3)
    path.write_bytes(write(order, 1, ethernet(PACKET))[:-1])  # type: ignore[operator]
    with pytest.raises(CaptureError, match="in the middle"):
        frame(path, 1)
    path.write_bytes(write(order, 113, PACKET))  # type: ignore[operator]
    with pytest.raises(CaptureError, match="link type 113"):
        frame(path, 1)


#: A pcapng section, and an interface that is nothing but its lengths.
SHORT = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + struct.pack("<III", 1, 12, 12)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "empty"), (b"x" * 40, "neither pcap nor pcapng"), (SHORT, "a block is shorter than")],
)
def test_what_is_no_capture(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "some.cap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=text):
        frame(path, 1)


def test_the_page_shows_what_is_printed(vdp: Vdp, socket: str) -> None:
    section = PAGE[PAGE.index("## An imaginary packet") :]
    block = re.search(r"^    \$ vdp (trace .*)\n((?:    .*\n)+)", section, re.MULTILINE)
    assert block is not None
    command = re.findall(r"'([^']*)'|(\S+)", block.group(1))
    result = vdp("trace", "--socket", socket, *[one or other for one, other in command][1:])

    def without_lines(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", re.sub(r":\d+$", "", line)).strip() for line in text.splitlines()]

    assert without_lines(block.group(2)) == without_lines(result.out)
