"""Golden captures: what comes of each packet, and what ports send, is compared with what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vdp.engine.interface import PacketType
from vdp.testing import Dataplane, check_golden, read_pcap, replay, write_pcap
from vdp.testing.builders import ethernet, gre, ipv4, udp

A, B = "192.0.2.1", "192.0.2.2"
INNER = ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, b"hello"))
GOOD = ipv4(B, A, gre(INNER, 0x0800, csum=True), protocol=47)
BAD = ipv4(B, A, gre(INNER, 0x0800, checksum=1), protocol=47)


@pytest.fixture
def plane() -> Iterator[Dataplane]:
    with Dataplane(plugins=["gre"]) as made:
        made.port("underlay", PacketType.L3)
        made.port("lan", PacketType.L3)
        made.link("gre1", "gre", local=A, remote=B, csum=True)
        made.connect("lan", "gre1")
        yield made


@pytest.fixture
def capture(tmp_path: Path, plane: Dataplane) -> Path:
    """A capture of a good and a bad packet, and what came of them."""
    path = tmp_path / "two.pcap"
    write_pcap(path, [GOOD, BAD], PacketType.L3)
    check_golden(plane, "underlay", path, update=True)
    return path


def test_each_packet_has_a_line_and_each_port_a_capture(capture: Path, plane: Dataplane) -> None:
    assert capture.with_suffix(".fates").read_text() == (
        f"1 {len(GOOD)}: output lan {len(INNER)}\n2 {len(BAD)}: drop tunnel_checksum at underlay\n"
    )
    assert read_pcap(capture.with_suffix(".lan.pcap"), PacketType.L3) == [INNER]
    check_golden(plane, "underlay", capture)


def test_another_fate_fails_with_both_lines(capture: Path, plane: Dataplane) -> None:
    write_pcap(capture, [BAD, BAD], PacketType.L3)
    with pytest.raises(AssertionError, match=r"output lan.* is kept, now it is .*drop tunnel_checksum"):
        check_golden(plane, "underlay", capture)


def test_another_byte_that_is_sent_fails(capture: Path, plane: Dataplane) -> None:
    write_pcap(capture.with_suffix(".lan.pcap"), [INNER[:-1] + b"!"], PacketType.L3)
    with pytest.raises(AssertionError, match=f"kept .*21\n.* now  {INNER.hex()}"):
        check_golden(plane, "underlay", capture)


def test_a_port_that_sends_nothing_any_more_fails(capture: Path, plane: Dataplane) -> None:
    write_pcap(capture.with_suffix(".wan.pcap"), [INNER], PacketType.L3)
    plane.port("wan", PacketType.L3)
    with pytest.raises(AssertionError, match=r"two\.wan\.pcap"):
        check_golden(plane, "underlay", capture)


def test_without_golden_files_it_says_how_to_make_them(tmp_path: Path, plane: Dataplane) -> None:
    write_pcap(tmp_path / "new.pcap", [GOOD], PacketType.L3)
    with pytest.raises(AssertionError, match="--vdp-update-golden"):
        check_golden(plane, "underlay", tmp_path / "new.pcap")


def test_an_ethernet_capture_does_for_a_layer_3_port(tmp_path: Path) -> None:
    write_pcap(tmp_path / "frames.pcap", [ethernet(GOOD)], PacketType.L2)
    assert read_pcap(tmp_path / "frames.pcap", PacketType.L3) == [GOOD]
    assert read_pcap(tmp_path / "frames.pcap", PacketType.L2) == [ethernet(GOOD)]


def test_a_capture_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_pcap(tmp_path / "raw.pcap", [GOOD], PacketType.L3)
    with pytest.raises(ValueError, match="link type 101, the port takes Ethernet"):
        read_pcap(tmp_path / "raw.pcap", PacketType.L2)


def test_a_capture_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    from dpkt import pcap

    with (tmp_path / "cut.pcap").open("wb") as stream:
        pcap.Writer(stream, snaplen=40, linktype=101).writepkt(GOOD[:40], ts=0)
    with pytest.raises(ValueError, match="cut at 40 bytes"):
        read_pcap(tmp_path / "cut.pcap", PacketType.L3)


def test_a_replay_tells_every_copy(plane: Dataplane) -> None:
    assert replay(plane, "underlay", [GOOD, GOOD]).sent == {"lan": [INNER, INNER]}
