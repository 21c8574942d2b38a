"""What comes in: from the GRE header through the label stack to a link.

    GRE ─► labels of our own, explicit nulls and entropy labels off ─► a link's label ─► its payload

Everything that the stack says is the same for all packets of a flow, and read as guards; what
differs (a TTL that counts down, a header checksum) is an action.
"""

from __future__ import annotations

from dataclasses import dataclass

from vdp.api import (
    Datapath,
    EtherType,
    FillChecksum,
    FillCopy,
    GreFlag,
    GreTunnel,
    GreTunnelKind,
    IcmpError,
    IPv4,
    IPv6,
    Packet,
    PacketType,
    TunnelInfo,
    Verdict,
)

from vdp_mpls.headers import (
    ETHER_TYPES,
    EXPLICIT_NULL,
    FIRST_LABEL,
    ControlWord,
    Payload,
    Reserved,
    StackEntry,
)
from vdp_mpls.links import LabelTunnel, MplstapTunnel
from vdp_mpls.options import Settings

#: A packet with a key or sequence number is none of RFC 4023: perhaps it is somebody else's.
FOREIGN = GreFlag.KEY | GreFlag.SEQ
VERSIONS = {4: EtherType.IPV4, 6: EtherType.IPV6}


@dataclass(slots=True)
class Stack:
    """What was found: the first entry, whose packet it is, and where the stack ends."""

    top: StackEntry
    end: int
    tunnel: GreTunnel | None = None
    #: IP version that an explicit null announces; 0: none does.
    version: int = 0


class Drop(Exception):
    """The packet ends here, for a reason of the plugin's own."""


