"""Everything that a plugin may use; what is not here is not public.

A plugin declares `vdp_api = 1` and implements hooks of vdp.hookspecs with `hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdp.config.names import LinkName, PortName
from vdp.config.values import Mac
from vdp.counters import CounterFamily
from vdp.datapath import Datapath
from vdp.deprecation import Renamed, deprecated
from vdp.engine.interface import Feature, PacketType, Upcall
from vdp.header import (
    Bits,
    FillChecksum,
    FillCopy,
    FillHash,
    FillId,
    FillLength,
    FillSequence,
    FillState,
    Header,
    Octets,
)
from vdp.hookspecs import API_VERSION, hookimpl
from vdp.links.gre_demux import FlagPolicy, Gre6Demux
from vdp.links.gre_tunnel import GreTunnel, GreTunnelKind
from vdp.links.icmp_input import IcmpError
from vdp.links.ip6_tunnel import Ip6Tunnel, Ip6TunnelKind
from vdp.links.ip_tunnel import IpTunnel, IpTunnelKind
from vdp.links.link import Link, LinkError, LinkKind
from vdp.links.parameters import (
    Address,
    Address6,
    Endpoint6Parameters,
    EndpointParameters,
    FrameParameters,
    Tap6Parameters,
    TapParameters,
    Tunnel6Parameters,
    TunnelParameters,
    UdpParameters,
)
from vdp.links.paths import PathPending
from vdp.links.sequencing import SequenceParameters, Sequencing
from vdp.links.tunnel_table import TunnelTable
from vdp.links.udp_input import UdpReceiver
from vdp.packet import Packet
from vdp.protocols.ethernet import Ethernet, EtherType, Vlan
from vdp.protocols.gre import GreBase, GreFlag, GreSequence, TunnelInfo
from vdp.protocols.ip import Ecn, Icmp, IPProtocol, IPv4, IPv6, internet_checksum
from vdp.protocols.udp import Udp
from vdp.registry import HandlerList, Registry, RegistryError, SlotTable
from vdp.stages.pipeline import Egress, Pipeline
from vdp.trace import HeaderBudget, TraceError, Truncated
from vdp.verdict import Verdict

__all__ = [
    "API_VERSION",
    "Address",
    "Address6",
    "Bits",
    "CounterFamily",
    "Datapath",
    "Ecn",
    "Egress",
    "Endpoint6Parameters",
    "EndpointParameters",
    "EtherType",
    "Ethernet",
    "Feature",
    "FillChecksum",
    "FillCopy",
    "FillHash",
    "FillId",
    "FillLength",
    "FillSequence",
    "FillState",
    "FlagPolicy",
    "FrameParameters",
    "Gre6Demux",
    "GreBase",
    "GreFlag",
    "GreSequence",
    "GreTunnel",
    "GreTunnelKind",
    "HandlerList",
    "Header",
    "HeaderBudget",
    "IPProtocol",
    "IPv4",
    "IPv6",
    "Icmp",
    "IcmpError",
    "Ip6Tunnel",
    "Ip6TunnelKind",
    "IpTunnel",
    "IpTunnelKind",
    "Link",
    "LinkError",
    "LinkKind",
    "LinkName",
    "Mac",
    "Octets",
    "Packet",
    "PacketType",
    "PathPending",
    "Pipeline",
    "PortName",
    "Registry",
    "RegistryError",
    "SequenceParameters",
    "Sequencing",
    "SlotTable",
    "Tap6Parameters",
    "TapParameters",
    "TraceError",
    "Truncated",
    "Tunnel6Parameters",
    "TunnelInfo",
    "TunnelParameters",
    "TunnelTable",
    "Udp",
    "UdpParameters",
    "UdpReceiver",
    "Upcall",
    "Verdict",
    "Vlan",
    "hookimpl",
    "internet_checksum",
]

#: Names that are gone with the next minor version, and what they stand for until then.
DEPRECATED: dict[str, Renamed] = {}

if not TYPE_CHECKING:  # to a type checker they are gone already

    def __getattr__(name: str) -> object:
        renamed = DEPRECATED.get(name)
        if renamed is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        deprecated(f"vdp.api.{name}", renamed.since, f"vdp.api.{renamed.instead}")
        return globals()[renamed.instead]
