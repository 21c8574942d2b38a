"""Golden captures: a pcap goes in, and what came of each packet is compared with what is kept.

    check_golden(plane, "underlay", Path("golden/hello.pcap"))

`hello.pcap` holds what arrives at the port, as tcpdump or wireshark wrote it (pcap or pcapng).
Beside it are kept `hello.fates`, a line a packet, and for each port that sent something
`hello.PORT.pcap`.  With `update` they are written instead; look at them before they are
committed.  Packets are sent one by one, so that each one's fate is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpkt import pcap

from vdp.engine.interface import PacketType, PortType
from vdp.testing.dataplane import Dataplane

#: Link types of captures (LINKTYPE_…, the registry of tcpdump.org).
ETHERNET, RAW = 1, 101
RAWS = (RAW, 228, 229, 12, 14)  # IPV4, IPV6, and DLT_RAW as some systems number it
#: Of a packet in a capture that is written.
MOST_BYTES = 1 << 18
#: Where the IP packet of a frame begins: behind an Ethernet header.
FRAME_HEADER = 14


@dataclass
class Replay:
    """What came of a capture: a line for each packet, and what each port sent."""

    fates: list[str] = field(default_factory=list)
    sent: dict[str, list[bytes]] = field(default_factory=dict)


def read_pcap(path: Path, packet_type: PacketType) -> list[bytes]:
    """The packets of a capture, as a port of that type receives them.

    From an Ethernet capture a layer-3 port gets what is behind the Ethernet headers.
    ValueError for a capture of another kind, and for one whose packets are cut short.
    """
    with path.open("rb") as stream:
        reader = pcap.UniversalReader(stream)
        link_type, most = reader.datalink(), getattr(reader, "snaplen", 0)
        packets = [bytes(data) for _, data in reader]
    if most and any(len(data) == most for data in packets):
        raise ValueError(f"{path}: packets are cut at {most} bytes: capture with `tcpdump -s 0`")
    if packet_type is PacketType.L3 and link_type in RAWS:
        return packets
    if link_type != ETHERNET:
        wanted = "Ethernet or raw IP" if packet_type is PacketType.L3 else "Ethernet"
        raise ValueError(f"{path}: link type {link_type}, the port takes {wanted}")
    return packets if packet_type is PacketType.L2 else [data[FRAME_HEADER:] for data in packets]


def write_pcap(path: Path, packets: Sequence[bytes], packet_type: PacketType) -> None:
    """Write a capture, a microsecond apart from time 0: the same packets are the same file."""
    link_type = ETHERNET if packet_type is PacketType.L2 else RAW
    with path.open("wb") as stream:
        writer = pcap.Writer(stream, snaplen=MOST_BYTES, linktype=link_type)
        for number, data in enumerate(packets):
            writer.writepkt(data, ts=number / 1e6)


def replay(plane: Dataplane, port: str, packets: Sequence[bytes]) -> Replay:
    """Let packets arrive one by one, and take down where each one went, or what it was dropped for."""
    result = Replay()
    outputs = [name for name, each in plane.datapath.ports.items() if each.type is PortType.MEMORY]
    for name in outputs:
        plane.collect(name)
    for number, data in enumerate(packets, 1):
        before = _drops(plane)
        plane.send(port, data)
        fate = []
        for name in outputs:
            for sent in plane.received(name):
                result.sent.setdefault(name, []).append(sent)
                fate.append(f"output {name} {len(sent)}")
        fate += [
            f"drop {reason} at {name}"
            for (name, reason), count in _drops(plane).items()
            for _ in range(count - before.get((name, reason), 0))
        ]
        result.fates.append(f"{number} {len(data)}: {', '.join(fate) or 'held'}")
    return result


def check_golden(plane: Dataplane, port: str, capture: Path, *, update: bool = False) -> Replay:
    """Replay a capture and raise AssertionError where it comes out otherwise than is kept beside it."""
    found = replay(plane, port, read_pcap(capture, plane.datapath.ports[port].packet_type))
    fates, kept = capture.with_suffix(".fates"), sorted(capture.parent.glob(f"{capture.stem}.*.pcap"))
    wanted = {capture.with_suffix(f".{name}.pcap"): name for name in found.sent}
    if update:
        fates.write_text("\n".join(found.fates) + "\n")
        for path in set(kept) - set(wanted):
            path.unlink()
        for path, name in wanted.items():
            write_pcap(path, found.sent[name], plane.datapath.ports[name].packet_type)
        return found
    if not fates.exists():
        raise AssertionError(f"{fates} is not there: run pytest with --vdp-update-golden, and look at it")
    expected = fates.read_text().splitlines()
    for line, now in _unequal(expected, found.fates):
        raise AssertionError(f"{fates}: {line or 'no more'!r} is kept, now it is {now or 'no more'!r}")
    for path in sorted({*kept, *wanted}):
        name = path.name.removeprefix(f"{capture.stem}.").removesuffix(".pcap")
        packet_type = plane.datapath.ports[name].packet_type if name in plane.datapath.ports else None
        before = read_pcap(path, packet_type) if path.exists() and packet_type is not None else []
        sent = found.sent.get(name, [])
        for line, now in _unequal([data.hex() for data in before], [data.hex() for data in sent]):
            raise AssertionError(f"{path}:\n  kept {line or 'no more'}\n  now  {now or 'no more'}")
    return found


def _unequal(kept: Sequence[str], found: Sequence[str]) -> Iterator[tuple[str, str]]:
    for at in range(max(len(kept), len(found))):
        pair = kept[at] if at < len(kept) else "", found[at] if at < len(found) else ""
        if pair[0] != pair[1]:
            yield pair


def _drops(plane: Dataplane) -> dict[tuple[str, str], int]:
    names = [*plane.datapath.ports, *plane.datapath.links]
    return {(name, reason): count for name in names for reason, count in plane.drops(name).items()}
