"""Super-packets that go through a tunnel whole, for the underlay to cut behind GRE: gre_handle_offloads.

Linux's GRE devices leave TCP super-packets whole unless they send sequence numbers.  Here
the underlay must be able to cut behind GRE, or behind GRE in UDP (`Feature.GRE_TSO`).  Only the
kernel can mark a packet for GRE's or UDP's checksums to be computed after it was cut
(SKB_GSO_GRE_CSUM, SKB_GSO_UDP_TUNNEL_CSUM), but they are known before: what TCP's checksum covers
sums up to what its pseudo header says, so they are the same for all segments of one size
(lco_csum).  A last one that is shorter goes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.engine.interface import Feature
from vdp.links.parameters import MOST_SIZE
from vdp.protocols.gre import GreFlag
from vdp.stages.pipeline import ALL_OFFLOADS

if TYPE_CHECKING:
    from vdp.links.gre_tunnel import GreTunnel
    from vdp.netlink.path import Path
    from vdp.packet import Packet


def features(tunnel: GreTunnel) -> Feature:
    """What the stages before a tunnel need not settle: all, where `handle_offloads` does it; or nothing."""
    cuts = Feature.GRE_TSO in tunnel.underlay.features
    return ALL_OFFLOADS if cuts and tunnel.has_plain_header else Feature.NONE


def handle_offloads(packet: Packet, tunnel: GreTunnel, path: Path) -> None:
    """Cut what the underlay can not: all but TCP, what is too long for one IP header, and what has
    segments too long for the path.  Unfinished checksums of other packets are finished."""
    if packet.plain or not tunnel.features:
        return
    front = tunnel.most_outer_size + tunnel.encap_size + tunnel.header_size
    parameters = tunnel.parameters
    has_checksums = parameters.output_flags & GreFlag.CSUM or (
        parameters.encap_port and parameters.udp_checksum
    )
    mtu = min(path.mtu, tunnel.underlay.mtu)
    packet.segment(
        Feature.GRE_TSO,
        failed=tunnel.uncut,
        longest=MOST_SIZE - front,
        longest_segment=max(0, mtu - front),
        equal=bool(has_checksums),
    )