class Receiver:
    """The handler for MPLS in GRE, of the list gre_cisco."""

    def __init__(self, datapath: Datapath, kinds: tuple[GreTunnelKind, ...]) -> None:
        self._datapath = datapath
        self._kinds = kinds
        self._settings = datapath.settings("mpls", Settings)

    def receive(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Verdict:
        if info.protocol not in ETHER_TYPES or info.flags & FOREIGN:
            return Verdict.REJECT
        try:
            stack = self._take(packet, ip, info)
            tunnel = stack.tunnel
            if tunnel is None:
                raise Drop("label")
            if tunnel.packet_type is PacketType.L2:
                size, protocol = self._frame(packet, tunnel, stack.end), 0
            else:
                size, protocol = stack.end, self._ip(packet, stack)
            self._see_to_ttl(packet, stack, tunnel, protocol)
        except Drop as drop:
            return packet.drop(f"plugin_mpls_{drop}")
        return tunnel.receive(packet, ip, info, protocol, skip=size - info.header_size)

    def error(self, packet: Packet, ip: IPv4, info: TunnelInfo, icmp: IcmpError) -> Verdict:
        """An ICMP error about a packet of ours, of which the first label is quoted."""
        if info.protocol not in ETHER_TYPES or info.flags & FOREIGN:
            return Verdict.REJECT
        label = packet.header(StackEntry, info.header_size).label
        key = Reserved.IPV4_EXPLICIT_NULL if label in EXPLICIT_NULL else label
        for kind in self._kinds:
            if kind.report(packet, ip, key, icmp) is not Verdict.REJECT:
                return Verdict.RECEIVED
        return Verdict.REJECT

    # -- the stack ------------------------------------------------------------------------

    def _take(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> Stack:
        """Go through the stack to its bottom (RFC 3031 section 3.10)."""
        entry = packet.header(StackEntry, info.header_size)
        stack = Stack(entry, info.header_size)
        for _ in range(self._settings.depth):
            entry = packet.header(StackEntry, stack.end)
            stack.end += StackEntry.SIZE
            label, is_bottom = entry.label, entry.bottom
            if label == Reserved.ENTROPY_INDICATOR:
                if is_bottom:
                    raise Drop("stack")
                is_bottom = packet.header(StackEntry, stack.end).bottom
                stack.end += StackEntry.SIZE  # the entropy label says nothing to us, not even its TTL
            elif label in EXPLICIT_NULL:
                # At the bottom it says what follows; elsewhere it is taken off (RFC 4182).
                stack.version = (4 if label == Reserved.IPV4_EXPLICIT_NULL else 6) if is_bottom else 0
            elif label < FIRST_LABEL:
                raise Drop("reserved")
            elif stack.tunnel is not None:
                raise Drop("stack")  # a label below one that already says whose packet it is
            elif label not in self._settings.pop:
                stack.tunnel = self._tunnel(packet, ip, label)
                if stack.tunnel is None:
                    raise Drop("label")
            if is_bottom:
                stack.tunnel = stack.tunnel or self._unlabelled(packet, ip, info)
                return stack
        raise Drop("stack")

    def _tunnel(self, packet: Packet, ip: IPv4, label: int) -> GreTunnel | None:
        for kind in self._kinds:
            found = kind.table.lookup(packet, ip.source, ip.destination, label)
            if found is not None:
                return found
        return None

    def _unlabelled(self, packet: Packet, ip: IPv4, info: TunnelInfo) -> GreTunnel | None:
        """No label says whose it is: it belongs to the link with label 0, or else to the gre link."""
        found = self._tunnel(packet, ip, Reserved.IPV4_EXPLICIT_NULL)
        if found is not None or not self._datapath.has_kind("gre"):
            return found
        gre = self._datapath.kind(GreTunnelKind, "gre")
        return gre.table.lookup(packet, ip.source, ip.destination, info.key)

    # -- what is behind it ----------------------------------------------------------------

    @staticmethod
    def _frame(packet: Packet, tunnel: GreTunnel, at: int) -> int:
        """Where the frame begins: behind a control word, if there is to be one."""
        if not isinstance(tunnel, MplstapTunnel) or not tunnel.parameters.control_word:
            return at
        if packet.header(ControlWord, at).first:
            raise Drop("control_word")
        return at + ControlWord.SIZE

    @staticmethod
    def _ip(packet: Packet, stack: Stack) -> int:
        """EtherType of the IP packet: as its version says, and an explicit null, if there is one."""
        version = packet.header(Payload, stack.end).version
        protocol = VERSIONS.get(version)
        if protocol is None or stack.version not in (0, version):
            raise Drop("payload")
        return protocol

    def _see_to_ttl(self, packet: Packet, stack: Stack, tunnel: GreTunnel, protocol: int) -> None:
        """RFC 3443: the label's TTL less one becomes the packet's, or is looked at and forgotten."""
        uniform = tunnel.is_uniform if isinstance(tunnel, LabelTunnel) else self._is_uniform
        if tunnel.packet_type is PacketType.L2 or not uniform:
            if _is_spent(packet, stack.top):
                raise Drop("ttl")
            return
        label_ttl, spent = stack.top.offset + StackEntry.ttl.offset, packet.otherwise("plugin_mpls_ttl")
        at = stack.end
        if protocol == EtherType.IPV6:
            packet.header(IPv6, at)
            packet.fill(at + IPv6.hop_limit.offset, FillCopy(label_ttl))
            packet.decrement_ttl(6, at, spent)
            return
        size = packet.header(IPv4, at).ihl * 4
        if size < IPv4.SIZE or not packet.has(at + size):
            raise Drop("payload")
        # A checksum that is made anew would hide that the header was damaged.
        packet.require_checksum(at, size, packet.otherwise("plugin_mpls_payload"))
        packet.fill(at + IPv4.ttl.offset, FillCopy(label_ttl))
        packet.fill(at + IPv4.checksum.offset, FillChecksum(at, size))
        packet.decrement_ttl(4, at, spent)

    @property
    def _is_uniform(self) -> bool:
        return self._settings.ttl_model == "uniform"


def _is_spent(packet: Packet, entry: StackEntry) -> bool:
    """Whether its TTL is 0 or 1.

    Bit by bit from the upper end, to the first that is set: packets of a flow whose TTLs
    differ are a few megaflows, not one for each TTL.
    """
    above_one = range(StackEntry.ttl.width - 1)
    start = StackEntry.ttl.start
    return not any(packet.read_bits(entry.place, start + bit, 1, "StackEntry.ttl") for bit in above_one)
