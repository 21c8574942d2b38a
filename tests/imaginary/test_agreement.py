"""What `vdp trace` foretells is what the datapath does, and it changes nothing."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.imaginary.world import Traffic, build, everything, offload
from tests.plane import L2, MakePlane, Plane
from vdp.imaginary.journey import Journey
from vdp.testing.reference import ReferenceEngine

#: Packets tried (1,500 at least, to meet enough); another number by hand: VDP_IMAGINARY_PACKETS=100000.
PACKETS = int(os.environ.get("VDP_IMAGINARY_PACKETS", "2000"))
SEED = int(os.environ.get("VDP_IMAGINARY_SEED", "1"))

Fate = tuple[dict[str, list[tuple[bytes, int]]], Counter[tuple[str, str]]]


def foretold(plane: Plane, port: str, data: bytes, segment_size: int) -> tuple[Fate, Journey]:
    """What would leave by each port, in order, and what would be lost where and why."""
    journey = Journey(plane.datapath)
    journey.receive(plane.datapath.ports[port], data, segment_size)
    sent: dict[str, list[tuple[bytes, int]]] = {}
    lost: Counter[tuple[str, str]] = Counter()
    for end in (end for passage in journey.passages for end in passage.ends):
        if end.kind == "sent":
            sent.setdefault(end.member, []).append((end.data, end.segment_size))
        elif end.kind == "dropped":
            lost[end.member, end.reason] += 1
    return (sent, lost), journey


def losses(plane: Plane) -> Counter[tuple[str, str]]:
    """Drops by port or link, and reason; an outlet's are those of its member."""
    found: Counter[tuple[str, str]] = Counter()
    datapath = plane.datapath
    numbers = {each.number: name for name, each in (*datapath.ports.items(), *datapath.links.items())}
    numbers |= {number: member for number, (_, member) in datapath.forwarding.outlets.items()}
    for number, name in numbers.items():
        for code, count in enumerate(plane.engine.port_drops(number)):
            if count:
                found[name, datapath.drops.name(code)] += count
    return found


def happened(plane: Plane, port: str, data: bytes, segment_size: int) -> Fate:
    before = losses(plane)
    is_frame = plane.datapath.ports[port].packet_type is L2
    plane.send(port, data, offload=offload(data, segment_size, is_frame))
    sent = {}
    for name in plane.datapath.ports:
        packets = [(packet.data, packet.offload.gso_size) for packet in plane.collect(name)]
        if packets:
            sent[name] = packets
    return sent, losses(plane) - before


@pytest.mark.timeout(180)
def test_the_datapath_does_what_was_foretold(make_plane: MakePlane) -> None:
    plane, traffic = build(make_plane), Traffic(SEED)
    fates: Counter[str] = Counter()
    # On the engine that forwards; its twin, whose executor this uses, is tried with some.
    packets = PACKETS // 2 if isinstance(plane.engine, ReferenceEngine) else PACKETS
    for number in range(packets):
        port, data, segment_size = traffic.next()
        (sent, lost), journey = foretold(plane, port, data, segment_size)
        ends = {end.kind for passage in journey.passages for end in passage.ends}
        real = happened(plane, port, data, segment_size)
        if "held" in ends:
            fates["held"] += 1
            continue
        assert (sent, lost) == real, f"packet {number} at {port}: {data.hex()} (segments of {segment_size})"
        fates["forwarded" if sent else "dropped"] += 1
        fates.update(f"drop {reason}" for _, reason in lost)
        fates["again"] += journey.passages[0].flow is not None
        if number % 500 == 499:
            plane.pass_time(0.5)
    assert fates["forwarded"] > packets / 4
    assert fates["dropped"] > packets / 8
    assert fates["again"] > packets / 8
    assert {fate for fate in fates if fate.startswith("drop tunnel_")} > {"drop tunnel_sequence"}
    assert len([fate for fate in fates if fate.startswith("drop ")]) > 12


def test_an_imaginary_packet_changes_nothing(make_plane: MakePlane) -> None:
    plane, traffic = build(make_plane), Traffic(SEED + 1)
    for number in range(400):
        port, data, segment_size = traffic.next()
        if number > 100 and number % 2:  # until then nothing has been taken from the engine for any packet
            plane.send(port, data)
            continue
        before = everything(plane)
        Journey(plane.datapath).receive(plane.datapath.ports[port], data, segment_size)
        after = everything(plane)
        assert before == after, f"packet {number} at {port}: {data.hex()}"
