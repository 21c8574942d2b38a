"""The GRO and GSO cases of Linux's selftest and of wireguard-go, through a cell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import Bench
from tests.engine.streams import assert_sound, finished, layer
from tests.vectors import load, needed
from vdp.engine.interface import MemoryPacket, Offload, PacketType
from vdp.engine.program import Output, Segment

pytestmark = needed
FILES = ("gro/linux_selftest_gro.json", "gro/wireguard_go_offload.json")
CASES: dict[str, Any] = {case["name"]: case for name in FILES for case in load(name).get("cases", [])}
CUT = {name for name, case in CASES.items() if "virtio_net_hdr" in case["expectation"]}
JOINED = sorted(CASES.keys() - CUT)


def packets_of(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(text) for text in case["packets_hex"]]


def coalesced(bench: Bench, packets: list[bytes]) -> list[MemoryPacket]:
    """What a cell makes of one batch."""
    cell = bench.cell(PacketType.L3)
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Output(bench.y))
    bench.inject(bench.x, *packets)
    bench.engine.poll()
    return bench.collect(bench.y)


def test_the_cases_are_there() -> None:
    assert len(CASES) == 15


@pytest.mark.conformance("F4", "F5", "F6", "F7", "F8")
@pytest.mark.parametrize("name", JOINED)
def test_a_cell_makes_of_them_what_is_expected(bench: Bench, name: str) -> None:
    packets, expectation = packets_of(CASES[name]), CASES[name]["expectation"]
    out = coalesced(bench, packets)
    if "candidate" in expectation:  # one that is not even looked at
        assert [packet.data for packet in out] == packets
    elif "lengths_out" in expectation:
        assert [len(packet.data) for packet in out] == expectation["lengths_out"]
        assert [packets.index(packet.data) for packet in out] == expectation["written_from_index"]
    else:
        sizes = [len(layer(packet.data)["TCP"].payload) for packet in out]
        assert sizes == expectation["payload_lengths_out"]
        for packet in out:
            if packet.offload.gso_type:
                assert_sound(finished(packet))


@pytest.mark.conformance("H4")
@pytest.mark.parametrize("name", sorted(CUT))
def test_a_super_packet_is_cut_as_expected(bench: Bench, name: str) -> None:
    (data,), expectation = packets_of(CASES[name]), CASES[name]["expectation"]
    header = expectation["virtio_net_hdr"]
    assert (header["flags"], header["gso_type"]) == ("NEEDS_CSUM", "TCPV4")
    offload = Offload(True, header["csum_start"], header["csum_offset"], 1, header["gso_size"])
    out = bench.run([Segment(), Output(bench.y)], data, offload)
    assert [len(part) for part in out] == expectation["lengths_out"]
    whole, parts = layer(data), [layer(part) for part in out]
    for n, (part, raw) in enumerate(zip(parts, out, strict=True)):
        assert_sound(raw)
        assert part.id == (whole.id + n) & 0xFFFF
        assert part["TCP"].seq == whole["TCP"].seq + n * header["gso_size"]
    assert [str(part["TCP"].flags) for part in parts] == ["A", "PA"]
    assert b"".join(bytes(part["TCP"].payload) for part in parts) == bytes(whole["TCP"].payload)


@pytest.mark.conformance("H10")
@pytest.mark.parametrize("name", JOINED)
def test_cutting_again_what_a_cell_joined_gives_the_same_packets(bench: Bench, name: str) -> None:
    packets = packets_of(CASES[name])
    cell = bench.cell(PacketType.L3)
    bench.flow(bench.x, Output(cell))
    bench.flow(cell, Segment(), Output(bench.y))
    bench.inject(bench.x, *packets)
    bench.engine.poll()
    # The ids of packets that were joined with a fixed one count up (RFC 6864: with DF they mean nothing).
    assert [_without_id(data) for data in bench.sent(bench.y)] == [_without_id(data) for data in packets]


def _without_id(data: bytes) -> bytes:
    """An atomic IPv4 packet without its id and header checksum; any other as it is."""
    atomic = len(data) >= 20 and data[0] >> 4 == 4 and data[6] & 0x40
    return data[:4] + data[6:10] + data[12:] if atomic else data
