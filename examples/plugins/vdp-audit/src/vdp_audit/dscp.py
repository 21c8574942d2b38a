"""The DSCP of a packet or frame, and its name (RFC 2474; IANA, "DSCP values")."""

from __future__ import annotations

from vdp.api import (
    Ethernet,
    EtherType,
    HeaderBudget,
    IPv4,
    IPv6,
    Packet,
    PacketType,
    TraceError,
    Truncated,
    Vlan,
)

NOT_IP = "none"
#: A DSCP that the engine writes into each packet: what it is, no trace can tell.
WRITTEN = "copied"
TAGS = (EtherType.VLAN, EtherType.QINQ)
MOST_TAGS = 2

NAMES = {
    **{number << 3: f"CS{number}" for number in range(8)},
    **{group << 3 | drop << 1: f"AF{group}{drop}" for group in range(1, 5) for drop in range(1, 4)},
    1: "LE",  # RFC 8622
    44: "VOICE-ADMIT",  # RFC 5865
    46: "EF",  # RFC 3246
}


def network_header(packet: Packet) -> tuple[IPv4 | IPv6 | None, int]:
    """The IP header, if there is one, and the bytes in front of it: Ethernet and VLAN tags."""
    size = 0
    if packet.packet_type is PacketType.L3:
        protocol = packet.protocol
    else:
        if not packet.has(Ethernet.SIZE):
            return None, 0
        protocol, size = packet.header(Ethernet).type, Ethernet.SIZE
        for _ in range(MOST_TAGS):
            if protocol not in TAGS or not packet.has(size + Vlan.SIZE):
                break
            protocol, size = packet.header(Vlan, size).type, size + Vlan.SIZE
    kinds: dict[int, type[IPv4 | IPv6]] = {EtherType.IPV4: IPv4, EtherType.IPV6: IPv6}
    kind = kinds.get(protocol)
    return packet.header(kind, size) if kind is not None and packet.has(size + kind.SIZE) else None, size


def name_of(ip: IPv4 | IPv6) -> str:
    """The name of its DSCP, else the number."""
    try:
        number = ip.dscp
    except (Truncated, HeaderBudget):
        raise
    except TraceError:
        return WRITTEN
    return NAMES.get(number, str(number))
